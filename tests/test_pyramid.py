"""Coarse to fine: sizes, the hand-over between levels, and the ways a climb ends early."""

import dataclasses

import jax
import numpy as np
import pytest

from jpst import chunks, grams, levels, preparation, projection, pyramid, scene, skin, story
from jpst.errors import JpstError
from jpst.levels import Level
from jpst.models import vgg19
from jpst.optimise import Status
from jpst.presets import preset
from jpst.recipe import Recipe
from jpst.scene import Pair, Picture, Scene
from jpst.total import Networks

HYPER = preset("balanced")[1]


@pytest.fixture
def pictures(photograph):
    """Content 40 x 56 and style 36 x 48, each with the same two regions."""
    sizes = ((40, 56), (36, 48))
    return [
        Picture(photograph(*size, seed=seed), (np.indices(size)[0] > size[0] // 2).astype(np.int32))
        for seed, size in enumerate(sizes)
    ]


def pair(content, style, regions=2):
    """The two pictures, whose labels count so many regions."""
    return Pair(content, style, tuple("ab"[:regions]))


@pytest.fixture
def climb(pictures, vgg19_tiny):
    """climb(recipe, hyper=..., **options): the pictures' transfer, at the sizes that the recipe plans."""

    def run(recipe, hyper=HYPER, **options):
        planned = levels.plan(pictures[0].pixels.shape[:2], pictures[1].pixels.shape[:2], recipe)
        return pyramid.climb(pair(*pictures), planned, Networks(vgg19_tiny), hyper, recipe=recipe, **options)

    return run


RECIPE = Recipe(size=48, size_multiple=8, iterations=(3, 2))


@pytest.mark.parametrize(
    ("content", "style", "recipe", "expected"),
    [
        ((427, 640), (640, 427), Recipe(size=448, shape="own", size_multiple=32, iterations=(80, 25)),
         [Level((160, 224), (224, 160), 80), Level((288, 448), (448, 288), 25)]),
        ((300, 400), (90, 100), Recipe(size=700, shape="own", size_multiple=1, iterations=(5,)),
         [Level((300, 400), (90, 100), 5)]),
        ((3000, 4000), (3000, 4000), Recipe(size=400, shape="own", size_multiple=1, iterations=(1, 1, 1)),
         [Level((75, 100), (75, 100), 1), Level((150, 200), (150, 200), 1), Level((300, 400), (300, 400), 1)]),
    ],
)  # fmt: skip
def test_levels_halve_downwards_and_never_exceed_the_photograph(content, style, recipe, expected):
    assert list(levels.plan(content, style, recipe)) == expected


@pytest.mark.parametrize("content", [(427, 640), (3000, 4000), (1080, 1920), (640, 427), (233, 350), (480, 600)])
@pytest.mark.parametrize("style", [(3000, 4000), (853, 1280)])
def test_cameras_photographs_share_their_working_shapes(content, style):
    coarse, fine = levels.plan(content, style, preset("quality")[0])
    assert sorted(coarse.content) == sorted(coarse.style) == [128, 192]
    assert sorted(fine.content) == sorted(fine.style) == [256, 384]
    assert (fine.content[0] > fine.content[1]) == (content[0] > content[1])


@pytest.mark.parametrize(
    ("photograph", "sizes"),
    [
        ((500, 500), [(160, 160), (320, 320)]),
        ((1000, 2100), [(112, 240), (208, 464)]),
        ((128, 192), [(128, 192), (128, 192)]),  # not enlarged
        ((90, 160), [(128, 192), (128, 192)]),
        ((60, 80), [(64, 96), (64, 96)]),
    ],
)
def test_other_photographs_have_shapes_with_about_as_many_pixels_or_a_quarter(photograph, sizes):
    assert [level.content for level in levels.plan(photograph, (427, 640), preset("quality")[0])] == sizes


@pytest.mark.parametrize("photograph", [(80, 12_000), (4_000, 2), (800, 1), (10, 10)])
@pytest.mark.parametrize("shape", ["common", "own"])
def test_a_photograph_too_narrow_for_the_network_is_refused_in_a_sentence(photograph, shape):
    size = f"{photograph[1]} x {photograph[0]}"
    with pytest.raises(JpstError, match=rf"The style photograph, {size} pixels, .* at least 16 pixels"):
        levels.plan((427, 640), photograph, Recipe(shape=shape, size_multiple=1))


def test_a_portrait_gives_the_landscapes_result_by_the_same_programs(pictures, vgg19_tiny, no_compilation):
    networks = Networks(vgg19.accelerate(vgg19_tiny, 8))

    def run(content, style):
        planned = levels.plan(content.pixels.shape[:2], style.pixels.shape[:2], RECIPE)
        return pyramid.climb(pair(content, style), planned, networks, HYPER, recipe=RECIPE, on_step=seen.append)

    seen = []
    # two pictures whose network sees them exchanged: what a portrait's own network would make of a portrait
    networks = Networks(vgg19.turned(networks.vgg19))
    portrait = run(*(picture.turned() for picture in pictures))
    networks = Networks(vgg19.turned(networks.vgg19))
    with no_compilation():
        landscape = run(*pictures)
    assert portrait[-1].level == landscape[-1].level.turned()
    assert seen[0].best.shape == (24, 16, 3)
    for one, other in zip(portrait, landscape, strict=True):
        np.testing.assert_allclose(np.swapaxes(one.result, 0, 1), other.result, atol=1e-5)
        np.testing.assert_allclose(one.losses["total"], other.losses["total"], rtol=1e-4)


def test_every_level_starts_from_the_one_before(climb):
    coarse, fine = climb(RECIPE)
    assert coarse.result.shape == (16, 24, 3)
    assert fine.result.shape == (32, 48, 3)
    assert [len(one.losses["total"]) for one in (coarse, fine)] == [3, 2]
    (alone,) = climb(Recipe(size=48, size_multiple=8, iterations=(2,)))
    assert fine.losses["total"][0] < alone.losses["total"][0], "the coarse level's work was lost"


def test_progress_counts_all_steps_and_shows_each_term(climb):
    seen = []
    climb(RECIPE, on_step=seen.append)
    assert [now.step for now in seen] == [1, 2, 3, 4, 5]
    assert sum(now.chunk for now in seen) == 5
    assert set(seen[0].terms) == {"content", "style", "photorealism", "coherence", "edges", "clipping", "total"}
    assert seen[-1].best.shape == (32, 48, 3)


def test_ctrl_c_keeps_the_best_image_so_far(climb):
    seen = []

    def stop_at_the_second(now):
        seen.append(now)
        if now.step == 2:
            raise KeyboardInterrupt

    (only,) = climb(RECIPE, on_step=stop_at_the_second)
    assert only.interrupted
    np.testing.assert_array_equal(only.result, seen[-1].best)


def test_a_loss_that_is_not_finite_ends_the_climb_with_the_best_image(climb, monkeypatch):
    real, broken = preparation.prepare, jax.numpy.float32(np.nan)
    monkeypatch.setattr(preparation, "prepare", lambda *a, **b: real(*a, **b)._replace(laplacian_weight=broken))
    climbed = climb(RECIPE)
    assert len(climbed) == 1
    assert climbed[0].status is Status.NOT_FINITE
    assert np.isfinite(climbed[0].result).all()


def test_a_level_ends_on_a_plateau_and_the_next_goes_on(climb):
    # Adam with so small a rate lowers the total by next to nothing.
    recipe = dataclasses.replace(RECIPE, optimiser="adam", iterations=(30, 25), plateau_tolerance=0.05)
    coarse, fine = climb(recipe, hyper=HYPER._replace(learning_rate=1e-4))
    window = story.PLATEAU_STEPS
    assert [len(one.losses["total"]) for one in (coarse, fine)] == [window + 1, window + 1]
    assert coarse.plateau and fine.plateau
    assert not fine.interrupted and fine.status is Status.FINE


def test_without_a_tolerance_no_plateau_ends_a_level(climb):
    recipe = dataclasses.replace(RECIPE, optimiser="adam", iterations=(25,))
    (only,) = climb(recipe, hyper=HYPER._replace(learning_rate=0.0))
    assert len(only.losses["total"]) == 25
    assert not only.plateau


@pytest.mark.parametrize(
    ("totals", "flat"),
    [
        (np.full(20, 5.0), False),  # the window is not full
        (np.full(21, 5.0), True),
        (np.linspace(5, 4, 21), False),
        (np.linspace(5, 4.99, 21), True),
        (np.r_[5.0, np.linspace(9, 8, 20)], True),  # what is not better than the best counts for nothing
        (np.r_[np.full(30, 9.0), 5.0], False),
    ],
)
def test_a_plateau_is_where_the_best_total_hardly_falls(totals, flat):
    assert story.is_flat(totals.tolist(), 0.01) == flat
    assert not story.is_flat(totals.tolist(), 0.0)


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_the_total_falls_on_every_level(climb, optimiser):
    recipe = dataclasses.replace(RECIPE, optimiser=optimiser, iterations=(4, 4))
    for one in climb(recipe, hyper=HYPER._replace(learning_rate=0.5)):
        assert min(one.losses["total"]) < one.losses["total"][0]
        assert one.status is Status.FINE


def test_no_steps_give_the_colour_match(climb):
    (only,) = climb(Recipe(size=48, size_multiple=8, iterations=(0,)))
    assert only.losses == {"total": []}
    assert np.abs(np.asarray(only.result) - np.asarray(only.content)).max() > 0.02


def test_levels_without_steps_compile_none(climb, monkeypatch):
    compiled = []
    real = pyramid.compile_transfer
    monkeypatch.setattr(pyramid, "compile_transfer", lambda *a, **b: (compiled.append(b["steps"]), real(*a, **b)))
    climb(Recipe(size=48, size_multiple=8, iterations=(0, 1)))
    assert compiled == [1]


def test_settings_without_steps_share_one_picture(pictures, vgg19_tiny, monkeypatch):
    recipe, made = preset("preview", size=48)[0], []
    real = pyramid._unoptimised
    monkeypatch.setattr(pyramid, "_unoptimised", lambda *a, **b: made.append(real(*a, **b)) or made[-1])
    planned = levels.plan(pictures[0].pixels.shape[:2], pictures[1].pixels.shape[:2], recipe)
    several = pyramid.climb_all(pair(*pictures), planned, Networks(vgg19_tiny), [HYPER] * 3, recipe=recipe)
    assert [len(climbed) for climbed in several] == [1, 1, 1] and len(made) == 1


@pytest.mark.parametrize("rated", [True, False])
def test_what_is_compiled_ahead_has_the_shape_that_the_climb_uses(pictures, vgg19_tiny, monkeypatch, rated):
    sizes = []
    monkeypatch.setattr(pyramid, "compile_features", lambda size, *_: sizes.append(size))
    planned = levels.plan((56, 40), (48, 36), RECIPE)
    pyramid.compile_ahead(planned, Networks(vgg19_tiny), RECIPE, rated)
    assert all((height > width) == rated for height, width in sizes) and sizes


def test_noise_depends_on_the_key_alone(climb):
    recipe = Recipe(size=48, size_multiple=8, iterations=(1,), start="noise")
    first, again, other = (climb(recipe, key=jax.random.key(seed))[0].result for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(np.asarray(first) != np.asarray(other))


def test_filling_up_the_regions_changes_no_term(climb, monkeypatch):
    filled = climb(RECIPE)
    monkeypatch.setattr(scene, "REGION_COUNTS", ())
    for one, other in zip(filled, climb(RECIPE), strict=True):
        for term, values in one.losses.items():  # the solver's first steps make more of rounding
            np.testing.assert_allclose(values, other.losses[term], rtol=1e-3, err_msg=term)


def test_a_projected_transfer_has_the_coarsest_level_alone():
    sizes, recipe = ((427, 640), (480, 640)), Recipe()
    assert levels.plan(*sizes, recipe, projected=True) == levels.plan(*sizes, recipe)[:1]
    assert len(levels.plan(*sizes, recipe)) == 2


def test_few_and_many_regions_make_lists_of_one_shape(photograph):
    shapes = []
    for regions in (2, 3, 6):
        labels = (np.indices((128, 192))[1] * regions // 192).astype(np.int32)
        picture = jax.numpy.asarray(photograph(128, 192, seed=regions))
        masks = scene.soft_masks(labels, regions, picture, RECIPE)
        masks = Scene(picture, picture, masks, masks, ()).filled_up().content_masks
        shapes.append(jax.tree.map(np.shape, grams.gather(np.asarray(masks))))
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("steps, chunk", [(60, 10), (15, 5), (7, 7), (13, 1), (0, 10)])
def test_the_steps_of_a_level_fall_into_chunks_of_one_length(steps, chunk):
    assert chunks._largest_divisor(steps, 10) == chunk


# ---- The projection


def test_without_projection_a_level_ends_with_its_best_image_bit_for_bit(climb, monkeypatch):
    monkeypatch.setattr(projection, "project", lambda *_: pytest.fail("it was projected"))
    seen = []
    levels = climb(RECIPE, on_step=seen.append)
    for now, one in zip((seen[2], seen[-1]), levels, strict=True):
        np.testing.assert_array_equal(one.result, now.best)


def test_every_level_is_projected_with_the_regions_it_has(climb, monkeypatch):
    seen, projected = [], []
    real = projection.project

    def project(content, result, base, masks, bounds):
        projected.append((content, result, base, masks))
        assert bounds == projection.CLOSE
        return real(content, result, base, masks, bounds)

    monkeypatch.setattr(projection, "project", project)
    levels = climb(RECIPE, bounds=projection.CLOSE, on_step=seen.append)
    for now, one, (content, result, base, masks) in zip((seen[2], seen[-1]), levels, projected, strict=True):
        np.testing.assert_array_equal(result, now.best)
        np.testing.assert_array_equal(content, one.content)
        np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)
        expected, kept = projection.calmed(content, real(content, result, base, masks), masks)
        np.testing.assert_array_equal(one.result, expected)
        assert one.colour_kept == kept


def test_skin_is_kept_in_a_projected_result_only(pictures, vgg19_tiny, monkeypatch):
    """At every level, upright too; a result that is not projected is what was asked for."""
    seen = []

    def kept(content, result, people):
        seen.append((content.shape, people))
        return result * np.float32(0.5)

    monkeypatch.setattr(skin, "kept", kept)
    people = np.float32(np.indices((20, 28))[1] < 14)
    content = pictures[0]._replace(people=people)
    for given in (content, content.turned()):
        planned = levels.plan(given.pixels.shape[:2], pictures[1].pixels.shape[:2], RECIPE)
        task = pair(given, pictures[1]), planned, Networks(vgg19_tiny), HYPER
        pyramid.climb(*task, recipe=RECIPE)
        assert not seen
        last = pyramid.climb(*task, recipe=RECIPE, bounds=projection.CLOSE)[-1]
        assert len(seen) == len(planned)
        shape, found = seen[-1]
        assert found.shape == shape[:2] and shape[0] < shape[1]  # it is optimised as a landscape
        assert found[:, : shape[1] // 2 - 1].min() > 0.9 and found.mean() == pytest.approx(0.5, abs=0.05)
        assert last.result.max() <= 0.6
        seen.clear()


# ---- A region that is measured over the whole picture


def test_the_whole_is_measured_everywhere_and_what_is_transparent_nowhere():
    parts = jax.numpy.asarray(np.random.default_rng(0).uniform(0, 0.3, (3, 4, 5)), jax.numpy.float32)
    plain = Scene(parts, parts, parts, 2 * parts, ("a", "b", "c"))
    assert plain.measured[0] is parts
    for masks, measured in zip((parts, 2 * parts), plain._replace(whole=1).measured, strict=True):
        np.testing.assert_array_equal(measured[jax.numpy.array([0, 2])], masks[jax.numpy.array([0, 2])])
        np.testing.assert_allclose(measured[1], masks.sum(0))


def test_a_turned_pair_keeps_which_region_is_the_whole(pictures):
    assert pair(*pictures)._replace(whole=1).turned().whole == 1
    assert pair(*pictures).turned().whole is None


def test_the_whole_of_both_photographs_is_what_a_level_compares(pictures, vgg19_tiny):
    """Its Grams are those of a transfer without regions; it lies, and is projected, where the labels say."""
    recipe = dataclasses.replace(RECIPE, hard_masks=True)
    level = levels.plan(pictures[0].pixels.shape[:2], pictures[1].pixels.shape[:2], recipe)[0]
    common = (level, Networks(vgg19_tiny), [HYPER], recipe, None)
    some = pyramid._ready(pair(*pictures)._replace(whole=1), *common)
    plain = [picture._replace(labels=np.zeros((1, 1), np.int32)) for picture in pictures]
    none = pyramid._ready(pair(*plain, regions=1), *common)
    for name, target in some.targets.style.items():
        np.testing.assert_allclose(target.grams[1], none.targets.style[name].grams[0], rtol=1e-3, atol=1e-3)
    lower = np.asarray(some.scene.content_masks[1]) == 1
    assert 0.3 < lower.mean() < 0.7
    np.testing.assert_allclose(some.targets.start[lower], none.targets.start[lower], atol=1e-4)
    assert np.abs(some.targets.start[~lower] - none.targets.start[~lower]).max() > 0.02
    np.testing.assert_allclose(some.scene.content_masks.sum(0), 1, atol=1e-6)
