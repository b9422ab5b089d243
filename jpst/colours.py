"""The closed-form colour match of regions, and the base look made from it: pure functions on images [H, W, 3]."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jpst import tone
from jpst.pixels import LUMINANCE, TRACE

FLAT = 0.02  # standard deviation of a style's colours at which half of its contrast is taken for contrast
KNEE = 0.15  # of the range at either end: what is compressed where values left it
AXES = np.stack([LUMINANCE, np.array([1, -1, 0]) / np.sqrt(2), np.array([1, 1, -2]) / np.sqrt(6)]).astype(np.float32)
"""the luminance and two axes of colour, on which grey is zero"""


def match_colours(
    content: Float[Array, "h w 3"],
    style: Float[Array, "h2 w2 3"],
    content_masks: Float[Array, "r h w"],
    style_masks: Float[Array, "r h2 w2"],
    noise: float = 2 / 255,
    parts: Float[Array, "r h w"] | None = None,
) -> Float[Array, "h w 3"]:
    """`content` with the colours of each region carried onto those of the style's region.

    The closed-form optimal transport between two Gaussians, the linear Monge-Kantorovich map (Pitie and Kokaram, "The
    linear Monge-Kantorovitch linear colour mapping for example-based colour transfer", 2007), in sRGB-encoded RGB:
    T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 with the covariances A, B of the region in content and style. Differs from the
    paper in `noise`, the standard deviation added to both, which keeps flat regions from having their noise amplified.
    Regions blend where masks do; a region that the style lacks keeps its colours, as does what no mask covers. The
    result may leave [0, 1].

    `parts`: where each region's map is applied, if not where its colours are measured.
    """

    def matched(content_mask: Array, style_mask: Array) -> Array:
        mean, covariance = _colour_moments(content, content_mask, noise)
        target_mean, target_covariance = _colour_moments(style, style_mask, noise)
        return (content - mean) @ _optimal(covariance, target_covariance) + target_mean

    return _by_region(matched, content, content_masks, style_masks, parts)


def base_look(
    content: Float[Array, "h w 3"],
    style: Float[Array, "h2 w2 3"],
    content_masks: Float[Array, "r h w"],
    style_masks: Float[Array, "r h2 w2"],
    noise: float,
    parts: Float[Array, "r h w"] | None,
    gains: tuple[float, float, float] | None,
) -> Float[Array, "h w 3"]:
    """What a transfer starts from: `match_colours` or, with `gains`, a match with bounds, in [0, 1].

    The match with bounds maps luminance by luminance alone, along the curve of `tone.fit`, gives each the colour that
    the style has at it, and carries what is left of the colours by the optimal map: the Knothe-Rosenblatt
    rearrangement, the second variable being the two chromas. So no edge of light and dark turns round, and colours are
    stretched less than light: strong colours of a style's one object else become those of a faint shade of the content,
    which shows as blotches in a sky. A style without contrast shrinks nothing. Its ends are `rolled_off`.

    Args:
      gains: least, most for the range of luminance, most for colour.
      content, style, content_masks, style_masks, noise, parts: as in `match_colours`.
    """
    if gains is None:
        return match_colours(content, style, content_masks, style_masks, noise, parts)

    def graded(content_mask: Array, style_mask: Array) -> Array:
        return _graded(content, style, content_mask, style_mask, noise, gains)

    return rolled_off(_by_region(graded, content, content_masks, style_masks, parts))


def _by_region(
    mapped: Callable[[Array, Array], Array],
    content: Array,
    content_masks: Array,
    style_masks: Array,
    parts: Array | None,
) -> Array:
    """The content with each region mapped where its part lies, also where the parts sum to less than one."""
    parts = content_masks if parts is None else parts
    covered = parts.sum(0, keepdims=True)
    parts = jnp.where(covered > TRACE, parts / jnp.maximum(covered, TRACE), 0.0)

    def of_region(content_mask: Array, style_mask: Array, part: Array) -> Array:
        found = jnp.where(style_mask.sum() > TRACE, mapped(content_mask, style_mask), content)
        return found * part[..., None]

    with jax.default_matmul_precision("highest"):
        uncovered = content * (covered[0] <= TRACE)[..., None]
        return jax.vmap(of_region)(content_masks, style_masks, parts).sum(0) + uncovered


def _graded(
    content: Array, style: Array, content_mask: Array, style_mask: Array, noise: float, gains: tuple[float, ...]
) -> Array:
    """The whole content with the bounded match of one region."""
    least, most, most_colour = gains
    axes = jnp.asarray(AXES)
    content, style = content @ axes.T, style @ axes.T
    (mean, ours), (target_mean, theirs) = (
        _colour_moments(image, mask, noise) for image, mask in ((content, content_mask), (style, style_mask))
    )
    (slope, rest), (target_slope, target_rest) = _conditional(ours), _conditional(theirs)
    curve = tone.fit(content[..., 0], style[..., 0], content_mask, style_mask, least, most)
    luminance = tone.apply(curve, content[..., :1])
    values, vectors = jnp.linalg.eigh(_optimal(rest, target_rest))
    stretch = (vectors * jnp.clip(values, least, most_colour)[None]) @ vectors.T
    apart = content - mean
    chromas = target_mean[..., 1:] + (luminance - curve.mean) * target_slope[None, None]
    chromas += (apart[..., 1:] - apart[..., :1] * slope[None, None]) @ stretch
    spread = jnp.trace(theirs) - 3 * noise**2
    trust = spread / (spread + FLAT**2)
    matched = jnp.concatenate([luminance, chromas], -1)
    return (trust * matched + (1 - trust) * (apart + target_mean)) @ jnp.asarray(np.linalg.inv(AXES).T)


def rolled_off(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """An image whose values left [0, 1], in [0, 1]: its ends are compressed, not clipped, as film does.

    Values at least `KNEE` from both ends stay; beyond, the furthest value goes to the end itself by x / (1 + a x), so
    that lights and shadows keep their order and some of their contrast. An image in [0, 1] stays as it is.
    """

    def compressed(beyond: Array) -> Array:
        furthest = jnp.maximum(jnp.max(beyond), 1.0)
        return beyond / (1 + (1 - 1 / furthest) * beyond)

    low, high = (jnp.maximum(end, 0) / KNEE for end in (KNEE - image, image - (1 - KNEE)))
    middle = jnp.clip(image, KNEE, 1 - KNEE)
    return middle + KNEE * (compressed(high) - compressed(low))


def _colour_moments(image: Array, mask: Array, noise: float) -> tuple[Array, Array]:
    """Mean [1, 1, 3] and covariance [3, 3] of the colours under a mask, with `noise`'s variance added."""
    weights = mask[..., None] / jnp.maximum(mask.sum(), TRACE)
    mean = (weights * image).sum((0, 1), keepdims=True)
    deviation = image - mean
    covariance = jnp.einsum("hwa,hwb->ab", weights * deviation, deviation)
    return mean, covariance + noise**2 * jnp.eye(3, dtype=jnp.float32)


def _optimal(covariance: Float[Array, "n n"], target: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The symmetric map of row vectors that carries the one covariance onto the other."""
    root, inverse_root = _powers(covariance, 0.5), _powers(covariance, -0.5)
    return inverse_root @ _powers(root @ target @ root, 0.5) @ inverse_root


def _conditional(covariance: Float[Array, "3 3"]) -> tuple[Float[Array, "2"], Float[Array, "2 2"]]:
    """How the last two variables depend on the first, and their covariance apart from that."""
    slope = covariance[0, 1:] / covariance[0, 0]
    return slope, covariance[1:, 1:] - covariance[0, 0] * jnp.outer(slope, slope)


def _powers(matrix: Float[Array, "n n"], power: float) -> Float[Array, "n n"]:
    """A symmetric positive matrix raised to a real power."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 1e-12)[None] ** power) @ vectors.T
