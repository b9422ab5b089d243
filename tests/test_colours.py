"""The closed-form colour match, against moments in float64 and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jpst import colours, pixels

# Compiled: operation by operation, each would be compiled by itself.
match_colours = jax.jit(colours.match_colours, static_argnums=(4,))


def moments(image, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the colours under a mask, in float64."""
    flat = np.asarray(image, np.float64).reshape(-1, 3)
    weights = np.ones(len(flat)) if mask is None else np.asarray(mask, np.float64).ravel()
    return np.average(flat, axis=0, weights=weights), np.cov(flat.T, aweights=weights, ddof=0)


@pytest.fixture(scope="module")
def scene(photograph):
    """Content, style and one mask for the whole of each."""
    return (
        jnp.asarray(photograph(12, 16)),
        jnp.asarray(photograph(10, 14, 1)),
        jnp.ones((1, 12, 16)),
        jnp.ones((1, 10, 14)),
    )


def test_matched_colours_have_the_targets_mean_and_covariance(scene):
    mean, covariance = moments(match_colours(*scene, 0.0))
    target_mean, target_covariance = moments(scene[1])
    np.testing.assert_allclose(mean, target_mean, atol=1e-4)
    np.testing.assert_allclose(covariance, target_covariance, atol=1e-4)


def test_the_map_is_the_linear_monge_kantorovich_map(scene):
    content, style = scene[:2]
    (mean, covariance), (target_mean, target_covariance) = moments(content), moments(style)
    noise = (2 / 255) ** 2 * np.eye(3)
    transport = reference.monge_kantorovich(covariance + noise, target_covariance + noise)
    expected = (np.asarray(content, np.float64) - mean) @ transport + target_mean
    np.testing.assert_allclose(match_colours(*scene), expected, atol=1e-4)


def test_matching_an_image_to_itself_changes_nothing(scene):
    content, _, mask, _ = scene
    np.testing.assert_allclose(match_colours(content, content, mask, mask), content, atol=1e-4)


def left_and_right(height: int, width: int) -> jax.Array:
    left = (np.arange(width) < width // 2).astype(np.float32)
    return jnp.asarray(np.broadcast_to(np.stack([left, 1 - left])[:, None], (2, height, width)))


def test_each_region_takes_the_colours_of_its_own_counterpart(scene):
    content, style = scene[:2]
    masks = left_and_right(12, 16), left_and_right(10, 14)
    matched = match_colours(content, style, *masks, 0.0)
    for own, other in zip(*masks, strict=True):
        for actual, expected in zip(moments(matched, own), moments(style, other), strict=True):
            np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_a_region_is_left_alone_by_what_the_other_region_becomes(scene):
    content, style = scene[:2]
    masks = left_and_right(12, 16), left_and_right(10, 14)
    dimmed = np.array(style)
    dimmed[:, 7:] *= 0.3
    before, after = (np.asarray(match_colours(content, image, *masks)) for image in (style, jnp.asarray(dimmed)))
    np.testing.assert_allclose(after[:, :8], before[:, :8], atol=1e-6)
    assert np.abs(after[:, 8:] - before[:, 8:]).max() > 0.05


def test_a_flat_region_does_not_have_its_noise_amplified(scene, key):
    _, style, *masks = scene
    flat = 0.5 + 0.25 / 255 * jax.random.normal(key, (12, 16, 3))  # a quarter of a level
    matched = match_colours(flat, style, *masks)
    mean, covariance = moments(matched)
    spread, target_spread = (np.sqrt(np.trace(c)) for c in (covariance, moments(style)[1]))
    np.testing.assert_allclose(mean, moments(style)[0], atol=1e-3)
    assert spread < target_spread / 4


def test_a_perfectly_flat_content_takes_the_mean_of_the_style(scene):
    _, style, *masks = scene
    matched = match_colours(jnp.full((12, 16, 3), 0.2), style, *masks)
    expected = np.broadcast_to(np.asarray(style).mean((0, 1)), (12, 16, 3))
    np.testing.assert_allclose(matched, expected, atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 2 / 255])
@pytest.mark.parametrize("side", ["content", "style", "both"])
def test_a_region_of_one_pixel_gives_finite_colours(scene, side, noise):
    content, style = scene[:2]
    single = [jnp.zeros((height, width)).at[3, 3].set(1.0) for height, width in ((12, 16), (10, 14))]
    usual = [masks[0] for masks in (left_and_right(12, 16), left_and_right(10, 14))]
    content_mask, style_mask = (
        single[0] if side != "style" else usual[0],
        single[1] if side != "content" else usual[1],
    )
    masks = [jnp.stack([mask, 1 - mask]) for mask in (content_mask, style_mask)]
    matched = match_colours(content, style, *masks, noise)
    assert np.isfinite(matched).all()
    assert np.abs(matched).max() < 3


def test_a_region_empty_in_both_images_changes_nothing(scene):
    content, style, *masks = scene
    more = [jnp.concatenate([mask, jnp.zeros_like(mask)]) for mask in masks]
    np.testing.assert_allclose(match_colours(content, style, *more), match_colours(*scene), atol=1e-5)


def test_a_region_that_the_style_lacks_is_not_painted_black(scene):
    content, style = scene[:2]
    masks = left_and_right(12, 16), jnp.stack([jnp.zeros((10, 14)), jnp.ones((10, 14))])
    matched = match_colours(content, style, *masks)
    assert jnp.isfinite(matched).all()
    assert matched[:, :8].mean() > 0.5 * min(content[:, :8].mean(), style.mean())


# ---- Regions that are measured elsewhere than they lie


def test_parts_that_are_the_masks_change_nothing(scene, soft_masks):
    content, style = scene[:2]
    masks = jnp.asarray(soft_masks(12, 16)), jnp.asarray(soft_masks(10, 14, seed=1))
    np.testing.assert_array_equal(
        match_colours(content, style, *masks, parts=masks[0]), match_colours(content, style, *masks)
    )


def test_a_region_measured_over_the_whole_picture_has_its_map_where_it_lies(scene):
    content, style, everywhere, everywhere_there = scene
    (left, right), (left_there, _) = left_and_right(12, 16), left_and_right(10, 14)
    own = match_colours(content, style, left_and_right(12, 16), left_and_right(10, 14))
    whole = match_colours(content, style, everywhere, everywhere_there)
    masks = jnp.stack([left, everywhere[0]]), jnp.stack([left_there, everywhere_there[0]])
    mixed = match_colours(content, style, *masks, parts=jnp.stack([left, right]))
    np.testing.assert_allclose(mixed[:, :8], own[:, :8], atol=1e-6)
    np.testing.assert_allclose(mixed[:, 8:], whole[:, 8:], atol=1e-6)
    assert np.abs(own[:, 8:] - whole[:, 8:]).max() > 0.02


def test_what_no_part_covers_keeps_its_colours(scene):
    content, style, *masks = scene
    part = jnp.zeros((1, 12, 16)).at[:, :4].set(1)
    matched = match_colours(content, style, *masks, parts=part)
    np.testing.assert_array_equal(matched[4:], content[4:])
    np.testing.assert_allclose(matched[:4], match_colours(content, style, *masks)[:4], atol=1e-6)


# ---- The base look

WIDE = (1e-3, 1e3, 1e3)
base_look = jax.jit(colours.base_look, static_argnums=(4, 6))


def middling(generator: np.random.Generator, light: float, deviation: float, chroma: float, slope) -> np.ndarray:
    """A picture [60, 80, 3] far from the ends of the range, whose chromas depend on its luminance by `slope`."""
    luminance = generator.uniform(light - deviation, light + deviation, (60, 80, 1))
    chromas = (luminance - light) * np.asarray(slope) + generator.normal(0, chroma, (60, 80, 2))
    return np.float32(np.concatenate([luminance, chromas], -1) @ np.linalg.inv(colours.AXES).T)


@pytest.fixture(scope="module")
def middle():
    """Content, style and one mask for the whole of each."""
    generator = np.random.default_rng(2)
    content = middling(generator, 0.45, 0.2, 0.01, (0.1, 0.0))
    return content, middling(generator, 0.55, 0.24, 0.02, (-0.2, 0.3)), jnp.ones((1, 60, 80)), jnp.ones((1, 60, 80))


def conditional(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the chromas follow luminance, and their covariance apart from that."""
    luminance, *chromas = np.float64(image.reshape(-1, 3) @ colours.AXES.T).T
    slopes = [np.polyfit(luminance, chroma, 1)[0] for chroma in chromas]
    apart = [chroma - slope * luminance for chroma, slope in zip(chromas, slopes, strict=True)]
    return np.array(slopes), np.cov(apart)


def test_the_base_look_has_the_styles_colours_at_each_luminance(middle):
    matched = np.asarray(base_look(*middle, 1e-3, None, WIDE))
    np.testing.assert_allclose(matched.mean((0, 1)), middle[1].mean((0, 1)), atol=2e-3)
    (slopes, apart), (expected, covariance) = conditional(matched), conditional(middle[1])
    np.testing.assert_allclose(slopes, expected, atol=0.01)
    np.testing.assert_allclose(apart, covariance, atol=0.05 * covariance.max())


def test_the_base_look_changes_luminance_by_luminance_alone(middle):
    matched = np.float64(np.asarray(base_look(*middle, 0.04, None, (0.4, 3.0, 1.5))) @ pixels.LUMINANCE).ravel()
    order = np.argsort(np.float64(middle[0] @ pixels.LUMINANCE).ravel())
    assert (np.diff(matched[order]) > -1e-6).all()


def test_the_base_look_of_a_photograph_that_is_its_own_style_is_that_photograph(scene):
    content, _, masks, _ = scene
    np.testing.assert_allclose(base_look(content, content, masks, masks, 0.04, None, WIDE), content, atol=1e-4)


def test_a_style_without_contrast_gives_its_mean_and_shrinks_nothing(middle):
    content, _, *masks = middle
    flat = jnp.full((60, 80, 3), jnp.float32([0.5, 0.45, 0.4]))
    expected = content - content.mean((0, 1)) + np.asarray(flat[0, 0])
    np.testing.assert_allclose(base_look(content, flat, *masks, 0.04, None, (0.5, 1.6, 1.5)), expected, atol=2e-3)


def test_colours_are_stretched_no_further_than_their_bound():
    generator = np.random.default_rng(3)
    pale, vivid = middling(generator, 0.5, 0.2, 0.01, (0, 0)), middling(generator, 0.5, 0.2, 0.06, (0, 0))
    masks = jnp.ones((1, 60, 80)), jnp.ones((1, 60, 80))
    matched = np.asarray(base_look(pale, vivid, *masks, 1e-3, None, (0.4, 3.0, 1.5)))
    (_, before), (_, after) = conditional(pale), conditional(matched)
    np.testing.assert_allclose(np.sqrt(np.diag(after) / np.diag(before)), 1.5, atol=0.02)


# ---- The ends of the range


def test_an_image_inside_the_range_is_not_rolled_off(scene):
    np.testing.assert_allclose(colours.rolled_off(scene[0]), scene[0], atol=1e-6)
    ends = jnp.float32([[[0, 0.5, 1]]])
    np.testing.assert_allclose(colours.rolled_off(ends), ends, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-0.4, 1.7), (0.2, 1.1), (-3.0, 0.6), (-0.01, 50.0)])
def test_what_leaves_the_range_is_compressed_in_its_order(low, high):
    ramp = np.linspace(low, high, 20_001)
    rolled = np.float64(colours.rolled_off(jnp.float32(ramp).reshape(1, -1, 1))).ravel()
    assert rolled.min() >= -1e-6 and rolled.max() <= 1 + 1e-6
    assert (np.diff(rolled) >= -1e-6).all()
    middle = (ramp >= colours.KNEE) & (ramp <= 1 - colours.KNEE)
    np.testing.assert_allclose(rolled[middle], ramp[middle], atol=1e-6)
    if high > 1:
        assert rolled[-1] == pytest.approx(1, abs=1e-6)
        start, width = 1 - colours.KNEE, colours.KNEE
        beyond = (np.maximum(ramp, start) - start) / width
        expected = start + width * beyond / (1 + (1 - width / (high - start)) * beyond)
        np.testing.assert_allclose(rolled[ramp > start], expected[ramp > start], atol=1e-5)
    if low < 0:
        assert rolled[0] == pytest.approx(0, abs=1e-6)


def test_the_base_look_keeps_lights_that_the_match_would_clip(scene):
    content, _, *masks = scene
    bright = jnp.clip(0.9 + 0.6 * (content[:10, :14] - content.mean()), 0, 1)
    matched = match_colours(content, bright, *masks, 0.04)
    base = colours.base_look(content, bright, *masks, 0.04, None, (0.4, 3.0, 1.5))
    assert np.mean(np.asarray(matched) > 1) > 0.05
    lights = [np.mean(np.asarray(image) > 1 - 1 / 510) for image in (base, bright, matched)]
    assert base.max() <= 1 + 1e-6 and lights[0] < 0.5 * min(lights[1:])
    np.testing.assert_allclose(colours.base_look(content, bright, *masks, 0.04, None, None), matched, atol=1e-5)
