"""Shared regions of two photographs without labels: a joint clustering of their deep VGG19 features. Host code.

Inspired by deep feature factorisation (Collins et al., arXiv 1806.10206), which factors the deep features of several
images jointly. Differs from it: features of four layers, plus colour and vertical position; each photograph is first
divided into connected segments (Ward's method on the grid of features); these are then merged across both photographs,
with a discount for merging segments of different photographs. No random numbers.
"""

import importlib
import threading
import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from scipy import linalg

from jpst import pixels
from jpst.caching import cached
from jpst.masks import refine
from jpst.models import vgg19
from jpst.regions import segment
from jpst.regions.segment import Segmentation

LAYERS = ("relu3_4", "relu4_4", "relu5_1", "relu5_4")

# The numbers below were chosen on the 24 public pairs of Deep Photo Style Transfer; benchmarks/masks.py measures them.
SIZE = 384  # longest side of the network's input; the cells of the features are 8 pixels wide
CELL = 8
COMPONENTS = 48  # principal components of each layer
SEGMENTS = 60  # connected segments into which a photograph is first divided
DOMAIN = 0.8  # share of each photograph's mean that is removed: the difference between day and night, for example
COLOUR_WEIGHT = 0.3  # of CIELAB / 50; the features of a cell have unit variance
HEIGHT_WEIGHT = 1.0  # of the vertical position, in 0..1
SHARING = 0.7  # discount for merging a content segment with a style segment
UNEXPLAINED = 0.45  # segments are merged while the remaining mergers make up at least this part of all merging costs
MOST, FEWEST = 9, 2  # regions
REASSIGNMENTS = 3
LEAST_SHARE = 0.01  # minimum share of both photographs for a shared region
EDGE_EPSILON = 1e-3


class Merge(NamedTuple):
    """Cluster `second` joins cluster `first`."""

    first: int
    second: int
    cost: float


def cosegment(
    content: Float[np.ndarray, "h w 3"],
    style: Float[np.ndarray, "h2 w2 3"],
    variables: PyTree,
    alphas: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> tuple[Segmentation, Segmentation]:
    """Segments two photographs, sRGB in [0, 1], into regions with the same names.

    Args:
      variables: VGG19's.
      alphas: [H, W] in [0, 1] or None; pixels below a half are ignored.

    Returns:
      Two segmentations, each at most 384 pixels wide or high. The number of regions is found from the photographs (2
      to 9; fewer only if they share less); each region covers at least 1 % of both. Names are "region 1" ..., the
      largest first.
    """
    # This import takes half a second, during which the network does not need the interpreter.
    threading.Thread(target=importlib.import_module, args=("sklearn.cluster",)).start()
    small = [at_size(np.asarray(photograph, np.float32)) for photograph in (content, style)]
    visible = [_visible(alpha, picture) for alpha, picture in zip(alphas, small, strict=True)]
    with jax.default_matmul_precision("float32"):  # as for labels
        found = [features(variables, picture, LAYERS) for picture in small]
    cells = _describe(found, small, visible)
    labels = [_everywhere(each, seen) for each, seen in zip(cluster(cells, visible), visible, strict=True)]
    count = 1 + max(int(each.max()) for each in labels)
    names = tuple(f"region {number}" for number in range(1, count + 1))
    maps = [_to_edges(each, count, picture) for each, picture in zip(labels, small, strict=True)]
    return Segmentation(maps[0], names), Segmentation(maps[1], names)


def at_size(photograph: np.ndarray) -> Array:
    """The photograph at the network's input size: sides are multiples of 32, so that the cells of all layers nest."""
    rows, columns = photograph.shape[:2]
    height, width = pixels.working_size(rows, columns, SIZE, 32)
    return pixels.at_size(photograph, (max(height, 32), max(width, 32)))


def _visible(alpha: np.ndarray | None, picture: Array) -> Bool[np.ndarray, "h w"]:
    """The cells of a picture that can be seen."""
    shape = picture.shape[0] // CELL, picture.shape[1] // CELL
    return np.ones(shape, bool) if alpha is None else segment.visible(alpha, shape)


def _everywhere(labels: np.ndarray, visible: np.ndarray) -> Int[np.ndarray, "h w"]:
    """A map of labels: each cell that is not visible gets the label of the nearest visible cell."""
    found = np.zeros(visible.shape, labels.dtype)
    found[visible] = labels
    return found[segment.nearest_visible(visible)]


@partial(cached, static_argnums=(2,))
def features(variables: PyTree, image: Float[Array, "h w 3"], layers: tuple[str, ...]) -> dict[str, Array]:
    """The square roots of the features on cells of 8 x 8 pixels; the root damps a few strong channels."""
    height, width = image.shape[0] // CELL, image.shape[1] // CELL
    found = vgg19.features(variables, image, layers)
    return {name: jax.image.resize(jnp.sqrt(x), (height, width, x.shape[-1]), "linear") for name, x in found.items()}


def _describe(found: list[dict[str, Array]], images: list[Array], visible: list[np.ndarray]) -> list[np.ndarray]:
    """The descriptors to cluster, [n, D] for each photograph's n visible cells: feature components, colour, height."""
    from skimage.color import rgb2lab

    parts: list[list[np.ndarray]] = [[], []]
    for layer in LAYERS:
        cells = [np.asarray(each[layer])[seen] for each, seen in zip(found, visible, strict=True)]
        for part, components in zip(parts, _components(cells), strict=True):
            part.append(components / np.sqrt(len(LAYERS)))
    colours = [
        rgb2lab(np.asarray(pixels.area_mean(jnp.moveaxis(image, -1, 0), *seen.shape)).transpose(1, 2, 0))[seen] / 50
        for image, seen in zip(images, visible, strict=True)
    ]
    for part, colour in zip(parts, _closer(colours), strict=True):
        part.append(COLOUR_WEIGHT * colour)
    for part, seen in zip(parts, visible, strict=True):
        rows = (np.nonzero(seen)[0] + 0.5) / len(seen)
        part.append(HEIGHT_WEIGHT * rows[:, None])
    return [np.concatenate(part, axis=-1).astype(np.float64) for part in parts]


def _components(cells: list[np.ndarray]) -> list[np.ndarray]:
    """The principal components of both photographs' features [n, channels] of one layer, with unit total variance."""
    channels = cells[0].shape[-1]
    both = np.concatenate(cells).astype(np.float64)
    mean = both.mean(0)
    spread = np.sqrt(max(np.square(both - mean).sum(1).mean(), 1e-12))
    largest = max(channels - COMPONENTS, 0), channels - 1
    vectors = linalg.eigh(np.cov(both, rowvar=False), subset_by_index=largest)[1]
    return _closer([(each - mean) / spread @ vectors for each in cells])


def _closer(cells: list[np.ndarray]) -> list[np.ndarray]:
    """Moves the means of the two photographs towards each other, by the share `DOMAIN`."""
    means = [each.mean(0) for each in cells]
    middle = (means[0] + means[1]) / 2
    return [each - middle - DOMAIN * (mean - middle) for each, mean in zip(cells, means, strict=True)]


def cluster(
    cells: list[Float[np.ndarray, "_ d"]], visible: list[Bool[np.ndarray, "_ _"]]
) -> list[Int[np.ndarray, " _"]]:
    """Clusters two sets of points, the visible cells of each grid. Labels are 0, 1, ..., the largest region first."""
    segments = [_segments(points, seen) for points, seen in zip(cells, visible, strict=True)]
    counts = [1 + int(each.max()) for each in segments]
    shares = np.zeros((sum(counts), 2))  # [segments, (content, style)]
    shares[: counts[0], 0] = np.bincount(segments[0]) / segments[0].size
    shares[counts[0] :, 1] = np.bincount(segments[1]) / segments[1].size
    means = np.concatenate(
        [_means([points], [each], n) for points, each, n in zip(cells, segments, counts, strict=True)]
    )
    merges = _merge_all(means, shares)
    joined = _replay(merges, len(means), _number_of_regions(merges))
    labels = [joined[: counts[0]][segments[0]], joined[counts[0] :][segments[1]]]
    for _ in range(REASSIGNMENTS):
        labels = _nearest(cells, labels)
    return _largest_first(_merge_unshared(cells, labels))


def _segments(points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Connected segments of one photograph: [n] labels."""
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.image import grid_to_graph

    if len(points) <= SEGMENTS:
        return np.arange(len(points))
    graph = grid_to_graph(*visible.shape, mask=visible)
    with warnings.catch_warnings():  # it warns of parts separated by transparent cells, and then joins them
        warnings.simplefilter("ignore", UserWarning)
        return AgglomerativeClustering(SEGMENTS, linkage="ward", connectivity=graph).fit_predict(points)


def _merge_all(means: np.ndarray, shares: np.ndarray) -> list[Merge]:
    """Ward's method down to one cluster: the merger with the least increase in variance, discounted by SHARING.

    Weights are shares of the photographs, so that both count equally whatever their sizes.
    """
    means, shares = means.copy(), shares.copy()
    alive = np.ones(len(means), bool)

    def costs(one: int) -> np.ndarray:
        weights = shares.sum(1)
        sides = shares / weights[:, None]
        apart = np.abs(sides - sides[one]).sum(1) / 2  # 1: one cluster is in the content only, the other in the style
        variance = np.square(means - means[one]).sum(1) * weights * weights[one] / (weights + weights[one])
        return np.where(alive & (np.arange(len(means)) != one), variance * (1 - SHARING * apart), np.inf)

    table = np.stack([costs(one) for one in range(len(means))])
    merges = []
    for _ in range(len(means) - 1):
        first, second = np.unravel_index(table.argmin(), table.shape)
        merges.append(Merge(int(first), int(second), float(table[first, second])))
        weights = shares[[first, second]].sum(1)
        means[first] = weights @ means[[first, second]] / weights.sum()
        shares[first] += shares[second]
        alive[second] = False
        table[second] = table[:, second] = np.inf
        table[first] = table[:, first] = costs(int(first))
    return merges


def _number_of_regions(merges: list[Merge]) -> int:
    """The fewest regions for which the remaining mergers cost less than UNEXPLAINED of all mergers."""
    costs = np.array([merge.cost for merge in reversed(merges)])
    left = 1 - np.cumsum(costs) / max(costs.sum(), 1e-12)  # after the last merger is undone, the last two, ...
    needed = 2 + int(np.argmax(left < UNEXPLAINED)) if len(costs) else 1
    return int(np.clip(needed, min(FEWEST, len(merges) + 1), MOST))


def _replay(merges: list[Merge], points: int, regions: int) -> np.ndarray:
    labels = np.arange(points)
    for merge in merges[: max(points - regions, 0)]:
        labels[labels == merge.second] = merge.first
    return np.unique(labels, return_inverse=True)[1]


def _means(cells: list[np.ndarray], labels: list[np.ndarray], count: int) -> np.ndarray:
    """The mean [count, D] of the points of each label; both photographs have the same weight."""
    sums = sum(_sums(points, each, count) / each.size for points, each in zip(cells, labels, strict=True))
    totals = sum(np.bincount(each, minlength=count) / each.size for each in labels)
    return sums / np.maximum(totals, 1e-12)[:, None]


def _sums(points: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    sums = np.zeros((count, points.shape[1]))
    np.add.at(sums, labels, points)
    return sums


def _nearest(cells: list[np.ndarray], labels: list[np.ndarray]) -> list[np.ndarray]:
    """One step of Lloyd's algorithm: assigns each point to the cluster with the nearest mean."""
    means = _means(cells, labels, 1 + max(int(each.max()) for each in labels))
    return [np.argmin(np.square(means).sum(1) - 2 * points @ means.T, axis=1) for points in cells]


def _merge_unshared(cells: list[np.ndarray], labels: list[np.ndarray]) -> list[np.ndarray]:
    """Merges regions that one photograph (nearly) lacks into the nearest region by Ward's cost, smallest first."""
    while True:
        count = 1 + max(int(each.max()) for each in labels)
        shares = np.stack([np.bincount(each, minlength=count) / each.size for each in labels])
        weights = shares.sum(0)
        unshared = np.flatnonzero((weights > 0) & (shares.min(0) < LEAST_SHARE))
        if not len(unshared) or np.count_nonzero(weights) == 1:
            return labels
        one = unshared[weights[unshared].argmin()]
        means = _means(cells, labels, count)
        costs = (
            np.square(means - means[one]).sum(1) * weights * weights[one] / np.maximum(weights + weights[one], 1e-12)
        )
        costs[(weights == 0) | (np.arange(count) == one)] = np.inf
        labels = [np.where(each == one, costs.argmin(), each) for each in labels]


def _largest_first(labels: list[np.ndarray]) -> list[np.ndarray]:
    count = 1 + max(int(each.max()) for each in labels)
    shares = sum(np.bincount(each, minlength=count) / each.size for each in labels)
    rank = np.argsort(np.argsort(-np.asarray(shares), kind="stable"), kind="stable")
    return [rank[each].astype(np.int32) for each in labels]


def _to_edges(labels: np.ndarray, count: int, image: Array) -> np.ndarray:
    """Labels [h, w] of cells at the image's size, aligned with its edges: int32 [H, W]."""
    masks = jax.image.resize(jax.nn.one_hot(labels, count), (*image.shape[:2], count), "linear")
    refined = refine(jnp.moveaxis(masks, -1, 0), image, CELL, EDGE_EPSILON)
    return np.asarray(jnp.argmax(refined, axis=0), np.int32)
