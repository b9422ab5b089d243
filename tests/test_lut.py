"""Lookup tables: known colour changes recovered, files read by others, many photographs with one look."""

import json
import os

import numpy as np
import pillow_lut
import PyOpenColorIO
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from jpst import image, lut, lut_files
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
    np.testing.assert_allclose(lut.fit(content, content), lut_files.identity(), atol=1e-3)


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
    grey = np.arange(lut_files.NODES)
    table = lut.fit(content, 1 - content)
    assert (np.diff(table[grey, grey, grey], axis=0) >= 0).all()


def test_strength_zero_is_the_photograph_and_one_half_is_half_way(content, table):
    np.testing.assert_array_equal(lut.apply(table, content, 0.0), content)
    whole, half = (lut.apply(table, content, strength) for strength in (1.0, 0.5))
    np.testing.assert_allclose(half, (content + whole) / 2, atol=1e-6)


def test_equal_colours_stay_equal_in_every_photograph(content, table):
    np.testing.assert_array_equal(lut.apply(table, content[20:40, ::-1]), lut.apply(table, content)[20:40, ::-1])


def test_files_are_read_alike_by_colour_and_pillow(tmp_path, content, table):
    lut_files.write(tmp_path / "look.cube", table, "a look")
    text = (tmp_path / "look.cube").read_text()
    assert "LUT_3D_SIZE 33" in text and "DOMAIN" not in text
    expected = lut.apply(table, content)
    by_colour = colour.read_LUT(str(tmp_path / "look.cube")).apply(content)
    np.testing.assert_allclose(by_colour, expected, atol=1 / 255)
    eight = Image.fromarray(np.uint8(np.round(255 * content)))
    by_pillow = np.asarray(eight.filter(pillow_lut.load_cube_file(str(tmp_path / "look.cube")))) / 255
    np.testing.assert_allclose(by_pillow, lut.apply(table, np.asarray(eight) / 255), atol=2 / 255)
    np.testing.assert_allclose(lut_files.read(tmp_path / "look.cube"), table, atol=1e-6)


def test_files_are_read_alike_by_open_color_io(tmp_path, content, table):
    expected = np.float32(lut.apply(table, content)).reshape(-1, 3)
    for suffix in ("cube", "clf"):
        lut_files.write(tmp_path / f"look.{suffix}", table, "day to <dusk> & back")
        source = PyOpenColorIO.FileTransform(str(tmp_path / f"look.{suffix}"))
        source.setInterpolation(PyOpenColorIO.INTERP_TETRAHEDRAL)
        colours = np.float32(content).reshape(-1, 3)
        PyOpenColorIO.Config.CreateRaw().getProcessor(source).getDefaultCPUProcessor().applyRGB(colours)
        np.testing.assert_allclose(colours, expected, atol=1e-4)
        np.testing.assert_allclose(lut_files.read(tmp_path / f"look.{suffix}"), table, atol=1e-5)
    assert "&lt;dusk&gt;" in (tmp_path / "look.clf").read_text()


def test_a_hald_is_read_alike_by_pillow(tmp_path, content, table):
    lut_files.write(tmp_path / "look.png", table, "")
    with Image.open(tmp_path / "look.png") as opened:
        assert opened.size == (512, 512)
        by_pillow = Image.fromarray(np.uint8(np.round(255 * content))).filter(
            pillow_lut.load_hald_image(opened.convert("RGB"))
        )
    found = lut_files.read(tmp_path / "look.png")
    assert found.shape == (64, 64, 64, 3)
    expected = lut.apply(table, np.round(255 * content) / 255)
    np.testing.assert_allclose(np.asarray(by_pillow) / 255, expected, atol=2 / 255)
    np.testing.assert_allclose(lut.apply(found, content), lut.apply(table, content), atol=5e-3)


@pytest.mark.parametrize("suffix", ["cube", "clf"])
def test_a_title_is_one_line_of_plain_letters(tmp_path, table, suffix):
    """File names hold anything: bytes that are no UTF-8, line ends, quotes."""
    lut_files.write(tmp_path / f"look.{suffix}", table, 'a\udce9 "b"\nLUT_1D_SIZE 2 to café')
    assert "a_ _b__LUT_1D_SIZE 2 to caf_" in (tmp_path / f"look.{suffix}").read_text("ascii")
    np.testing.assert_allclose(lut_files.read(tmp_path / f"look.{suffix}"), table, atol=1e-5)


def test_a_picture_that_is_no_hald_is_refused(tmp_path, content):
    image.write(tmp_path / "photo.png", np.float32(content))
    with pytest.raises(JpstError, match=r"photo\.png: expected a HaldCLUT, .* got 120 x 90"):
        lut_files.read(tmp_path / "photo.png")


def test_a_dollar_in_a_name_is_a_letter(tmp_path):
    """OpenColorIO puts variables of the environment in its place."""
    path = tmp_path / "y$HOME.clf"
    lut_files.write(path, lut_files.identity(), "")
    np.testing.assert_allclose(lut_files.read(path), lut_files.identity(), atol=1e-6)


@pytest.mark.parametrize("text", ["", "LUT_3D_SIZE 2\n0 0 0\n", "LUT_1D_SIZE 2\n0 0 0\n1 1 1\n", "nonsense"])
def test_damaged_files_are_refused(tmp_path, text):
    (tmp_path / "bad.cube").write_text(text)
    with pytest.raises(JpstError, match=r"bad\.cube"):
        lut_files.read(tmp_path / "bad.cube")
    (tmp_path / "bad.clf").write_text(text.replace("LUT_1D", "LUT_2D"))
    with pytest.raises(JpstError, match=r"bad\.clf: not a \.clf file") as told:
        lut_files.read(tmp_path / "bad.clf")
    assert "look.clf" not in str(told.value), "of a copy that nobody named"
    with pytest.raises(JpstError, match="no such file"):
        lut_files.read(tmp_path / "none.cube")
    with pytest.raises(JpstError, match="cube"):
        lut_files.write(tmp_path / "look.lut", lut_files.identity(), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.clf", "bad.cube"]


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


def test_each_line_tells_what_the_written_picture_lacks(jpst, folder):
    """IPTC has no place in WebP; JPEG keeps it, and nothing is then said."""
    lut_files.write(folder / "look.cube", lut_files.identity(), "")
    iptc = b"\x1c\x02\x50\x00\x06Author"  # By-line
    block = b"8BIM\x04\x04\x00\x00" + len(iptc).to_bytes(4, "big") + iptc + b"\x00" * (len(iptc) % 2)
    body = b"Photoshop 3.0\x00" + block
    plain = (folder / "other.jpg").read_bytes()
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    (folder / "tagged.jpg").write_bytes(plain[:2] + segment + plain[2:])
    status, printed, _ = jpst("look", "apply", "look.cube", "tagged.jpg", "other.jpg", "-o", "out")
    assert status == 0 and printed.splitlines() == ["out/tagged.jpg written.", "out/other.jpg written."]
    os.rename(folder / "tagged.jpg", folder / "tagged.webp")  # what a file is its content says
    status, printed, _ = jpst("look", "apply", "look.cube", "tagged.webp", "other.jpg", "-o", "out")
    first, second = printed.splitlines()
    assert status == 0 and first.startswith("out/tagged.webp written. WEBP has no room for some of the metadata: ")
    assert second == "out/other.jpg written."


def test_a_look_is_made_of_a_record(jpst, folder):
    record = {"versions": {"jpst": "0"}, "output": "dusk.png", "content": {"path": str(folder / "day.png")}}
    (folder / "dusk.json").write_text(json.dumps(record))
    assert jpst("look", "make", "dusk.json", "-o", "a.cube")[0] == 0
    assert jpst("look", "make", "day.png", "dusk.png", "-o", "b.cube")[0] == 0
    assert (folder / "a.cube").read_bytes() == (folder / "b.cube").read_bytes()
    for damaged in ({"output": "gone.png"}, {"content": {}}, {"versions": 1}, {"content": {"path": "none.png"}}):
        (folder / "dusk.json").write_text(json.dumps(record | damaged))
        status, printed, _ = jpst("look", "make", "dusk.json", "-o", "c.cube")
        assert (
            status == 1
            and "Traceback" not in printed
            and any(name in printed for name in ("dusk.json", "none.png", "gone.png"))
        )
    status, printed, _ = jpst("look", "make", "day.png", "-o", "c.cube")
    assert status == 1 and "Give OUT.json" in printed and not (folder / "c.cube").exists()


SMALL = ["--size", "48", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]


def test_a_transfer_writes_its_look(jpst, folder):
    command = ["transfer", "day.png", "dusk.png", "-o", "out.png", "--strength", "0.9", *SMALL]
    status, printed, _ = jpst(*command, "--lut", "look.cube")
    assert status == 0 and "look.cube written" in printed
    assert jpst("look", "make", "out.json", "-o", "again.cube")[0] == 0
    one, other = (lut_files.read(folder / f"{name}.cube") for name in ("look", "again"))
    np.testing.assert_allclose(one, other, atol=0.01)
    assert np.abs(one - lut_files.identity()).max() > 0.02
    told = json.loads((folder / "out.json").read_text())["lut"]
    made = lut.apply(one, image.read(folder / "day.png").pixels)
    assert told["mean"] == pytest.approx(difference(made, image.read(folder / "out.png").pixels).mean(), abs=0.2)
    for name, reason in (
        ("day.png", "overwrite an input"),
        ("look.lut", "expected a name"),
        ("out.png", "also the output"),
        ("nowhere/look.cube", "does not exist"),
    ):
        status, printed, _ = jpst(*command, "--lut", name)
        assert status == 1 and reason in printed


def test_a_look_that_cannot_be_written_does_not_cost_the_picture(jpst, folder, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setitem(lut_files._FORMATS, ".cube", lut_files.Format(full, full))
    status, printed, new = jpst("transfer", "day.png", "dusk.png", "-o", "out.png", *SMALL, "--lut", "look.cube")
    assert (status, new) == (1, {"out.png", "out.json"}) and "out.png written" in printed
    assert jpst.errors.startswith("jpst: look.cube: could not be written") and jpst.errors.count("\n") == 1


def test_inputs_are_never_overwritten(jpst, folder):
    lut_files.write(folder / "look.cube", lut_files.identity(), "")
    before = (folder / "day.png").read_bytes()
    status, printed, _ = jpst("look", "apply", "look.cube", "day.png", "-o", ".")
    assert status == 1 and "overwrite an input" in printed
    assert (folder / "day.png").read_bytes() == before


def test_one_photograph_that_fails_does_not_stop_the_others(jpst, folder):
    lut_files.write(folder / "look.cube", lut_files.identity(), "")
    (folder / "bad.jpg").write_bytes(b"no picture")
    status, printed, _ = jpst("look", "apply", "look.cube", "bad.jpg", "day.png", "-o", "out")
    assert status == 1 and "bad.jpg" in printed
    assert [path.name for path in (folder / "out").iterdir()] == ["day.png"]


def test_one_photograph_too_large_for_memory_does_not_stop_the_others(jpst, folder, monkeypatch):
    from jpst.image import decoding

    lut_files.write(folder / "look.cube", lut_files.identity(), "")
    real = decoding._plain_samples

    def decoded(opened):
        if opened.format == "JPEG":
            raise MemoryError
        return real(opened)

    monkeypatch.setattr(decoding, "_plain_samples", decoded)
    status, _, _ = jpst("look", "apply", "look.cube", "other.jpg", "day.png", "-o", "out")
    assert status == 1 and jpst.errors.startswith("jpst: other.jpg: There was not enough memory.")
    assert [path.name for path in (folder / "out").iterdir()] == ["day.png"]
