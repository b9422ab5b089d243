"""The 150 classes of the ADE20K scene parsing benchmark: names, colours, and the one meaning of each.

Names and order are those of the benchmark's objectInfo150.txt, colours those of its color150.mat. That file gives
(140, 140, 140) to both road (id 7) and skyscraper (id 49); in this table road is (150, 150, 150), as in the reference.
"""

from functools import cache
from importlib import resources
from typing import NamedTuple


class Class(NamedTuple):
    """One class. `id` counts from 1 (0 is unlabelled); networks and `CLASSES` count from 0.

    `names` are its synonyms, the usual one first; `colour` is 8-bit RGB; `synset` is the matching noun of WordNet 3.0,
    named as in NLTK; `note` gives the reason for that noun if it is not evident.
    """

    id: int
    names: tuple[str, ...]
    colour: tuple[int, int, int]
    synset: str
    note: str

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]


def _read() -> tuple[Class, ...]:
    text = resources.files("jpst").joinpath("data/ade20k.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return tuple(
        Class(int(number), tuple(names.split(", ")), (int(red), int(green), int(blue)), synset, note)
        for number, red, green, blue, synset, names, note in rows
    )


CLASSES = _read()
"""All classes; the index 0..149 is a network's output channel, which is ADE20K's id minus one."""

NAMES = tuple(entry.name for entry in CLASSES)
"""The usual names of all classes, all distinct: the names in a `Segmentation`."""


@cache
def find(name: str) -> Class | None:
    """The class with this name, in any case, or None.

    Five synonyms belong to two classes (counter, ground, pot, screen, stool): the class whose usual name it is
    comes first, else the one with the lower id.
    """
    name = " ".join(name.lower().split())
    usual = [entry for entry in CLASSES if entry.name == name]
    return next(iter(usual + [entry for entry in CLASSES if name in entry.names]), None)
