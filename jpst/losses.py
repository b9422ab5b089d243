"""The objective: pure scalar losses on one image, and what they compare it with.

Each target carries its own normalisation, so that one set of functions serves the paper's objective (sums as in arXiv
1901.03915 and its TensorFlow code) and our own (Grams divided by region area, differences relative to the target's
size, arXiv 1703.07511 with the changes named at `style_target`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jpst import pixels
from jpst.grams import Pairs, gather, of_pairs
from jpst.grams import dense as gram
from jpst.matting import Laplacian, energy

EMPTY = 1e-20
"""a mask whose squares sum to less is empty; fainter ones still count, as their Gram is divided by that sum"""


class ContentTarget(NamedTuple):
    """Features of the content photograph at one layer."""

    features: Float[Array, "h w c"]
    weight: Float[Array, ""]


class StyleTarget(NamedTuple):
    """What the Grams of one layer are compared with, region by region."""

    masks: Float[Array, "r h w"]
    """the content's regions at the layer's size, scaled so that the Gram comes out normalised"""
    grams: Float[Array, "r c c"]
    """the style photograph's Grams, normalised alike"""
    weights: Float[Array, " r"]
    pairs: Pairs | None = None
    """the masks again, as `by_pairs` lists them; the loss is then computed from these"""


class View(NamedTuple):
    """An antialiased resize as two matrices: rows @ image @ columns^T."""

    rows: Float[Array, "H h"]
    columns: Float[Array, "W w"]


class Targets(NamedTuple):
    """All that a transfer aims at, computed once by `jpst.prepare`: a pytree, for content photographs of [h, w, 3]."""

    content: dict[str, ContentTarget]
    """by layer of VGG19: the content photograph's features"""
    style: dict[str, StyleTarget]
    """by layer of VGG19: the style photograph's Grams, and the content's regions to compare them in"""
    laplacian: Laplacian
    """the content photograph's matting Laplacian, [5, 5, h, w] or sparse [h w, h w]"""
    laplacian_weight: Float[Array, ""]
    """what its energy is multiplied by: 1 for the paper's sum, 1 / (h w) for a mean over pixels"""
    start: Float[Array, "h w 3"]
    """the first image, without the noise of a start from noise; it may leave [0, 1]"""
    edges: Float[Array, "h w"]
    """of the content photograph, for the term of edges"""
    coarse: tuple[Laplacian, ...] = ()
    """Laplacians of the content photograph at half its size, at a quarter, ..."""
    view: View | None = None
    """what the aesthetic term looks at; the image itself where there is none"""


def content_target(features: Float[Array, "h w c"], objective: str) -> ContentTarget:
    """ "paper": the mean squared difference; "relative": that over the mean square of the content's features."""
    weight = 1.0 if objective == "paper" else 1.0 / jnp.maximum(jnp.mean(features**2), 1e-12)
    return ContentTarget(features, jnp.float32(weight))


def content_loss(features: Float[Array, "h w c"], target: ContentTarget) -> Float[Array, ""]:
    """Weighted mean squared difference of features."""
    return target.weight * jnp.mean((features - target.features) ** 2)


def style_target(
    style_features: Float[Array, "h2 w2 c"],
    content_masks: Float[Array, "r H W"],
    style_masks: Float[Array, "r H2 W2"],
    size: tuple[int, int],
    layers: int,
    objective: str,
    parts: Float[Array, "r H W"] | None = None,
) -> StyleTarget:
    """The style's Grams at one layer of `layers`, and the masks that its counterpart in the content needs.

    Args:
      style_features: of the style photograph, [h2, w2, C].
      content_masks, style_masks: at image size, summing to one over R.
      size: (h, w) of the content's features at this layer.
      layers: number of style layers, over which the loss is averaged.
      objective: "paper": masks brought to the layer's size by TensorFlow 1's bilinear resize; the mean over C x C of
        (G_style - G)^2 / (2 C^2 (h w)^2), with the content's h w for both Grams, summed over regions. "relative":
        masks averaged over each cell's area, G divided by the region's own area in its own image, the mean squared
        difference over the mean square of the style's Gram, and regions weighted by the square root of their area.
      parts: by whose areas "relative" weighs the regions, if not by those of `content_masks`.
    """
    height, width, channels = *size, style_features.shape[-1]
    if objective == "paper":
        scale = (channels * float(height) * float(width)) ** -0.5
        own = pixels.resize_tf1(content_masks, height, width) * scale
        other = pixels.resize_tf1(style_masks, *style_features.shape[:2]) * scale
        weights = jnp.full(len(content_masks), 0.5 / layers)
        return StyleTarget(own, gram(style_features, other), weights)
    own, own_area = _unit_area(content_masks, height, width)
    other, other_area = _unit_area(style_masks, *style_features.shape[:2])
    wanted = gram(style_features, other)
    common = (own_area > EMPTY) & (other_area > EMPTY)  # a region without a counterpart has no style
    area = own_area if parts is None else _unit_area(parts, height, width)[1]
    share = jnp.where(common, jnp.sqrt(area), 0.0)
    share = share / jnp.maximum(share.sum(), EMPTY)
    size_of_grams = jnp.maximum(jnp.mean(wanted**2, axis=(1, 2)), 1e-12)
    return StyleTarget(own, wanted, share / size_of_grams / layers)


def _unit_area(masks: Array, height: int, width: int) -> tuple[Array, Array]:
    """Masks at a layer's size, their squares summing to one, and the areas [R] they had."""
    small = pixels.area_mean(masks, height, width)
    area = jnp.sum(small**2, axis=(1, 2))
    return small * jax.lax.rsqrt(jnp.maximum(area, EMPTY))[:, None, None], area


def by_pairs(target: StyleTarget) -> StyleTarget:
    """The same target, its loss computed at a cost that hardly grows with the number of regions: for concrete arrays.

    Unchanged where masks overlap too much for that to be worth it. Its form depends on the masks, so targets that are
    to be stacked are used as they are, or all with `pairs=None`.
    """
    return target._replace(pairs=gather(np.asarray(target.masks)))


def style_loss(features: Float[Array, "h w c"], target: StyleTarget) -> Float[Array, ""]:
    """Weighted mean squared difference of Grams, summed over regions."""
    pairs, masks = target.pairs, target.masks
    own = gram(features, masks) if pairs is None else of_pairs(features, pairs, len(masks))
    difference = own - target.grams
    return jnp.sum(target.weights * jnp.mean(difference**2, axis=(1, 2)))


def view(size: int, height: int, width: int) -> View:
    """An image [height, width, 3] brought to a square of `size` pixels, whatever its ratio, as NIMA was trained."""
    return View(*(pixels.resize(jnp.eye(side)[..., None], size, side)[..., 0] for side in (height, width)))


def seen(image: Float[Array, "h w c"], view: View | None) -> Float[Array, "H W c"]:
    """The image resized by a view, or as it is."""
    return image if view is None else jnp.einsum("hwc,Hh,Ww->HWc", image, *view, precision="highest")


def aesthetic_loss(distribution: Float[Array, "10"]) -> Float[Array, ""]:
    """10 minus the mean of the ratings from 1 to 10 that NIMA (arXiv 1709.05424) gives these probabilities."""
    return 10.0 - distribution @ jnp.arange(1.0, 11.0)


def clipping_loss(image: Float[Array, "h w 3"]) -> Float[Array, ""]:
    """Mean squared distance, in 8-bit levels, of an image's values from the range [0, 1]."""
    return jnp.mean((255.0 * (image - jnp.clip(image, 0.0, 1.0))) ** 2)


def photorealism_loss(image: Float[Array, "h w 3"], targets: Targets) -> Float[Array, ""]:
    """The matting Laplacian's energy (arXiv 1703.07511, equation 2): summed ("paper") or a mean over pixels."""
    return targets.laplacian_weight * energy(targets.laplacian, image)


def coherence_loss(image: Float[Array, "h w 3"], targets: Targets) -> Float[Array, ""]:
    """The mean photorealism energy at half the size, plus that at a quarter, and so on (not in the papers).

    The windows of the full size see no more than three pixels: a cloud of colour that drifts across a wall or a sky is
    locally affine there, but not in a window that spans it.
    """
    total = jnp.float32(0)
    for laplacian in targets.coarse:
        image = pixels.halved(image)
        total = total + energy(laplacian, image) / (image.shape[0] * image.shape[1])
    return total


def edge_loss(image: Float[Array, "h w 3"], targets: Targets) -> Float[Array, ""]:
    """1 minus the SSIM (Wang et al. 2004) of the image's and the content's edges. Not in the papers.

    As scikit-image computes it for values in [0, 1]: uniform 7 x 7 windows inside the image, sample covariances.
    """
    size, luminance_constant, contrast_constant = 7, 0.01**2, 0.03**2
    own, other = pixels.edges(image), targets.edges
    planes = jnp.stack([own, other, own**2, other**2, own * other])
    means = jax.lax.reduce_window(planes, 0.0, jax.lax.add, (1, size, size), (1, 1, 1), "VALID") / size**2
    mean, mean_other, square, square_other, product = means
    sample = size**2 / (size**2 - 1)
    variances = sample * (square - mean**2 + square_other - mean_other**2)
    covariance = sample * (product - mean * mean_other)
    lightness = (2 * mean * mean_other + luminance_constant) / (mean**2 + mean_other**2 + luminance_constant)
    structure = (2 * covariance + contrast_constant) / (variances + contrast_constant)
    return 1 - jnp.mean(lightness * structure)
