"""Two segmentations to one set of regions that both pictures have, and from those to masks. Host code."""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from jpst.pixels import area_weights
from jpst.segment import WHOLE, MaskError, Segmentation

Side = Literal["content", "style"]
Similarity = Callable[[Side, str, str], float]
"""(side, orphan, candidate) -> how alike two regions are, higher is more; both are names.

The orphan is a region of `side` that needs a new home, the candidate a region that both sides have. Word
similarity ignores the side; `appearance_similarity` looks at that side's photograph.
"""

Shares = dict[Side, dict[str, float]]  # the fraction of its side's picture, by name

# One cell of VGG19's conv5_1 (1/16 of the picture's size) at 512 x 512 is 0.1 % of the picture: the Gram
# matrix of a smaller region has less than one sample there, and its style is noise.
MINIMUM_SHARE = 0.001

BLOCK_ROWS = 256  # of a photograph converted to CIELAB at a time, in float64


class Move(NamedTuple):
    """A region that lost its own name: where its pixels went, and why. `share` is of its side's picture."""

    name: str
    side: Side
    share: float
    target: str
    reason: str


class Regions(NamedTuple):
    """What both pictures have: `names` (R, sorted), label maps into them, int32 [H, W] and [h, w], the
    fraction of each picture that a region covers, and the moves that led there."""

    names: tuple[str, ...]
    content: np.ndarray
    style: np.ndarray
    content_share: tuple[float, ...]
    style_share: tuple[float, ...]
    moves: tuple[Move, ...]


class Row(NamedTuple):
    """A region for a reader: shares in percent of the content and of the style picture."""

    name: str
    content: float
    style: float
    remark: str


def match(
    content: Segmentation,
    style: Segmentation,
    similarity: Similarity,
    *,
    minimum_share: float = MINIMUM_SHARE,
) -> Regions:
    """The regions that have a name and at least `minimum_share` of the pixels in common.

    Every other region is merged into the most similar one of these, by name where two are equally similar.
    Nothing in common: the whole image is the one region. The order of names and labels has no influence.
    """
    sides: dict[Side, Segmentation] = {"content": content, "style": style}
    shares: Shares = {side: _shares(segmentation) for side, segmentation in sides.items()}
    useful = [{name for name, share in s.items() if share >= minimum_share} for s in shares.values()]
    shared = tuple(sorted(set.intersection(*useful)))
    moves = [
        _move(name, side, shares, shared, similarity, minimum_share)
        for side in sides
        for name in sorted(shares[side])
        if name not in shared
    ]
    names = shared or (WHOLE,)
    labels = [_relabel(segmentation, side, names, moves) for side, segmentation in sides.items()]
    fractions = [tuple(_fractions(label, len(names)).tolist()) for label in labels]
    kept = tuple(move for move in moves if move.name != move.target)
    return Regions(names, labels[0], labels[1], fractions[0], fractions[1], kept)


def appearance_similarity(
    content_photo: np.ndarray, content: Segmentation, style_photo: np.ndarray, style: Segmentation
) -> Similarity:
    """Likeness of two regions of one photograph (float [H, W, 3], sRGB in 0..1, same size as its labels).

    With e the CIELAB distance of the regions' mean colours over 100 (black to white) and y the difference of
    their mean heights over the photograph's height it is 1 / (1 + sqrt(e^2 + y^2)): 1 for the same colour at
    the same height. Both count: in the dark, sky and ground have one colour, but not one height.
    """
    photos: dict[Side, tuple[np.ndarray, Segmentation]] = {
        "content": (content_photo, content),
        "style": (style_photo, style),
    }
    for side, (photo, segmentation) in photos.items():
        if photo.shape[:2] != segmentation.labels.shape:
            raise MaskError(
                f"The {side} photograph is {list(photo.shape[:2])} but its label map "
                f"{list(segmentation.labels.shape)} [height, width]: bring it to that size with segment.fit."
            )

    @cache  # most pairs of masks have no orphans, and then nothing is measured
    def features(side: Side) -> dict[str, np.ndarray]:
        return _appearance(*photos[side])

    def similarity(side: Side, orphan: str, candidate: str) -> float:
        distance = np.linalg.norm(features(side)[orphan] - features(side)[candidate])
        return float(1 / (1 + distance))

    return similarity


def masks(labels: np.ndarray, count: int, height: int, width: int) -> np.ndarray:
    """Soft masks float32 [count, height, width] of a label map of any size: non-negative, their sum is 1.

    Exact area average of the one-hot maps: a mask's value is the part of the pixel's area that the region
    covers. Enlarging with it is the nearest neighbour, but for pixels that an old border cuts.
    """
    rows = area_weights(labels.shape[0], height)
    columns = area_weights(labels.shape[1], width).T
    soft = [rows @ (labels == number).astype(np.float64) @ columns for number in range(count)]
    return np.stack(soft).astype(np.float32)


def table(regions: Regions) -> list[Row]:
    """One row a region, the largest of the content first; the remark says what was merged into it and why."""
    rows = []
    for name, content, style in zip(regions.names, regions.content_share, regions.style_share, strict=True):
        remarks = [_describe(move) for move in regions.moves if move.target == name]
        rows.append(Row(name, round(100 * content, 2), round(100 * style, 2), "; ".join(remarks)))
    return sorted(rows, key=lambda row: (-row.content, row.name))


def _describe(move: Move) -> str:
    return f"with {move.name} ({100 * move.share:.2f} % of the {move.side}): {move.reason}"


def _fractions(labels: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=count) / max(labels.size, 1)


def _shares(segmentation: Segmentation) -> dict[str, float]:
    """The fraction of every name that has pixels; labels of the same name count together."""
    shares: dict[str, float] = {}
    fractions = _fractions(segmentation.labels, len(segmentation.names)).tolist()
    for name, fraction in sorted(zip(segmentation.names, fractions, strict=True)):
        if fraction > 0:
            shares[name] = shares.get(name, 0.0) + fraction
    return shares


def _move(
    name: str,
    side: Side,
    shares: Shares,
    shared: tuple[str, ...],
    similarity: Similarity,
    minimum_share: float,
) -> Move:
    share = shares[side][name]
    cause = _cause(name, side, shares, minimum_share)
    if not shared:
        return Move(name, side, share, WHOLE, f"{cause}, and no region is on both sides")
    alike = {candidate: similarity(side, name, candidate) for candidate in shared}
    target = max(shared, key=lambda candidate: alike[candidate])  # of equals the first, and shared is sorted
    return Move(name, side, share, target, f"{cause}, and most like {target} ({alike[target]:.2f})")


def _cause(name: str, side: Side, shares: Shares, minimum_share: float) -> str:
    other: Side = "style" if side == "content" else "content"
    if name not in shares[other]:
        return f"only in the {side}"
    small = side if shares[side][name] < minimum_share else other
    return f"{100 * shares[small][name]:.2g} % of the {small} is less than {100 * minimum_share:.2g} %"


def _relabel(segmentation: Segmentation, side: Side, names: tuple[str, ...], moves: list[Move]) -> np.ndarray:
    targets = {move.name: move.target for move in moves if move.side == side}
    homes = [targets.get(name, name) for name in segmentation.names]
    # A name without pixels has no home, and no label that would ask for it.
    lookup = np.array([names.index(home) if home in names else 0 for home in homes], np.int32)
    return lookup[segmentation.labels] if segmentation.labels.size else segmentation.labels.astype(np.int32)


def _appearance(photo: np.ndarray, segmentation: Segmentation) -> dict[str, np.ndarray]:
    """For each name with pixels (L, a, b) / 100 and height (0 top, 1 bottom), mean over its pixels."""
    from skimage.color import rgb2lab

    names = sorted(set(segmentation.names))
    lookup = np.array([names.index(name) for name in segmentation.names])
    height = len(photo)
    sums = np.zeros((len(names), 5))
    for top in range(0, height, BLOCK_ROWS):
        block = photo[top : top + BLOCK_ROWS]
        labels = lookup[segmentation.labels[top : top + BLOCK_ROWS]]
        rows = np.arange(top, top + len(block))[:, None, None] + 0.5
        position = np.broadcast_to(rows / height, (*labels.shape, 1))
        values = np.concatenate([rgb2lab(block) / 100, position, np.ones_like(position)], axis=-1)
        for column in range(5):
            sums[:, column] += np.bincount(labels.ravel(), values[..., column].ravel(), minlength=len(names))
    return {name: row[:4] / row[4] for name, row in zip(names, sums, strict=True) if row[4] > 0}
