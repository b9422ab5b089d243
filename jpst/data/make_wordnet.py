"""Makes wordnet.tsv, the part of WordNet 3.0 that jpst ships, from WordNet's own database files.

    python -m jpst.data.make_wordnet FOLDER

FOLDER holds data.noun, index.noun, index.sense and the rest: on Debian /usr/share/wordnet, after
`apt-get install wordnet-base wordnet-sense-index`. The excerpt has every noun sense of the names of the ADE20K
classes and of the further words below, with all that stands above them.
"""

import argparse
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jpst.regions import ade20k

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

TARGET = Path(__file__).with_name("wordnet.tsv")
NOTICE_LINES = 29  # at the top of each database file: the licence, which goes wherever the data go

# What people call parts of photographs that ADE20K has no class for.
# fmt: off
FURTHER_WORDS = (
    "background", "beach", "bird", "body", "bush", "cat", "city", "cliff", "cloud", "clothing", "coast",
    "desert", "dog", "face", "fire", "fog", "foliage", "food", "foreground", "forest", "garden", "glacier",
    "hair", "hand", "head", "horizon", "horse", "ice", "landscape", "lawn", "leaf", "leaves", "meadow", "mist",
    "moon", "ocean", "park", "reflection", "roof", "shadow", "shore", "skin", "skyline", "smoke", "snow",
    "star", "street", "sun", "sunset", "town", "valley", "vegetation", "vehicle", "wave", "wood", "woods",
)
# fmt: on

# Lexicographer files in the order of their numbers, after the code of their part of speech: lexnames(5WN). NLTK reads
# them from a file `lexnames` that not every distribution has.
LEXICOGRAPHER_FILES = (
    ("3", "adj", "all pert"),
    ("4", "adv", "all"),
    (
        "1",
        "noun",
        "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
        "object person phenomenon plant possession process quantity relation shape state substance time",
    ),
    (
        "2",
        "verb",
        "body change cognition communication competition consumption contact creation emotion motion perception "
        "possession social stative weather",
    ),
    ("3", "adj", "ppl"),
)


@contextmanager
def opened(folder: Path) -> Iterator["WordNetCorpusReader"]:
    """NLTK's reader on a copy of the database files of a folder, which needs no file `lexnames`."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    with tempfile.TemporaryDirectory() as data:
        copy = Path(data, "corpora", "wordnet")
        copy.mkdir(parents=True)
        for name in WordNetCorpusReader._FILES:
            if name != "lexnames":
                shutil.copy(folder / name, copy)
        (copy / "lexnames").write_text(_lexnames(), encoding="utf-8")
        nltk.data.path.insert(0, data)  # NLTK opens nothing elsewhere
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The multilingual functions are not available")
                reader = WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
            yield reader
        finally:
            nltk.data.path.remove(data)


def excerpt(reader: "WordNetCorpusReader") -> list[str]:
    """The lines of wordnet.tsv, but for the notice."""
    names = sorted({name for entry in ade20k.CLASSES for name in entry.names} | set(FURTHER_WORDS))
    words = {name: _senses(reader, name) for name in names}
    chosen = [reader.synset(entry.synset) for entry in ade20k.CLASSES]
    nouns = _with_all_above([*chosen, *(sense for senses in words.values() for sense in senses)])
    counts = _hyponym_counts(reader)
    lines = ["synset\tname\thyponyms\thypernyms"]
    for noun in nouns:
        above = " ".join(sorted(upper.name() for upper in _above(noun)))
        lines.append(f"synset\t{noun.name()}\t{counts[noun]}\t{above}")
    lines.append("word\tname\tsenses")
    lines += [f"word\t{word}\t{' '.join(sense.name() for sense in senses)}" for word, senses in words.items()]
    return lines


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description="Makes jpst/data/wordnet.tsv from WordNet's database files.")
    parser.add_argument("folder", type=Path, help="where data.noun, index.noun and the other files are")
    folder = parser.parse_args().folder
    notice = (folder / "data.noun").read_text(encoding="utf-8").splitlines()[:NOTICE_LINES]
    with opened(folder) as reader:
        comments = ["An excerpt of the nouns of WordNet 3.0, made by make_wordnet.py.", ""]
        comments += [line.strip().partition(" ")[2].strip() for line in notice]
        lines = [*(f"# {line}".rstrip() for line in comments), *excerpt(reader)]
    TARGET.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lexnames() -> str:
    names = [(f"{part}.{name}", code) for code, part, files in LEXICOGRAPHER_FILES for name in files.split()]
    return "".join(f"{number:02d}\t{name}\t{code}\n" for number, (name, code) in enumerate(names))


def _senses(reader: "WordNetCorpusReader", word: str) -> list[Any]:
    """Noun senses, most frequent first, of the word's shortest base form.

    So looks sematch, the library whose similarity the reference uses, words up. (It leaves spaces as they are, and so
    finds no compound.)
    """
    form = word.replace(" ", "_")
    base = min(reader._morphy(form, "n"), key=len, default=form)
    return reader.synsets(base, "n")


def _above(noun: Any) -> list[Any]:
    return noun.hypernyms() + noun.instance_hypernyms()


def _with_all_above(nouns: Iterable[Any]) -> list[Any]:
    found, waiting = set(), list(nouns)
    while waiting:
        noun = waiting.pop()
        if noun not in found:
            found.add(noun)
            waiting += _above(noun)
    return sorted(found)


def _hyponym_counts(reader: "WordNetCorpusReader") -> dict[Any, int]:
    """For every noun the number of different nouns below it, instances included."""

    @cache
    def all_above(noun: Any) -> frozenset[Any]:
        return frozenset().union(*({upper} | all_above(upper) for upper in _above(noun)))

    counts = dict.fromkeys(reader.all_synsets("n"), 0)
    for noun in counts:
        for upper in all_above(noun):
            counts[upper] += 1
    return counts


if __name__ == "__main__":
    main()
