"""The losses: against the reference's values, float64 loops, finite differences, and their invariances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from pymatting import cf_laplacian
from skimage.filters import sobel
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean

from jpst import losses, matting, pixels

# Compiled: operation by operation, each would be compiled by itself.
gram = jax.jit(losses.gram)
style_target = jax.jit(losses.style_target, static_argnums=(3, 4, 5))
OBJECTIVES = ("paper", "relative")
ORACLES = {"paper": reference.paper_style_loss, "relative": reference.relative_style_loss}


def features(height: int, width: int, channels: int, seed: int) -> jax.Array:
    """Like features after a ReLU: many zeros, and channels of different strength."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(
        np.maximum(rng.normal(0.3, 1, (height, width, channels)), 0) * rng.uniform(1, 9, channels),
        jnp.float32,
    )


@partial(jax.jit, static_argnames=("objective", "layers"))
def style_loss(own, other, content_masks, style_masks, objective: str, layers: int = 1) -> jax.Array:
    target = style_target(other, content_masks, style_masks, own.shape[:2], layers, objective)
    return losses.style_loss(own, target)


style_gradient = jax.jit(jax.grad(style_loss), static_argnames=("objective",))


def halves(height: int, width: int, share: float = 0.5) -> jax.Array:
    """Two hard masks: the left `share` of the columns, and the rest."""
    left = (np.arange(width) < round(share * width)).astype(np.float32)
    return jnp.asarray(np.broadcast_to(np.stack([left, 1 - left])[:, None], (2, height, width)))


@pytest.fixture(scope="module")
def pair(soft_masks):
    """Features of two images at one layer, and soft masks at four times that size."""
    masks = jnp.asarray(soft_masks(24, 32)), jnp.asarray(soft_masks(20, 28, seed=1))
    return features(6, 8, 4, 0), features(5, 7, 4, 1), *masks


# ---- The reference's own values


def test_the_references_content_loss_comes_out(golden):
    values = golden("losses")
    target = losses.content_target(jnp.asarray(values["content_b"][0]), "paper")
    loss = losses.content_loss(jnp.asarray(values["content_a"][0]), target)
    np.testing.assert_allclose(loss, values["content_loss"], rtol=1e-5)


def test_the_references_style_loss_comes_out(golden):
    values = golden("losses")
    own, other = (jnp.asarray(values[f"style_{name}_features"][0]) for name in ("transfer", "style"))
    masks = (jnp.asarray(values[f"style_{name}_masks"].transpose(2, 0, 1)) for name in ("content", "style"))
    np.testing.assert_allclose(style_loss(own, other, *masks, "paper"), values["style_loss"], rtol=1e-5)


def test_the_references_gram_comes_out(golden):
    values = golden("losses")
    masks = pixels.resize_tf1(jnp.asarray(values["style_content_masks"].transpose(2, 0, 1)), 12, 16)
    actual = gram(jnp.asarray(values["style_transfer_features"][0]), masks)[0]
    np.testing.assert_allclose(actual, values["gram"], rtol=1e-5)


# ---- The equations


def test_gram_equals_a_loop_over_pixels(pair):
    own, _, masks, _ = pair
    masks = jax.jit(pixels.resize_tf1, static_argnums=(1, 2))(masks, 6, 8)
    expected = [reference.gram(np.asarray(own), np.asarray(mask)) for mask in masks]
    np.testing.assert_allclose(gram(own, masks), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_style_loss_equals_a_float64_loop(pair, objective):
    expected = ORACLES[objective](*map(np.asarray, pair))
    np.testing.assert_allclose(style_loss(*pair, objective), expected, rtol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_style_loss_is_averaged_over_its_layers(pair, objective):
    np.testing.assert_allclose(5 * style_loss(*pair, objective, layers=5), style_loss(*pair, objective), rtol=1e-5)


def test_the_content_loss_equals_the_mean_squared_difference():
    a, b = features(6, 8, 4, 0), features(6, 8, 4, 1)
    expected = reference.content_loss(np.asarray(a), np.asarray(b))
    np.testing.assert_allclose(losses.content_loss(a, losses.content_target(b, "paper")), expected, rtol=1e-5)
    relative = losses.content_loss(a, losses.content_target(b, "relative"))
    np.testing.assert_allclose(relative, expected / np.mean(np.asarray(b, np.float64) ** 2), rtol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_vanish_at_their_own_target(pair, objective):
    own, _, masks, _ = pair
    assert losses.content_loss(own, losses.content_target(own, objective)) == 0
    assert style_loss(own, own, masks, masks, objective) == 0


def slope(function, at: jax.Array, direction: jax.Array, step: float = 1e-3) -> float:
    """The directional derivative of a float64 oracle, by central differences."""
    at, direction = np.asarray(at, np.float64), np.asarray(direction, np.float64)
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_gradient_of_the_style_loss_agrees_with_finite_differences(pair, objective):
    own, *rest = pair
    direction = features(6, 8, 4, 5)
    expected = slope(lambda x: ORACLES[objective](x, *map(np.asarray, rest)), own, direction)
    actual = jnp.vdot(style_gradient(*pair, objective=objective), direction)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_the_gradient_of_the_content_loss_agrees_with_finite_differences():
    own, other, direction = (features(6, 8, 4, seed) for seed in range(3))
    target = losses.content_target(other, "paper")
    expected = slope(lambda x: reference.content_loss(x, np.asarray(other)), own, direction)
    actual = jnp.vdot(jax.grad(losses.content_loss)(own, target), direction)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


# ---- What the relative objective promises


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_relative_losses_do_not_depend_on_the_scale_of_the_features(pair, factor):
    own, other, *masks = pair
    before = style_loss(own, other, *masks, "relative")
    np.testing.assert_allclose(style_loss(factor * own, factor * other, *masks, "relative"), before, rtol=1e-4)
    b = features(6, 8, 4, 2)
    before = losses.content_loss(own, losses.content_target(b, "relative"))
    after = losses.content_loss(factor * own, losses.content_target(factor * b, "relative"))
    np.testing.assert_allclose(after, before, rtol=1e-4)


def test_the_gram_of_a_rectangle_is_that_of_the_crop_over_its_area():
    layer = features(6, 8, 4, 0)
    masks = halves(24, 32, 0.25)  # the edge falls between columns 1 and 2 of the layer
    grams = style_target(layer, masks, masks, (6, 8), 1, "relative").grams
    for actual, crop in zip(grams, (layer[:, :2], layer[:, 2:]), strict=True):
        flat = np.asarray(crop, np.float64).reshape(-1, 4)
        np.testing.assert_allclose(actual, flat.T @ flat / len(flat), rtol=1e-5)


@pytest.mark.parametrize("tiles", [(2, 1), (1, 3)])
def test_a_style_region_tiled_to_a_larger_area_leaves_the_relative_loss_unchanged(pair, tiles):
    own, _, masks, _ = pair
    other, style_masks = features(5, 7, 4, 1), halves(20, 28, 3 / 7)
    before = style_loss(own, other, masks[:2], style_masks, "relative")
    after = style_loss(own, jnp.tile(other, (*tiles, 1)), masks[:2], jnp.tile(style_masks, (1, *tiles)), "relative")
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_one_region_of_the_content_tiled_leaves_its_own_term_unchanged():
    own, other = features(6, 8, 4, 0), features(6, 8, 4, 1)
    masks = halves(6, 8)
    wide = jnp.concatenate([own[:, :4], own], axis=1)  # the left half twice

    def terms(own, content_masks):
        """Each region's difference, without its weight."""
        target = style_target(other, content_masks, masks, own.shape[:2], 1, "relative")
        return jnp.mean((losses.gram(own, target.masks) - target.grams) ** 2, axis=(1, 2))

    np.testing.assert_allclose(terms(wide, halves(6, 12, 8 / 12)), terms(own, masks), rtol=1e-5)


def test_regions_weigh_as_the_square_root_of_their_area():
    other = features(6, 10, 4, 1)
    target = style_target(other, halves(6, 10, 0.9), halves(6, 10), (6, 10), 1, "relative")
    weights = target.weights * jnp.mean(target.grams**2, axis=(1, 2))
    np.testing.assert_allclose(weights, [0.75, 0.25], rtol=1e-5)  # 9 : 1, and together 1


# ---- Regions that are measured elsewhere than they lie


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_parts_that_are_the_masks_change_no_target(pair, objective):
    own, other, *masks = pair
    common = (other, *masks, own.shape[:2], 2, objective)
    jax.tree.map(np.testing.assert_array_equal, style_target(*common, masks[0]), style_target(*common))


def test_a_region_measured_over_the_whole_picture_weighs_as_the_part_where_it_lies():
    other = features(6, 10, 4, 1)
    parts = halves(6, 10, 0.9)
    masks = parts.at[1].set(1)  # the right tenth is compared with the whole of both
    target = style_target(other, masks, masks, (6, 10), 1, "relative", parts)
    weights = target.weights * jnp.mean(target.grams**2, axis=(1, 2))
    np.testing.assert_allclose(weights, [0.75, 0.25], rtol=1e-5)  # 9 : 1, and together 1
    whole = style_target(other, jnp.ones((1, 6, 10)), jnp.ones((1, 6, 10)), (6, 10), 1, "relative")
    np.testing.assert_allclose(target.grams[1], whole.grams[0], rtol=1e-6)
    np.testing.assert_allclose(target.masks[1], whole.masks[0], rtol=1e-6)


def test_a_region_that_lies_nowhere_weighs_nothing_though_it_could_be_measured():
    other = features(6, 10, 4, 1)
    parts = jnp.stack([jnp.ones((6, 10)), jnp.zeros((6, 10))])
    target = style_target(other, jnp.ones_like(parts), jnp.ones_like(parts), (6, 10), 1, "relative", parts)
    assert target.weights[1] == 0
    assert target.weights[0] > 0


def test_the_papers_objective_weighs_no_parts(pair):
    own, other, *masks = pair
    common = (other, *masks, own.shape[:2], 2, "paper")
    with_parts = style_target(*common, masks[0][::-1])
    jax.tree.map(np.testing.assert_array_equal, with_parts, style_target(*common))


# ---- Regions that all but vanish


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_region_empty_in_both_images_adds_nothing(pair, objective):
    own, other, content_masks, style_masks = pair
    more = [jnp.concatenate([masks, jnp.zeros_like(masks[:1])]) for masks in (content_masks, style_masks)]
    np.testing.assert_allclose(style_loss(own, other, *more, objective), style_loss(*pair, objective), rtol=1e-5)
    gradients = (
        style_gradient(own, other, *more, objective=objective),
        style_gradient(*pair, objective=objective),
    )
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("absent_in", ["content", "style"])
def test_a_region_absent_from_one_image_neither_gives_nan_nor_drowns_the_others(pair, objective, absent_in):
    own, other, *masks = pair
    changed = 0 if absent_in == "content" else 1
    first, second, third = masks[changed]
    masks[changed] = jnp.stack([jnp.zeros_like(first), first + second, third])
    assert np.isfinite(style_gradient(own, other, *masks, objective=objective)).all()
    assert style_loss(own, other, *masks, objective) < 1e3 * style_loss(*pair, objective)


@pytest.mark.parametrize("strength", [1e-2, 1e-4])
def test_a_faint_style_region_still_has_a_gram_per_area(strength):
    # A thin region of a large mask, at working size and then at a deep layer, is this faint everywhere.
    other, mask = features(5, 7, 4, 1), halves(20, 28, 3 / 7)[:1]
    full = style_target(other, mask, mask, (5, 7), 1, "relative").grams
    faint = style_target(other, mask, strength * mask, (5, 7), 1, "relative").grams
    np.testing.assert_allclose(faint, full, rtol=1e-4)


# ---- Large pictures


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sizes_of_the_widest_layers_do_not_overflow_while_traced(objective):
    shape = jax.ShapeDtypeStruct
    masks = shape((2, 2000, 2000), jnp.float32)

    def loss(own, other, content_masks, style_masks):
        return style_loss(own, other, content_masks, style_masks, objective)

    layer = shape((2000, 2000, 512), jnp.float32)
    assert jax.eval_shape(loss, layer, layer, masks, masks).shape == ()


def test_the_papers_normalisation_holds_at_a_size_whose_square_exceeds_int32():
    # (C h w)^2 = 2^38 here. Features 2 and 3 everywhere: every entry of a Gram is 4 h w or 9 h w.
    own, other = jnp.full((512, 256, 4), 3.0), jnp.full((512, 256, 4), 2.0)
    loss = style_loss(own, other, jnp.ones((1, 64, 32)), jnp.ones((1, 64, 32)), "paper")
    np.testing.assert_allclose(loss, (9 - 4) ** 2 / (2 * 4**2), rtol=1e-5)


# ---- The other terms


@pytest.mark.parametrize("value, expected", [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0 + 2 / 255, 4.0), (-3 / 255, 9.0)])
def test_the_clipping_loss_counts_squared_levels_outside_the_range(value, expected):
    np.testing.assert_allclose(losses.clipping_loss(jnp.full((4, 5, 3), value)), expected, atol=1e-3)


def test_the_clipping_loss_is_a_mean_over_all_values():
    image = jnp.full((4, 5, 3), 0.5).at[0, 0, 0].set(1 + 6 / 255)
    np.testing.assert_allclose(losses.clipping_loss(image), 36 / 60, rtol=1e-3)


def test_the_photorealism_loss_is_the_weighted_energy(photograph):
    image = jnp.asarray(photograph(6, 8))
    laplacian = jnp.asarray(matting.stencil(photograph(6, 8, seed=1), 1e-4))
    targets = losses.Targets({}, {}, laplacian, jnp.float32(0.25), image, pixels.edges(image))
    expected = 0.25 * matting.energy(laplacian, image)
    np.testing.assert_allclose(losses.photorealism_loss(image, targets), expected, rtol=1e-6)


def test_the_coherence_loss_is_the_mean_of_pymattings_energy_at_half_and_a_quarter_of_the_size(photograph):
    content, image = photograph(12, 16), photograph(12, 16, seed=1)
    small = [downscale_local_mean(content, (size, size, 1)).astype(np.float64) for size in (2, 4)]
    coarse = tuple(jnp.asarray(matting.stencil(each, 1e-4)) for each in small)
    expected = 0.0
    for size, of in zip((2, 4), small, strict=True):
        laplacian = cf_laplacian(of, epsilon=1e-4, radius=1)
        values = downscale_local_mean(image, (size, size, 1)).astype(np.float64).reshape(-1, 3)
        expected += np.sum(values * (laplacian @ values)) / len(values)
    targets = losses.Targets({}, {}, None, None, None, None, coarse)
    np.testing.assert_allclose(losses.coherence_loss(jnp.asarray(image), targets), expected, rtol=1e-4)


def test_a_cloud_of_colour_on_a_wall_is_seen_at_coarse_sizes_only():
    rng = np.random.default_rng(0)
    wall = np.clip(0.7 + 0.01 * rng.normal(size=(48, 48, 3)), 0, 1).astype(np.float32)
    rows, columns = np.indices((48, 48)) - 24
    image = wall + (0.1 * np.exp(-(rows**2 + columns**2) / 200))[..., None] * np.float32([1, -1, 0])
    small = [downscale_local_mean(wall, (size, size, 1)) for size in (1, 2, 4, 8)]
    fine, *coarse = (jnp.asarray(matting.stencil(each, 1e-4)) for each in small)
    targets = losses.Targets({}, {}, fine, jnp.float32(1 / 48**2), None, None, tuple(coarse))
    seen = [float(of(jnp.float32(image), targets)) for of in (losses.photorealism_loss, losses.coherence_loss)]
    assert seen[1] > 10 * seen[0]


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0])
def test_the_edge_loss_is_one_minus_scikit_images_ssim_of_its_sobel_magnitudes(photograph, strength):
    content, other = photograph(24, 32), photograph(24, 32, seed=1)
    image = np.float32((1 - strength) * content + strength * other)
    edges = [sobel(each @ np.array([0.2126, 0.7152, 0.0722])) for each in (content, image)]
    targets = losses.Targets({}, {}, None, None, None, pixels.edges(jnp.asarray(content)))
    expected = 1 - structural_similarity(*edges, data_range=1.0)
    np.testing.assert_allclose(losses.edge_loss(jnp.asarray(image), targets), expected, atol=1e-3)


def test_the_edge_loss_of_a_flat_image_has_a_finite_gradient():
    image = jnp.full((16, 16, 3), 0.5)
    targets = losses.Targets({}, {}, None, None, None, pixels.edges(image))
    value, gradient = jax.value_and_grad(losses.edge_loss)(image, targets)
    assert abs(value) < 1e-5
    assert jnp.isfinite(gradient).all()


# ---- Grams by pairs of pixel and region


def test_the_style_loss_by_pairs_equals_the_dense_one_in_value_and_gradient():
    own, other = features(24, 32, 4, 0), features(24, 32, 4, 1)
    owner = np.arange(32) * 5 // 32
    masks = jnp.asarray(np.broadcast_to(owner[None, None] == np.arange(5)[:, None, None], (5, 24, 32)), jnp.float32)
    dense = style_target(other, masks, masks[:, ::-1], (24, 32), 1, "relative")
    listed = losses.by_pairs(dense)
    assert dense.pairs is None and listed.pairs is not None
    for actual, expected in zip(*(jax.value_and_grad(losses.style_loss)(own, t) for t in (listed, dense)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * float(jnp.abs(expected).max()))


# ---- Aesthetics


def test_the_aesthetic_loss_is_ten_minus_the_mean_rating():
    ratings = jnp.asarray(np.random.default_rng(3).dirichlet(np.ones(10)), jnp.float32)
    np.testing.assert_allclose(
        losses.aesthetic_loss(ratings), 10 - np.average(np.arange(1, 11), weights=ratings), rtol=1e-6
    )


@pytest.mark.parametrize(("height", "width"), [(37, 50), (12, 9)])
def test_a_view_is_the_antialiased_resize_to_a_square(photograph, height, width):
    picture = jnp.asarray(photograph(height, width))
    seen = losses.seen(picture, losses.view(24, height, width))
    np.testing.assert_allclose(seen, pixels.resize(picture, 24, 24), atol=1e-5)
    assert losses.seen(picture, None) is picture
