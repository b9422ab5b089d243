"""Strength: exact at both ends, straight between, and beyond the result still a photograph."""

import json

import numpy as np
import PIL.Image
import pytest

import jpst
from jpst import blending, image, pipeline
from jpst.errors import JpstError
from jpst.recipe import Recipe
from jpst.total import Networks

RECIPE = Recipe(size=32, size_multiple=8, iterations=(2,), segmenter="none")
SMALL = ["--size", "32", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]
FLOATS = (np.float16, np.float32, np.float64, np.longdouble)


@pytest.fixture
def colours():
    """colours(seed): 4,096 colours, those on the edges of sRGB and greys among them, float32 [64, 64, 3]."""

    def make(seed):
        rng = np.random.default_rng(seed)
        found = rng.uniform(0, 1, (64, 64, 3)).astype(np.float32)
        found[:16] = found[:16].round()
        found[16:24] = found[16:24, :, :1]
        found[24:32, :, 0] = rng.integers(0, 2, (8, 64))
        return found

    return make


def of_type(values, dtype):
    """Values in [0, 1] that need all that the type has."""
    if np.issubdtype(dtype, np.integer):
        return np.rint(values * np.iinfo(dtype).max).astype(dtype)
    return (values.astype(dtype) / np.dtype(dtype).type(1.7)).clip(0, 1)


def hues(colours):
    """Angle of hue, and distance from grey."""
    red, green, blue = np.moveaxis(np.float64(colours), -1, 0)
    across, along = np.sqrt(3) * (green - blue), 2 * red - green - blue
    return np.arctan2(across, along), np.hypot(across, along)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.dtype(">u2"), *FLOATS])
def test_of_arrays_0_is_the_content_and_1_the_result_bit_for_bit(dtype, channels):
    rng = np.random.default_rng(0)
    content, result = (of_type(rng.uniform(0, 1, (9, 7, channels)), dtype) for _ in range(2))
    for strength, expected in ((0, content), (1, result), (np.float32(1), result), (0.0, content)):
        found = jpst.blend(content, result, strength)
        assert isinstance(found, np.ndarray)
        assert found.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(found, expected)
    assert jpst.blend(content, result, 0.5).dtype == jpst.blend(content, result, 1.5).dtype == found.dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_grey_content_comes_back_in_the_shape_of_the_result(dtype):
    rng = np.random.default_rng(0)
    grey, result = of_type(rng.uniform(0, 1, (9, 7)), dtype), of_type(rng.uniform(0, 1, (9, 7, 3)), dtype)
    np.testing.assert_array_equal(jpst.blend(grey, result, 0), np.dstack([grey] * 3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_of_pil_images_and_files_0_is_the_content_and_1_the_result(tmp_path, mode):
    rng = np.random.default_rng(1)
    pictures = [PIL.Image.fromarray(rng.integers(0, 256, (9, 7, len(mode)), np.uint8)) for _ in range(2)]
    paths = [tmp_path / "content.png", tmp_path / "result.png"]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    for content, result in (pictures, paths, map(str, paths), (paths[0], pictures[1])):
        for strength, expected in enumerate(pictures):
            found = jpst.blend(content, result, strength)
            assert isinstance(found, PIL.Image.Image) and found.mode == mode
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_photographs_keep_sixteen_bits(tmp_path, suffix):
    rng = np.random.default_rng(2)
    samples = rng.integers(0, 65536, (2, 9, 7, 4), np.uint16)
    photographs = [image.read(each) for each in samples]
    for strength, expected in enumerate(samples):
        image.write(tmp_path / f"a.{suffix}", **jpst.blend(*photographs, strength)._asdict())
        found = image.read(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(image.quantised(np.dstack([found.pixels, found.alpha]), np.uint16), expected)
    assert jpst.blend(photographs[0], photographs[1]._replace(bit_depth=8), 0.5).bit_depth == 16


def test_between_each_channel_lies_on_the_straight_line(colours):
    content, result = colours(0), colours(1)
    strengths = np.linspace(0, 1, 21)
    found = np.stack([blending.mixed(content, result, float(strength)) for strength in strengths])
    steps = np.diff(found, axis=0) * np.sign(result - content)
    assert steps.min() >= -1e-6
    np.testing.assert_allclose(found[5], 0.75 * content + 0.25 * result, atol=1e-6)


def test_beyond_the_result_brightness_goes_on_and_all_stays_in_range(colours):
    content, result = colours(0), colours(1)
    found = np.stack([blending.mixed(content, result, strength) for strength in (1.0, 1.1, 1.25, 1.4, 1.5)])
    assert found.min() >= 0 and found.max() <= 1
    steps = np.diff(found.mean(-1), axis=0) * np.sign((result - content).mean(-1))
    assert steps.min() >= -2e-6
    assert np.abs(found[-1] - result).mean() > 0.03, "it is more of the change"


def test_beyond_the_result_no_hue_turns_by_more_than_a_quarter(colours):
    for seed in range(4):
        result = colours(2 * seed + 1)
        found = blending.mixed(colours(2 * seed), result, 1.5)
        (before, chroma), (after, more) = hues(result), hues(found)
        turned = np.abs(np.angle(np.exp(1j * (after - before))))
        assert turned[(chroma > 0.02) & (more > 0.02)].max() < np.pi / 2
        assert (more[chroma > 0.02] > 0).all(), "no colour is lost"
    dull = np.full((8, 8, 3), (0.5, 0.49, 0.49), np.float32)
    opposite = blending.mixed(np.full_like(dull, 1) * np.float32([0.9, 0.2, 0.2]), dull, 1.5)
    assert (opposite[..., 0] >= opposite[..., 1]).all(), "the straight line would make it cyan"


def test_beyond_the_result_no_pixel_reaches_an_end_that_did_not(colours):
    content, result = colours(4), colours(5)
    inside = ((result > 0.01) & (result < 0.99)).all(-1)
    found = blending.mixed(content, result, 1.5)[inside]
    assert found.min() > 0 and found.max() < 1
    straight = (result + 0.5 * (result - content))[inside]
    assert ((straight < 0) | (straight > 1)).mean() > 0.1, "where the straight line leaves"


def test_beyond_the_result_a_deep_blue_sky_that_was_white_is_no_night():
    white, blue = np.ones((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.float32) + np.float32([0, 0, 1])
    found = blending.mixed(white, blue, 1.5)
    assert found[..., 2].min() >= 0.49 and found[..., :2].max() < 1e-6


def test_the_strength_goes_through_the_result_without_a_step_or_a_corner(colours):
    content, result = (0.1 + 0.8 * colours(seed) for seed in (6, 7))
    below, above = (blending.mixed(content, result, strength) for strength in (0.999, 1.001))
    coloured = hues(result)[1] > 0.2
    np.testing.assert_allclose((above - result)[coloured], (result - below)[coloured], atol=5e-5)
    assert np.abs(above - result).max() <= 0.0011


def test_black_and_white_stays_black_and_white_beyond_and_is_the_colour_photograph_at_0(colours):
    content = colours(8)
    result = np.repeat(colours(9)[..., :1], 3, -1)
    found = blending.mixed(content, result, 1.5)
    assert np.ptp(found, axis=-1).max() < 1e-6
    np.testing.assert_array_equal(jpst.blend(content, result, 0), content)


def test_alpha_is_mixed_and_absent_alpha_counts_as_opaque():
    rng = np.random.default_rng(3)
    content, result = rng.uniform(0, 1, (9, 7, 4)).astype(np.float32), rng.uniform(0, 1, (9, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(jpst.blend(content, result, 0.5)[..., 3], (1 + content[..., 3]) / 2, atol=1e-6)
    np.testing.assert_array_equal(jpst.blend(content, result, 1), result)
    same = np.dstack([result, content[..., 3]])
    for strength in (0.3, 1.5):
        np.testing.assert_array_equal(jpst.blend(content, same, strength)[..., 3], content[..., 3])


def test_nothing_that_is_given_changes(colours):
    content, result = colours(0), colours(1)
    for strength in (0, 0.5, 1, 1.5):
        found = jpst.blend(content, result, strength)
        found[:] = 0
    np.testing.assert_array_equal(content, colours(0))
    np.testing.assert_array_equal(result, colours(1))


@pytest.mark.parametrize("strength", [-0.01, 1.51, float("nan"), float("inf"), "half", None, True])
def test_other_strengths_are_refused(colours, strength):
    with pytest.raises(JpstError, match=r"^strength is .*`strength` a number, at least 0 and at most 1\.5"):
        jpst.blend(colours(0), colours(1), strength)


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_pictures_of_two_sizes_are_refused_with_both(colours, strength):
    with pytest.raises(JpstError, match=r"content has 64 x 60 pixels and the result 64 x 64.*same size"):
        jpst.blend(colours(0)[:60], colours(1), strength)


@pytest.fixture
def stylize(vgg19_tiny):
    def run(content, style, recipe=RECIPE, **options):
        return pipeline.stylize(content, style, recipe=recipe, networks=Networks(vgg19_tiny), **options)

    return run


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_stylize_at_0_gives_the_content_and_keeps_the_result(stylize, photograph, dtype):
    alpha = np.linspace(0, 1, 80)[None].repeat(60, 0)
    content = of_type(np.dstack([photograph(60, 80), alpha]), dtype)
    style = photograph(48, 64, seed=1)
    one, none = stylize(content, style), stylize(content, style, strength=0)
    np.testing.assert_array_equal(none.image, content)
    np.testing.assert_array_equal(none.full_strength.pixels, one.photograph.pixels)
    assert one.full_strength.pixels is one.photograph.pixels, "nothing is held twice"
    assert (one.record["strength"], none.record["strength"]) == (1.0, 0.0)
    again = jpst.blend(content, none.full_strength, 0.5)
    np.testing.assert_array_equal(again.pixels, stylize(content, style, strength=0.5).photograph.pixels)


def test_blend_takes_what_stylize_took_and_gave(stylize, photograph, tmp_path):
    image.write(tmp_path / "deep.png", photograph(60, 80), bit_depth=16)
    picture = PIL.Image.fromarray(np.uint8(255 * photograph(60, 80))).convert("RGBA")
    style = photograph(48, 64, seed=1)
    for content in (tmp_path / "deep.png", picture, np.uint16(65535 * photograph(60, 80))):
        run = stylize(content, style)
        half = jpst.blend(content, run.image, 0.5)
        assert type(half) is type(run.image)
        assert np.asarray(half).shape == np.asarray(run.image).shape
        deep = jpst.blend(content, run.photograph, 0.5)
        assert deep.bit_depth == run.photograph.bit_depth
        top = 65535 if isinstance(content, np.ndarray) else 255
        np.testing.assert_allclose(np.asarray(half)[..., :3] / top, deep.pixels, atol=1.01 / top)


def test_at_working_size_0_is_the_content_at_that_size(stylize, photograph):
    recipe = Recipe(size=32, size_multiple=8, iterations=(2,), segmenter="none", output_size="working")
    content = photograph(60, 80)
    run = stylize(content, photograph(48, 64, seed=1), recipe=recipe, strength=0)
    assert run.photograph.pixels.shape == run.full_strength.pixels.shape == (24, 32, 3)
    shrunk = np.asarray(PIL.Image.fromarray(np.uint8(255 * content)).resize((32, 24), PIL.Image.Resampling.BICUBIC))
    np.testing.assert_allclose(run.photograph.pixels, shrunk / 255, atol=0.02)


def test_a_black_and_white_style_at_0_leaves_the_colours(stylize, photograph):
    style = np.repeat(photograph(48, 64, seed=1)[..., :1], 3, -1)
    np.testing.assert_array_equal(stylize(photograph(60, 80), style, strength=0).image, photograph(60, 80))


def test_a_strength_is_refused_before_the_work(stylize, photograph, monkeypatch):
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(JpstError, match="strength is 2"):
        stylize(photograph(60, 80), photograph(48, 64), strength=2)


@pytest.mark.usefixtures("narrow_network")
@pytest.mark.parametrize(("bits", "alpha"), [(8, False), (8, True), (16, False), (16, True)])
def test_the_command_line_writes_the_content_at_0_and_the_same_file_at_1(jpst, folder, photograph, bits, alpha):
    rng = np.random.default_rng(4)
    opacity = rng.uniform(0, 1, (60, 80)).round(1) if alpha else None  # with hidden colours among them
    image.write(folder / "cut.png", rng.uniform(0, 1, (60, 80, 3)), alpha=opacity, bit_depth=bits)
    files, written = [], []
    for more in ([], ["--strength", "1"], ["--strength", "0"], ["--strength", "1.5"]):
        status, text, _ = jpst("transfer", "cut.png", "style.jpg", "-o", "out.png", *SMALL, *more)
        assert status == 0, text
        files.append((folder / "out.png").read_bytes())
        written.append(image.read(folder / "out.png"))
        record = json.loads((folder / "out.json").read_text())
        assert record["strength"] == float(more[1] if more else 1)
    assert files[0] == files[1]
    assert len(set(files)) == 3
    content, found = image.read(folder / "cut.png"), written[2]
    np.testing.assert_array_equal(found.pixels, content.pixels)
    if alpha:
        np.testing.assert_array_equal(found.alpha, content.alpha)
    assert found.bit_depth == bits
