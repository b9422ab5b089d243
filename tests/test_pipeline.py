"""From sources of every kind to a finished run, with a narrow network in place of the real one."""

import dataclasses
import gc
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import rich.console

from jpst import colours, estimate, image, loading, pipeline, pixels, projection, record, terminal, weights
from jpst.errors import JpstError
from jpst.presets import preset
from jpst.recipe import Hyperparameters, Recipe
from jpst.regions.segment import MaskError
from jpst.total import Networks

RECIPE = Recipe(size=32, size_multiple=8, iterations=(2,), segmenter="none")
AUTO = dataclasses.replace(RECIPE, segmenter="auto")


@pytest.fixture
def arrays(photograph):
    return photograph(60, 80), photograph(48, 64, seed=1)


@pytest.fixture
def stylize(vgg19_tiny):
    def run(content, style, recipe=RECIPE, **options):
        return pipeline.stylize(content, style, recipe=recipe, networks=Networks(vgg19_tiny), **options)

    return run


@pytest.fixture
def files(tmp_path, arrays):
    """content.png and style.png in a folder."""
    paths = tmp_path / "content.png", tmp_path / "style.png"
    for path, array in zip(paths, arrays, strict=True):
        image.write(path, array)
    return paths


def paint(path, height, width, colours):
    """A mask of horizontal bands, one colour a band."""
    bands = np.repeat(np.uint8(colours), -(-height // len(colours)), axis=0)[:height]
    PIL.Image.fromarray(np.repeat(bands[:, None], width, axis=1)).save(path)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
def test_arrays_come_back_as_arrays_of_their_dtype(stylize, arrays, dtype):
    content = arrays[0] if np.issubdtype(dtype, np.floating) else np.round(arrays[0] * np.iinfo(dtype).max)
    run = stylize(content.astype(dtype), arrays[1])
    assert isinstance(run.image, np.ndarray)
    assert run.image.dtype == dtype
    assert run.image.shape == (60, 80, 3)


def test_paths_and_pil_images_come_back_as_pil_images_of_the_same_size(stylize, files):
    with PIL.Image.open(files[0]) as opened:
        opened.load()
    for content in (files[0], str(files[0]), opened):
        run = stylize(content, files[1])
        assert isinstance(run.image, PIL.Image.Image)
        assert run.image.size == (80, 60)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_alpha_of_an_array_comes_back_as_its_fourth_channel(stylize, arrays, dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.linspace(0, 1, 80)[None].repeat(60, 0)
    content = np.rint(np.dstack([arrays[0], alpha]) * top) if top > 1 else np.dstack([arrays[0], alpha])
    run = stylize(content.astype(dtype), arrays[1])
    assert isinstance(run.image, np.ndarray)
    assert run.image.dtype == dtype and run.image.shape == (60, 80, 4)
    np.testing.assert_allclose(run.image[..., 3], content[..., 3].astype(dtype), atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_of_a_picture_comes_back(stylize, arrays, tmp_path, mode):
    alpha = np.uint8(255 * np.linspace(0, 1, 80)[None].repeat(60, 0))
    picture = PIL.Image.fromarray(np.uint8(255 * arrays[0])).convert("L" if mode == "LA" else "RGB").convert(mode)
    picture.putalpha(PIL.Image.fromarray(alpha))
    if mode != "PA":
        picture.save(tmp_path / "a.png")
        picture = tmp_path / "a.png"
    run = stylize(picture, arrays[1])
    assert isinstance(run.image, PIL.Image.Image)
    assert run.image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(run.image)[..., 3], alpha)


def test_16_bits_of_a_file_are_in_the_photograph_and_8_in_the_picture(stylize, arrays, tmp_path):
    image.write(tmp_path / "a.png", arrays[0], bit_depth=16)
    run = stylize(tmp_path / "a.png", arrays[1])
    assert run.photograph.bit_depth == 16
    assert isinstance(run.image, PIL.Image.Image)
    np.testing.assert_allclose(np.asarray(run.image) / 255, run.photograph.pixels, atol=0.51 / 255)
    image.write(tmp_path / "out.png", **run.photograph._asdict())
    assert image.read(tmp_path / "out.png").bit_depth == 16


@pytest.fixture
def told_of(tmp_path, arrays):
    """A job of two animations with metadata, one named like markup, and what is printed of it."""
    exif = PIL.Image.Exif()
    exif[0x010F] = "Camera"
    for name, array in zip(("a", "b"), arrays, strict=True):
        frames = [PIL.Image.fromarray(np.uint8(255 * each)) for each in (array, array / 2)]
        options = {"exif": exif, "lossless": True}
        frames[0].save(tmp_path / f"{name} [red].webp", save_all=True, append_images=frames[1:], **options)
        paint(tmp_path / f"{name} [red]_seg.png", *array.shape[:2], [(255, 0, 0), (0, 0, 0)])
    job = pipeline.plan(tmp_path / "a [red].webp", tmp_path / "b [red].webp", recipe=AUTO)
    shown = io.StringIO()
    terminal.show_job(job, rich.console.Console(file=shown, width=40, markup=False, highlight=False))
    return job, shown.getvalue().splitlines()


def test_notes_on_the_files_are_recorded_and_shown_one_a_line(told_of, tmp_path):
    job, shown = told_of
    notes = record.describe(job)["notes"]
    assert notes[0] == f"Regions from the masks {tmp_path / 'a [red]_seg.png'} and {tmp_path / 'b [red]_seg.png'}."
    assert notes[1:] == [
        "content: The first of its 2 frames is used; the others are ignored.",
        "style: The first of its 2 frames is used; the others are ignored.",
    ]
    assert set(notes) <= set(shown), "unbroken, and brackets as they are"


def test_a_picture_with_alpha_written_as_jpeg_is_told(stylize, arrays, tmp_path):
    run = stylize(np.dstack([arrays[0], np.full((60, 80), 0.5, np.float32)]), arrays[1])
    shown = io.StringIO()
    terminal.show_run(run, tmp_path / "out.jpg", rich.console.Console(file=shown, width=40), {})
    assert "JPEG has no transparency: the picture is placed on white.\n" in shown.getvalue()


@pytest.mark.parametrize("which", ["content", "style"])
@pytest.mark.parametrize("shape", [(4000, 2), (1, 800), (1, 1)])
def test_photographs_too_small_end_before_a_network_is_loaded(arrays, monkeypatch, shape, which):
    def load(*args, **kwargs):
        pytest.fail("a network was loaded")

    monkeypatch.setattr(weights, "load", load)
    small = np.zeros((*shape, 3), np.float32)
    pair = (small, arrays[0]) if which == "content" else (arrays[0], small)
    with pytest.raises(JpstError, match=rf"{which} photograph, {shape[1]} x {shape[0]} pixels.*at least 16 pixels"):
        pipeline.plan(*pair, recipe=Recipe(size=64, size_multiple=1, iterations=(1,)))


def test_the_working_size_can_be_asked_for(stylize, arrays):
    run = stylize(*arrays, recipe=dataclasses.replace(RECIPE, output_size="working"))
    assert run.photograph.pixels.shape == (24, 32, 3)


@pytest.mark.parametrize(("output_size", "shape"), [("native", (60, 80)), ("working", (24, 32))])
def test_alpha_is_put_back_at_the_size_of_the_result(stylize, arrays, output_size, shape):
    alpha = np.linspace(0, 1, 80, dtype=np.float32) * np.ones((60, 1), np.float32)
    recipe = dataclasses.replace(RECIPE, output_size=output_size)
    run = stylize(np.dstack([arrays[0], alpha]), arrays[1], recipe=recipe)
    assert run.photograph.alpha is not None
    assert run.photograph.alpha.shape == shape
    np.testing.assert_allclose(run.photograph.alpha.mean(), alpha.mean(), atol=0.01)


def test_the_record_is_json_and_tells_all(stylize, files):
    run = stylize(*files)
    record = json.loads(json.dumps(run.record))
    assert record["recipe"]["iterations"] == [2]
    assert record["content"] == {"path": str(files[0]), "size": [80, 60], "bit_depth": 8}
    assert len(record["levels"][0]["losses"]["style"]) == 2
    assert record["hyperparameters"]["learning_rate"] == preset("balanced")[1].learning_rate
    assert record["versions"]["jax"]
    assert record["status"] == "every step was finite"
    assert record["peak_memory_bytes"] > 1e7


def test_a_term_without_its_network_is_reported_as_absent(stylize, arrays):
    weighted = stylize(*arrays, hyper=Hyperparameters(nima_weight=5.0))
    assert "nima_weight 5 has no effect" in weighted.record["terms_absent"]["aesthetics"]
    assert stylize(*arrays).record["terms_absent"] == {}


def test_masks_lying_beside_both_photographs_are_used(stylize, files, tmp_path, narrow_scene_head):
    paint(tmp_path / "content_seg.png", 60, 80, [(0, 0, 255), (0, 255, 0)])
    record = stylize(*files, recipe=AUTO).record
    assert record["segmenter"] == "scene", "one mask alone says nothing"
    assert record["scene_checkpoint"] == {"name": "tiny-scene-head", "sha256": "1" * 64}
    paint(tmp_path / "style_seg.png", 48, 64, [(0, 255, 0), (0, 0, 255), (0, 255, 0), (0, 255, 0)])
    record = stylize(*files, recipe=AUTO).record
    assert record["segmenter"] == "masks"
    regions = {row["name"]: row for row in record["regions"]}
    assert regions["blue"]["content"] == 50.0
    assert regions["blue"]["style"] == 25.0
    assert len(stylize(*files).record["regions"]) == 1


def test_masks_may_be_given_and_differ_in_scale(stylize, arrays, tmp_path):
    masks = [
        paint(tmp_path / f"{n}.png", *size, [(255, 0, 0), (0, 0, 0)]) for n, size in enumerate(((121, 160), (24, 32)))
    ]
    run = stylize(*arrays, AUTO, content_seg=masks[0], style_seg=masks[1])
    assert {row["name"] for row in run.record["regions"]} == {"red", "black"}


def test_regions_change_the_result(stylize, arrays, tmp_path):
    masks = [
        paint(tmp_path / f"{n}.png", *size, [(255, 0, 0), (0, 0, 0)]) for n, size in enumerate(((60, 80), (48, 64)))
    ]
    with_masks = stylize(*arrays, AUTO, content_seg=masks[0], style_seg=masks[1]).photograph.pixels
    assert np.abs(with_masks - stylize(*arrays).photograph.pixels).max() > 0.01


def test_one_mask_alone_is_refused(stylize, arrays, tmp_path):
    mask = paint(tmp_path / "mask.png", 60, 80, [(255, 0, 0), (0, 0, 0)])
    with pytest.raises(MaskError, match=r"no mask for the style photograph.*`style_seg`"):
        stylize(*arrays, AUTO, content_seg=mask)


def test_a_mask_of_another_shape_is_refused_by_name(stylize, arrays, tmp_path):
    masks = [
        paint(tmp_path / f"{n}.png", *size, [(255, 0, 0), (0, 0, 0)]) for n, size in enumerate(((60, 60), (48, 64)))
    ]
    with pytest.raises(MaskError, match=r"0\.png.*60 x 60.*80 x 60"):
        stylize(*arrays, AUTO, content_seg=masks[0], style_seg=masks[1])


def test_the_same_call_gives_the_same_picture(stylize, arrays):
    first, second = (stylize(*arrays).photograph.pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_photograph_too_small_for_the_network_says_so(stylize, photograph):
    recipe = Recipe(size=32, size_multiple=1, iterations=(1,))
    with pytest.raises(JpstError, match=r"content photograph, 40 x 8 pixels.*at least 16 pixels"):
        stylize(photograph(8, 40), photograph(40, 40), recipe=recipe)


@pytest.mark.parametrize(
    "name, value",
    [
        ("style_weight", float("nan")),
        ("content_weight", float("inf")),
        ("edge_weight", -1.0),
        ("nima_weight", 1e13),
        ("beta1", 1.0),
        ("beta2", 1 - 1e-12),  # 1 in float32
        ("epsilon", 0.0),
        ("learning_rate", 1e9),
        ("learning_rate", "fast"),
        ("regularization_weight", np.array([1.0, np.nan])),
    ],
)
def test_absurd_numbers_are_refused_before_the_work(stylize, arrays, monkeypatch, name, value):
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(JpstError, match=f"^{name} is .*`{name}` .*at least"):
        stylize(*arrays, hyper=Hyperparameters(nima_weight=0.0)._replace(**{name: value}))


def test_a_sweep_of_numbers_is_checked_number_by_number():
    sweep = jax.tree.map(lambda number: np.full(3, number), Hyperparameters())
    loading.check_ranges(sweep)
    with pytest.raises(JpstError, match="edge_weight is -1"):
        loading.check_ranges(sweep._replace(edge_weight=jax.numpy.array([0.0, -1.0])))


@pytest.mark.parametrize("seed", [-1, 2**32, 99999999999999999999, 1.5, None])
def test_a_seed_that_jax_cannot_take_is_refused_before_the_work(stylize, arrays, monkeypatch, seed):
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(JpstError, match=r"seed is .*at least 0 and at most 4294967295"):
        stylize(*arrays, seed=seed)


def test_the_largest_seed_is_one_and_no_other(stylize, arrays):
    noise = dataclasses.replace(RECIPE, iterations=(0,), start="noise", output_size="working")
    runs = [stylize(*arrays, recipe=noise, seed=seed) for seed in (np.uint32(2**32 - 1), 2**31 - 1)]
    assert [json.loads(json.dumps(run.record))["seed"] for run in runs] == [2**32 - 1, 2**31 - 1]
    assert not np.array_equal(runs[0].photograph.pixels, runs[1].photograph.pixels)


def test_the_estimate_grows_with_size_and_steps(arrays):
    def of(**choices):
        recipe = Recipe(size_multiple=1, segmenter="none", **choices)
        return pipeline.plan(*arrays, recipe=recipe).estimate()

    small, larger, longer = of(size=32, iterations=(2,)), of(size=64, iterations=(2,)), of(size=32, iterations=(400,))
    assert small.memory_bytes < larger.memory_bytes
    assert small.seconds < longer.seconds
    assert estimate.BASE_BYTES < small.memory_bytes < 4e9


def test_repeated_calls_leave_no_arrays_behind(stylize, arrays):
    counts = []
    for _ in range(5):
        stylize(*arrays)
        gc.collect()
        counts.append(len(jax.live_arrays()))
    assert counts[1] == counts[4]


@pytest.mark.parametrize("segmenter", ["auto", "scene", "cluster"])
def test_vgg19_is_loaded_once_though_the_regions_need_it_too(
    arrays, vgg19_tiny, narrow_scene_head, monkeypatch, segmenter
):
    loads = []

    def load(name):
        loads.append(name)
        return weights.Loaded(vgg19_tiny, weights.Provenance("tiny", "0" * 64))

    monkeypatch.setattr(weights, "load", load)
    monkeypatch.setattr(weights, "find", lambda name: None)
    record = pipeline.stylize(*arrays, recipe=dataclasses.replace(RECIPE, segmenter=segmenter)).record
    assert record["segmenter"] == ("scene" if segmenter == "auto" else segmenter)
    assert record["checkpoints"]["vgg19"]["name"] == "tiny"
    assert loads == ["vgg19"]


HIDDEN = [(1.0, 0.0, 1.0), (0.5, 0.5, 0.5)]  # what lies under alpha 0, where nobody sees it


def cut_out(photograph, colour):
    """[H, W, 4]: the photograph's left half, another colour under the rest, and a soft edge between them."""
    alpha = np.clip(0.5 - np.linspace(-8, 8, photograph.shape[1]), 0, 1)[None].repeat(len(photograph), 0)
    colours = np.where(alpha[..., None] > 0, photograph, np.float32(colour))
    return np.dstack([colours, alpha]).astype(np.float32)


@pytest.mark.parametrize("segmenter", ["none", "scene", "cluster"])
def test_what_a_style_hides_under_its_alpha_has_no_influence(stylize, arrays, narrow_scene_head, segmenter):
    recipe = dataclasses.replace(RECIPE, segmenter=segmenter)
    first, second = (stylize(arrays[0], cut_out(arrays[1], colour), recipe).image for colour in HIDDEN)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("segmenter", ["none", "scene", "cluster"])
def test_what_a_content_hides_under_its_alpha_has_no_influence(stylize, arrays, narrow_scene_head, segmenter):
    recipe = dataclasses.replace(RECIPE, segmenter=segmenter)
    contents = [cut_out(arrays[0], colour) for colour in HIDDEN]
    first, second = (stylize(content, arrays[1], recipe).image for content in contents)
    np.testing.assert_allclose(first[..., 3], contents[0][..., 3], atol=1e-6)
    np.testing.assert_array_equal(first, second)


def test_a_style_counts_by_its_alpha(stylize, arrays):
    """What is half transparent counts by half: a style with its lower half in red, at ever less alpha."""
    style = np.dstack([arrays[1], np.ones(arrays[1].shape[:2])]).astype(np.float32)
    style[24:, :, :3] = (1, 0, 0)
    reds = []
    for alpha in (1.0, 0.5, 0.1):
        style[24:, :, 3] = alpha
        image = stylize(arrays[0], style, dataclasses.replace(RECIPE, iterations=(0,))).image
        reds.append((image[..., 0] - image[..., 1]).mean())
    assert reds[0] > reds[1] > reds[2]


@pytest.mark.parametrize("name", ["balanced", "preview"])
def test_a_half_transparent_content_gets_the_whole_look(stylize, arrays, name):
    recipe = dataclasses.replace(preset(name, size=32)[0], size_multiple=8, iterations=(0,), segmenter="none")
    opaque, half = (
        stylize(np.dstack([arrays[0], np.full(arrays[0].shape[:2], alpha, np.float32)]), arrays[1], recipe).image
        for alpha in (1.0, 0.5)
    )
    np.testing.assert_allclose(half[..., :3], opaque[..., :3], atol=0.01)
    assert np.abs(opaque[..., :3] - arrays[0]).mean() > 0.03


def test_a_photograph_that_is_transparent_everywhere_is_refused(stylize, arrays):
    nothing = np.dstack([arrays[1], np.zeros(arrays[1].shape[:2])]).astype(np.float32)
    with pytest.raises(JpstError, match="transparent everywhere"):
        stylize(arrays[0], nothing)


@pytest.mark.parametrize("content_in_colour", [True, False])
def test_a_black_and_white_style_gives_a_black_and_white_picture_and_says_so(stylize, arrays, content_in_colour):
    content = arrays[0] if content_in_colour else pixels.neutral(arrays[0])
    noise = np.random.default_rng(0).integers(-1, 2, arrays[1].shape) / 255  # as compression leaves it
    run = stylize(content, np.clip(pixels.neutral(arrays[1]) + noise, 0, 1).astype(np.float32))
    assert np.ptp(run.image, axis=-1).max() < 1e-6
    assert np.ptp(run.image) > 0.1
    assert record.BLACK_AND_WHITE in run.record["notes"]


def test_a_style_with_a_little_colour_is_not_black_and_white(stylize, arrays):
    style = pixels.neutral(arrays[1])
    style[:6, :8] = (0.8, 0.2, 0.2)  # 1.6 % of the picture
    run = stylize(arrays[0], style)
    assert np.ptp(run.image, axis=-1).max() > 0.05
    assert record.BLACK_AND_WHITE not in run.record["notes"]


def test_a_preview_is_the_base_look_and_asks_no_network(photograph, monkeypatch):
    def refuse(*_):
        raise AssertionError("no network is needed")

    monkeypatch.setattr(loading, "load", refuse)
    monkeypatch.setattr(loading, "load_vgg19", refuse)
    content, style = photograph(48, 64), photograph(40, 56, seed=1)
    recipe, _ = preset("preview", size=64, size_multiple=8, shape="own", segmenter="none")
    run = pipeline.stylize(content, style, recipe=recipe)
    masks = jnp.ones((1, 48, 64)), jnp.ones((1, 40, 56))
    base = colours.base_look(
        jnp.asarray(content), jnp.asarray(style), *masks, recipe.matched_noise, None, recipe.matched_gains
    )
    expected, _ = projection.calmed(content, np.asarray(base), np.asarray(masks[0]))
    np.testing.assert_allclose(run.photograph.pixels, np.clip(expected, 0, 1), atol=1e-4)
    assert run.record["checkpoints"] == {}
    assert not run.interrupted


def test_what_a_person_painted_is_not_projected(stylize, files, tmp_path, monkeypatch):
    called = []
    real = projection.project
    monkeypatch.setattr(projection, "project", lambda *arrays, **bounds: called.append(1) or real(*arrays, **bounds))
    colours = [[255, 0, 0], [0, 0, 255]]
    masks = paint(tmp_path / "a.png", 60, 80, colours), paint(tmp_path / "b.png", 48, 64, colours)
    stylize(*files, AUTO, content_seg=masks[0], style_seg=masks[1])
    assert not called
    stylize(*files)
    assert called
