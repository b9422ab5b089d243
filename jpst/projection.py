"""A result brought into a family of colour changes that cannot melt an edge or blotch a sky. Host code.

The family: at every point of the picture and every brightness one affine map of colours, all of them varying slowly,
the bilateral grid of "Bilateral guided upsampling" (Chen, Adams, Wadhwa and Hasinoff, 2016). Differs from it: the maps
are fitted by local regression (windows that overlap) rather than with a smoothness term, each drawn towards the map of
its whole region; a region has maps of its own. What the family cannot express is kept where the photograph is textured,
where it is detail, and dropped where it is smooth, where it would be a blotch. No colour goes further than a bound from
the base, the closed-form match of the photographs' colours that the optimisation starts from.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.sparse import csr_array

from jpst.colours import AXES
from jpst.pixels import LUMINANCE

CELLS = 24  # of the grid along the picture's longest side
SHADES = 8  # levels of brightness in the grid
SHADE_REACH = 1.0  # the same in levels of brightness
RIDGE = 1e-5  # variance, in [0, 1] squared, below which a window's colours count as one

TEXTURE = 0.04  # standard deviation of luminance at which a place is half textured
TEXTURE_WINDOW = 1 / 140  # of the longest side, for that deviation
TEXTURE_BLUR = 1 / 90  # of the longest side, for its transitions
LEAST = 1e-3  # of a mask: less of a region at a pixel is none

GLOW = 0.01  # most that local chroma deviations may grow; 40 ordinary pairs had 0.044 in a sky with a visible glow
SMOOTH = 0.3  # `texture` below which a place is smooth
GLOW_WINDOW = 1 / 10  # of the longest side: standard deviation of the window
KEPT = np.linspace(1, 0, 21)  # shares of the colour contrast that are tried


class Bounds(NamedTuple):
    """How far a result may go."""

    furthest: float
    """from the base, distance in RGB; a tenth of that stays as it is, to a hundredth"""
    reach: float
    """standard deviation of the window that a map is fitted over, in cells: of `CELLS`, along the longest side"""
    pull: float
    """samples that follow the region's one map, for each sample in the window"""
    texture: float
    """standard deviation of the content's luminance where half of what the family lacks is kept"""
    detail: float | None
    """of the longest side: what the family lacks is kept where it is finer than this; all of it if None"""


CLOSE = Bounds(furthest=0.05, reach=12.0, pull=5.0, texture=TEXTURE, detail=1 / 60)
"""nearly one map for each region and brightness"""


class Grid(NamedTuple):
    """Where the pixels of a picture lie in the grid: `shape` (rows, columns, shades), and weights [pixels, cells]."""

    shape: tuple[int, int, int]
    weights: csr_array


def project(
    content: Float[np.ndarray, "h w 3"],
    result: Float[np.ndarray, "h w 3"],
    base: Float[np.ndarray, "h w 3"],
    masks: Float[np.ndarray, "r h w"],
    bounds: Bounds = CLOSE,
) -> Float[np.ndarray, "h w 3"]:
    """The picture of the family that is nearest to `result`, with the detail of `result` where `content` is textured.

    Args:
      content, result, base: sRGB-encoded RGB; `content` in [0, 1], the others may leave it.
      masks: of the regions, non-negative; what none covers (transparent parts) stays as it is in `result`.
    """
    smooth = nearest(content, result, masks, bounds)
    lacking = result - smooth
    if bounds.detail is not None:
        width = bounds.detail * max(content.shape[:2])
        lacking = lacking - ndimage.gaussian_filter(lacking, (width, width, 0))
    detailed = smooth + texture(content, bounds.texture)[..., None] * lacking
    covered = masks.sum(0)[..., None] > LEAST
    return np.where(covered, near(detailed, np.clip(base, 0, 1), bounds.furthest), result).astype(np.float32)


def near(
    picture: Float[np.ndarray, "h w 3"], base: Float[np.ndarray, "h w 3"], furthest: float
) -> Float[np.ndarray, "h w 3"]:
    """A picture whose colours are less than `furthest` from the base's, in the same direction as before."""
    apart = picture - base
    return base + apart / np.sqrt(1 + np.square(apart).sum(-1, keepdims=True) / furthest**2)


def nearest(
    content: Float[np.ndarray, "h w 3"],
    result: Float[np.ndarray, "h w 3"],
    masks: Float[np.ndarray, "r h w"],
    bounds: Bounds = CLOSE,
) -> Float[np.ndarray, "h w 3"]:
    """`project` without any detail that the family lacks."""
    grid = _grid(content)
    colours = np.concatenate([content, np.ones_like(content[..., :1])], -1).reshape(-1, 4).astype(np.float64)
    wanted = result.reshape(-1, 3).astype(np.float64)
    total, covered = np.zeros_like(wanted), np.zeros(len(wanted))
    for mask in masks.reshape(len(masks), -1).astype(np.float64):
        if mask.max(initial=0) > LEAST:
            maps = (grid.weights @ _maps(grid, colours, wanted, mask, bounds)).reshape(-1, 4, 3)
            total += mask[:, None] * np.einsum("pa,pab->pb", colours, maps)
            covered += mask
    mapped = np.where(covered[:, None] > LEAST, total / np.maximum(covered, LEAST)[:, None], wanted)
    return mapped.reshape(result.shape)


def calmed(
    content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h w 3"], masks: Float[np.ndarray, "r h w"]
) -> tuple[Float[np.ndarray, "h w 3"], float]:
    """Fades the colour contrast of a result until its smooth areas have no glow, and returns the share kept.

    A map that suits the whole photograph can turn the faint gradient of a sky into a glow of another hue. The chromas
    are therefore mixed with the content's, shifted to the mean that each region has in the result. The share of the
    result is the largest with a `glow` of at most `GLOW`. Luminance and mean colours stay.

    Args:
      content, result: sRGB-encoded RGB.
      masks: of the regions, non-negative; what none covers stays as it is in `result`.
    """
    ours, theirs = (picture.astype(np.float64) @ AXES.T for picture in (content, result))
    change = theirs - ours
    areas = np.maximum(masks.sum((1, 2)), LEAST)
    covered = masks.sum(0)
    shares = masks / np.maximum(covered, LEAST)  # of each pixel, however transparent it is
    shift = np.einsum("rhw,rc->hwc", shares, np.einsum("rhw,hwc->rc", masks, change) / areas[:, None])
    lacking = np.where(covered[..., None] > LEAST, shift - change, 0.0)
    lacking[..., 0] = 0.0
    smooth = texture(content, TEXTURE) < SMOOTH
    before = _deviation(ours[..., 1:], smooth)

    def faded(kept: float) -> np.ndarray:
        return theirs + (1 - kept) * lacking

    def glows(kept: float) -> bool:
        return _growth(before, _deviation(faded(kept)[..., 1:], smooth), smooth) > GLOW

    kept = next((kept for kept in KEPT if not glows(kept)), 0.0)
    return (faded(kept) @ np.linalg.inv(AXES).T).astype(np.float32), float(kept)


def glow(
    before: Float[np.ndarray, "h w 2"], after: Float[np.ndarray, "h w 2"], smooth: Bool[np.ndarray, "h w"]
) -> float:
    """The growth of the local standard deviation of the chromas: its 95th percentile over the smooth pixels.

    Multiplied by the square root of their share, as what covers little is seen less.
    """
    return _growth(_deviation(before, smooth), _deviation(after, smooth), smooth)


def _growth(before: np.ndarray, after: np.ndarray, smooth: np.ndarray) -> float:
    """`glow`, of the deviations."""
    return float(np.percentile((after - before)[smooth], 95) * np.sqrt(smooth.mean())) if smooth.any() else 0.0


def _deviation(chromas: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """The standard deviation of the chromas [h, w, 2] around each pixel, over the smooth pixels."""
    width = GLOW_WINDOW * max(smooth.shape)
    weight = smooth.astype(np.float64)
    mass = ndimage.gaussian_filter(weight, width) + LEAST

    def mean(planes: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(weight[..., None] * planes, (width, width, 0)) / mass[..., None]

    return np.sqrt(np.maximum(mean(chromas**2) - mean(chromas) ** 2, 0).sum(-1))


def _grid(content: np.ndarray) -> Grid:
    """Trilinear interpolation between the cells' centres: a row of weights for each pixel, which sum to one."""
    height, width = content.shape[:2]
    scale = CELLS / max(height, width)
    shape = (int(np.ceil(height * scale)) + 1, int(np.ceil(width * scale)) + 1, SHADES)
    rows, columns = ((np.arange(side) + 0.5) * scale for side in (height, width))
    shades = np.clip(content @ LUMINANCE, 0, 1) * (SHADES - 1)
    places = [np.broadcast_to(x, (height, width)).ravel() for x in (rows[:, None], columns[None], shades)]
    low = [np.minimum(place.astype(int), size - 2) for place, size in zip(places, shape, strict=True)]
    part = [place - floor for place, floor in zip(places, low, strict=True)]
    cells, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        at = [floor + step for floor, step in zip(low, corner, strict=True)]
        cells.append(np.ravel_multi_index(tuple(at), shape))
        weights.append(np.prod([x if step else 1 - x for x, step in zip(part, corner, strict=True)], axis=0))
    pixels = np.broadcast_to(np.arange(height * width), (8, height * width))
    indices = (pixels.ravel(), np.concatenate(cells))
    return Grid(shape, csr_array((np.concatenate(weights), indices), shape=(height * width, int(np.prod(shape)))))


def _maps(grid: Grid, colours: np.ndarray, wanted: np.ndarray, mask: np.ndarray, bounds: Bounds) -> np.ndarray:
    """The affine map of each cell [cells, 12] for the pixels of one region, by weighted least squares."""
    squares = (colours[:, :, None] * colours[:, None, :]).reshape(-1, 16)
    products = (colours[:, :, None] * wanted[:, None, :]).reshape(-1, 12)
    moments = grid.weights.T @ (mask[:, None] * np.concatenate([squares, products], -1))
    whole = moments.sum(0) / mask.sum()
    ridge = RIDGE * np.diag([1.0, 1.0, 1.0, 0.0])
    identity = np.eye(4, 3)
    square, product = whole[:16].reshape(4, 4), whole[16:].reshape(4, 3)
    one = np.linalg.solve(square + ridge, product + ridge @ identity)
    for axis, reach in enumerate((bounds.reach, bounds.reach, SHADE_REACH)):
        moments = ndimage.gaussian_filter1d(moments.reshape(*grid.shape, -1), reach, axis=axis, mode="constant")
    moments = moments.reshape(-1, 28)
    mass = moments[:, 15] + 1e-9  # a cell that nothing is near to has the region's map
    pulled = (bounds.pull * mass + 1e-6)[:, None, None]
    left = moments[:, :16].reshape(-1, 4, 4) + pulled * square + mass[:, None, None] * ridge
    right = moments[:, 16:].reshape(-1, 4, 3) + pulled * (square @ one) + mass[:, None, None] * (ridge @ one)
    return np.linalg.solve(left, right).reshape(-1, 12)


def texture(content: Float[np.ndarray, "h w 3"], half: float) -> Float[np.ndarray, "h w"]:
    """How textured a photograph is around each pixel: 0 smooth, 1/2 where its luminance has the deviation `half`."""
    longest = max(content.shape[:2])
    luminance = content @ LUMINANCE
    window, blur = TEXTURE_WINDOW * longest, TEXTURE_BLUR * longest
    mean = ndimage.gaussian_filter(luminance, window)
    variance = np.maximum(ndimage.gaussian_filter(luminance**2, window) - mean**2, 0)
    return ndimage.gaussian_filter(variance / (variance + half**2), blur)
