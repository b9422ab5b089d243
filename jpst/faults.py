"""Measures the faults of a result: lost edges, colour drift, halos, invented edges, banding.

Content and result are float [H, W, 3], sRGB in [0, 1], of the same size and as written (rounded to 8 bits). The
constants are for a longest side of 350 to 400 pixels. The numbers depend on that size, so measure at it, as
`of_pictures` does. A change that is uniform over the image (darker, flatter, another tint) is no fault: each number
measures what varies from place to place.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from jpst import pixels

SIZE = 350  # pixels, longest side at which images are measured
BLUR = 1.0  # pixels, standard deviation: so that noise does not count as edges
STRONG = 0.04  # luminance per pixel: the gradient of a step by a tenth of the range after BLUR
FAINT = 0.012  # luminance per pixel: the same in fog
KEPT = 0.2  # of the image's typical gain: an edge with less is lost
LEAST_GAIN = 0.15  # an image whose edges are all weaker than this has lost them
NEAR, FAR = 3, 8  # pixels from a strong edge: the band of halos, outside the blur of the edge itself
GRAIN = 0.005  # luminance per pixel: invisible gradients
ALIKE = 2.0  # CIELAB: colours that are hard to tell apart
OFFSETS = (32, 16)  # neighbours are the longest side divided by these apart
SMOOTH = 2.0  # pixels, standard deviation: blotches have soft outlines
FLAT = 0.4  # CIELAB per pixel: an invisible gradient
OUTLINE = 1.2  # CIELAB per pixel: a visible gradient in a place that was flat
CALM = 3  # pixels around a place that must be flat too
PLATEAU = 6  # pixels in a row with the same value
STEP = 3  # of 255: smaller steps are invisible, and rounding alone makes steps of one
SLOPE = 1.5  # CIELAB per pixel: gradients as on skies and walls
MIXED = 5  # pixels: in windows of this size downscaling mixes transparent and opaque pixels
FEW = 64  # pixels: fewer are too few to measure

Image = Float[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]


class Faults(NamedTuple):
    """The faults of one result compared with its content.

    The best values are 0, and 1 for `halo`. Shares are in [0, 1].
    """

    edges_lost: float
    """Share of the content's strong luminance edges that are lost or reversed. An edge is lost if the result's gradient
    along the content's gradient is less than `KEPT` times the typical gain times the content's gradient. The typical
    gain is the 75th percentile of the gains over the strong edges, 1 at most and `LEAST_GAIN` at least. An edge is
    strong if its gradient is over `STRONG`; if less than 5 % of an image is, the steepest 5 % over `FAINT` are."""
    spread: float
    """CIELAB, 0 and up: how far similar places moved apart. For each pixel, among its neighbours at 1/32 and 1/16 of
    the longest side in eight directions whose content colours are within `ALIKE`, the largest difference of colour
    change (result minus content). The value is the 95th percentile over all pixels."""
    halo: float
    """Root mean square luminance gradient in a band beside the content's strong edges (`NEAR` to `FAR` pixels away),
    result divided by content. 1 is as in the content, more is ghost edges and glow, less is washed out. The typical
    gain is divided out; gradients under `GRAIN` do not count."""
    new_edges: float
    """Share of the content's flat places (CIELAB gradient under `FLAT` there and `CALM` pixels around) where the result
    has an edge in colour or lightness: a gradient over `OUTLINE`, times the typical gain if that is over 1."""
    banding: float
    """Share of the content's smooth places (CIELAB gradient under `SLOPE`) that are part of a band in the result: a run
    of `PLATEAU` or more pixels of one 8-bit value, next to another run that differs by `STEP` or more, in any channel,
    along rows or columns, where no channel of the content has such a step."""


BOUNDS = Faults(edges_lost=0.03, spread=10.0, halo=1.3, new_edges=0.03, banding=0.03)
"""Faults above these bounds are visible at first sight. Of 17 results of ordinary pairs, eight had wrongly paired
regions. The bounds flag all six results that this spoilt, and one more. The others have 1 to 3 % of edges lost, a
spread of 4 to 10, 0 to 2 % new edges, a halo of 0.9 to 1.1 and no banding."""


def beyond(found: Faults) -> dict[str, float]:
    """The numbers that exceed `BOUNDS`, by name; NaN does."""
    return {name: value for name, value in found._asdict().items() if not value <= getattr(BOUNDS, name)}


def small(picture: Float[np.ndarray, "H W c"], size: tuple[int, int] | None = None) -> Float[np.ndarray, "h w c"]:
    """Resizes to the measuring size, or to `size` (height, width) if given, and rounds to 8 bits."""
    size = size or pixels.working_size(picture.shape[0], picture.shape[1], SIZE)
    return np.round(255 * np.asarray(pixels.at_size(np.asarray(picture, np.float32), size))) / 255


def of_pictures(
    content: Float[np.ndarray, "h w 3"],
    result: Float[np.ndarray, "H W 3"],
    alpha: Float[np.ndarray, "h w"] | None = None,
) -> Faults:
    """`measure` for two images of any sizes, resized to the measuring size.

    Fully transparent pixels (`alpha` 0) are filled from their neighbours.
    """
    size = pixels.working_size(result.shape[0], result.shape[1], SIZE)
    content, result = small(content, size), small(result, size)
    if alpha is not None and not alpha.all():
        covered = small((alpha > 0)[..., None].astype(np.float32), size)[..., 0]
        seen = ndimage.minimum_filter(covered, MIXED) == 1
        if seen.sum() < FEW:
            return measure(content, content)
        content, result = (pixels.filled(each, seen.astype(np.float32)) for each in (content, result))
    return measure(content, result)


def measure(content: Image, result: Image) -> Faults:
    """Measures all faults. A number has its best value if fewer than `FEW` pixels are of the kind that it measures."""
    return measured(content, result)[0]


def measured(content: Image, result: Image) -> tuple[Faults, Float[np.ndarray, "h w"]]:
    """`measure`, and how far each pixel and one that was like it moved apart, of which `spread` is a percentile."""
    from skimage.color import rgb2lab

    content, result = (np.asarray(each, np.float64) for each in (content, result))
    light, light_after = (_gradient(each @ pixels.LUMINANCE, BLUR) for each in (content, result))
    steep = _magnitude(light)
    strong = steep > np.clip(np.percentile(steep, 95), FAINT, STRONG)
    gains = (light * light_after).sum(-1)[strong] / np.square(light[strong]).sum(-1)
    judged = gains.size >= FEW
    gain = max(float(np.percentile(np.abs(gains), 75)), LEAST_GAIN) if judged else 1.0
    lab, lab_after = (rgb2lab(each) for each in (content, result))
    apart = _apart(lab, lab_after)
    found = Faults(
        edges_lost=float(np.mean(gains <= KEPT * min(gain, 1.0))) if judged else 0.0,
        spread=float(np.percentile(apart, 95)),
        halo=_halo(strong, light, light_after, gain) if judged else 1.0,
        new_edges=_new_edges(lab, lab_after, gain),
        banding=_banding(lab, content, result),
    )
    return found, apart


def _gradient(image: np.ndarray, blur: float) -> np.ndarray:
    """Derivatives of the blurred planes down and across, on a last axis of two."""
    blurred = [ndimage.gaussian_filter1d(image, blur, axis=1 - axis) for axis in (0, 1)]
    return np.stack([ndimage.gaussian_filter1d(blurred[axis], blur, axis=axis, order=1) for axis in (0, 1)], -1)


def _magnitude(gradient: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(gradient).sum(tuple(range(2, gradient.ndim))))


def _halo(strong: Mask, light: np.ndarray, light_after: np.ndarray, gain: float) -> float:
    away = np.asarray(ndimage.distance_transform_edt(~strong))
    band = (away >= NEAR) & (away <= FAR)
    if band.sum() < FEW:
        return 1.0
    before, after = (np.mean(np.square(each[band]).sum(-1)) for each in (light, light_after))
    return float(np.sqrt((after + GRAIN**2) / (gain**2 * before + GRAIN**2)))


def _apart(lab: Image, lab_after: Image) -> Float[np.ndarray, "h w"]:
    lab, lab_after = (ndimage.gaussian_filter(each, (BLUR, BLUR, 0)) for each in (lab, lab_after))
    change = lab_after - lab
    height, width = lab.shape[:2]
    apart = np.zeros((height, width))
    for part in OFFSETS:
        step = max(1, max(height, width) // part)
        for down, across in ((0, step), (step, 0), (step, step), (step, -step)):
            rows, columns = _shifted(height, down), _shifted(width, across)
            first, second = (rows[0], columns[0]), (rows[1], columns[1])
            alike = np.linalg.norm(lab[first] - lab[second], axis=-1) < ALIKE
            moved = alike * np.linalg.norm(change[first] - change[second], axis=-1)
            for each in (first, second):
                apart[each] = np.maximum(apart[each], moved)
    return apart


def _shifted(length: int, step: int) -> tuple[slice, slice]:
    """Two slices of a line of pixels, the second moved by `step`, where both are inside the line."""
    first, second = slice(0, max(length - abs(step), 0)), slice(abs(step), length)
    return (first, second) if step >= 0 else (second, first)


def _new_edges(lab: Image, lab_after: Image, gain: float) -> float:
    before, after = (_magnitude(_gradient(each, SMOOTH)) for each in (lab, lab_after))
    flat = ndimage.maximum_filter(before, 2 * CALM + 1) < FLAT
    return float(np.mean(after[flat] > OUTLINE * max(gain, 1.0))) if flat.sum() >= FEW else 0.0


def _banding(lab: Image, content: Image, result: Image) -> float:
    smooth = _magnitude(_gradient(lab, BLUR)) < SLOPE
    if smooth.sum() < FEW:
        return 0.0
    levels, levels_after = (np.rint(255 * each).astype(np.int16) for each in (content, result))
    stepped = np.zeros(smooth.shape, bool)
    for channel in range(3):
        stepped |= _plateaus(levels, levels_after[..., channel], smooth)
        stepped |= _plateaus(levels.transpose(1, 0, 2), levels_after[..., channel].T, smooth.T).T
    return float(np.mean(stepped[smooth]))


def _plateaus(before: np.ndarray, after: np.ndarray, smooth: Mask) -> Mask:
    """Pixels of runs along the rows of `after`, one channel, that end in a step which `before` does not have."""
    starts = np.ones(after.shape, bool)
    starts[:, 1:] = after[:, 1:] != after[:, :-1]
    run = np.cumsum(starts.ravel()).reshape(after.shape) - 1
    wide = np.bincount(run.ravel()) >= PLATEAU
    left, right = run[:, :-1], run[:, 1:]
    step = (np.abs(np.diff(after)) >= STEP) & (np.abs(np.diff(before, axis=1)) < STEP).all(-1)
    step &= wide[left] & wide[right] & smooth[:, :-1] & smooth[:, 1:]
    found = np.zeros(wide.shape, bool)
    found[left[step]] = found[right[step]] = True
    return found[run]
