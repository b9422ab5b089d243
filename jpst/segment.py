"""One image, or one pair of painted masks, to label maps with names; masks to the image's edges."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from jpst import pixels
from jpst.caching import cached
from jpst.errors import JpstError

WHOLE = "whole image"

MAXIMUM_REGIONS = 24  # nobody paints more by hand; photographs have hundreds of colours that large

# Distances between colours are Euclidean in 8-bit RGB.
COLOUR_RADIUS = 24.0  # JPEG noise and soft brushes stay within this of the colour that was meant
SLOPE_REACH = 64.0  # how far from a colour the slope of its own histogram peak is followed
PURE_RADIUS = 12.0  # a pixel this near to a main colour was painted with it ...
PURE_SHARE = 0.7  # ... as are 85 % and more of a mask's flat pixels, and half or less of most photographs'
NAME_RADIUS = 48.0  # about 10 % of the range in each channel: "blue" need not be exactly 0, 0, 255

FLAT_RANGE = 32  # levels over 3 x 3 pixels; an edge between two regions spans far more
MINIMUM_COLOUR_SHARE = 1e-4  # of flat pixels, to be worth testing as a region's colour
MINIMUM_REGION_SHARE = 5e-4  # of solid pixels on one side; a quarter of the smallest region in use (0.2 %)

USUAL_COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "light blue": (0, 255, 255),
    "purple": (255, 0, 255),
}

ASPECT_TOLERANCE = 0.03

TRACE_OF_REGION = 0.01  # less of a region at a pixel is none

_ADVICE = (
    "Paint each region in one flat colour, the same one in both masks, and save them as PNG; or leave both masks out."
)


class MaskError(JpstError):
    """A mask that cannot be used: not painted in flat colours, or of another shape than its photograph."""


class Segmentation(NamedTuple):
    """Which region each pixel belongs to: `labels` int32 [H, W], values in 0..len(names)-1."""

    labels: np.ndarray
    names: tuple[str, ...]


def whole(height: int, width: int) -> Segmentation:
    """The segmentation of a picture without masks: one region."""
    return Segmentation(np.zeros((height, width), np.int32), (WHOLE,))


def beside(path: str | Path) -> Path | None:
    """The painted mask of a photograph, `<stem>_seg.png` in the same folder, or None."""
    path = Path(path)
    mask = path.with_name(f"{path.stem}_seg.png")
    return mask if mask.is_file() else None


def from_painted(content_colours: np.ndarray, style_colours: np.ndarray) -> tuple[Segmentation, Segmentation]:
    """Two painted masks, uint8 [H, W, 3] each, as segmentations that share one sorted tuple of names.

    A region is a colour that covers solid ground (blocks of 3 x 3 pixels) in at least one of the masks. What
    else is in the files - antialiased edges, JPEG noise, lines one or two pixels wide - belongs to the region
    of the nearest solid pixel, whatever its colour: the edge between black and white passes through grey.
    A name may have no pixels on one side; `semantics.match` deals with that.
    """
    images = {"content": content_colours, "style": style_colours}
    for side, image in images.items():
        _check_array(image, side)
    colours, indices = _distinct_colours(list(images.values()))
    shares = [_flat_shares(image, index, len(colours)) for image, index in zip(images.values(), indices, strict=True)]
    centres, regions = _main_colours(colours, np.sum(shares, axis=0))
    labels, pure = _label_colours(colours, centres, regions)
    solids = [_solid(labels[index]) for index in indices]
    kept = _regions_kept(solids, len(centres))
    for side, share, solid in zip(images, shares, solids, strict=True):
        _check_painted(share, pure, side)
        _check_thick(np.isin(solid, kept), side)
    _check_count(len(kept))
    names = _colour_names(centres[kept])
    renumber = _renumbering(kept, names, len(centres))
    content, style = (Segmentation(_spread(renumber[solid]), tuple(sorted(names))) for solid in solids)
    return content, style


def fit(labels: np.ndarray, height: int, width: int, *, source: str | Path) -> np.ndarray:
    """A label map at its photograph's size, by the nearest neighbour with half-pixel centres.

    Masks are often a pixel off or drawn at another scale. `source` names the mask in the error that another
    aspect ratio raises: stretching such a mask would put its regions in the wrong places.
    """
    rows, columns = labels.shape
    off_by_one = abs(rows - height) <= 1 and abs(columns - width) <= 1
    stretch = (columns * height) / (rows * width)
    if not off_by_one and max(stretch, 1 / stretch) > 1 + ASPECT_TOLERANCE:
        raise MaskError(
            f"{source}: the mask is {columns} x {rows} pixels, but its photograph is {width} x {height}, "
            f"which is another aspect ratio (more than {ASPECT_TOLERANCE:.0%} apart). Paint the mask over "
            "the photograph itself, uncropped and turned the same way; its scale does not matter."
        )
    return resized(labels, height, width)


def resized(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A label map [H, W] at another size, by the nearest neighbour with half-pixel centres."""
    rows, columns = labels.shape
    return labels[np.ix_(_nearest(rows, height), _nearest(columns, width))]


@partial(cached, static_argnums=(2,))
def refine(
    masks: Float[Array, "r h w"], image: Float[Array, "h w 3"], radius: int, epsilon: float | Float[Array, ""]
) -> Float[Array, "r h w"]:
    """Masks that follow the image's edges, by the guided filter with the image (RGB in [0, 1]) as guide.

    They stay non-negative, sum to one over R as before, and are what they were further than twice `radius` pixels from
    their edges. A contrast below `epsilon` (a variance) counts as no edge.
    """
    values = jnp.moveaxis(masks, 0, -1)
    maps = pixels.affine_maps(image, values, radius, epsilon, jnp.zeros((3, len(masks))))
    filtered = jnp.einsum("hwa,hwar->rhw", image, maps[..., :3, :], precision="highest") + jnp.moveaxis(
        maps[..., 3, :], -1, 0
    )
    # what the filter leaves beside 0 and 1 far from any edge is rounding, and would count as a trace of a region
    kept = jnp.where(filtered < TRACE_OF_REGION, 0.0, jnp.minimum(filtered, 1.0))
    return kept / jnp.maximum(kept.sum(0, keepdims=True), 1e-6)


def _nearest(source: int, target: int) -> np.ndarray:
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _check_array(image: np.ndarray, side: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise MaskError(
            f"The {side} mask is an array of {image.dtype} {list(image.shape)}. "
            "Needed is uint8 [height, width, 3] (red, green, blue): convert it first."
        )


def _check_painted(flat_shares: np.ndarray, pure: np.ndarray, side: str) -> None:
    share = flat_shares[pure].sum() / max(flat_shares.sum(), np.finfo(float).tiny)
    if share < PURE_SHARE:
        raise MaskError(
            f"The {side} mask looks like a photograph and not like a painted mask: away from edges only "
            f"{share:.0%} of its pixels have one of its main flat colours, {PURE_SHARE:.0%} are needed. "
            f"{_ADVICE}"
        )


def _check_thick(has_region: np.ndarray, side: str) -> None:
    if not has_region.any():
        raise MaskError(f"The {side} mask has no region that is at least 3 pixels thick. {_ADVICE}")


def _distinct_colours(images: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """All colours of the images, float [U, 3], and for each image the index [H, W] of its pixels' colours."""
    codes = [image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32) for image in images]
    values, index = np.unique(np.concatenate([code.ravel() for code in codes]), return_inverse=True)
    colours = np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=-1).astype(np.float64)
    parts = np.split(index, np.cumsum([code.size for code in codes])[:-1])
    return colours, [part.reshape(code.shape) for part, code in zip(parts, codes, strict=True)]


def _flat_shares(image: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """For each distinct colour the share of the image that it covers away from edges."""
    size = (3, 3, 1)
    spread = ndimage.maximum_filter(image, size) - ndimage.minimum_filter(image, size)
    flat = (spread <= FLAT_RANGE).all(axis=-1)
    return np.bincount(index[flat], minlength=count) / index.size


def _main_colours(colours: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The commonest flat colours [K, 3], and for each the number [K] of the one whose region it belongs to.

    Greedy: the commonest colour takes all within COLOUR_RADIUS, and so on. JPEG noise and shading leave
    shells around a strong colour; the lack of a valley in between tells them from colours of their own.
    """
    colours, shares = colours[shares > 0], shares[shares > 0]
    left = shares.copy()
    centres: list[np.ndarray] = []
    regions: list[int] = []
    for _ in range(4 * MAXIMUM_REGIONS):  # a photograph could go on for long
        if not left.any():
            break
        centre = colours[left.argmax()]
        near = _within(colours, centre, COLOUR_RADIUS)
        if left[near].sum() >= MINIMUM_COLOUR_SHARE:
            slope = _downhill_of(centre, centres, colours, shares)
            regions.append(len(centres) if slope is None else regions[slope])
            centres.append(centre)
        left[near] = 0
    return np.reshape(centres, (-1, 3)), np.array(regions, int)


def _downhill_of(centre: np.ndarray, stronger: list[np.ndarray], colours: np.ndarray, shares: np.ndarray) -> int | None:
    """The nearest of the stronger colours on the slope of whose histogram peak the centre lies, if any."""
    distances = [float(np.linalg.norm(other - centre)) for other in stronger]
    for number in np.argsort(distances, kind="stable"):
        radius = distances[number] / 4
        if 4 * radius > SLOPE_REACH:
            break
        between = _within(colours, (centre + stronger[number]) / 2, radius)
        if shares[between].sum() >= shares[_within(colours, centre, radius)].sum():
            return int(number)
    return None


def _within(colours: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return np.square(colours - centre).sum(axis=-1) <= radius**2


def _label_colours(colours: np.ndarray, centres: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct colour its region or -1, and whether it all but equals a region's main colour."""
    labels = np.full(len(colours), -1)
    pure = np.zeros(len(colours), bool)
    nearest = np.full(len(colours), np.inf)
    for number, (centre, region) in enumerate(zip(centres, regions, strict=True)):
        distances = np.square(colours - centre).sum(axis=-1)
        closer = (distances < nearest) & (distances <= COLOUR_RADIUS**2)
        labels[closer], nearest[closer] = region, distances[closer]
        if region == number:  # its own and not a shell of a stronger colour
            pure |= distances <= PURE_RADIUS**2
    return labels, pure


def _solid(labels: np.ndarray) -> np.ndarray:
    """The labels where a block of 3 x 3 pixels with one label covers the pixel, -1 elsewhere.

    That is a morphological opening of all regions at once. An axis of less than 3 pixels makes no demand.
    """
    size = tuple(3 if length >= 3 else 1 for length in labels.shape)
    highest = ndimage.maximum_filter(labels, size, mode="constant", cval=-1)
    lowest = ndimage.minimum_filter(labels, size, mode="constant", cval=-1)
    return ndimage.maximum_filter(np.where(highest == lowest, labels, -1), size, mode="constant", cval=-1)


def _regions_kept(solids: list[np.ndarray], count: int) -> np.ndarray:
    shares = [np.bincount(solid[solid >= 0], minlength=count) / solid.size for solid in solids]
    return np.flatnonzero(np.max(shares, axis=0, initial=0) >= MINIMUM_REGION_SHARE)


def _check_count(count: int) -> None:
    if count > MAXIMUM_REGIONS:
        raise MaskError(
            f"The masks have at least {count} colours that cover solid ground, and {MAXIMUM_REGIONS} is "
            f"the most allowed: this looks like a photograph and not like a painted mask. {_ADVICE}"
        )


def _colour_names(centres: np.ndarray) -> list[str]:
    """The usual name of each colour or '#rrggbb'; of two that could have a name the nearer one gets it."""
    names = ["#{:02x}{:02x}{:02x}".format(*centre.astype(int)) for centre in centres]
    for name, colour in USUAL_COLOURS.items():
        distances = np.linalg.norm(centres - colour, axis=-1)
        if distances.min() <= NAME_RADIUS:
            names[int(distances.argmin())] = name
    return names


def _renumbering(kept: np.ndarray, names: list[str], count: int) -> np.ndarray:
    """From the number of a main colour to that of its name in sorted order; -1 as an index gives -1."""
    renumber = np.full(count + 1, -1, np.int32)
    renumber[kept] = np.argsort(np.argsort(names))
    return renumber


def _spread(labels: np.ndarray) -> np.ndarray:
    """Every pixel without a label (-1) takes that of the nearest pixel with one."""
    nearest = ndimage.distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
    return labels[tuple(np.asarray(nearest))]
