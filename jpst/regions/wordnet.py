"""Similarity of two words in the noun taxonomy of WordNet 3.0.

The measures are those of `taxonomy`.

A word has many senses. "fixed" uses one: for an ADE20K class the noun in `ade20k.CLASSES`, for any other word its most
frequent sense. "all" uses the largest value over all senses and all synonyms of a class, as the reference does. It
therefore finds a toilet similar to grass (pot), and a house similar to a signboard (of the zodiac). Differs from the
reference in compounds such as "swimming pool", which it looks up with their spaces and does not find.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np

from jpst.regions import ade20k, taxonomy
from jpst.regions.taxonomy import Measure, Noun, WordNetError

Senses = Literal["fixed", "all"]


@cache
def class_similarity(measure: Measure = "li", senses: Senses = "fixed") -> np.ndarray:
    """Similarity of all pairs of ADE20K classes: float64 [150, 150] in the order of `ade20k.CLASSES`, read-only."""
    choices = [_class_senses(entry, senses) for entry in ade20k.CLASSES]
    table = _best(choices, _excerpt()[0], measure)
    table.flags.writeable = False
    return table


def similarity(
    a: str,
    b: str,
    *,
    measure: Measure = "li",
    senses: Senses = "fixed",
) -> float:
    """Similarity of two words; higher is more similar. A name of an ADE20K class (any synonym) stands for its class.

    Other words are looked up in the excerpt that ships with jpst, then in NLTK's WordNet.

    Raises:
      WordNetError: a word is not a known noun, or NLTK's WordNet is needed and not installed.
    """
    entries = ade20k.find(a), ade20k.find(b)
    if entries[0] and entries[1]:
        return float(class_similarity(measure, senses)[entries[0].id - 1, entries[1].id - 1])
    return _word_similarity(*sorted((_plain(a), _plain(b))), measure, senses)


def by_name(measure: Measure = "li", senses: Senses = "fixed") -> Callable[[str, str], float]:
    """`similarity` with fixed options, as a function of two names for `semantics.group`."""

    def alike(a: str, b: str) -> float:
        return similarity(a, b, measure=measure, senses=senses)

    return alike


@cache
def _word_similarity(a: str, b: str, measure: Measure, senses: Senses) -> float:
    nouns = dict(_excerpt()[0])
    choices = [_word_senses(word, senses, nouns) for word in (a, b)]
    return float(_best(choices, nouns, measure)[0, 1])


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
            name, hyponyms, hypernyms = fields
            nouns[name] = Noun(int(hyponyms), tuple(hypernyms.split()))
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
            nouns[noun.name()] = Noun(len(below), tuple(upper.name() for upper in above))
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
) -> np.ndarray:
    """For each pair of lists of nouns, the largest similarity of a noun of one with a noun of the other."""
    every = sorted({noun for choice in choices for noun in choice})
    number = {noun: index for index, noun in enumerate(every)}
    flat = [number[noun] for choice in choices for noun in choice]
    starts = np.cumsum([0, *(len(choice) for choice in choices[:-1])])
    table = taxonomy.table(every, nouns, measure)[np.ix_(flat, flat)]
    return np.maximum.reduceat(np.maximum.reduceat(table, starts, axis=0), starts, axis=1)
