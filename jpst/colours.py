"""The closed-form colour match of regions, and the base look made from it: pure functions on images [H, W, 3]."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
    gains: tuple[float, float, float] | None = None,
) -> Float[Array, "h w 3"]:
    """`content` with the colours of each region carried onto those of the style's region.

    The closed-form optimal transport between two Gaussians, the linear Monge-Kantorovich map (Pitie and Kokaram, "The
    linear Monge-Kantorovitch linear colour mapping for example-based colour transfer", 2007), in sRGB-encoded RGB:
    T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 with the covariances A, B of the region in content and style. Differs from the
    paper in `noise`, the standard deviation added to both, which keeps flat regions from having their noise amplified.
    Regions blend where masks do; a region that the style lacks keeps its colours, as does what no mask covers. The
    result may leave [0, 1].

    `parts`: where each region's map is applied, if not where its colours are measured. With `gains` it is another map,
    `_luminance_first`, with bounds; a style without contrast then shrinks nothing.
    """
    parts = content_masks if parts is None else parts

    def mapped(content_mask: Array, style_mask: Array, part: Array) -> Array:
        mean, covariance = _colour_moments(content, content_mask, noise)
        target_mean, target_covariance = _colour_moments(style, style_mask, noise)
        if gains is None:
            transport = _optimal(covariance, target_covariance)
        else:
            spread = jnp.trace(target_covariance) - 3 * noise**2
            trust = spread / (spread + 3 * FLAT**2)
            bounded = _luminance_first(covariance, target_covariance, gains)
            transport = trust * bounded + (1 - trust) * jnp.eye(3)
        matched = (content - mean) @ transport + target_mean
        return jnp.where(style_mask.sum() > TRACE, matched, content) * part[..., None]

    with jax.default_matmul_precision("highest"):
        uncovered = content * (1 - parts.sum(0))[..., None]
        return jax.vmap(mapped)(content_masks, style_masks, parts).sum(0) + uncovered


def base_look(
    content: Float[Array, "h w 3"],
    style: Float[Array, "h2 w2 3"],
    content_masks: Float[Array, "r h w"],
    style_masks: Float[Array, "r h2 w2"],
    noise: float,
    parts: Float[Array, "r h w"] | None,
    gains: tuple[float, float, float] | None,
) -> Float[Array, "h w 3"]:
    """`match_colours`, and where its gains are bounded its ends `rolled_off`: what a transfer starts from."""
    matched = match_colours(content, style, content_masks, style_masks, noise, parts, gains)
    return matched if gains is None else rolled_off(matched)


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
    return mean, covariance + noise**2 * jnp.eye(3)


def _optimal(covariance: Float[Array, "n n"], target: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The symmetric map of row vectors that carries the one covariance onto the other."""
    root, inverse_root = _powers(covariance, 0.5), _powers(covariance, -0.5)
    return inverse_root @ _powers(root @ target @ root, 0.5) @ inverse_root


def _luminance_first(covariance: Array, target: Array, gains: tuple[float, float, float]) -> Array:
    """The map [3, 3] of colours, as row vectors, in which the luminance depends on the luminance alone.

    It scales the luminance, gives each the colour that the target has at it, and carries what is left of the colours by
    the optimal map: the Knothe-Rosenblatt rearrangement, the second variable being the two chromas. So no edge of light
    and dark turns round, and colours are stretched less than light: strong colours of a style's one object else become
    those of a faint shade of the content, which shows as blotches in a sky. `gains`: least, most for luminance, most
    for colour.
    """
    least, most, most_colour = gains
    axes = jnp.asarray(AXES)
    ours, theirs = (axes @ each @ axes.T for each in (covariance, target))
    (slope, rest), (target_slope, target_rest) = (_conditional(each) for each in (ours, theirs))
    gain = jnp.clip(jnp.sqrt(theirs[0, 0] / ours[0, 0]), least, most)
    values, vectors = jnp.linalg.eigh(_optimal(rest, target_rest))
    chroma = (vectors * jnp.clip(values, least, most_colour)[None]) @ vectors.T
    from_luminance = jnp.concatenate([gain[None], gain * target_slope - slope @ chroma])
    linear = jnp.concatenate([from_luminance[None], jnp.pad(chroma, ((0, 0), (1, 0)))])
    return axes.T @ linear @ jnp.asarray(np.linalg.inv(AXES).T)


def _conditional(covariance: Float[Array, "3 3"]) -> tuple[Float[Array, "2"], Float[Array, "2 2"]]:
    """How the last two variables depend on the first, and their covariance apart from that."""
    slope = covariance[0, 1:] / covariance[0, 0]
    return slope, covariance[1:, 1:] - covariance[0, 0] * jnp.outer(slope, slope)


def _powers(matrix: Float[Array, "n n"], power: float) -> Float[Array, "n n"]:
    """A symmetric positive matrix raised to a real power."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(values, 1e-12)[None] ** power) @ vectors.T
