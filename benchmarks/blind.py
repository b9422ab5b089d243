"""Which of two sets of pictures people prefer, asked without telling which is which.

    python benchmarks/blind.py make A B -o OUT --pairs PAIRS.tsv [--photographs FOLDER] [--seed 7]
    python benchmarks/blind.py score OUT ANSWERS.csv

A and B are folders with pictures of the same names, NUMBER.png, as wild.py writes them. `make` writes for each pair a
sheet OUT/NUMBER.png with content, style and the two pictures, 1 and 2 from the left, in an order drawn anew for each;
OUT/key.json, which holds the order as a salted hash; and OUT/answers.csv, to be filled in: which picture is better (1,
2 or same) and which are broken, to be thrown away (none, 1, 2 or both). `score` opens the key and counts.
"""

import csv
import dataclasses
import hashlib
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from pairs import Listed, listed, sheet

from jpst import errors

BETTER = {"1": (True, False), "2": (False, True), "same": (False, False)}
BROKEN = {"none": (False, False), "1": (True, False), "2": (False, True), "both": (True, True)}
COLUMNS = ("pair", "better", "broken")
ORDERS = ("AB", "BA")
NORMAL_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


@dataclasses.dataclass(frozen=True)
class Make:
    """Write sheets with two pictures each in an unknown order, the hidden key and a table for answers."""

    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")]
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    pairs: Path
    """table with the columns number, content and style"""
    photographs: Path | None = None
    """folder that the table's files are in (default: photos beside the table's folder)"""
    seed: int | None = None
    """of the orders (default: another one each time)"""
    width: int = 480
    """of a picture on a sheet, in pixels"""


@dataclasses.dataclass(frozen=True)
class Score:
    """Open the key and count the answers."""

    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    answers: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ANSWERS")]


class Tally(NamedTuple):
    """What the answers say of A and B."""

    pairs: int
    wins: tuple[int, int]
    """pairs in which A is better, in which B is"""
    broken: tuple[int, int]
    """pictures of A, of B that are to be thrown away"""

    @property
    def ties(self) -> int:
        return self.pairs - sum(self.wins)


def orders(names: Sequence[str], seed: int | None) -> dict[str, str]:
    """For each pair AB or BA, as many of one as of the other (or one more)."""
    random = np.random.default_rng(seed)
    places, first = random.permutation(len(names)), random.integers(2)
    return {name: ORDERS[(place + first) % 2] for name, place in zip(names, places, strict=True)}


def hidden(name: str, order: str, salt: str) -> str:
    """What the key holds instead of an order."""
    return hashlib.sha256(f"{salt} {name} {order}".encode()).hexdigest()


def opened(key: dict) -> dict[str, str]:
    """The order of each pair of a key."""
    return {
        name: next(order for order in ORDERS if hidden(name, order, key["salt"]) == seen)
        for name, seen in key["orders"].items()
    }


def read_answers(path: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(better, broken) of each pair; raises JpstError unless each of `names` is answered once, in the words allowed."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise errors.JpstError(f"{path}: expected a row for each pair under the columns {', '.join(COLUMNS)}.")
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        pair, better, broken = ((row[column] or "").strip() for column in COLUMNS)
        if pair not in names or pair in found:
            raise errors.JpstError(f"{path}: pair {pair!r} is {'there twice' if pair in found else 'not in the key'}.")
        for column, word, allowed in (("better", better, BETTER), ("broken", broken, BROKEN)):
            if word not in allowed:
                raise errors.JpstError(f"{path}: pair {pair}, {column} is {word!r}; write {', '.join(allowed)}.")
        found[pair] = better, broken
    if missing := [name for name in names if name not in found]:
        raise errors.JpstError(f"{path}: no answer for {', '.join(missing)}; answer every pair.")
    return found


def tally(answers: dict[str, tuple[str, str]], order: dict[str, str]) -> Tally:
    """Counts for A and B instead of for 1 and 2."""
    wins, broken = np.zeros(2, int), np.zeros(2, int)
    for name, (better, thrown) in answers.items():
        turn = 1 if order[name] == "AB" else -1
        wins += np.array(BETTER[better], int)[::turn]
        broken += np.array(BROKEN[thrown], int)[::turn]
    return Tally(len(answers), (int(wins[0]), int(wins[1])), (int(broken[0]), int(broken[1])))


def wilson(wins: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    share, z = wins / count, NORMAL_95
    middle = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = ((middle + side * half) / (1 + z**2 / count) for side in (-1, 1))
    return max(0.0, float(low)), min(1.0, float(high))


def wanted(asked: Make) -> list[Listed]:
    """The pairs of which both folders hold a picture; raises JpstError where there is none or only one of two."""
    inside = [{at.stem for at in folder.glob("*.png")} for folder in (asked.a, asked.b)]
    table = listed(asked.pairs, asked.photographs or asked.pairs.parent.parent / "photos")
    pairs = [pair for pair in table if pair.name in inside[0] & inside[1]]
    if not pairs:
        raise errors.JpstError(f"No picture NUMBER.png of {asked.pairs} lies in both {asked.a} and {asked.b}.")
    if lone := [pair.name for pair in table if pair.name in inside[0] ^ inside[1]]:
        raise errors.JpstError(f"Only one of {asked.a} and {asked.b} has {', '.join(lone)}; make or remove these.")
    for photograph in (path for pair in pairs for path in (pair.content, pair.style)):
        if not photograph.is_file():
            raise errors.JpstError(f"{photograph} is not there; name the photographs' folder with --photographs.")
    return pairs


def make(asked: Make) -> None:
    pairs = wanted(asked)
    out, at = asked.output, asked.output / "key.json"
    if at.exists():
        raise errors.JpstError(f"{at} is there already; name another folder, so that its answers are not lost.")
    out.mkdir(parents=True, exist_ok=True)
    order = orders([pair.name for pair in pairs], asked.seed)
    folders = {"A": asked.a, "B": asked.b}
    for pair in pairs:
        shown = [folders[letter] / f"{pair.name}.png" for letter in order[pair.name]]
        sheet([[pair.content, pair.style, *shown]], asked.width).save(out / f"{pair.name}.png")
    with (out / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *([pair.name, "", ""] for pair in pairs)])
    salt = secrets.token_hex(8)
    hashes = {name: hidden(name, each, salt) for name, each in order.items()}
    key = {"A": str(asked.a), "B": str(asked.b), "salt": salt, "orders": hashes}
    at.write_text(json.dumps(key, indent=1), encoding="utf-8")
    print(f"{len(pairs)} sheets in {out}; fill in a copy of {out / 'answers.csv'}")


def score(asked: Score) -> None:
    for at in (asked.output / "key.json", asked.answers):
        if not at.is_file():
            raise errors.JpstError(f"{at} is not there; give the folder that make wrote, then the answers' file.")
    key = json.loads((asked.output / "key.json").read_text(encoding="utf-8"))
    order = opened(key)
    found = tally(read_answers(asked.answers, list(order)), order)
    (a, b), decided = found.wins, sum(found.wins)
    low, high = wilson(a, decided)
    print(f"A is {key['A']}, B is {key['B']}; {found.pairs} pairs, {decided} decided, {found.ties} the same")
    if decided:
        print(f"A wins {a} of {decided}: {100 * a / decided:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})")
    print(f"with the same counted half: {100 * (a + found.ties / 2) / found.pairs:.1f} %; B wins {b}")
    print(f"broken: {found.broken[0]} of A, {found.broken[1]} of B, of {found.pairs} each")


def main() -> None:
    asked = tyro.cli(Annotated[Make, tyro.conf.subcommand("make")] | Annotated[Score, tyro.conf.subcommand("score")])
    try:
        make(asked) if isinstance(asked, Make) else score(asked)
    except errors.JpstError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
