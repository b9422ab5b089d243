"""Similarity of nouns in a taxonomy: each noun below its hypernyms, up to one root.

The measures are those of sematch, the library that the reference uses. In these formulas path is the number of steps
between two nouns through a common hypernym, depth(n) the longest path from the root to n, lcs the deepest common
hypernym, and ic the information content:

    li     exp(-0.2 path) tanh(0.6 depth(lcs))                     Li, Bandar and McLean 2003
    wup    2 d / (path(a, lcs) + path(b, lcs) + 2 d)               Wu and Palmer 1994; d = depth + 1
    path   1 / (1 + path)                                          Rada et al. 1989
    res    the largest ic of a common hypernym; not in 0..1        Resnik 1995
    lin    2 res / (ic(a) + ic(b))                                 Lin 1998
    jcn    1 / (1 + ic(a) + ic(b) - 2 ic(lcs))                     Jiang and Conrath 1997
    wpath  1 / (1 + 0.8^ic(lcs) path)                              Zhu and Iglesias 2017

For wup, lcs is the common hypernym whose *shortest* path from the root is longest, as in NLTK. All measures are
symmetric, all except res are in 0..1, and no noun is more similar to another than to itself.

Information content is in nats, from the taxonomy: ln N - ln(hyponyms + 1), which is Seco, Veale and Hayes' value (2004)
times ln N, on the scale of corpus counts. Differs from the reference, which counts nouns in the Brown corpus.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from jpst.errors import JpstError

Measure = Literal["li", "wup", "path", "res", "lin", "jcn", "wpath"]

MEASURES: tuple[Measure, ...] = ("li", "wup", "path", "res", "lin", "jcn", "wpath")
ROOT = "entity.n.01"  # of all nouns
FAR = 1000  # steps if there is no path up; the longest path is 19


class WordNetError(JpstError):
    """A word is not a noun of WordNet, or data of NLTK are not installed."""


class Noun(NamedTuple):
    """One synset: its number of hyponyms, and the names of its direct hypernyms."""

    hyponyms: int
    hypernyms: tuple[str, ...]


class _Lines(NamedTuple):
    """The taxonomy above some nouns, as arrays over the sorted `names`.

    `up[a, b]` is the smallest number of steps up from a to b, FAR if b is not above a. `longest` and `shortest` are the
    lengths of the paths from the root.
    """

    names: list[str]
    up: np.ndarray
    longest: np.ndarray
    shortest: np.ndarray


def table(chosen: list[str], nouns: Mapping[str, Noun], measure: Measure) -> np.ndarray:
    """Similarity of all pairs of some nouns, float64 [n, n]."""
    if measure not in MEASURES:
        raise WordNetError(f"There is no similarity measure '{measure}'. Use one of {', '.join(MEASURES)}.")
    lines = _lines(chosen, nouns)
    rows = np.array([lines.names.index(noun) for noun in chosen])
    if measure == "wup":
        return _wup(lines, rows)
    path = _paths(lines)[np.ix_(rows, rows)]
    lowest = _highest_ranked(lines, rows, lines.longest)
    if measure == "li":
        return np.exp(-0.2 * path) * np.tanh(0.6 * lines.longest[lowest])
    if measure == "path":
        return 1 / (1 + path)
    ic = _information_content(lines.names, nouns)
    if measure == "wpath":
        return 1 / (1 + path * 0.8 ** ic[lowest])
    both = ic[rows][:, None] + ic[rows][None, :]
    if measure == "jcn":
        # For equal nouns this is zero, but rounding may make it slightly negative.
        return 1 / (1 + np.maximum(both - 2 * ic[lowest], 0))
    informative = ic[_highest_ranked(lines, rows, ic)]
    if measure == "res":
        return informative
    # The root has no information, so its similarity to itself, 1, is set explicitly.
    return np.where(both > 0, 2 * informative / np.where(both > 0, both, 1), 1.0)


def _wup(lines: _Lines, rows: np.ndarray) -> np.ndarray:
    """Wu and Palmer's measure as in NLTK: of equally deep common hypernyms one of the two nouns, else the first.

    Differs from NLTK, which prefers only the first of the two nouns, so that a few of its values depend on their order:
    this is its value with the upper noun first.
    """
    path = _paths(lines)
    lowest = _highest_ranked(lines, rows, lines.shortest)
    above = lines.up[np.ix_(rows, rows)].T < FAR  # the row's noun is above the column's, or equal
    as_deep = lines.shortest[rows][:, None] == lines.shortest[lowest]
    lowest = np.where(above & as_deep, rows[:, None], lowest)
    lowest = np.where(above.T & as_deep.T, rows[None, :], lowest)
    depth = lines.longest[lowest] + 1.0
    ways = path[rows[:, None], lowest] + path[rows[None, :], lowest]
    return 2 * depth / (ways + 2 * depth)


def _lines(chosen: Iterable[str], nouns: Mapping[str, Noun]) -> _Lines:
    found: set[str] = set()
    waiting = list(chosen)
    while waiting:
        noun = waiting.pop()
        if noun not in found:
            found.add(noun)
            waiting += nouns[noun].hypernyms
    names = sorted(found)
    number = {noun: index for index, noun in enumerate(names)}
    up = np.full((len(names), len(names)), FAR, np.int16)
    longest, shortest = np.zeros((2, len(names)), int)
    for noun in _from_the_root(names, nouns):
        row = number[noun]
        uppers = [number[upper] for upper in nouns[noun].hypernyms]
        if uppers:
            up[row] = np.minimum(up[uppers].min(axis=0) + 1, FAR)
            longest[row], shortest[row] = longest[uppers].max() + 1, shortest[uppers].min() + 1
        up[row, row] = 0
    return _Lines(names, up, longest, shortest)


def _from_the_root(names: Iterable[str], nouns: Mapping[str, Noun]) -> list[str]:
    """The nouns in topological order: each one after all its hypernyms."""
    ordered: dict[str, None] = {}

    def add(noun: str) -> None:
        if noun not in ordered:
            for upper in nouns[noun].hypernyms:
                add(upper)
            ordered[noun] = None

    for noun in names:
        add(noun)
    return list(ordered)


def _paths(lines: _Lines) -> np.ndarray:
    """The smallest number of steps between any two nouns, through the best common hypernym."""
    path = np.full(lines.up.shape, FAR, np.int16)
    for steps in lines.up.T:
        below = np.flatnonzero(steps < FAR)
        block = np.ix_(below, below)
        path[block] = np.minimum(path[block], steps[below][:, None] + steps[below][None, :])
    return path


def _highest_ranked(lines: _Lines, rows: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """The common hypernym of highest rank for each pair, of equals the first by name: int [n, n]."""
    lowest = np.zeros((len(rows), len(rows)), int)
    for upper in sorted(range(len(rank)), key=lambda index: (rank[index], -index)):  # the last one written wins
        below = np.flatnonzero(lines.up[rows, upper] < FAR)
        lowest[np.ix_(below, below)] = upper
    return lowest


def _information_content(names: Iterable[str], nouns: Mapping[str, Noun]) -> np.ndarray:
    total = nouns[ROOT].hyponyms + 1
    return np.array([math.log(total / (nouns[noun].hyponyms + 1)) for noun in names])
