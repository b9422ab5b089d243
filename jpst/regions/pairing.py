"""Regions that were found, given other partners by hand: `Recipe.pairs`. Host code.

Pairs found automatically are cautious (`trust`), and may be wrong all the same. Here a region of the content takes its
look from any region of the style, or from the whole style photograph.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jpst import ranges
from jpst.errors import JpstError
from jpst.regions.segment import WHOLE, Segmentation
from jpst.regions.semantics import REST, Move, Regions, Side, relabelled, shares_by_name

NONE = "none"
"""the partner of a region that follows the whole style photograph"""
LEAST_SHARE = 0.01
"""of a photograph, of a region without a partner that can be given one"""
CHOSEN = "chosen by hand"


class Parts(NamedTuple):
    """The regions of two photographs that can be paired, those of each under names of its own."""

    content: Segmentation
    """`REST`, if it is one of the names, is what cannot be given a partner"""
    style: Segmentation
    automatic: Regions
    """how they were paired automatically"""

    @property
    def partners(self) -> dict[str, str | None]:
        """For each of the content's regions the one of the style that it was paired with; None if with none."""
        paired = _paired(self.automatic)
        return {name: name if name in paired else None for name in self.names("content")}

    def names(self, side: Side) -> list[str]:
        """The regions of one photograph that have pixels, the largest first."""
        shares = shares_by_name(self.content if side == "content" else self.style)
        return sorted(shares.keys() - {REST}, key=lambda name: (-shares[name], name))


def parts(content: Segmentation, style: Segmentation, automatic: Regions) -> Parts:
    """What can be paired: the regions that were, and the labels left without a partner that are not too small.

    Args:
      content, style: the labels that were found; pixels whose label is not sure under `REST`.
      automatic: the regions that were made of them.
    """
    content_part = _part(content, "content", automatic.content, automatic)
    return Parts(content_part, _part(style, "style", automatic.style, automatic), automatic)


def _part(found: Segmentation, side: Side, labels: np.ndarray, automatic: Regions) -> Segmentation:
    paired, shares = _paired(automatic), shares_by_name(found)
    homes = _homes(automatic, side)
    own = [
        name if homes.get(name, name) not in paired and shares.get(name, 0.0) >= LEAST_SHARE else REST
        for name in (REST if name == WHOLE else name for name in found.names)
    ]
    names = (*paired, *sorted(set(own) - {REST}), REST)
    left = np.array([names.index(name) for name in own], np.int32)[found.labels]
    kept = np.array([names.index(name) if name in paired else -1 for name in automatic.names], np.int32)[labels]
    return Segmentation(np.where(kept >= 0, kept, left).astype(np.int32), names)


def repaired(parts: Parts, pairs: Sequence[str]) -> Regions:
    """The regions with other partners. Regions of the content with one partner are one region, as the partner is.

    Args:
      pairs: each "CONTENT=STYLE", two regions of `parts`, or "CONTENT=none": it follows the whole style photograph.
        Regions of the content that are not named keep the partner that they have.

    Raises:
      JpstError: there is no such region, or one is given two partners.
    """
    partners = given(parts, pairs)
    groups = {partner: [name for name in partners if partners[name] == partner] for partner in partners.values()}
    homes = {partner: _title(names, partner) for partner, names in groups.items() if partner is not None}
    rest = REST if homes else WHOLE
    targets: dict[Side, dict[str, str]] = {
        "content": {name: rest if partner is None else homes[partner] for name, partner in partners.items()},
        "style": {name: homes.get(name, rest) for name in parts.names("style")},
    }
    sides: dict[Side, Segmentation] = {"content": parts.content, "style": parts.style}
    moves = [Move(name, side, 0.0, target, "") for side in sides for name, target in targets[side].items()]
    made = relabelled(sides, (*sorted(homes.values()), rest) if homes else (rest,), moves)
    return made._replace(moves=tuple(_told(parts, targets, rest)))


def changes(parts: Parts, partners: Mapping[str, str | None]) -> tuple[str, ...]:
    """The `pairs` that make these partners of the content's regions; none for those that they have."""
    before = parts.partners
    changed = {name: partner for name, partner in partners.items() if partner != before[name]}
    return tuple(f"{name}={partner or NONE}" for name, partner in sorted(changed.items()))


def _told(parts: Parts, targets: dict[Side, dict[str, str]], rest: str) -> list[Move]:
    """What went where and why: what was chosen, and for all else the reason that it had."""
    moves, paired = [], _paired(parts.automatic)
    for side, homes in targets.items():
        shares = shares_by_name(parts.content if side == "content" else parts.style)
        chosen = {name for name, home in homes.items() if home != (name if name in paired else rest)}
        moves += [Move(name, side, shares[name], homes[name], CHOSEN) for name in sorted(chosen)]
        for move in parts.automatic.moves:
            if move.side == side and move.name not in chosen:
                moves.append(move._replace(target=homes.get(move.target, rest)))
    return [move for move in moves if move.name != move.target]


def given(parts: Parts, pairs: Sequence[str]) -> dict[str, str | None]:
    """The partners of the content's regions with these pairs; raises as `repaired`."""
    read: dict[str, str | None] = {}
    for pair in pairs:
        name, _, partner = (word.strip() for word in pair.partition("="))
        _check(name, "content", parts.names("content"))
        if name in read:
            raise JpstError(f"pairs: {name} is given two partners. Name each region of the content once in `pairs`.")
        if partner != NONE:
            _check(partner, "style", parts.names("style"))
        read[name] = None if partner == NONE else partner
    return parts.partners | read


def _check(name: str, side: Side, names: list[str]) -> None:
    if name not in names:
        there = f"its regions are {', '.join(names)}" if names else "no region was found there"
        hint = ranges.nearest(name, names)
        raise JpstError(
            f"pairs: the {side} photograph has no region {name!r}; {there}.{hint} Name one that is there in `pairs`."
        )


def _title(names: Sequence[str], partner: str) -> str:
    """The name of a region: what is in it of the content, and what it takes its look from."""
    joined = " + ".join(sorted(names))
    return joined if joined == partner else f"{joined} like {partner}"


def _paired(automatic: Regions) -> tuple[str, ...]:
    return tuple(name for name in automatic.names if name not in (REST, WHOLE))


def _homes(automatic: Regions, side: Side) -> dict[str, str]:
    return {move.name: move.target for move in automatic.moves if move.side == side}
