"""Results brought into the family: what it reproduces, keeps and removes; one cell against plain algebra."""

import numpy as np
import pytest
from scipy import ndimage

from jpst import faults, projection
from jpst.colours import AXES
from jpst.pixels import LUMINANCE
from jpst.projection import CLOSE, Bounds

SIZE = (120, 176)
WIDE = Bounds(furthest=0.3, reach=4.0, pull=0.2, texture=0.04, detail=None)
"""maps that differ from place to place, and detail of any size"""


def project(content, result, masks):
    """With the nearest picture of the family as the base, from which the result is not far."""
    return projection.project(content, result, projection.nearest(content, result, masks, WIDE), masks, WIDE)


def whole(picture: np.ndarray) -> np.ndarray:
    """One mask that covers a picture."""
    return np.ones((1, *picture.shape[:2]), np.float32)


def written(picture: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(picture, 0, 1)) / 255


def levels(difference: np.ndarray) -> float:
    """The largest difference in 8-bit levels."""
    return 255 * float(np.abs(difference).max(initial=0))


@pytest.fixture(scope="module")
def content(photograph) -> np.ndarray:
    return photograph(*SIZE)


def warmth(content: np.ndarray) -> np.ndarray:
    """An affine change that is the same all over: channels mixed, contrast and light changed."""
    return content @ np.float32([[0.7, 0.2, 0.0], [0.1, 0.6, 0.2], [0.1, 0.1, 0.5]]) + np.float32([0.1, 0.0, -0.05])


@pytest.mark.parametrize("regions", [1, 3])
def test_the_content_itself_comes_back(content, soft_masks, regions):
    masks = whole(content) if regions == 1 else soft_masks(*SIZE)
    assert levels(project(content, content, masks) - content) < 1e-3
    assert levels(projection.nearest(content, content, masks, WIDE) - content) < 1e-3


def test_an_affine_change_that_is_the_same_all_over_comes_back(content):
    result = warmth(content)
    assert levels(projection.nearest(content, result, whole(content), WIDE) - result) < 0.1
    assert levels(project(content, result, whole(content)) - result) < 0.1


def test_a_change_that_varies_slowly_over_the_picture_and_its_brightness_nearly_comes_back(content):
    across = np.linspace(0.7, 1.1, SIZE[1], dtype=np.float32)[None, :, None]
    bright = (content.mean(-1, keepdims=True) - 0.5) * np.float32([0.1, 0.0, -0.1])
    result = across * content + bright
    assert levels(result - content) > 40
    error = projection.nearest(content, result, whole(content), WIDE) - result
    assert 255 * np.sqrt(np.mean(error**2)) < 6
    # one affine map for the whole picture would not do
    flat = np.c_[content.reshape(-1, 3), np.ones(content[..., 0].size)]
    one = flat @ np.linalg.lstsq(flat, result.reshape(-1, 3), rcond=None)[0]
    assert np.mean(error**2) < 0.25 * np.mean((one - result.reshape(-1, 3)) ** 2)


@pytest.fixture(scope="module")
def landscape() -> np.ndarray:
    """An even sky, rough ground below it and a dark tree before both, 8-bit values [240, 352, 3]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:240, :352]
    picture = np.full((240, 352, 3), (0.5, 0.6, 0.75)) + 0.1 * (y / 240)[..., None]
    ground = 0.35 + 0.35 * ndimage.gaussian_filter(random.standard_normal((240, 352)), 1.5)[..., None]
    picture = np.where((y > 150)[..., None], ground * (1.0, 0.9, 0.7), picture)
    picture = np.where(((np.abs(x - 100) < 8) & (y > 40))[..., None], (0.12, 0.1, 0.08), picture)
    return written(picture).astype(np.float32)


def blotches(size: tuple[int, int], width: float) -> np.ndarray:
    """Soft random patches [H, W, 1] of standard deviation 1."""
    drawn = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(size), width)
    return (drawn / drawn.std())[..., None].astype(np.float32)


def test_blotches_in_an_even_sky_are_removed(landscape):
    result = landscape + 0.06 * blotches(landscape.shape[:2], 5) * np.float32([1, -0.2, -0.5])
    base = projection.nearest(landscape, result, whole(landscape), CLOSE)
    mended = projection.project(landscape, result, base, whole(landscape), CLOSE)
    sky = slice(0, 120), slice(130, 340)
    left = np.std((mended - landscape)[sky]) / np.std((result - landscape)[sky])
    assert left < 0.3
    before, after = (faults.measure(landscape, written(each)) for each in (result, mended))
    assert before.new_edges > 0.05
    assert after.new_edges < 0.1 * before.new_edges
    assert after.spread < 0.6 * before.spread


def test_detail_is_kept_where_the_photograph_has_texture(landscape):
    detail = 0.01 * blotches(landscape.shape[:2], 1)
    result = landscape + detail
    kept = projection.project(landscape, result, landscape, whole(landscape), WIDE) - landscape
    ground, sky = slice(180, 235), slice(10, 110)
    assert np.std(kept[ground]) > 0.6 * np.std(detail[ground])
    assert np.std(kept[sky, 150:]) < 0.15 * np.std(detail[sky, 150:])


def test_texture_is_0_in_smooth_places_and_near_1_in_rough_ones(landscape):
    found = projection.texture(landscape, 0.04)
    assert found.min() >= 0 and found.max() <= 1
    assert found[20:100, 150:330].max() < 0.05
    assert np.median(found[190:230]) > 0.6
    assert not projection.texture(np.full((9, 9, 3), 0.4, np.float32), 0.04).any()


def noise(landscape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return landscape + random.uniform(0.3, 1) * random.uniform(-0.5, 0.5, landscape.shape)


def soft_blotches(landscape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    drawn = ndimage.gaussian_filter(random.standard_normal(landscape.shape), (12, 12, 0))
    return landscape + 0.15 * drawn / drawn.std()


def washed_out(landscape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """In a disc on the horizon, of a sixth of the picture's width."""
    y, x = np.mgrid[: landscape.shape[0], : landscape.shape[1]]
    inside = (y - 150) ** 2 + (x - random.integers(130, 300)) ** 2 < 29**2
    return np.where(inside[..., None], landscape.mean((0, 1)), landscape)


def double_exposure(landscape: np.ndarray, random: np.random.Generator) -> np.ndarray:
    amount = random.uniform(0.3, 0.6)
    return (1 - amount) * landscape + amount * np.roll(landscape, random.integers(20, 60, 2), (0, 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spoilt", [noise, soft_blotches, washed_out, double_exposure])
def test_no_edge_of_the_content_is_lost_to_what_is_smaller_than_the_windows(landscape, spoilt, seed):
    result = spoilt(landscape, np.random.default_rng(seed)).astype(np.float32)
    mended = projection.nearest(landscape, result, whole(landscape), WIDE)
    before, after = (faults.measure(landscape, written(each)) for each in (result, mended))
    assert after.edges_lost <= min(before.edges_lost, 0.01)
    assert after.new_edges < 0.005
    assert after.halo < 1.1
    assert max(before.new_edges, before.edges_lost) > 0.03, "the result had nothing to mend"


def test_regions_keep_their_own_maps_up_to_the_border(content):
    """Left red, right blue, of a picture whose colours do not tell the sides apart."""
    left = (np.arange(SIZE[1]) < 80).astype(np.float32) * np.ones((SIZE[0], 1), np.float32)
    masks = np.stack([left, 1 - left])
    result = content + np.where(left[..., None] > 0, np.float32([0.2, 0, 0]), np.float32([0, 0, 0.2]))
    assert levels(projection.nearest(content, result, masks, WIDE) - result) < 0.1
    mixed = projection.nearest(content, result, whole(content), WIDE) - content
    step = mixed[:, 78, 0].mean() - mixed[:, 82, 0].mean()
    assert step < 0.1, "one region alone cannot step by 0.2 there"


def test_soft_masks_blend_the_maps_of_their_regions(content):
    ramp = np.linspace(0, 1, SIZE[1], dtype=np.float32) * np.ones((SIZE[0], 1), np.float32)
    masks = np.stack([ramp, 1 - ramp])
    assert levels(projection.nearest(content, warmth(content), masks, WIDE) - warmth(content)) < 0.1


def test_what_no_mask_covers_is_left_as_it_is(content):
    masks = whole(content)
    masks[:, :, 100:] = 0
    result = np.random.default_rng(0).uniform(-0.5, 1.5, content.shape).astype(np.float32)
    mended = project(content, result, masks)
    np.testing.assert_allclose(mended[:, 100:], result[:, 100:], atol=1e-6)
    assert np.abs(mended[:, :100] - result[:, :100]).max() > 0.3
    other = result.copy()
    other[:, 100:] = 0.5
    np.testing.assert_allclose(project(content, other, masks)[:, :100], mended[:, :100], atol=1e-5)


def test_what_is_half_transparent_has_the_map_of_its_region(content):
    """Masks sum to the alpha, which may be anything up to 1."""
    result = warmth(content)
    assert levels(projection.nearest(content, result, 0.3 * whole(content), WIDE) - result) < 0.1


def test_empty_masks_change_nothing(content, soft_masks):
    masks = soft_masks(*SIZE)
    result = warmth(content) + 0.05 * blotches(SIZE, 6)
    filled = np.concatenate([masks, np.zeros((21, *SIZE), np.float32)])
    expected = project(content, result, masks)
    np.testing.assert_array_equal(project(content, result, filled), expected)


def test_regions_in_any_order_give_the_same(content, soft_masks):
    masks = soft_masks(*SIZE)
    result = warmth(content) + 0.05 * blotches(SIZE, 6)
    first, second = (project(content, result, each) for each in (masks, masks[::-1]))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_result_outside_the_range_stays_outside(content):
    result = 2 * content - 0.8
    assert result.min() < -0.4 and result.max() > 1.05
    assert levels(projection.nearest(content, result, whole(content), WIDE) - result) < 0.5


def test_arrays_given_are_left_as_they_were(content):
    result, masks = warmth(content), whole(content)
    before = content.copy(), result.copy(), masks.copy()
    project(content, result, masks)
    for one, other in zip((content, result, masks), before, strict=True):
        np.testing.assert_array_equal(one, other)


TINY = [(1, 1), (1, 2), (1, 40), (40, 1), (8, 8), (2, 3), (3, 200)]


@pytest.mark.parametrize("size", TINY)
@pytest.mark.parametrize("shown", ["noise", "grey", "black", "white"])
def test_tiny_and_flat_pictures_are_finite_and_near_their_result(size, shown):
    """Warnings are errors in this suite."""
    random = np.random.default_rng(0)
    flat = {"grey": 0.5, "black": 0.0, "white": 1.0}
    content = random.uniform(0, 1, (*size, 3)) if shown == "noise" else np.full((*size, 3), flat[shown])
    content = content.astype(np.float32)
    for result in (warmth(content), np.zeros_like(content), random.uniform(-1, 2, content.shape).astype(np.float32)):
        mended = project(content, result, whole(content))
        assert mended.shape == content.shape and mended.dtype == np.float32
        assert np.isfinite(mended).all()
        assert mended.min() > result.min() - 0.5 and mended.max() < result.max() + 0.5
    assert levels(project(content, content, whole(content)) - content) < 0.01
    assert levels(project(content, warmth(content), whole(content)) - warmth(content)) < 1


def test_a_flat_content_takes_one_colour(content):
    """Where the photograph tells nothing, nothing but slow changes is left of a result."""
    flat = np.full_like(content, 0.4)
    result = flat + np.float32([0.3, 0.1, -0.1]) + 0.1 * blotches(SIZE, 2)
    mended = project(flat, result, whole(flat))
    np.testing.assert_allclose(mended.mean((0, 1)), result.mean((0, 1)), atol=0.01)
    assert mended.std((0, 1)).max() < 0.02


def test_what_is_not_a_number_is_not_hidden(content):
    """The optimisation never hands one over; if it did, the picture would have to show it."""
    result = warmth(content)
    result[3, 5] = np.nan
    assert np.isnan(projection.nearest(content, result, whole(content), WIDE)).any()


# ---- The fit of one cell, against the formula


def window(count: int, at: int, reach: float) -> np.ndarray:
    """A Gaussian's weights of the cells of one axis, as SciPy's filter cuts it: at 4 standard deviations."""
    away = np.arange(count) - at
    radius = int(4 * reach + 0.5)
    whole = np.exp(-0.5 * (np.arange(-radius, radius + 1) / reach) ** 2)
    return np.where(np.abs(away) <= radius, np.exp(-0.5 * (away / reach) ** 2), 0) / whole.sum()


@pytest.mark.parametrize("cell", [(2, 3, 4), (5, 0, 2), (9, 12, 6)])
def test_the_map_of_a_cell_is_the_weighted_least_squares_fit(photograph, cell):
    """All pixels one by one, each weighted by its mask and by how near it is; the pull as further samples."""
    content = photograph(30, 44)
    result = warmth(content) + 0.1 * blotches((30, 44), 4)
    mask = np.random.default_rng(2).uniform(0, 1, (30, 44))
    grid = projection._grid(content)
    colours = np.concatenate([content, np.ones((30, 44, 1))], -1).reshape(-1, 4).astype(np.float64)
    wanted, weight = result.reshape(-1, 3).astype(np.float64), mask.ravel()
    actual = projection._maps(grid, colours, wanted, weight, WIDE).reshape(*grid.shape, 4, 3)[cell]

    reaches = WIDE.reach, WIDE.reach, projection.SHADE_REACH
    axes = [window(count, at, reach) for count, at, reach in zip(grid.shape, cell, reaches, strict=True)]
    around = np.einsum("i,j,k->ijk", *axes).ravel()
    near = weight * (grid.weights @ around)
    ridge = projection.RIDGE * np.diag([1, 1, 1, 0.0])

    def fitted(samples, square, product):
        left = (colours * samples[:, None]).T @ colours + square
        return np.linalg.solve(left, (colours * samples[:, None]).T @ wanted + product)

    share = weight / weight.sum()
    one = fitted(share, ridge, ridge @ np.eye(4, 3))
    mass = near.sum()
    everywhere = WIDE.pull * mass * (colours * share[:, None]).T @ colours
    expected = fitted(near, everywhere + mass * ridge, (everywhere + mass * ridge) @ one)
    np.testing.assert_allclose(actual, expected, atol=2e-3)
    np.testing.assert_allclose(colours @ actual, colours @ expected, atol=2e-3)


def test_the_weights_of_a_pixel_are_trilinear_and_sum_to_one(content):
    grid = projection._grid(content)
    weights = grid.weights
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0
    rows, columns, shades = np.indices(grid.shape).reshape(3, -1)
    scale = projection.CELLS / max(SIZE)
    y, x = np.indices(SIZE).reshape(2, -1)
    np.testing.assert_allclose(weights @ rows, (y + 0.5) * scale, atol=1e-6)
    np.testing.assert_allclose(weights @ columns, (x + 0.5) * scale, atol=1e-6)
    luminance = content.reshape(-1, 3) @ [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(weights @ shades, luminance * (projection.SHADES - 1), atol=1e-5)


def test_no_colour_goes_far_from_the_base(landscape):
    base, far = landscape, 1 - landscape
    mended = projection.near(far, base, 0.15) - base
    assert np.linalg.norm(mended, axis=-1).max() < 0.15
    np.testing.assert_allclose(np.cross(mended, far - base), 0, atol=1e-6)  # the same direction
    np.testing.assert_array_equal(projection.near(base, base, 0.15), base)


# ---- Close bounds, where nobody painted the regions


def test_close_bounds_leave_no_colour_that_drifts_from_place_to_place(content):
    place = np.linspace(0, np.pi, SIZE[1], dtype=np.float32)
    drift = 0.08 * np.sin(place)[None, :, None] * np.float32([1, 0, -1])
    drift = drift - drift.mean((0, 1))
    left = [
        projection.project(content, content + drift, content, whole(content), bounds) - content
        for bounds in (CLOSE, WIDE)
    ]
    close, wide = (float(np.abs(each).mean() / np.abs(drift).mean()) for each in left)
    assert close < 0.4 < wide


def test_close_bounds_keep_fine_detail_where_the_photograph_is_textured(content):
    rough = np.clip(content + np.random.default_rng(2).normal(0, 0.15, content.shape), 0, 1).astype(np.float32)
    grain = np.random.default_rng(3).normal(0, 0.02, content.shape).astype(np.float32)
    kept = projection.project(rough, rough + grain, rough, whole(content), CLOSE) - rough
    assert np.corrcoef(kept.ravel(), grain.ravel())[0, 1] > 0.9
    assert kept.std() > 0.5 * grain.std()


# ---- Calm where the photograph is smooth


def sky(gradient: float) -> np.ndarray:
    """A smooth picture, brighter towards the top, with a faint gradient of colour from left to right."""
    light = np.broadcast_to(np.linspace(0.8, 0.5, SIZE[0])[:, None], SIZE)
    across = np.broadcast_to(np.linspace(-1, 1, SIZE[1]), SIZE)
    planes = np.stack([light, gradient * across, 0 * light], -1)
    return np.float32(planes @ np.linalg.inv(AXES).T)


def chromas(picture: np.ndarray) -> np.ndarray:
    return (picture.astype(np.float64) @ AXES.T)[..., 1:]


def test_a_glow_is_faded_to_its_bound_and_nothing_else_changes():
    content, result = sky(0.02), sky(0.2) + np.float32([0.05, 0, -0.05])
    calm, kept = projection.calmed(content, result, whole(content))
    smooth = np.ones(SIZE, bool)
    assert projection.glow(chromas(content), chromas(result), smooth) > 2 * projection.GLOW
    assert projection.glow(chromas(content), chromas(calm), smooth) <= 1.01 * projection.GLOW
    assert 0 < kept < 1
    np.testing.assert_allclose(calm @ LUMINANCE, result @ LUMINANCE, atol=1e-5)
    np.testing.assert_allclose(calm.mean((0, 1)), result.mean((0, 1)), atol=1e-5)


def test_the_glow_is_the_growth_of_the_deviation():
    """Far from the borders, a gradient in a Gaussian window has the deviation slope times width."""
    width = projection.GLOW_WINDOW * max(SIZE)
    slopes = [np.ptp(chromas(sky(gradient))[0, :, 0]) / (SIZE[1] - 1) for gradient in (0.02, 0.2)]
    found = projection.glow(chromas(sky(0.02)), chromas(sky(0.2)), np.ones(SIZE, bool))
    assert found == pytest.approx((slopes[1] - slopes[0]) * width, rel=0.02)


def test_a_cast_that_is_the_same_all_over_is_no_glow():
    content = sky(0.05)
    result = content + np.float32([0.1, 0, -0.1])
    calm, kept = projection.calmed(content, result, whole(content))
    assert kept == 1
    np.testing.assert_allclose(calm, result, atol=1e-6)


def test_textured_colours_may_grow(content):
    rough = content + np.random.default_rng(1).normal(0, 0.1, (*SIZE, 1)).astype(np.float32)
    result = np.float32((rough @ AXES.T) * [1, 1.5, 1.5] @ np.linalg.inv(AXES).T)
    assert projection.calmed(rough, result, whole(content))[1] == 1


def test_what_no_mask_covers_is_not_calmed():
    content, result = sky(0.02), sky(0.2)
    masks = whole(content)
    masks[:, :, :60] = 0
    calm, kept = projection.calmed(content, result, masks)
    assert kept < 1
    np.testing.assert_allclose(calm[:, :60], result[:, :60], atol=1e-6)
