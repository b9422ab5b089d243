"""Two segmentations to one set of regions that both pictures have, and from those to masks. Host code."""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from jpst.pixels import area_weights
from jpst.segment import WHOLE, MaskError, Segmentation

Side = Literal["content", "style"]
Similarity = Callable[[Side, str, str], float]
"""(side, orphan, candidate) -> how alike two regions are, higher is more; both are names.

The orphan is a region of `side` that needs a new home, the candidate a region that both sides have. Word
similarity ignores the side; `appearance_similarity` looks at that side's photograph.
"""
WordSimilarity = Callable[[str, str], float]
"""How alike two names are, higher is more: `wordnet.by_name(...)`. Names are given in alphabetical order."""

Renaming = dict[str, tuple[str, str]]  # of one step on one side: label -> its new label, and why
Shares = dict[Side, dict[str, float]]  # the fraction of its side's picture, by name

# One cell of VGG19's conv5_1 (1/16 of the picture's size) at 512 x 512 is 0.1 % of the picture: the Gram
# matrix of a smaller region has less than one sample there, and its style is noise.
MINIMUM_SHARE = 0.001

REST = "everything else"
"""the region of what `trust.trusted` pairs with nothing: it takes its look from the whole style photograph"""
BLOCK_ROWS = 256  # of a photograph worked on at a time, in float64


class Move(NamedTuple):
    """A region that lost its own name: where its pixels ended, and why. `share` is of its side's picture."""

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

    @property
    def whole(self) -> int | None:
        """The index of the region of all that has no counterpart of its own, beside others that have."""
        return self.names.index(REST) if REST in self.names else None


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
    shares: Shares = {side: shares_by_name(segmentation) for side, segmentation in sides.items()}
    useful = [{name for name, share in s.items() if share >= minimum_share} for s in shares.values()]
    shared = tuple(sorted(set.intersection(*useful)))
    moves = [
        _move(name, side, shares, shared, similarity, minimum_share)
        for side in sides
        for name in sorted(shares[side])
        if name not in shared
    ]
    return relabelled(sides, shared or (WHOLE,), moves)


def group(
    content: Segmentation,
    style: Segmentation,
    similarity: WordSimilarity,
    *,
    threshold: float = 0.8,
    minimum_share: float = MINIMUM_SHARE,
) -> Regions:
    """The regions of two labelled photographs, by what their labels mean.

    First, on each side, a label with less than `minimum_share` of the pixels becomes the most similar of the
    others. Then, as in the reference (arXiv 1901.03915):
      1. a label that only the style has becomes the most similar one of the content;
      2. a label that only the content has becomes the most similar one that the style now has;
      3. labels at least `threshold` alike become one region, whose name joins theirs with " + "; likeness is
         passed on, so that a region may have two labels that are less alike.

    With `minimum_share=0` this is the reference's grouping, but for its choice between equals, which depends on
    the order of a set: here it is the first name. (Where a synonym belongs to two classes the reference may
    also rename to the wrong one of them, and stop.) No label in common is no failure: by step 1 the style takes the
    content's. If a side has no pixels or no labels (`segment.whole`), the whole image is one region. Every label
    that is not a region's own name is in `moves`.
    """
    sides: dict[Side, Segmentation] = {"content": content, "style": style}
    shares: Shares = {side: shares_by_name(segmentation) for side, segmentation in sides.items()}
    labels = {side: set(share) for side, share in shares.items()}
    trails: dict[Side, list[Renaming]] = {side: [] for side in sides}

    def rename(side: Side, step: Renaming) -> None:
        trails[side].append(step)
        labels[side] = {step[label][0] if label in step else label for label in labels[side]}

    unlabelled = [side for side in sides if labels[side] <= {WHOLE}]
    if unlabelled:
        for side in sides:
            rename(side, dict.fromkeys(labels[side], (WHOLE, f"the {unlabelled[0]} has no labels")))
    else:
        for side in sides:
            rename(side, _absorb_small(side, shares[side], similarity, minimum_share))
        rename("style", _adopt("style", labels["style"], labels["content"], similarity))
        rename("content", _adopt("content", labels["content"], labels["style"], similarity))
        alike = merge_alike(labels["content"], similarity, threshold)
        for side in sides:
            rename(side, alike)
    moves = [_trace(name, side, shares[side][name], trails[side]) for side in sides for name in sorted(shares[side])]
    return relabelled(sides, tuple(sorted(labels["content"] | labels["style"])) or (WHOLE,), moves)


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
    rows = csr_array(area_weights(labels.shape[0], height))  # a row of pixels reaches two at most
    columns = csr_array(area_weights(labels.shape[1], width))
    soft = np.zeros((count, height, width))
    for top in range(0, len(labels), BLOCK_ROWS):
        band = slice(top, top + BLOCK_ROWS)
        for number in range(count):
            covered = np.asarray(columns @ (labels[band] == number).T.astype(np.float64)).T
            soft[number] += rows[:, band] @ covered
    return soft.astype(np.float32)


def table(regions: Regions) -> list[Row]:
    """One row a region, the largest of the content first. The remark tells what was merged into it and why, and
    warns of a region with less than `MINIMUM_SHARE` of a picture, but for `REST`, whose look is that of the whole."""
    rows = []
    for name, content, style in zip(regions.names, regions.content_share, regions.style_share, strict=True):
        small = [
            f"only {100 * share:.2g} % of the {side}: too small for a look of its own"
            for side, share in (("content", content), ("style", style))
            if share < MINIMUM_SHARE and name != REST
        ]
        remarks = [*_describe(move for move in regions.moves if move.target == name), *small]
        rows.append(Row(name, round(100 * content, 2), round(100 * style, 2), "; ".join(remarks)))
    return sorted(rows, key=lambda row: (-row.content, row.name))


def _describe(moves: Iterable[Move]) -> list[str]:
    """A sentence for each; one for both sides where a name moved on both for the same reason."""
    shares: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        shares.setdefault((move.name, move.reason), []).append(f"{100 * move.share:.2f} % of the {move.side}")
    return [f"with {name} ({', '.join(share)}): {reason}" for (name, reason), share in shares.items()]


def relabelled(sides: dict[Side, Segmentation], names: tuple[str, ...], moves: list[Move]) -> Regions:
    labels = [_relabel(segmentation, side, names, moves) for side, segmentation in sides.items()]
    fractions = [tuple(_fractions(label, len(names)).tolist()) for label in labels]
    kept = tuple(move for move in moves if move.name != move.target)
    return Regions(names, labels[0], labels[1], fractions[0], fractions[1], kept)


def _absorb_small(side: Side, shares: dict[str, float], similarity: WordSimilarity, minimum_share: float) -> Renaming:
    largest = max(sorted(shares), key=lambda name: shares[name])
    useful = {name for name, share in shares.items() if share >= minimum_share} or {largest}
    cause = f"% of the {side} is less than {100 * minimum_share:.2g} %"
    return {
        name: _most_like(name, useful, similarity, f"{100 * share:.2g} {cause}")
        for name, share in shares.items()
        if name not in useful
    }


def _adopt(side: Side, own: set[str], others: set[str], similarity: WordSimilarity) -> Renaming:
    """New names, of the other side's, for the labels that only this side has."""
    return {name: _most_like(name, others, similarity, f"only in the {side}") for name in own - others}


def merge_alike(labels: set[str], similarity: WordSimilarity, threshold: float) -> Renaming:
    """Joins the labels of each connected component of the graph of labels that are at least that alike."""
    components = {label: {label} for label in labels}
    for a, b in combinations(sorted(labels), 2):
        if components[a] is not components[b] and similarity(a, b) >= threshold:
            components[a] |= components[b]
            components.update(dict.fromkeys(components[b], components[a]))
    step: Renaming = {}
    for label, component in components.items():
        if len(component) > 1:
            nearest, value = _nearest(label, component - {label}, similarity)
            step[label] = " + ".join(sorted(component)), f"like {nearest} ({value:.2f})"
    return step


def _most_like(name: str, candidates: set[str], similarity: WordSimilarity, cause: str) -> tuple[str, str]:
    target, value = _nearest(name, candidates, similarity)
    return target, f"{cause}, and most like {target} ({value:.2f})"


def _nearest(name: str, candidates: set[str], similarity: WordSimilarity) -> tuple[str, float]:
    alike = {candidate: similarity(*sorted((name, candidate))) for candidate in sorted(candidates)}
    target = max(alike, key=lambda candidate: alike[candidate])  # of equals the first
    return target, alike[target]


def _trace(name: str, side: Side, share: float, steps: list[Renaming]) -> Move:
    """From a label's first name to its last, with the reasons on the way."""
    label, reasons = name, []
    for step in steps:
        if label in step:
            target, reason = step[label]
            reasons.append(f"then {label}: {reason}" if reasons else reason)
            label = target
    return Move(name, side, share, label, "; ".join(reasons))


def _fractions(labels: np.ndarray, count: int) -> np.ndarray:
    bands = (labels[top : top + BLOCK_ROWS].ravel() for top in range(0, len(labels), BLOCK_ROWS))
    counted = sum((np.bincount(band, minlength=count) for band in bands), np.zeros(count, int))
    return counted / max(labels.size, 1)


def shares_by_name(segmentation: Segmentation) -> dict[str, float]:
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
