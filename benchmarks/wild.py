"""Whether any two photographs give a good picture: pairs nobody chose to suit, the default command, what went wrong.

    python benchmarks/wild.py FOLDER -o OUT [--pairs 01 05] [--preset balanced] [--segmenter auto]

FOLDER holds pairs.tsv, a table with the columns number, content and style; the photographs lie in FOLDER/../photos
unless --photographs names another folder. Pictures already in OUT are kept, so that an interrupted run goes on. A pair
that gives no picture is told and counted, and the rest goes on.

Every picture is brought to 350 px on its longest side and 8 bits, and measured there: the faults of `jpst.faults`, and
the style distance over the whole image as a part of the untouched content's. Beside ours stands the closed-form colour
match of the whole image, made and kept at that size (its seconds include compiling for a new shape; ours are those of
the record). Sheets show content, style, colour match and ours.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from pairs import WIDTH, Listed, Picture, listed, sheet

import jpst
from jpst import caching, colours, errors, faults, image, metrics, pipeline
from jpst.presets import preset
from jpst.recipe import Preset

SHARES = ("edges_lost", "new_edges", "banding")  # printed in percent


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer the pairs of FOLDER/pairs.tsv and measure what is wrong with the pictures."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    pairs: tuple[str, ...] = ()
    """numbers of the pairs wanted (default: all)"""
    photographs: Path | None = None
    """folder that the table's files are in (default: FOLDER/../photos)"""
    preset: Preset = "balanced"
    segmenter: Literal["auto", "pspnet", "deeplab", "scene", "cluster", "none"] = "auto"
    width: int = WIDTH
    """of a picture on a sheet, in pixels"""
    rows: int = 5
    """pairs on one sheet"""


class Row(NamedTuple):
    """What is known of one picture."""

    faults: faults.Faults
    distance: float
    """style distance over the whole image, the untouched content's = 1"""
    seconds: float

    def numbers(self) -> list[float]:
        return [*self.faults, self.distance, self.seconds]


class Measured:
    """A pair at the measuring size, with what its pictures are measured against."""

    def __init__(self, pair: Listed, variables: object) -> None:
        self.variables = variables
        self.content, self.style = (faults.small(image.read(path).pixels) for path in (pair.content, pair.style))
        self.target = self._grams(self.style)
        self.untouched = metrics.style_distance(self._grams(self.content), self.target)

    def row(self, picture: Picture, seconds: float) -> Row:
        picture = faults.small(picture)
        distance = metrics.style_distance(self._grams(picture), self.target)
        return Row(faults.measure(self.content, picture), distance / self.untouched, seconds)

    def colour_match(self) -> tuple[Picture, float]:
        """The content with the whole image's colours matched in closed form, and the seconds that took."""
        start = time.perf_counter()
        content, style = jnp.float32(self.content), jnp.float32(self.style)
        masks, style_masks = (jnp.ones((1, *each.shape[:2])) for each in (content, style))
        matched = colours.match_colours(content, style, masks, style_masks)
        return np.clip(np.asarray(matched), 0, 1), time.perf_counter() - start

    def _grams(self, picture: Picture) -> dict[str, jax.Array]:
        return metrics.region_grams(picture, np.ones((1, *picture.shape[:2]), np.float32), self.variables)


def transferred(pair: Listed, arguments: Arguments, networks: jpst.Networks) -> tuple[Picture, float]:
    """Our picture, made unless it is there, and the seconds that its record tells."""
    at = arguments.output / f"{pair.name}.png"
    record = at.with_suffix(".json")
    if not (at.is_file() and record.is_file()):
        recipe = preset(arguments.preset, segmenter=arguments.segmenter)[0]
        run = pipeline.stylize(pair.content, pair.style, recipe=recipe, networks=networks)
        if run.interrupted:
            raise KeyboardInterrupt
        record.write_text(json.dumps(run.record, indent=1), encoding="utf-8")
        image.write(at, run.photograph.pixels)
    return image.read(at).pixels, json.loads(record.read_text(encoding="utf-8"))["seconds"]


def rows_of(pair: Listed, arguments: Arguments, networks: jpst.Networks) -> Iterator[tuple[str, Row]]:
    """The colour match, then ours; raises JpstError where there is none."""
    measured = Measured(pair, networks.vgg19)
    picture, seconds = measured.colour_match()
    image.write(arguments.output / "match" / f"{pair.name}.png", picture)
    yield "match", measured.row(picture, seconds)
    yield "ours", measured.row(*transferred(pair, arguments, networks))


def text(numbers: list[float]) -> str:
    """One line with the names of the numbers: those of `faults.Faults`, style distance and seconds."""
    words = [
        f"{name} {100 * value:6.2f} %" if name in SHARES else f"{name} {value:6.2f}"
        for name, value in zip((*faults.Faults._fields, "style", "seconds"), numbers, strict=True)
    ]
    return "  ".join(words)


def sheets(pairs: list[Listed], arguments: Arguments) -> Iterator[Path]:
    """Writes OUT/sheet-1.png and so on."""
    out = arguments.output
    for first in range(0, len(pairs), arguments.rows):
        rows = [
            [pair.content, pair.style, *(folder / f"{pair.name}.png" for folder in (out / "match", out))]
            for pair in pairs[first : first + arguments.rows]
        ]
        at = out / f"sheet-{first // arguments.rows + 1}.png"
        sheet(rows, arguments.width).save(at)
        yield at


def main() -> None:
    arguments = tyro.cli(Arguments)
    photographs = arguments.photographs or arguments.folder.parent / "photos"
    try:
        run(listed(arguments.folder / "pairs.tsv", photographs, arguments.pairs), arguments)
    except errors.JpstError as error:
        sys.exit(str(error))


def run(pairs: list[Listed], arguments: Arguments) -> None:
    """Prints a row for each picture as it is there, then means, then writes the sheets."""
    caching.enable()
    (arguments.output / "match").mkdir(parents=True, exist_ok=True)
    print(f"device: {jax.devices()[0].device_kind}; measured at {faults.SIZE} px")
    networks = jpst.load_networks()
    table: dict[str, list[list[float]]] = {}
    failed = 0
    for pair in pairs:
        try:
            for who, row in rows_of(pair, arguments, networks):
                table.setdefault(who, []).append(row.numbers())
                print(pair.name, f"{who:<6}", text(row.numbers()), flush=True)
        except errors.JpstError as error:
            failed += 1
            print(pair.name, f"no picture: {error}", flush=True)
    for who, numbers in table.items():
        print(f"mean of {len(numbers)}, {who:<6}", text(np.mean(numbers, axis=0).tolist()))
    print(f"{failed} of {len(pairs)} pairs gave no picture")
    print(*sheets(pairs, arguments), sep="\n")


if __name__ == "__main__":
    main()
