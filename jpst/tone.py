"""The tone curve that gives one photograph the range and mean of luminance of another: pure functions on arrays.

A linear map of luminance would lift blacks into a veil, or push lights over the end, where the two photographs differ
in mean. This curve maps blacks to blacks and whites to whites, and bends between them, as film and editors do.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BINS = 256
ENDS = 0.005  # shares of the pixels below black and above white
LEAST_LENGTH = 1e-3  # of the result's range, where gains of 0 ask for none
LEAST_SPAN = 0.02  # from black to white: a photograph of less contrast is not stretched to more than one of this
STEEPEST = 2.5  # slope of the bend at its steep end; at the other it is 1 / STEEPEST
DIMMEST = 0.6  # factor of luminance where the bend leaves the content too light: a style of dusk, with lamps, has white
DARK = (0.24, 0.36)  # mean luminances of styles that dim fully and not at all, which looked better, judged blind
LEAST_SHRINK = 0.85  # of the deviation, where the bend makes it larger than both photographs have it
MOST_CONTRAST = 1.6  # slope at the mean, where the deviation is less than it shall be: else results look flat
RAISED = 1.1  # of the content's deviation: more than that is not asked for, also if the style has it

_EDGES = np.linspace(0, 1, BINS + 1, dtype=np.float32)
_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2
_CONTRASTS = np.geomspace(1, MOST_CONTRAST, 17, dtype=np.float32)
_STEEPNESSES = np.geomspace(1 / STEEPEST, STEEPEST, 65, dtype=np.float32)


class Curve(NamedTuple):
    """L -> start + length * s_curve(bend((L - black) / span)), drawn towards its mean by `shrink`."""

    black: Array
    span: Array
    start: Array
    length: Array
    steepness: Array
    """of the bend at black: above 1 it brightens what lies between the ends"""
    middle: Array
    """of the S-curve, between black and white, 0 and 1"""
    contrast: Array
    """its slope there"""
    mean: Array
    """of the curve over the content"""
    shrink: Array


def apply(curve: Curve, luminance: Float[Array, "..."]) -> Float[Array, "..."]:
    """The curve's value at luminances, which may leave [0, 1]; it never decreases."""
    bent = bend((luminance - curve.black) / curve.span, curve.steepness)
    placed = curve.start + curve.length * s_curve(bent, curve.middle, curve.contrast)
    return curve.mean + curve.shrink * (placed - curve.mean)


def fit(
    content: Float[Array, "h w"],
    style: Float[Array, "h2 w2"],
    content_mask: Float[Array, "h w"],
    style_mask: Float[Array, "h2 w2"],
    least: float,
    most: float,
) -> Curve:
    """The curve that gives the content the black, the white and, as far as `STEEPEST` allows, the mean of the style.

    Where the deviation would fall short of the style's, an S-curve raises it to about that of the content, as far as
    `MOST_CONTRAST` allows: contrast is kept where the style does not ask for less.
    Where the content stays lighter than a dark style, all is dimmed by up to the square root of the ratio of the means.

    Args:
      content, style: luminances in [0, 1].
      content_mask, style_mask: how much each pixel counts.
      least, most: of the ratio of the ranges from black to white. Where the style's would be more or less, the range is
        placed where the mean needs the smallest bend.
    """
    ours, theirs = _shares(content, content_mask), _shares(style, style_mask)
    (black, white), (target_black, target_white) = _ends(ours), _ends(theirs)
    (_, deviation), (target_mean, target_deviation) = _moments(ours), _moments(theirs)
    span = jnp.maximum(white - black, LEAST_SPAN)
    length = jnp.maximum(span * jnp.clip((target_white - target_black) / span, least, most), LEAST_LENGTH)
    places = (jnp.asarray(_CENTRES) - black) / span
    unbent = target_mean - length * (ours @ places)
    ends = jnp.sort(jnp.stack([target_black, target_white - length]))
    start = jnp.clip(jnp.clip(unbent, *ends), 0.0, jnp.maximum(1 - length, 0.0))
    steepness = _steepness(ours, places, (target_mean - start) / length)
    bent = bend(places, steepness)
    ratio = target_mean / jnp.maximum(ours @ (start + length * bent), 1e-6)
    dimmed = jnp.clip(
        ratio ** (0.5 * jnp.interp(target_mean, jnp.float32(DARK), jnp.float32([1.0, 0.0]))), DIMMEST, 1.0
    )
    start, length = dimmed * start, dimmed * length
    middle = jnp.clip(ours @ bent, 0.05, 0.95)
    aim = jnp.minimum(target_deviation, RAISED * deviation)
    contrast = _contrast(ours, bent, middle, aim / length)
    placed = start + length * s_curve(bent, middle, contrast)
    mean = ours @ placed
    spread = jnp.sqrt(ours @ (placed - mean) ** 2)
    wanted = jnp.maximum(deviation, target_deviation) / jnp.maximum(spread, 1e-6)
    shrink = jnp.clip(wanted, LEAST_SHRINK, 1.0)
    return Curve(black, span, start, length, steepness, middle, contrast, mean, shrink)


def bend(x: Float[Array, "..."], steepness: Array) -> Float[Array, "..."]:
    """The hyperbola through (0, 0) and (1, 1) with that slope at 0, and its inverse at 1; straight beyond both."""
    inside = jnp.clip(x, 0, 1)
    between = steepness * inside / (1 + (steepness - 1) * inside)
    return between + steepness * jnp.minimum(x, 0) + jnp.maximum(x - 1, 0) / steepness


def s_curve(x: Float[Array, "..."], middle: Array, contrast: Array) -> Float[Array, "..."]:
    """Two bends away from a middle that stays, as do 0 and 1: steeper between them, flatter towards the ends."""
    above = bend((x - middle) / (1 - middle), contrast)
    below = bend((middle - x) / middle, contrast)
    return jnp.where(x > middle, middle + (1 - middle) * above, middle - middle * below)


def _shares(luminance: Array, mask: Array) -> Float[Array, " bins"]:
    """The share of each bin of luminance under a mask."""
    places = jnp.clip((luminance * BINS).astype(jnp.int32), 0, BINS - 1).ravel()
    counts = jnp.zeros(BINS, jnp.float32).at[places].add(mask.ravel())
    return counts / jnp.maximum(counts.sum(), 1e-6)


def _ends(shares: Array) -> tuple[Array, Array]:
    """The luminances at `ENDS` of the pixels from below and from above."""
    below = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.cumsum(shares)])
    return jnp.interp(ENDS, below, _EDGES), jnp.interp(1 - ENDS, below, _EDGES)


def _moments(shares: Array) -> tuple[Array, Array]:
    mean = shares @ _CENTRES
    return mean, jnp.sqrt(shares @ (_CENTRES - mean) ** 2)


def _steepness(shares: Array, places: Array, wanted: Array) -> Array:
    """The steepness at which the bent places have the wanted mean, interpolated between `_STEEPNESSES`."""
    means = bend(places[None], jnp.asarray(_STEEPNESSES)[:, None]) @ shares
    return jnp.exp(jnp.interp(wanted, means, jnp.asarray(np.log(_STEEPNESSES))))


def _contrast(shares: Array, places: Array, middle: Array, wanted: Array) -> Array:
    """The contrast at which the places have the wanted deviation, interpolated between `_CONTRASTS`."""
    curved = s_curve(places[None], middle, jnp.asarray(_CONTRASTS)[:, None])
    deviations = jnp.sqrt((curved - (curved @ shares)[:, None]) ** 2 @ shares)
    return jnp.exp(jnp.interp(wanted, deviations, jnp.asarray(np.log(_CONTRASTS))))
