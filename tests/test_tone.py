"""The tone curve, against NumPy's percentiles and means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst import tone

fit = jax.jit(tone.fit, static_argnums=(4, 5))
GENERATOR = np.random.default_rng(7)
SHAPE = (60, 80)


def luminances(low: float, high: float, power: float = 1.0) -> np.ndarray:
    return np.float32(low + (high - low) * GENERATOR.uniform(0, 1, SHAPE) ** power)


def toned(content: np.ndarray, style: np.ndarray, least: float = 0.5, most: float = 1.6) -> np.ndarray:
    mask = jnp.ones(SHAPE)
    return np.asarray(tone.apply(fit(content, style, mask, mask, least, most), content))


@pytest.mark.parametrize("style", [luminances(0.05, 0.9, 0.6), luminances(0.1, 0.95, 1.5), luminances(0.3, 0.8)])
def test_black_white_and_mean_are_the_styles(style):
    """The mean but for what raises the contrast."""
    content, mask = luminances(0.0, 0.8, 1.2), jnp.ones(SHAPE)
    curve = fit(content, style, mask, mask, 0.5, 1.6)
    plain, found = (np.asarray(tone.apply(each, content)) for each in (curve._replace(contrast=jnp.float32(1)), curve))
    np.testing.assert_allclose(plain.mean(), style.mean(), atol=3e-3)
    np.testing.assert_allclose(found.mean(), style.mean(), atol=0.02)
    for each in (plain, found):
        np.testing.assert_allclose(np.percentile(each, (0.5, 99.5)), np.percentile(style, (0.5, 99.5)), atol=0.01)


@pytest.mark.parametrize(("lamps", "reached"), [(0.02, False), (0.12, False), (0.225, True)])
def test_contrast_is_raised_to_the_styles_as_far_as_the_bound_allows(monkeypatch, lamps, reached):
    """Of a content with few lights, which has the same black and white as the style but less contrast."""
    monkeypatch.setattr(tone, "RAISED", 9.0)
    content, style = luminances(0.3, 0.5), luminances(0.05, 0.95)
    content[:, : int(lamps * SHAPE[1])] = 0.9
    content[:1] = 0.05
    curve = tone.fit(content, style, jnp.ones(SHAPE), jnp.ones(SHAPE), 0.5, 1.6)
    plain, found = (np.asarray(tone.apply(each, content)) for each in (curve._replace(contrast=jnp.float32(1)), curve))
    assert plain.std() < found.std() <= style.std() * 1.01
    if reached:
        assert found.std() == pytest.approx(style.std(), rel=0.01) and float(curve.contrast) < tone.MOST_CONTRAST
    else:
        assert float(curve.contrast) == pytest.approx(tone.MOST_CONTRAST)
    order = np.argsort(content.ravel())
    assert (np.diff(found.ravel()[order]) >= -1e-6).all()
    np.testing.assert_allclose(np.percentile(found, (0.5, 99.5)), np.percentile(plain, (0.5, 99.5)), atol=0.01)


@pytest.mark.parametrize(("style", "kept"), [("hard", True), ("alike", False)])
def test_the_contents_contrast_is_kept_where_the_style_does_not_ask_for_less(style, kept):
    """A style of black and white alone raises the contrast a little; one like the photograph leaves it as it is."""
    content, other = luminances(0, 1, 0.8), luminances(0, 1, 0.8)
    if style == "hard":
        other = np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, 0.02, 0.98)[None].repeat(SHAPE[0], 0).astype(np.float32)
    curve = fit(content, other, jnp.ones(SHAPE), jnp.ones(SHAPE), 0.5, 1.6)
    plain, found = (np.asarray(tone.apply(each, content)) for each in (curve._replace(contrast=jnp.float32(1)), curve))
    aim = min(other.std(), tone.RAISED * content.std())
    assert (plain.std() < 0.98 * aim) == kept
    assert found.std() == pytest.approx(aim, rel=0.02) if kept else abs(found - plain).max() < 0.02


def test_a_photograph_that_is_its_own_style_stays():
    content = luminances(0.1, 0.9, 2)
    np.testing.assert_allclose(toned(content, content), content, atol=1e-5)


@pytest.mark.parametrize("style", [luminances(0.6, 1.0), luminances(0, 0.2, 3), np.full(SHAPE, 0.5, np.float32)])
def test_the_order_of_light_and_dark_stays(style):
    content = np.linspace(0, 1, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)
    found = toned(content, style)
    assert (np.diff(found.ravel()) >= -1e-6).all()
    assert found.min() >= -0.05 and found.max() <= 1.05


def test_blacks_of_a_dark_photograph_are_not_lifted_by_a_light_style():
    """A linear map with the same means would put black at 0.3."""
    content, style = luminances(0, 1, 4), luminances(0, 1, 0.8)
    found = toned(content, style)
    assert np.percentile(found, 0.5) < 0.08
    assert found.mean() > content.mean() + 0.09


def test_the_ratio_of_ranges_is_bounded():
    narrow, wide = luminances(0.45, 0.55), luminances(0, 1)
    assert np.ptp(toned(narrow, wide)) == pytest.approx(1.6 * np.ptp(narrow), rel=0.02)
    assert np.ptp(toned(wide, narrow)) == pytest.approx(0.5 * np.ptp(wide), rel=0.02)
    assert toned(narrow, wide).mean() == pytest.approx(wide.mean(), abs=3e-3)


@pytest.mark.parametrize("most", [0.0, 2.0])
def test_no_range_at_all_gives_finite_light(most):
    """Bounds of zero, and a style of one grey where the range may fall to zero."""
    assert np.isfinite(toned(luminances(0.1, 0.9), np.full(SHAPE, 0.5, np.float32), 0.0, most)).all()


def test_the_bend_is_no_steeper_than_its_bound():
    content, style = luminances(0, 1, 6), luminances(0.0, 1.0, 0.05)
    curve = fit(content, style, jnp.ones(SHAPE), jnp.ones(SHAPE), 0.5, 1.6)
    assert float(curve.steepness) == pytest.approx(tone.STEEPEST, rel=1e-4)
    x = jnp.linspace(-0.5, 1.5, 401)
    slopes = np.diff(np.asarray(tone.bend(x, curve.steepness))) / np.diff(np.asarray(x))
    assert slopes.max() <= tone.STEEPEST * 1.001 and slopes.min() >= 0.999 / tone.STEEPEST


@pytest.mark.parametrize(("most", "share"), [(0.3, 1.0), (0.52, 0.6), (0.75, 0.0)])
def test_a_light_photograph_is_dimmed_half_way_to_a_dark_style_with_lamps(most, share):
    content, style = luminances(0, 1, 0.2), luminances(0, most)
    style[:2] = 1
    (full, none), mean = tone.DARK, float(style.mean())
    assert np.clip((none - mean) / (none - full), 0, 1) == pytest.approx(share, abs=0.12), "this is about dark styles"
    exponent = 0.5 * np.clip((none - mean) / (none - full), 0, 1)
    curve = fit(content, style, jnp.ones(SHAPE), jnp.ones(SHAPE), 0.5, 1.6)
    bent = float(tone.bend((content - curve.black) / curve.span, curve.steepness).mean())
    assert float(curve.steepness) == pytest.approx(1 / tone.STEEPEST, rel=1e-4)
    plain = curve._replace(contrast=jnp.float32(1), shrink=jnp.float32(1))
    dimmed = float(tone.apply(plain, content).mean())
    assert dimmed == pytest.approx(max(tone.DIMMEST, (mean / bent) ** exponent) * bent, abs=5e-3)
    assert mean < dimmed < bent if share else dimmed == pytest.approx(bent, abs=5e-3)


def test_pixels_count_by_their_mask():
    content, style = luminances(0, 0.7), luminances(0.2, 0.9, 2)
    mask = np.zeros(SHAPE, np.float32)
    mask[:, :30] = 1
    alone = fit(content[:, :30], style[:, :30], jnp.ones((60, 30)), jnp.ones((60, 30)), 0.5, 1.6)
    for found, expected in zip(fit(content, style, mask, mask, 0.5, 1.6), alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
