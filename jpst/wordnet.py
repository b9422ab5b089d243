"""How alike two words are, by the noun taxonomy of WordNet 3.0.

With path the number of steps between two nouns over a common hypernym, depth(n) the longest way from the root
to n, lcs the deepest common hypernym and ic the information content, the measures are those of sematch, the library
that the reference uses:

    li     exp(-0.2 path) tanh(0.6 depth(lcs))                     Li, Bandar and McLean 2003
    wup    2 d / (path(a, lcs) + path(b, lcs) + 2 d)               Wu and Palmer 1994; d = depth + 1
    path   1 / (1 + path)                                          Rada et al. 1989
    res    the largest ic of a common hypernym; not in 0..1        Resnik 1995
    lin    2 res / (ic(a) + ic(b))                                 Lin 1998
    jcn    1 / (1 + ic(a) + ic(b) - 2 ic(lcs))                     Jiang and Conrath 1997
    wpath  1 / (1 + 0.8^ic(lcs) path)                              Zhu and Iglesias 2017

For wup, lcs is the common hypernym whose *shortest* way from the root is longest, as in NLTK. All are symmetric, all
but res lie in 0..1, and nothing is more like a noun than itself.

A word has many senses. "fixed" takes one: of an ADE20K class the noun in `ade20k.CLASSES`, of any other word its
most frequent sense. "all" takes the largest value over all senses and all synonyms of a class, as the reference
does, and so finds that a toilet is like grass (pot) and a house like a signboard (of the zodiac). The reference looks
compounds such as "swimming pool" up with their spaces and finds nothing; here they are found.

Information content is measured in nats. "seco" takes it from the taxonomy itself: ln N - ln(hyponyms + 1), which
is Seco, Veale and Hayes' value (2004) times ln N, so that it is on the scale of corpus counts. "brown" is -ln p in the
Brown corpus, which the reference uses, and needs NLTK's corpus `wordnet_ic`; a noun that Brown does not have counts as
seen once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import numpy as np

from jpst import ade20k
from jpst.errors import JpstError

Measure = Literal["li", "wup", "path", "res", "lin", "jcn", "wpath"]
Senses = Literal["fixed", "all"]
InformationContent = Literal["seco", "brown"]

MEASURES: tuple[Measure, ...] = ("li", "wup", "path", "res", "lin", "jcn", "wpath")
ROOT = "entity.n.01"  # of all nouns
FAR = 1000  # steps, where there is no way up; the longest is 19


class WordNetError(JpstError):
    """A word that is no noun of WordNet, or data of NLTK that are not installed."""


class Noun(NamedTuple):
    """One synset: its place in WordNet's file, how many are below it, and the names of those right above it."""

    offset: int
    hyponyms: int
    hypernyms: tuple[str, ...]


class _Lines(NamedTuple):
    """The taxonomy above some nouns, as arrays over `names`, which are sorted.

    `up[a, b]` are the fewest steps up from a to b, FAR if b is not above a; `longest` and `shortest` the ways
    from the root.
    """

    names: list[str]
    up: np.ndarray
    longest: np.ndarray
    shortest: np.ndarray


@cache
def class_similarity(
    measure: Measure = "li", senses: Senses = "fixed", information_content: InformationContent = "seco"
) -> np.ndarray:
    """Every ADE20K class against every other: float64 [150, 150] in the order of `ade20k.CLASSES`, read-only."""
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
    """How alike two words are; higher is more. Names of ADE20K classes (any synonym) stand for their class.

    Other words are looked up in the few that this package brings along and then in NLTK's WordNet.

    Raises:
      WordNetError: a word is no noun that is known, or an information content is not installed.
    """
    entries = ade20k.find(a), ade20k.find(b)
    if entries[0] and entries[1]:
        return float(class_similarity(measure, senses, information_content)[entries[0].id - 1, entries[1].id - 1])
    return _word_similarity(*sorted((_plain(a), _plain(b))), measure, senses, information_content)


def by_name(
    measure: Measure = "li", senses: Senses = "fixed", information_content: InformationContent = "seco"
) -> Callable[[str, str], float]:
    """`similarity` with its options chosen: what `semantics.group` asks for."""

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
    """Its senses, most frequent first; those that only NLTK knows are added to `nouns` with all above them."""
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
            f"The similarity of '{word}' is asked for. It is neither an ADE20K class nor one of the few other words "
            "that jpst brings along, and NLTK's WordNet is not installed. Install it with: python -m nltk.downloader "
            "wordnet; or call the region by the name of an ADE20K class."
        ) from None
    if not found:
        raise WordNetError(
            f"'{word}' is no noun of WordNet, so its similarity to other words is unknown. Call the region by a common "
            "English noun, best by the name of an ADE20K class, such as sky, tree, building or person."
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
    """For each pair of lists of nouns the largest similarity between a noun of one and one of the other."""
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
        raise WordNetError(f"There is no measure '{measure}' of similarity: take one of {', '.join(MEASURES)}.")
    lines = _lines(chosen, nouns)
    own = np.array([lines.names.index(noun) for noun in chosen])
    if measure == "wup":
        return _wup(lines, own)
    path = _paths(lines)[np.ix_(own, own)]
    lowest = _highest_ranked(lines, own, lines.longest)
    if measure == "li":
        return np.exp(-0.2 * path) * np.tanh(0.6 * lines.longest[lowest])
    if measure == "path":
        return 1 / (1 + path)
    ic = _information_content(lines.names, nouns, information_content)
    if measure == "wpath":
        return 1 / (1 + path * 0.8 ** ic[lowest])
    both = ic[own][:, None] + ic[own][None, :]
    if measure == "jcn":
        # Rounding may take a hair below zero what is zero for equal nouns.
        return 1 / (1 + np.maximum(both - 2 * ic[lowest], 0))
    informative = ic[_highest_ranked(lines, own, ic)]
    if measure == "res":
        return informative
    # The root against itself: no information on either side, and yet the same.
    return np.where(both > 0, 2 * informative / np.where(both > 0, both, 1), 1.0)


def _wup(lines: _Lines, own: np.ndarray) -> np.ndarray:
    """As NLTK computes it: of common hypernyms as deep as each other the first by name, but before all one of the two
    nouns itself. (NLTK prefers only the first of the two, so that a few of its values depend on their order; this
    is its value with the upper noun first.)"""
    path = _paths(lines)
    lowest = _highest_ranked(lines, own, lines.shortest)
    above = lines.up[np.ix_(own, own)].T < FAR  # the row's noun is above the column's, or the same
    as_deep = lines.shortest[own][:, None] == lines.shortest[lowest]
    lowest = np.where(above & as_deep, own[:, None], lowest)
    lowest = np.where(above.T & as_deep.T, own[None, :], lowest)
    depth = lines.longest[lowest] + 1.0
    ways = path[own[:, None], lowest] + path[own[None, :], lowest]
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
    """Every noun after all that are above it."""
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
    """The fewest steps between any two nouns: over the common hypernym where that is shortest."""
    path = np.full(lines.up.shape, FAR, np.int16)
    for steps in lines.up.T:
        below = np.flatnonzero(steps < FAR)
        block = np.ix_(below, below)
        path[block] = np.minimum(path[block], steps[below][:, None] + steps[below][None, :])
    return path


def _highest_ranked(lines: _Lines, own: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Of each pair's common hypernyms the one of highest rank, of equals the first by name: int [n, n]."""
    lowest = np.zeros((len(own), len(own)), int)
    for upper in sorted(range(len(rank)), key=lambda index: (rank[index], -index)):  # the last to write stays
        below = np.flatnonzero(lines.up[own, upper] < FAR)
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
    """How often each noun, or one below it, is in the Brown corpus, by offset; under 0 their sum."""
    from nltk.corpus import wordnet_ic

    try:
        return dict(wordnet_ic.ic("ic-brown.dat")["n"])
    except LookupError:
        raise WordNetError(
            "The information content of the Brown corpus is asked for, and NLTK's corpus wordnet_ic is not installed. "
            'Install it with: python -m nltk.downloader wordnet_ic; or take information_content="seco", which needs '
            "no corpus."
        ) from None
