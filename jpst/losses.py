"""Pure scalar losses on one image, and their targets.

Each target contains its normalisation, so the same functions compute the paper's objective (sums as in arXiv 1901.03915
and its TensorFlow code) and jpst's (Grams divided by region area, differences relative to the target's size; arXiv
1703.07511 with the changes described at `style_target`).
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
"""a mask whose sum of squares is smaller is empty; any other mask counts, as its Gram is divided by that sum"""


class ContentTarget(NamedTuple):
    """Features of the content photograph at one layer."""

    features: Float[Array, "h w c"]
    weight: Float[Array, ""]


class StyleTarget(NamedTuple):
    """The style Grams of one layer, region by region, and the masks for the image's Grams."""

    masks: Float[Array, "r h w"]
    """the content's regions at the layer's size, scaled so that the Gram is normalised"""
    grams: Float[Array, "r c c"]
    """the style photograph's Grams, normalised in the same way"""
    weights: Float[Array, " r"]
    pairs: Pairs | None = None
    """the masks as lists from `by_pairs`, from which the loss is computed if they are given"""


class View(NamedTuple):
    """An antialiased resize as two matrices: rows @ image @ columns^T."""

    rows: Float[Array, "H h"]
    columns: Float[Array, "W w"]


class Targets(NamedTuple):
    """Everything that the losses compare the image with, computed once by `jpst.prepare`: a pytree.

    For content photographs of [h, w, 3].
    """

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
    """the content photograph's edges, for the edge loss"""
    coarse: tuple[Laplacian, ...] = ()
    """Laplacians of the content photograph at half its size, at a quarter, ..."""
    view: View | None = None
    """the resize before the aesthetic network; None if it gets the image unchanged"""


def content_target(features: Float[Array, "h w c"], objective: str) -> ContentTarget:
    """The target of `content_loss`: "relative" divides by the mean square of the features, "paper" does not."""
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
    """The style's Grams at one of the style layers, and the content masks at the size of that layer.

    Args:
      style_features: of the style photograph, [h2, w2, C].
      content_masks, style_masks: at image size, summing to one over R.
      size: (h, w) of the content's features at this layer.
      layers: number of style layers, over which the loss is averaged.
      objective: "paper": masks resized to the layer with TensorFlow 1's bilinear resize; the mean over C x C of
        (G_style - G)^2 / (2 C^2 (h w)^2), with the content's h w for both Grams, summed over regions. "relative":
        masks averaged over the area of each cell, G divided by the area of the region in the same photograph, the mean
        squared difference relative to the mean square of the style's Gram, and regions weighted by the square root of
        their area in the content.
      parts: masks whose areas weight the regions in "relative", if not `content_masks`.
    """
    height, width, channels = *size, style_features.shape[-1]
    if objective == "paper":
        scale = (channels * float(height) * float(width)) ** -0.5
        content = pixels.resize_tf1(content_masks, height, width) * scale
        style = pixels.resize_tf1(style_masks, *style_features.shape[:2]) * scale
        weights = jnp.full(len(content_masks), 0.5 / layers)
        return StyleTarget(content, gram(style_features, style), weights)
    content, content_area = _unit_area(content_masks, height, width)
    style, style_area = _unit_area(style_masks, *style_features.shape[:2])
    grams = gram(style_features, style)
    common = (content_area > EMPTY) & (style_area > EMPTY)  # a region without a counterpart has no style
    area = content_area if parts is None else _unit_area(parts, height, width)[1]
    share = jnp.where(common, jnp.sqrt(area), 0.0)
    share = share / jnp.maximum(share.sum(), EMPTY)
    size_of_grams = jnp.maximum(jnp.mean(grams**2, axis=(1, 2)), 1e-12)
    return StyleTarget(content, grams, share / size_of_grams / layers)


def _unit_area(masks: Array, height: int, width: int) -> tuple[Array, Array]:
    """Masks at a layer's size, scaled so that their squares sum to one, and their areas [R] before."""
    small = pixels.area_mean(masks, height, width)
    area = jnp.sum(small**2, axis=(1, 2))
    return small * jax.lax.rsqrt(jnp.maximum(area, EMPTY))[:, None, None], area


def by_pairs(target: StyleTarget) -> StyleTarget:
    """Adds `pairs` to a target, with which the cost of the loss hardly depends on the number of regions.

    Needs concrete arrays. Adds None if masks overlap too much for this to pay off. The shapes of `pairs` depend on the
    masks: to stack targets, use them without `pairs`.
    """
    return target._replace(pairs=gather(np.asarray(target.masks)))


def style_loss(features: Float[Array, "h w c"], target: StyleTarget) -> Float[Array, ""]:
    """Weighted mean squared difference of Grams, summed over regions."""
    pairs, masks = target.pairs, target.masks
    grams = gram(features, masks) if pairs is None else of_pairs(features, pairs, len(masks))
    difference = grams - target.grams
    return jnp.sum(target.weights * jnp.mean(difference**2, axis=(1, 2)))


def view(size: int, height: int, width: int) -> View:
    """The resize of an image [height, width, 3] of any ratio to a square of `size` pixels, as for NIMA's training."""
    return View(
        *(pixels.resize(jnp.eye(side, dtype=jnp.float32)[..., None], size, side)[..., 0] for side in (height, width))
    )


def seen(image: Float[Array, "h w c"], view: View | None) -> Float[Array, "H W c"]:
    """Resizes an image by a view; unchanged without one."""
    return image if view is None else jnp.einsum("hwc,Hh,Ww->HWc", image, *view, precision="highest")


def aesthetic_loss(distribution: Float[Array, "10"]) -> Float[Array, ""]:
    """10 minus the mean rating, from NIMA's probabilities (arXiv 1709.05424) of the ratings 1 to 10."""
    return 10.0 - distribution @ jnp.arange(1.0, 11.0, dtype=jnp.float32)


def clipping_loss(image: Float[Array, "h w 3"]) -> Float[Array, ""]:
    """Mean squared distance, in 8-bit levels, of the image's values from the range [0, 1]."""
    return jnp.mean((255.0 * (image - jnp.clip(image, 0.0, 1.0))) ** 2)


def photorealism_loss(image: Float[Array, "h w 3"], targets: Targets) -> Float[Array, ""]:
    """The matting Laplacian's energy (arXiv 1703.07511, equation 2): the sum ("paper") or the mean over pixels."""
    return targets.laplacian_weight * energy(targets.laplacian, image)


def coherence_loss(image: Float[Array, "h w 3"], targets: Targets) -> Float[Array, ""]:
    """The mean photorealism energy at half the size, plus that at a quarter, and so on. Not in the papers.

    Windows at full size span only three pixels: a cloud of colour across a wall or a sky is locally affine in them, but
    not in the larger windows of a smaller size.
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
    edges, content = pixels.edges(image), targets.edges
    planes = jnp.stack([edges, content, edges**2, content**2, edges * content])
    means = jax.lax.reduce_window(planes, 0.0, jax.lax.add, (1, size, size), (1, 1, 1), "VALID") / size**2
    mean, content_mean, square, content_square, product = means
    sample = size**2 / (size**2 - 1)
    variances = sample * (square - mean**2 + content_square - content_mean**2)
    covariance = sample * (product - mean * content_mean)
    lightness = (2 * mean * content_mean + luminance_constant) / (mean**2 + content_mean**2 + luminance_constant)
    structure = (2 * covariance + contrast_constant) / (variances + contrast_constant)
    return 1 - jnp.mean(lightness * structure)
