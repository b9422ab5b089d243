"""Metrics of results: SSIM with the content, distance from the style, newly clipped pixels.

All take float [H, W, 3], sRGB in [0, 1], as written (rounded to 8 bits). The values depend on the size of the images,
so compare them at one size.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jpst import losses, pixels
from jpst.models import vgg19

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

CELLS = 32  # of RGB along each axis: colours of one cell count as alike, 8 levels apart at most
LEAST_PIXELS = 10  # of a cell in each photograph, for its mean colours to count


class Apart(NamedTuple):
    """How far apart the colours of a series are that the photographs before it had in common, in dE2000."""

    before: float
    """in the photographs: about 1, which is how fine the measure is"""
    after: float
    """in the results; no more than before if one look was given to all of them"""
    shared: float
    """share of the pixels whose colours neighbours have in common"""


def edge_ssim(content: Float[np.ndarray, "h w 3"], picture: Float[np.ndarray, "h w 3"]) -> float:
    """SSIM (scikit-image's defaults, data range 1) between the Sobel magnitudes of the luminances; 1 means equal."""
    from skimage.filters import sobel
    from skimage.metrics import structural_similarity

    edges = [sobel(np.asarray(each) @ pixels.LUMINANCE) for each in (content, picture)]
    return float(np.asarray(structural_similarity(edges[0], edges[1], data_range=1.0)))


def luminance_ssim(content: Float[np.ndarray, "h w 3"], picture: Float[np.ndarray, "h w 3"]) -> float:
    """SSIM (scikit-image's defaults, data range 1) between the luminances; 1 means equal."""
    from skimage.metrics import structural_similarity

    light = [np.asarray(each) @ pixels.LUMINANCE for each in (content, picture)]
    return float(np.asarray(structural_similarity(light[0], light[1], data_range=1.0)))


def region_grams(
    image: Float[Array | np.ndarray, "h w 3"], masks: Float[Array | np.ndarray, "r h w"], variables: PyTree
) -> dict[str, Float[Array, "r c c"]]:
    """For each of `STYLE_LAYERS` and each region, the Gram matrix of VGG19's features divided by the region's area.

    A mask weights each pixel once (F^T diag(m) F), not squared as in the paper's Gram.
    """
    return _region_grams(jnp.asarray(image, jnp.float32), jnp.asarray(masks), variables)


def region_covariances(
    image: Float[Array | np.ndarray, "h w 3"], masks: Float[Array | np.ndarray, "r h w"], variables: PyTree
) -> dict[str, Float[Array, "r c c"]]:
    """As `region_grams`, of the features less their mean in each region: blind to an even change of a whole channel."""
    return _region_grams(jnp.asarray(image, jnp.float32), jnp.asarray(masks), variables, centred=True)


@partial(jax.jit, static_argnames="centred")
def _region_grams(image, masks, variables, centred=False):
    features = vgg19.features(variables, image, STYLE_LAYERS)
    grams = {}
    for name, layer in features.items():
        small = pixels.area_mean(masks, *layer.shape[:2])
        area = jnp.maximum(small.sum((1, 2), keepdims=True), pixels.TRACE)
        grams[name] = losses.gram(layer, jnp.sqrt(small / area))
        if centred:
            mean = jnp.einsum("rhw,hwc->rc", small / area, layer)
            grams[name] -= mean[:, :, None] * mean[:, None]
    return grams


def style_distance(grams: dict[str, Array], target: dict[str, Array]) -> float:
    """Mean over layers and regions of the mean squared difference, relative to the target's mean square.

    Of Grams, or of covariances, which WCT2's figure calls "Gram loss" (github.com/clovaai/WCT2/issues/20).

    Divide by the distance of the untouched content to get the share of the distance that is left.
    """
    apart = [
        jnp.mean((grams[name] - target[name]) ** 2, (1, 2)) / jnp.maximum(jnp.mean(target[name] ** 2, (1, 2)), 1e-20)
        for name in STYLE_LAYERS
    ]
    return float(jnp.mean(jnp.stack(apart)))


def newly_clipped(content: Float[np.ndarray, "h w 3"], picture: Float[np.ndarray, "h w 3"]) -> float:
    """Share of pixels with a channel at 0 or 255 in `picture`, but none in `content` (at 8 bits)."""
    clipped = [np.isin(np.round(255 * np.asarray(each)), (0, 255)).any(-1) for each in (content, picture)]
    return float(np.mean(clipped[1] & ~clipped[0]))


def consistency(
    contents: Sequence[Float[np.ndarray, "_ _ 3"]], results: Sequence[Float[np.ndarray, "_ _ 3"]]
) -> Apart | None:
    """How far a series brings apart what was alike: the same wall in one photograph and the next.

    For each two neighbours, RGB is divided into `CELLS` a side. Where both photographs have pixels in a cell, the mean
    CIELAB colours of these pixels are compared by CIEDE2000, in the photographs and at the same pixels in the results;
    a cell counts by the fewer of both numbers of pixels. Neighbours count alike.

    Args:
      contents, results: the photographs in their order, and what was made of each, of one shape; two or more.

    Returns:
      The means; None if no two neighbours have a colour in common.
    """
    found = [_cell_means(content, result) for content, result in zip(contents, results, strict=True)]
    apart = [each for each in (_apart(*pair) for pair in pairwise(found)) if each is not None]
    return Apart(*np.mean(apart, axis=0).tolist()) if apart else None


def _cell_means(content: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the number of pixels [cells], and their mean CIELAB before and after [cells, 2, 3]."""
    from skimage.color import rgb2lab

    places = np.minimum((np.clip(content, 0, 1) * CELLS).astype(int), CELLS - 1).reshape(-1, 3)
    cells = np.ravel_multi_index(tuple(places.T), (CELLS, CELLS, CELLS))
    counts = np.bincount(cells, minlength=CELLS**3)
    labs = np.stack([rgb2lab(np.clip(each, 0, 1)).reshape(-1, 3) for each in (content, result)], 1).reshape(-1, 6)
    sums = np.stack([np.bincount(cells, channel, CELLS**3) for channel in labs.T], -1)
    return counts, (sums / np.maximum(counts, 1)[:, None]).reshape(-1, 2, 3)


def _apart(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Apart | None:
    """Of two neighbours."""
    from skimage.color import deltaE_ciede2000

    fewer = np.minimum(first[0], second[0])
    shared = fewer >= LEAST_PIXELS
    if not shared.any():
        return None
    distances = deltaE_ciede2000(first[1][shared], second[1][shared])
    before, after = np.average(distances, axis=0, weights=fewer[shared])
    pixels_shared = (first[0][shared].sum() + second[0][shared].sum()) / (first[0].sum() + second[0].sum())
    return Apart(float(before), float(after), float(pixels_shared))
