"""Lookup tables: known colour changes recovered, files read by others, many photographs with one look."""

import numpy as np
import pillow_lut
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from jpst import image, lut
from jpst.errors import JpstError

with np.printoptions():  # its import changes how NumPy prints arrays everywhere
    import colour

SIZE = (90, 120)


@pytest.fixture(scope="module")
def content(photograph) -> np.ndarray:
    return np.float64(photograph(*SIZE))


@pytest.fixture(scope="module")
def graded(content) -> np.ndarray:
    return warmed(content)


@pytest.fixture(scope="module")
def table(content, graded) -> np.ndarray:
    return lut.fit(content, graded)


def warmed(colours: np.ndarray) -> np.ndarray:
    """A known change: channels mixed, and a curve for each."""
    return np.clip(colours @ [[0.8, 0.05, 0.1], [0.1, 0.9, 0.0], [0.1, 0.0, 0.7]], 0, 1) ** [1.1, 1.0, 0.9]


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return deltaE_ciede2000(rgb2lab(one), rgb2lab(other))


def test_no_change_gives_the_identity(content):
    np.testing.assert_allclose(lut.fit(content, content), lut.identity(), atol=1e-3)


def test_a_known_change_is_recovered_where_there_are_colours(content, graded, table):
    assert difference(lut.apply(table, content), graded).max() < 1
    found = lut.fidelity(table, content, graded)
    assert found.mean == pytest.approx(difference(lut.apply(table, content), graded).mean())
    assert found.mean < 0.1 and found.p95 < 0.5 and 0.01 < found.coverage < 0.6 and found.neutral_drift > 1


def test_what_is_local_hardly_counts(content, graded):
    """A tenth of the picture has other colours: squares alone would mix them in."""
    local = graded.copy()
    local[:, :12] = 1 - local[:, :12]
    found = lut.apply(lut.fit(content, local), content)
    assert np.median(difference(found, graded)[:, 12:]) < 1


def test_greys_do_not_turn_round(content):
    grey = np.arange(lut.NODES)
    table = lut.fit(content, 1 - content)
    assert (np.diff(table[grey, grey, grey], axis=0) >= 0).all()


def test_strength_zero_is_the_photograph_and_one_half_is_half_way(content, table):
    np.testing.assert_array_equal(lut.apply(table, content, 0.0), content)
    whole, half = (lut.apply(table, content, strength) for strength in (1.0, 0.5))
    np.testing.assert_allclose(half, (content + whole) / 2, atol=1e-6)


def test_equal_colours_stay_equal_in_every_photograph(content, table):
    np.testing.assert_array_equal(lut.apply(table, content[20:40, ::-1]), lut.apply(table, content)[20:40, ::-1])


def test_files_are_read_alike_by_colour_and_pillow(tmp_path, content, table):
    lut.write(tmp_path / "look.cube", table, "a look")
    text = (tmp_path / "look.cube").read_text()
    assert "LUT_3D_SIZE 33" in text and "DOMAIN" not in text
    expected = lut.apply(table, content)
    by_colour = colour.read_LUT(str(tmp_path / "look.cube")).apply(content)
    np.testing.assert_allclose(by_colour, expected, atol=1 / 255)
    eight = Image.fromarray(np.uint8(np.round(255 * content)))
    by_pillow = np.asarray(eight.filter(pillow_lut.load_cube_file(str(tmp_path / "look.cube")))) / 255
    np.testing.assert_allclose(by_pillow, lut.apply(table, np.asarray(eight) / 255), atol=2 / 255)
    np.testing.assert_allclose(lut.read(tmp_path / "look.cube"), table, atol=1e-6)


@pytest.mark.parametrize("text", ["", "LUT_3D_SIZE 2\n0 0 0\n", "LUT_1D_SIZE 2\n0 0 0\n1 1 1\n", "nonsense"])
def test_damaged_files_are_refused(tmp_path, text):
    (tmp_path / "bad.cube").write_text(text)
    with pytest.raises(JpstError, match=r"bad\.cube"):
        lut.read(tmp_path / "bad.cube")
    with pytest.raises(JpstError, match="no such file"):
        lut.read(tmp_path / "none.cube")
    with pytest.raises(JpstError, match="cube"):
        lut.write(tmp_path / "look.lut", lut.identity(), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.cube"]


# ---- The commands


@pytest.fixture
def folder(tmp_path, content, graded):
    for name, pixels in (("day.png", content), ("dusk.png", graded)):
        image.write(tmp_path / name, np.float32(pixels), bit_depth=16)
    other = Image.fromarray(np.uint8(np.round(255 * content[::-1])))
    other.save(tmp_path / "other.jpg", exif=taken(), quality=100, subsampling=0)
    return tmp_path


def taken() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    return exif


def test_a_look_is_made_and_given_to_a_series(jpst, folder, graded):
    status, printed, _ = jpst("look", "make", "day.png", "dusk.png", "-o", "look.cube")
    assert status == 0 and "dE2000 on average" in printed
    assert jpst("look", "apply", "look.cube", "day.png", "other.jpg", "-o", "out")[0] == 0
    made = image.read(folder / "out" / "day.png")
    assert made.bit_depth == 16
    assert difference(made.pixels, graded).mean() < 0.2
    with Image.open(folder / "out" / "other.jpg") as other:
        assert other.getexif()[0x010F] == "Maker"
        assert difference(np.asarray(other) / 255, graded[::-1]).mean() < 1.5


def test_inputs_are_never_overwritten(jpst, folder):
    lut.write(folder / "look.cube", lut.identity(), "")
    before = (folder / "day.png").read_bytes()
    status, printed, _ = jpst("look", "apply", "look.cube", "day.png", "-o", ".")
    assert status == 1 and "overwrite an input" in printed
    assert (folder / "day.png").read_bytes() == before


def test_one_photograph_that_fails_does_not_stop_the_others(jpst, folder):
    lut.write(folder / "look.cube", lut.identity(), "")
    (folder / "bad.jpg").write_bytes(b"no picture")
    status, printed, _ = jpst("look", "apply", "look.cube", "bad.jpg", "day.png", "-o", "out")
    assert status == 1 and "bad.jpg" in printed
    assert [path.name for path in (folder / "out").iterdir()] == ["day.png"]
