"""Matches two segmentations to one set of shared regions, and converts label maps to masks. Host code."""

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from jpst.masks import BLOCK_ROWS
from jpst.regions.segment import WHOLE, Segmentation

Side = Literal["content", "style"]
Similarity = Callable[[Side, str, str], float]
"""(side, orphan, candidate) -> similarity of two regions, given by name; higher is more similar.

The orphan is a region of `side` without a counterpart, the candidate a region that content and style share. Word
similarity ignores the side; `appearance.similarity` compares within that side's photograph.
"""
WordSimilarity = Callable[[str, str], float]
"""Similarity of two names, higher is more similar: `wordnet.by_name(...)`. Names are given in alphabetical order."""

Renaming = dict[str, tuple[str, str]]  # one step on one side: label -> (new label, reason)
Shares = dict[Side, dict[str, float]]  # share of the image, by name

# One cell of VGG19's conv5_1 (1/16 of the image's size) at 512 x 512 is 0.1 % of the image: the Gram matrix of a
# smaller region has less than one sample there, and its style is noise.
MINIMUM_SHARE = 0.001

REST = "everything else"
"""the region of everything that `trust.trusted` leaves unpaired: it takes its look from the whole style photograph"""


class Move(NamedTuple):
    """A region that was merged into `target`, and why. `share` is its share of the content or style image."""

    name: str
    side: Side
    share: float
    target: str
    reason: str


class Regions(NamedTuple):
    """The shared regions of two images.

    `names` (R, sorted, but `REST` last), label maps with indices into them, int32 [H, W] and [h, w], the share of each
    image that a region covers, and the merges that led to them.
    """

    names: tuple[str, ...]
    content: np.ndarray
    style: np.ndarray
    content_share: tuple[float, ...]
    style_share: tuple[float, ...]
    moves: tuple[Move, ...]

    @property
    def whole(self) -> int | None:
        """The index of `REST`, the region without a counterpart; None if there is none."""
        return self.names.index(REST) if REST in self.names else None

    def with_maps(self, content: np.ndarray, style: np.ndarray) -> "Regions":
        """The same regions elsewhere, with the shares that they have there."""
        shares = [tuple(_fractions(labels, len(self.names)).tolist()) for labels in (content, style)]
        return Regions(self.names, content, style, shares[0], shares[1], self.moves)


class Row(NamedTuple):
    """A region for display: shares in percent of the content and of the style image."""

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
    """Keeps the regions whose name has at least `minimum_share` of the pixels in both images.

    Every other region is merged into the most similar of these; of equally similar ones the first by name. If there is
    no shared region, the whole image is one region. The order of names and labels has no influence.
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
    """Groups the labels of two photographs into shared regions, by the meaning of the labels.

    First, in each image, a label with less than `minimum_share` of the pixels becomes the most similar of the other
    labels. Then, as in the reference (arXiv 1901.03915):
      1. a label that only the style has becomes the most similar label of the content;
      2. a label that only the content has becomes the most similar label that the style now has;
      3. labels with a similarity of at least `threshold` become one region, whose name joins theirs with " + ". This is
         transitive, so a region may contain two labels that are less similar.

    With `minimum_share=0` this is the reference's grouping, except between equally similar labels: the reference's
    choice depends on the order of a set, this function takes the first name. (If a synonym belongs to two classes, the
    reference may also rename to the wrong class and stop.) Without a common label, step 1 gives the style the content's
    labels. If an image has no pixels or no labels (`segment.whole`), the whole image is one region. Every label that is
    not the name of a region is in `moves`.
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


def table(regions: Regions) -> list[Row]:
    """One row per region, the largest of the content first.

    The remark lists what was merged into the region and why. It warns of a region with less than `MINIMUM_SHARE` of an
    image, except `REST`, which takes its look from the whole image.
    """
    rows = []
    for name, content, style in zip(regions.names, regions.content_share, regions.style_share, strict=True):
        small = [
            f"only {100 * share:.2g} % of the {side}: too small for a style of its own"
            for side, share in (("content", content), ("style", style))
            if share < MINIMUM_SHARE and name != REST
        ]
        remarks = [*_describe(move for move in regions.moves if move.target == name), *small]
        rows.append(Row(name, round(100 * content, 2), round(100 * style, 2), "; ".join(remarks)))
    return sorted(rows, key=lambda row: (-row.content, row.name))


def _describe(moves: Iterable[Move]) -> list[str]:
    """A sentence for each reason, naming all that was merged for it; a name that both images have stands once."""
    merged: dict[str, dict[str, list[str]]] = {}
    for move in moves:
        shares = merged.setdefault(move.reason, {}).setdefault(move.name, [])
        shares.append(f"{100 * move.share:.2f} % of the {move.side}")
    return [f"with {_enumerated(names)}: {reason}" for reason, names in merged.items()]


def _enumerated(names: dict[str, list[str]]) -> str:
    *first, last = (f"{name} ({', '.join(shares)})" for name, shares in names.items())
    return f"{', '.join(first)} and {last}" if first else last


def relabelled(sides: dict[Side, Segmentation], names: tuple[str, ...], moves: list[Move]) -> Regions:
    """The regions of these names after the moves, which say where each label goes."""
    labels = [_relabel(segmentation, side, names, moves) for side, segmentation in sides.items()]
    fractions = [tuple(_fractions(label, len(names)).tolist()) for label in labels]
    merged = tuple(move for move in moves if move.name != move.target)
    return Regions(names, labels[0], labels[1], fractions[0], fractions[1], merged)


def _absorb_small(side: Side, shares: dict[str, float], similarity: WordSimilarity, minimum_share: float) -> Renaming:
    largest = max(sorted(shares), key=lambda name: shares[name])
    useful = {name for name, share in shares.items() if share >= minimum_share} or {largest}
    cause = f"% of the {side} is less than {100 * minimum_share:.2g} %"
    return {
        name: _most_like(name, useful, similarity, f"{100 * share:.2g} {cause}")
        for name, share in shares.items()
        if name not in useful
    }


def _adopt(side: Side, labels: set[str], counterparts: set[str], similarity: WordSimilarity) -> Renaming:
    """Renames the labels that only `side` has to labels of the counterpart image."""
    return {name: _most_like(name, counterparts, similarity, f"only in the {side}") for name in labels - counterparts}


def merge_alike(labels: set[str], similarity: WordSimilarity, threshold: float) -> Renaming:
    """Joins labels with a similarity of at least `threshold`: connected components of the graph of such pairs."""
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
    """Follows a label through all renamings and joins their reasons."""
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
    """The share of each name that has pixels; labels with the same name are added up."""
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
        return Move(name, side, share, WHOLE, f"{cause}, and there is no shared region")
    alike = {candidate: similarity(side, name, candidate) for candidate in shared}
    target = max(shared, key=lambda candidate: alike[candidate])  # the first of equals, as `shared` is sorted
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
    # A name without pixels has no target, and no pixel looks it up.
    lookup = np.array([names.index(home) if home in names else 0 for home in homes], np.int32)
    return lookup[segmentation.labels] if segmentation.labels.size else segmentation.labels.astype(np.int32)
