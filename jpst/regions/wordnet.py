"""Similarity of two words in the noun taxonomy of WordNet 3.0.

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

A word has many senses. "fixed" uses one: for an ADE20K class the noun in `ade20k.CLASSES`, for any other word its most
frequent sense. "all" uses the largest value over all senses and all synonyms of a class, as the reference does. It
therefore finds a toilet similar to grass (pot), and a house similar to a signboard (of the zodiac). Differs from the
reference in compounds such as "swimming pool", which it looks up with their spaces and does not find.

Information content is in nats. "seco" is computed from the taxonomy: ln N - ln(hyponyms + 1), which is Seco, Veale and
Hayes' value (2004) times ln N, on the scale of corpus counts. "brown", which the reference uses, is -ln p in the Brown
corpus and needs NLTK's corpus `wordnet_ic`; a noun that is not in Brown counts as seen once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import numpy as np

from jpst.errors import JpstError
from jpst.regions import ade20k

Measure = Literal["li", "wup", "path", "res", "lin", "jcn", "wpath"]
Senses = Literal["fixed", "all"]
InformationContent = Literal["seco", "brown"]

MEASURES: tuple[Measure, ...] = ("li", "wup", "path", "res", "lin", "jcn", "wpath")
ROOT = "entity.n.01"  # of all nouns
FAR = 1000  # steps if there is no path up; the longest path is 19


class WordNetError(JpstError):
    """A word is not a noun of WordNet, or data of NLTK are not installed."""


class Noun(NamedTuple):
    """One synset: its offset in WordNet's file, its number of hyponyms, and the names of its direct hypernyms."""

    offset: int
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


@cache
def class_similarity(
    measure: Measure = "li", senses: Senses = "fixed", information_content: InformationContent = "seco"
) -> np.ndarray:
    """Similarity of all pairs of ADE20K classes: float64 [150, 150] in the order of `ade20k.CLASSES`, read-only."""
    choices = [_class_senses(entry, senses) for entry in ade20k.CLASSES]
    table = _best(choices, _excerpt()[0], measure, information_content)
    table.flags.writeable = False
    return table


def similarity(
    a: str,
    b: str,
    *,
    measure: Measure = "li",
    senses: Senses = "fixed",
    information_content: InformationContent = "seco",
) -> float:
    """Similarity of two words; higher is more similar. A name of an ADE20K class (any synonym) stands for its class.

    Other words are looked up in the excerpt that ships with jpst, then in NLTK's WordNet.

    Raises:
      WordNetError: a word is not a known noun, or an information content is not installed.
    """
    entries = ade20k.find(a), ade20k.find(b)
    if entries[0] and entries[1]:
        return float(class_similarity(measure, senses, information_content)[entries[0].id - 1, entries[1].id - 1])
    return _word_similarity(*sorted((_plain(a), _plain(b))), measure, senses, information_content)


def by_name(
    measure: Measure = "li", senses: Senses = "fixed", information_content: InformationContent = "seco"
) -> Callable[[str, str], float]:
    """`similarity` with fixed options, as a function of two names for `semantics.group`."""

    def alike(a: str, b: str) -> float:
        return similarity(a, b, measure=measure, senses=senses, information_content=information_content)

    return alike


@cache
def _word_similarity(
    a: str, b: str, measure: Measure, senses: Senses, information_content: InformationContent
) -> float:
    nouns = dict(_excerpt()[0])
    choices = [_word_senses(word, senses, nouns) for word in (a, b)]
    return float(_best(choices, nouns, measure, information_content)[0, 1])


def _plain(word: str) -> str:
    return " ".join(word.lower().split())


@cache
def _excerpt() -> tuple[Mapping[str, Noun], Mapping[str, tuple[str, ...]]]:
    """The nouns of data/wordnet.tsv by name, and the senses of its words, most frequent first."""
    text = resources.files("jpst").joinpath("data/wordnet.tsv").read_text(encoding="utf-8")
    nouns, words = {}, {}
    for line in text.splitlines():
        kind, *fields = line.split("\t")
        if kind == "synset" and fields[0] != "name":
            name, offset, hyponyms, hypernyms = fields
            nouns[name] = Noun(int(offset), int(hyponyms), tuple(hypernyms.split()))
        elif kind == "word" and fields[0] != "name":
            words[fields[0]] = tuple(fields[1].split())
    return nouns, words


def _class_senses(entry: ade20k.Class, senses: Senses) -> tuple[str, ...]:
    words = _excerpt()[1]
    every = {sense for name in entry.names for sense in words[name]}
    return tuple(sorted(every)) if senses == "all" and every else (entry.synset,)


def _word_senses(word: str, senses: Senses, nouns: dict[str, Noun]) -> tuple[str, ...]:
    """The senses of a word, most frequent first. Senses from NLTK are added to `nouns` with all their hypernyms."""
    entry = ade20k.find(word)
    if entry:
        return _class_senses(entry, senses)
    known = _excerpt()[1].get(word) or _from_nltk(word, nouns)
    return known if senses == "all" else known[:1]


def _from_nltk(word: str, nouns: dict[str, Noun]) -> tuple[str, ...]:
    from nltk.corpus import wordnet

    try:
        found: list[Any] = wordnet.synsets(word.replace(" ", "_"), "n")
    except LookupError:
        raise WordNetError(
            f"There is no similarity for '{word}': it is neither an ADE20K class nor one of the few other words that "
            "ship with jpst, and NLTK's WordNet is not installed. Install it with: python -m nltk.downloader wordnet; "
            "or name the region after an ADE20K class."
        ) from None
    if not found:
        raise WordNetError(
            f"'{word}' is not a noun of WordNet, so its similarity to other words is unknown. Name the region by a "
            "common English noun, preferably an ADE20K class, such as sky, tree, building or person."
        )
    waiting = list(found)
    while waiting:
        noun = waiting.pop()
        if noun.name() not in nouns:
            above = noun.hypernyms() + noun.instance_hypernyms()
            below = _all_below(noun)
            nouns[noun.name()] = Noun(noun.offset(), len(below), tuple(upper.name() for upper in above))
            waiting += above
    return tuple(noun.name() for noun in found)


def _all_below(noun: Any) -> set[Any]:
    found: set[Any] = set()
    waiting = [noun]
    while waiting:
        lower = waiting.pop()
        below = set(lower.hyponyms() + lower.instance_hyponyms()) - found
        found |= below
        waiting += below
    return found


def _best(
    choices: Sequence[Sequence[str]],
    nouns: Mapping[str, Noun],
    measure: Measure,
    information_content: InformationContent,
) -> np.ndarray:
    """For each pair of lists of nouns, the largest similarity of a noun of one with a noun of the other."""
    every = sorted({noun for choice in choices for noun in choice})
    number = {noun: index for index, noun in enumerate(every)}
    flat = [number[noun] for choice in choices for noun in choice]
    starts = np.cumsum([0, *(len(choice) for choice in choices[:-1])])
    table = _table(every, nouns, measure, information_content)[np.ix_(flat, flat)]
    return np.maximum.reduceat(np.maximum.reduceat(table, starts, axis=0), starts, axis=1)


def _table(
    chosen: list[str], nouns: Mapping[str, Noun], measure: Measure, information_content: InformationContent
) -> np.ndarray:
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
    ic = _information_content(lines.names, nouns, information_content)
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


def _information_content(names: Iterable[str], nouns: Mapping[str, Noun], source: InformationContent) -> np.ndarray:
    if source == "seco":
        total = nouns[ROOT].hyponyms + 1
        return np.array([math.log(total / (nouns[noun].hyponyms + 1)) for noun in names])
    counts = _brown_counts()
    total = counts[0]
    return np.array([math.log(total / min(max(counts.get(nouns[noun].offset, 0), 1), total)) for noun in names])


@cache
def _brown_counts() -> Mapping[int, float]:
    """Counts of each noun and its hyponyms in the Brown corpus, by offset; key 0 is the total."""
    from nltk.corpus import wordnet_ic

    try:
        return dict(wordnet_ic.ic("ic-brown.dat")["n"])
    except LookupError:
        raise WordNetError(
            "The information content of the Brown corpus needs NLTK's corpus wordnet_ic, which is not installed. "
            'Install it with: python -m nltk.downloader wordnet_ic; or use information_content="seco", which needs '
            "no corpus."
        ) from None
