"""Every pair of a folder transferred and laid out for the eye: content, style, published result, ours.

    python benchmarks/contact_sheet.py PAIRS -o OUT [--preset balanced] [--pairs 03 30]

PAIRS holds one folder a pair with content.png, style.png, their masks content_seg.png and style_seg.png; where there
is one, published.png. Results already in OUT are kept, so that an interrupted run goes on where it stopped.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import jax
import tyro
from PIL import Image

import jpst
from jpst import image, pipeline
from jpst.cli import keep_compilations
from jpst.recipe import Hyperparameters, Preset, Recipe

WIDTH = 360  # of a picture on the sheet


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer every pair of PAIRS and lay the results out beside the published ones."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    preset: Preset = "balanced"
    pairs: tuple[str, ...] = ()
    """names of the pairs wanted (default: all)"""
    rows: int = 6
    """pairs on one sheet"""


def main() -> None:
    arguments = tyro.cli(Arguments)
    keep_compilations()
    print(f"device: {jax.devices()[0].device_kind}, preset {arguments.preset}")
    names = arguments.pairs or sorted(at.name for at in arguments.folder.iterdir() if (at / "content.png").is_file())
    arguments.output.mkdir(parents=True, exist_ok=True)
    networks = jpst.load_networks()
    for name in names:
        _transfer(arguments, name, networks)
    for first in range(0, len(names), arguments.rows):
        sheet = arguments.output / f"sheet-{first // arguments.rows + 1}.png"
        _sheet(arguments, names[first : first + arguments.rows]).save(sheet)
        print(sheet)


def _transfer(arguments: Arguments, name: str, networks: jpst.Networks) -> None:
    result, pair = arguments.output / f"{name}.png", arguments.folder / name
    if result.is_file():
        return
    recipe, hyper = Recipe.preset(arguments.preset), Hyperparameters.preset(arguments.preset)
    run = pipeline.stylize(pair / "content.png", pair / "style.png", recipe=recipe, hyper=hyper, networks=networks)
    result.with_suffix(".json").write_text(json.dumps(run.record, indent=1), encoding="utf-8")
    image.write(result, run.photograph.pixels)
    regions = ", ".join(f"{row['name']} {row['content']:.0f}/{row['style']:.0f} %" for row in run.record["regions"])
    print(f"{name}: {run.record['seconds']:.0f} s, {run.record['status']}; {regions}", flush=True)


def _sheet(arguments: Arguments, names: Sequence[str]) -> Image.Image:
    rows = []
    for name in names:
        pair = arguments.folder / name
        paths = [pair / f"{part}.png" for part in ("content", "style", "published")] + [
            arguments.output / f"{name}.png"
        ]
        rows.append([Image.open(path).convert("RGB") for path in paths if path.is_file()])
    height = max(round(WIDTH * row[0].height / row[0].width) for row in rows)
    sheet = Image.new("RGB", (WIDTH * 4, height * len(rows)), "white")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            picture.thumbnail((WIDTH, height))
            sheet.paste(picture, (column * WIDTH, number * height))
    return sheet


if __name__ == "__main__":
    main()
