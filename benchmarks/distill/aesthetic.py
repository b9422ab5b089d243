"""Distils the aesthetic head that ships with the package: photographs and NIMA's MobileNet -> one file.

    python benchmarks/distill/aesthetic.py PHOTOS --exclude PAIRS.tsv --teacher NIMA -o jpst/data/aesthetic_head.npz

PHOTOS as photographs.py tells; NIMA a file of any supported format. An interrupted run goes on where it stopped: each
copy of the photographs, and the fitting every few hundred steps, lie in --cache. The figures at the end are those of
the file written. On a GPU many more copies are made by default.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import copies
import fitting
import jax
import numpy as np
import photographs
import tyro
from copies import Networks, Rated

from jpst import caching
from jpst.models import aesthetic_head
from jpst.weights import shipped

CHECKED = 8
"""copies of the photographs that are not trained on, at most"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Fit the aesthetic head to a teacher's ratings of PHOTOS."""

    photographs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    teacher: Path
    """NIMA file whose ratings are learnt"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    exclude: Path | None = None
    """TSV file with columns content and style: photographs that are never looked at"""
    evaluate: tuple[Path, ...] = ()
    """folders of further photographs to measure the agreement on, those in folders in them included"""
    cache: Path = Path("distill-cache")
    """folder for what a later run can go on from"""
    copies: int = 4 if jax.default_backend() == "cpu" else 48
    """of each photograph"""
    at_once: int = 1 if jax.default_backend() == "cpu" else 64
    """photographs at a time through the networks"""
    limit: int = 0
    """use so many photographs only, to try it (0: all)"""
    settings: tyro.conf.OmitArgPrefixes[fitting.Settings] = dataclasses.field(default_factory=fitting.Settings)


def main() -> None:
    arguments, began = tyro.cli(Arguments), time.perf_counter()
    caching.enable()
    networks = copies.load_networks(arguments.teacher)
    print(f"device: {jax.devices()[0].device_kind}; teacher {networks.teacher.provenance.name}", flush=True)
    parts = photographs.split(_names(arguments))
    print(", ".join(f"{part}: {len(names)}" for part, names in parts.items()), flush=True)
    found = {part: _copies(arguments, networks, part, names) for part, names in parts.items()}
    print(f"copies: {time.perf_counter() - began:.0f} s", flush=True)
    variables = fitting.fit(
        _together(found["train"]),
        _together(found["calibrate"]),
        arguments.settings,
        arguments.cache,
        lambda text: print(text, flush=True),
    )
    shipped.save(arguments.output, aesthetic_head.NAME, variables)
    written = shipped.aesthetic_head(arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes, sha256 {written.provenance.sha256}")
    for part, each in found.items():
        _tell(part, written.variables, each)
    for folder in arguments.evaluate:
        _evaluate(folder, arguments, networks, written.variables)
    print(f"in all {time.perf_counter() - began:.0f} s")


def _names(arguments: Arguments) -> list[str]:
    kept = photographs.excluded(arguments.exclude) if arguments.exclude else ()
    names = photographs.listing(arguments.photographs, kept)
    step = max(1, len(names) // arguments.limit) if arguments.limit else 1
    return names[::step]


def _copies(arguments: Arguments, networks: Networks, part: str, names: list[str]) -> list[Rated]:
    count = arguments.copies if part == "train" else min(arguments.copies, CHECKED)
    made = []
    for number in range(count):
        began = time.perf_counter()
        made.append(copies.rated(arguments.photographs, names, number, networks, arguments.cache, arguments.at_once))
        seconds = time.perf_counter() - began
        print(f"{part}, copy {number}: {seconds:.1f} s, {1e3 * seconds / len(names):.1f} ms a photograph", flush=True)
    return made


def _together(copies: list[Rated]) -> Rated:
    return Rated(*(np.concatenate(arrays) for arrays in zip(*copies, strict=True)))


def _tell(part: str, variables: dict, found: list[Rated]) -> None:
    """The agreement on the photographs themselves, on changed copies, and among the copies of one photograph."""
    _tell_one(f"{part}, photographs", variables, found[0])
    if len(found) > 1:
        _tell_one(f"{part}, changed copies", variables, _together(found[1:]))
    if len(found) > 3:
        ours = np.stack([fitting.means(variables, each.statistics) for each in found], 1)
        theirs = np.stack([each.ratings @ np.arange(1, 11) for each in found], 1)
        ranks = [fitting.rank_correlation(*pair) for pair in zip(ours, theirs, strict=True)]
        print(f"{part}, among {len(found)} copies of one photograph: rank correlation {np.nanmean(ranks):.3f}")


def _tell_one(what: str, variables: dict, found: Rated) -> None:
    told = fitting.agreement(variables, found)
    print(
        f"{what}: rank correlation {told.rank:.3f}, mean absolute error {told.error:.3f}, n {len(found.ratings)}, "
        f"the teacher's ratings {told.lowest:.2f} to {told.highest:.2f}",
        flush=True,
    )


def _evaluate(folder: Path, arguments: Arguments, networks: Networks, variables: dict) -> None:
    """Photographs and results, none of them label maps, at each of the shapes."""
    paths = sorted(path for path in folder.rglob("*") if path.name in ("content.png", "style.png"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    for shape in dict.fromkeys(copies.SHAPES):
        found = copies.rated(folder, names, 0, networks, arguments.cache, arguments.at_once, shape)
        _tell_one(f"{folder.name} at {shape[0]} x {shape[1]}", variables, found)


if __name__ == "__main__":
    main()
