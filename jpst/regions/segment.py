"""Converts painted masks to label maps with names, and aligns soft masks with the edges of an image."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jpst import pixels
from jpst.errors import JpstError
from jpst.regions import mask_colours
from jpst.regions.mask_colours import COLOUR_RADIUS, MAXIMUM_REGIONS, SLOPE_REACH
from jpst.regions.mask_colours import USUAL_COLOURS as USUAL_COLOURS

WHOLE = "whole image"

PURE_SHARE = 0.7  # of flat pixels with a main colour: 85 % and more in masks, half or less in most photographs

FLAT_RANGE = 32  # levels within 3 x 3 pixels; an edge between two regions spans far more
NEAR_SHARE = 0.01  # of a mask, for a colour near another one to count as a region and not as noise
MINIMUM_REGION_SHARE = 5e-4  # of solid pixels in one mask; a quarter of the smallest region seen in use (0.2 %)

ASPECT_TOLERANCE = 0.03

_ADVICE = (
    "Paint each region in one flat colour, the same one in both masks, and save them as PNG; or leave both masks out."
)


class MaskError(JpstError):
    """A mask cannot be used: it is not painted in flat colours, or its aspect ratio is not that of its photograph."""


class Segmentation(NamedTuple):
    """The region of each pixel: `labels` int32 [H, W], values in 0..len(names)-1.

    `confidence`, float32 [H, W], is the probability of each pixel's label, if a network predicted it.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    confidence: np.ndarray | None = None


def whole(height: int, width: int) -> Segmentation:
    """A segmentation with a single region."""
    return Segmentation(np.zeros((height, width), np.int32), (WHOLE,))


def share_of(name: str, found: Segmentation) -> np.ndarray:
    """How likely each pixel is of this name, float32 [H, W]: its confidence if it has this label, else 0."""
    here = np.isin(found.labels, [number for number, other in enumerate(found.names) if other == name])
    return np.where(here, 1.0 if found.confidence is None else found.confidence, 0.0).astype(np.float32)


def visible(alpha: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where a photograph is at least half opaque, or half as opaque as at its most opaque place; bool of `shape`."""
    small = np.asarray(pixels.at_size(alpha[..., None], shape))[..., 0]
    return small >= 0.5 * min(1.0, float(small.max()))


def nearest_visible(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row and column of the visible place that is nearest to each."""
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    rows, columns = np.asarray(nearest)
    return rows, columns


def spread(found: Segmentation, alpha: np.ndarray | None) -> Segmentation:
    """The same where a photograph is visible; the label of the nearest visible pixel where it is hidden."""
    if alpha is None:
        return found
    shape = found.labels.shape[0], found.labels.shape[1]
    nearest = nearest_visible(visible(alpha, shape))
    confidence = None if found.confidence is None else found.confidence[nearest]
    return found._replace(labels=found.labels[nearest], confidence=confidence)


def beside(path: str | Path) -> Path | None:
    """The painted mask beside a photograph, `<stem>_seg.png` in the same folder; None without one."""
    path = Path(path)
    mask = path.with_name(f"{path.stem}_seg.png")
    return mask if mask.is_file() else None


def from_painted(content_colours: np.ndarray, style_colours: np.ndarray) -> tuple[Segmentation, Segmentation]:
    """Converts two painted masks, uint8 [H, W, 3] each, to segmentations with the same sorted tuple of names.

    Masks with few colours that all cover solid areas (blocks of 3 x 3 pixels) are exact: each colour is a region, even
    if it is close to another one. Label maps are of this kind. Otherwise a region is a colour, together with colours
    near it, that covers a solid area in at least one of the masks. All other pixels (antialiased edges, JPEG noise,
    lines one or two pixels wide) get the region of the nearest solid pixel, whatever their colour: the edge between
    black and white contains grey.
    A name may have no pixels in one of the masks; `semantics.match` handles that.
    """
    images = {"content": content_colours, "style": style_colours}
    for side, image in images.items():
        _check_array(image, side)
    colours, indices = mask_colours.distinct(list(images.values()))
    if _are_exact(colours, indices):
        return _by_value(indices, mask_colours.names_of(colours))
    shares = [_flat_shares(image, index, len(colours)) for image, index in zip(images.values(), indices, strict=True)]
    centres, regions = mask_colours.main(colours, np.sum(shares, axis=0))
    labels, pure = mask_colours.regions_of(colours, centres, regions)
    solids = [_solid(labels[index]) for index in indices]
    present = _regions_kept(solids, len(centres))
    for side, share, solid in zip(images, shares, solids, strict=True):
        _check_painted(share, pure, side)
        _check_thick(np.isin(solid, present), side)
    _check_count(len(present))
    return _segmentations(solids, present, mask_colours.names_of(centres[present]), len(centres))


def from_indexed(
    content: tuple[np.ndarray, np.ndarray], style: tuple[np.ndarray, np.ndarray]
) -> tuple[Segmentation, Segmentation] | None:
    """Converts two indexed masks (indices [H, W], palette uint8 [N, 3]); each colour in use is a region.

    If a palette has the same colour for several indices in use, each index is a region ("label 3"). Returns None for
    paintings rather than label maps: many colours, mostly without solid areas, or colours that differ slightly between
    the masks. `from_painted` is for those.
    """
    by_index = _share_a_colour(content, style)
    images = [
        np.repeat(indices[..., None], 3, axis=-1).astype(np.uint8) if by_index else palette[indices]
        for indices, palette in (content, style)
    ]
    colours, indices = mask_colours.distinct(images)
    solid = [float((_solid(index) >= 0).mean()) for index in indices]
    sloppy = not by_index and _differ_a_little(colours, indices)
    if len(colours) > MAXIMUM_REGIONS or min(solid) < PURE_SHARE or sloppy:
        return None
    names = [f"label {int(colour[0])}" for colour in colours] if by_index else mask_colours.names_of(colours)
    return _by_value(indices, names)


def _share_a_colour(*masks: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether several indices in use have the same colour: within a mask, or across both if their palettes agree."""
    used = [np.unique(indices) for indices, _ in masks]
    colours = [palette[each] for each, (_, palette) in zip(used, masks, strict=True)]
    together = np.union1d(*used)
    known = [palette[together[together < len(palette)]] for _, palette in masks]
    if np.array_equal(known[0], known[1]):
        colours.append(known[0])
    return any(len(np.unique(each, axis=0)) < len(each) for each in colours)


def fit(labels: np.ndarray, height: int, width: int, *, source: str | Path) -> np.ndarray:
    """Resizes a label map to the size of its photograph, by nearest neighbour with half-pixel centres.

    Masks are often a pixel off or painted at another scale. Another aspect ratio raises `MaskError`, which names
    `source`: stretching such a mask would put its regions in the wrong places.
    """
    rows, columns = labels.shape
    off_by_one = abs(rows - height) <= 1 and abs(columns - width) <= 1
    stretch = (columns * height) / (rows * width)
    if not off_by_one and max(stretch, 1 / stretch) > 1 + ASPECT_TOLERANCE:
        raise MaskError(
            f"{source}: the mask is {columns} x {rows} pixels, but its photograph is {width} x {height}, "
            f"which is another aspect ratio (more than {ASPECT_TOLERANCE:.0%} apart). Paint the mask over "
            "the photograph, uncropped and with the same orientation; its scale does not matter."
        )
    return resized(labels, height, width)


def resized(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a label map [H, W] by nearest neighbour with half-pixel centres."""
    rows, columns = labels.shape
    return labels[np.ix_(_nearest(rows, height), _nearest(columns, width))]


def _nearest(source: int, target: int) -> np.ndarray:
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _check_array(image: np.ndarray, side: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise MaskError(
            f"The {side} mask: expected uint8 [height, width, 3] (red, green, blue), got {image.dtype} "
            f"{list(image.shape)}. Convert it first."
        )


def _check_painted(flat_shares: np.ndarray, pure: np.ndarray, side: str) -> None:
    share = flat_shares[pure].sum() / max(flat_shares.sum(), np.finfo(float).tiny)
    if share < PURE_SHARE:
        raise MaskError(
            f"The {side} mask looks like a photograph, not like a painted mask: away from edges only "
            f"{share:.0%} of its pixels have one of its main flat colours, expected {PURE_SHARE:.0%} or more. "
            f"{_ADVICE}"
        )


def _check_thick(has_region: np.ndarray, side: str) -> None:
    if not has_region.any():
        raise MaskError(f"The {side} mask has no region that is at least 3 pixels thick. {_ADVICE}")


def _are_exact(colours: np.ndarray, indices: list[np.ndarray]) -> bool:
    """Whether masks have no noise: few colours, all with solid areas, the same in both masks.

    Colours near each other must cover large areas: enlarged antialiased edges have solid areas too, but small ones.
    """
    if len(colours) > MAXIMUM_REGIONS:
        return False
    solids = [_solid(index) for index in indices]
    shares = np.max([np.bincount(each[each >= 0], minlength=len(colours)) / each.size for each in solids], axis=0)
    near = _within(colours, SLOPE_REACH).sum(axis=-1) > 1
    return bool((shares > near * NEAR_SHARE).all()) and not _differ_a_little(colours, indices)


def _within(colours: np.ndarray, radius: float) -> np.ndarray:
    """Which pairs of the colours [K, 3] are within `radius` of each other, including each with itself: [K, K]."""
    return np.square(colours[:, None] - colours).sum(axis=-1) <= radius**2


def _differ_a_little(colours: np.ndarray, indices: list[np.ndarray]) -> bool:
    """Whether a colour of one mask is missing in the other, which has a colour near it instead.

    Not if all colours are near each other, as in label maps of small integers: only one colour would be left.
    """
    near = _within(colours, COLOUR_RADIUS)
    first, second = (np.isin(np.arange(len(colours)), index) for index in indices)
    return bool(near[np.ix_(first & ~second, second & ~first)].any() and not near.all())


def _by_value(indices: list[np.ndarray], names: list[str]) -> tuple[Segmentation, Segmentation]:
    """Segments exact masks: each value with a solid area is a region; specks and slivers get the nearest region."""
    solids = [_solid(index) for index in indices]
    present = _regions_kept(solids, len(names))
    for side, solid in zip(("content", "style"), solids, strict=True):
        _check_thick(np.isin(solid, present), side)
    return _segmentations(solids, present, [names[number] for number in present], len(names))


def _segmentations(
    solids: list[np.ndarray], present: np.ndarray, names: list[str], count: int
) -> tuple[Segmentation, Segmentation]:
    """Segmentations from solid areas with the values `present` of `count`, called `names`, spread over all pixels."""
    renumber = _renumbering(present, names, count)
    content, style = (Segmentation(_spread(renumber[solid]), tuple(sorted(names))) for solid in solids)
    return content, style


def _flat_shares(image: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """For each distinct colour, the share of the image that it covers away from edges."""
    size = (3, 3, 1)
    spread = ndimage.maximum_filter(image, size) - ndimage.minimum_filter(image, size)
    flat = (spread <= FLAT_RANGE).all(axis=-1)
    return np.bincount(index[flat], minlength=count) / index.size


def _solid(labels: np.ndarray) -> np.ndarray:
    """The labels of pixels that are covered by a block of 3 x 3 pixels with one label; -1 elsewhere.

    This is a morphological opening of all regions at once. An axis shorter than 3 pixels is ignored.
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
            f"The masks have at least {count} colours with solid areas, expected {MAXIMUM_REGIONS} at most: "
            f"this looks like a photograph, not like a painted mask. {_ADVICE}"
        )


def _renumbering(present: np.ndarray, names: list[str], count: int) -> np.ndarray:
    """Maps the number of a main colour to the position of its name in sorted order; index -1 maps to -1."""
    renumber = np.full(count + 1, -1, np.int32)
    renumber[present] = np.argsort(np.argsort(names))
    return renumber


def _spread(labels: np.ndarray) -> np.ndarray:
    """Gives each pixel without a label (-1) the label of the nearest pixel that has one."""
    nearest = ndimage.distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
    return labels[tuple(np.asarray(nearest))]
