"""One image, or one pair of painted masks, to label maps with names; masks to the image's edges."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from jpst import mask_colours, pixels
from jpst.caching import cached
from jpst.errors import JpstError
from jpst.mask_colours import COLOUR_RADIUS, MAXIMUM_REGIONS, SLOPE_REACH
from jpst.mask_colours import USUAL_COLOURS as USUAL_COLOURS

WHOLE = "whole image"

PURE_SHARE = 0.7  # of flat pixels that have a main colour: 85 % and more in masks, half or less in most photographs

FLAT_RANGE = 32  # levels over 3 x 3 pixels; an edge between two regions spans far more
NEAR_SHARE = 0.01  # of a mask, for a colour near another one to be a region and no noise
MINIMUM_REGION_SHARE = 5e-4  # of solid pixels on one side; a quarter of the smallest region in use (0.2 %)

ASPECT_TOLERANCE = 0.03

TRACE_OF_REGION = 0.01  # less of a region at a pixel is none

_ADVICE = (
    "Paint each region in one flat colour, the same one in both masks, and save them as PNG; or leave both masks out."
)


class MaskError(JpstError):
    """A mask that cannot be used: not painted in flat colours, or of another shape than its photograph."""


class Segmentation(NamedTuple):
    """Which region each pixel belongs to: `labels` int32 [H, W], values in 0..len(names)-1.

    `confidence`, float32 [H, W], is the probability of each pixel's label, where a network told it.
    """

    labels: np.ndarray
    names: tuple[str, ...]
    confidence: np.ndarray | None = None


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

    Where there are few colours, each covering solid ground, the masks are exact, and each colour is a region however
    near to another one: label maps are such. Otherwise a region is a colour, with those around it, that covers solid
    ground (blocks of 3 x 3 pixels) in at least one of the masks. What else is in the files - antialiased edges, JPEG
    noise, lines one or two pixels wide - belongs to the region of the nearest solid pixel, whatever its colour: the
    edge between black and white passes through grey.
    A name may have no pixels on one side; `semantics.match` deals with that.
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
    kept = _regions_kept(solids, len(centres))
    for side, share, solid in zip(images, shares, solids, strict=True):
        _check_painted(share, pure, side)
        _check_thick(np.isin(solid, kept), side)
    _check_count(len(kept))
    return _segmentations(solids, kept, mask_colours.names_of(centres[kept]), len(centres))


def from_indexed(
    content: tuple[np.ndarray, np.ndarray], style: tuple[np.ndarray, np.ndarray]
) -> tuple[Segmentation, Segmentation] | None:
    """Two indexed masks (indices [H, W], palette uint8 [N, 3]), each colour in use a region, however near to another.

    Where a palette gives several indices in use one colour, each index is a region ("label 3"). None where they are
    rather paintings than label maps: of many colours, mostly without solid ground, or with colours that differ a
    little between the two; `from_painted` is for those.
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
    """Whether indices in use have one colour: in one of the masks, or over both where their palettes agree."""
    used = [np.unique(indices) for indices, _ in masks]
    colours = [palette[own] for own, (_, palette) in zip(used, masks, strict=True)]
    together = np.union1d(*used)
    known = [palette[together[together < len(palette)]] for _, palette in masks]
    if np.array_equal(known[0], known[1]):
        colours.append(known[0])
    return any(len(np.unique(each, axis=0)) < len(each) for each in colours)


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


def _are_exact(colours: np.ndarray, indices: list[np.ndarray]) -> bool:
    """Whether masks have no noise: few colours, all on solid ground, near ones on much, alike on both sides.

    Antialiased edges that were enlarged lie on solid ground too, but on little.
    """
    if len(colours) > MAXIMUM_REGIONS:
        return False
    solids = [_solid(index) for index in indices]
    shares = np.max([np.bincount(each[each >= 0], minlength=len(colours)) / each.size for each in solids], axis=0)
    near = _within(colours, SLOPE_REACH).sum(axis=-1) > 1
    return bool((shares > near * NEAR_SHARE).all()) and not _differ_a_little(colours, indices)


def _within(colours: np.ndarray, radius: float) -> np.ndarray:
    """Which colours [K, 3] are so near to which, themselves included: [K, K]."""
    return np.square(colours[:, None] - colours).sum(axis=-1) <= radius**2


def _differ_a_little(colours: np.ndarray, indices: list[np.ndarray]) -> bool:
    """Whether one mask has a colour, and the other in its place one that is near.

    Not where all colours are near each other, as the first whole numbers are: one colour would be left.
    """
    near = _within(colours, COLOUR_RADIUS)
    first, second = (np.isin(np.arange(len(colours)), index) for index in indices)
    return bool(near[np.ix_(first & ~second, second & ~first)].any() and not near.all())


def _by_value(indices: list[np.ndarray], names: list[str]) -> tuple[Segmentation, Segmentation]:
    """Exact masks: each value that covers solid ground a region, specks and slivers to what is nearest."""
    solids = [_solid(index) for index in indices]
    kept = _regions_kept(solids, len(names))
    for side, solid in zip(("content", "style"), solids, strict=True):
        _check_thick(np.isin(solid, kept), side)
    return _segmentations(solids, kept, [names[number] for number in kept], len(names))


def _segmentations(
    solids: list[np.ndarray], kept: np.ndarray, names: list[str], count: int
) -> tuple[Segmentation, Segmentation]:
    """Of `count` values on solid ground those `kept`, in the order of their `names`, spread over the rest."""
    renumber = _renumbering(kept, names, count)
    content, style = (Segmentation(_spread(renumber[solid]), tuple(sorted(names))) for solid in solids)
    return content, style


def _flat_shares(image: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """For each distinct colour the share of the image that it covers away from edges."""
    size = (3, 3, 1)
    spread = ndimage.maximum_filter(image, size) - ndimage.minimum_filter(image, size)
    flat = (spread <= FLAT_RANGE).all(axis=-1)
    return np.bincount(index[flat], minlength=count) / index.size


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


def _renumbering(kept: np.ndarray, names: list[str], count: int) -> np.ndarray:
    """From the number of a main colour to that of its name in sorted order; -1 as an index gives -1."""
    renumber = np.full(count + 1, -1, np.int32)
    renumber[kept] = np.argsort(np.argsort(names))
    return renumber


def _spread(labels: np.ndarray) -> np.ndarray:
    """Every pixel without a label (-1) takes that of the nearest pixel with one."""
    nearest = ndimage.distance_transform_edt(labels < 0, return_distances=False, return_indices=True)
    return labels[tuple(np.asarray(nearest))]
