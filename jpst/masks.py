"""Label maps to soft masks that follow the edges of a picture."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse import csr_array

from jpst import pixels
from jpst.caching import cached
from jpst.pixels import area_weights
from jpst.recipe import Recipe

BLOCK_ROWS = 256  # rows of a label map processed at a time, in float64
TRACE_OF_REGION = 0.01  # smaller mask values count as 0
SOFT_RADIUS = 2
SOFT_EPSILON = 1e-4


def of_labels(labels: np.ndarray, count: int, height: int, width: int) -> np.ndarray:
    """Soft masks float32 [count, height, width] of a label map of any size: non-negative, with a sum of 1.

    The exact area average of the one-hot maps: a value is the share of the pixel's area that the region covers. For
    enlarging this is nearest neighbour, except for pixels that cross a border between old pixels.
    """
    rows = csr_array(area_weights(labels.shape[0], height))  # sparse: each output row overlaps few input rows
    columns = csr_array(area_weights(labels.shape[1], width))
    soft = np.zeros((count, height, width))
    for top in range(0, len(labels), BLOCK_ROWS):
        band = slice(top, top + BLOCK_ROWS)
        for number in range(count):
            covered = np.asarray(columns @ (labels[band] == number).T.astype(np.float64)).T
            soft[number] += rows[:, band] @ covered
    return soft.astype(np.float32)


@partial(cached, static_argnums=(2,))
def refine(
    masks: Float[Array, "r h w"], image: Float[Array, "h w 3"], radius: int, epsilon: float | Float[Array, ""]
) -> Float[Array, "r h w"]:
    """Aligns masks with the image's edges, by the guided filter with the image (RGB in [0, 1]) as guide.

    The masks stay non-negative and sum to one over R. They change only within twice `radius` pixels of their edges. A
    contrast below `epsilon` (a variance) does not count as an edge.
    """
    values = jnp.moveaxis(masks, 0, -1)
    maps = pixels.affine_maps(image, values, radius, epsilon, np.zeros((3, len(masks)), np.float32))
    filtered = jnp.einsum("hwa,hwar->rhw", image, maps[..., :3, :], precision="highest") + jnp.moveaxis(
        maps[..., 3, :], -1, 0
    )
    # far from edges the filter's rounding errors would count as traces of a region
    cleaned = jnp.where(filtered < TRACE_OF_REGION, 0.0, jnp.minimum(filtered, 1.0))
    return cleaned / jnp.maximum(cleaned.sum(0, keepdims=True), 1e-6)


def soft_masks(labels: np.ndarray, count: int, picture: Float[Array, "h w 3"], recipe: Recipe) -> Float[Array, "r h w"]:
    """The masks of a working picture: the share of each region in every pixel.

    Unless the recipe wants them hard they follow the picture's edges.
    """
    masks = jnp.asarray(of_labels(labels, count, *picture.shape[:2]))
    if recipe.hard_masks or count == 1:
        return masks
    return refine(masks, picture, SOFT_RADIUS, SOFT_EPSILON)
