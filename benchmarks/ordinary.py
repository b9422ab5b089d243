"""The README's picture of ordinary pairs, as they come: photographs that scikit-learn and scikit-image ship.

    python benchmarks/ordinary.py -o .github/ordinary.jpg [--preset balanced]

Each photograph takes the look of the next in the list, which nobody chose to suit. Rows show content, style and result.
"""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

import jpst
from jpst import caching
from jpst.presets import preset
from jpst.recipe import Preset

PHOTOGRAPHS = (
    ("skimage", "data/coffee.png"),
    ("sklearn.datasets", "images/china.jpg"),
    ("skimage", "data/astronaut.png"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/motorcycle_left.png"),
)
HEIGHT, GAP, ACROSS = 150, 4, 2
"""of a picture and between two, in pixels; pairs beside each other"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer each photograph's look to the one before it in the list."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    preset: Preset = "balanced"


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    recipe, networks = preset(arguments.preset)[0], jpst.load_networks()
    found = [Image.open(str(resources.files(package) / path)).convert("RGB") for package, path in PHOTOGRAPHS]
    pairs = list(zip(found, found[1:] + found[:1], strict=True))[: len(found) // ACROSS * ACROSS]
    rows = []
    for content, style in pairs:
        result = jpst.stylize(content, style, recipe=recipe, networks=networks).image
        assert isinstance(result, Image.Image)  # as the content is
        rows.append(_joined([_small(each) for each in (content, style, result)], 0))
    lines = [_joined(rows[first : first + ACROSS], 0, 4 * GAP) for first in range(0, len(rows), ACROSS)]
    _joined(lines, 1).save(arguments.output, quality=88)


def _small(picture: Image.Image) -> Image.Image:
    return picture.resize((round(HEIGHT * picture.width / picture.height), HEIGHT), Image.Resampling.LANCZOS)


def _joined(pictures: list[Image.Image], axis: int, gap: int = GAP) -> Image.Image:
    """Pictures beside each other, or with axis 1 below each other, on white."""
    sides = [(each.width, each.height) for each in pictures]
    along = sum(side[axis] for side in sides) + gap * (len(sides) - 1)
    across = max(side[1 - axis] for side in sides)
    sheet = Image.new("RGB", (along, across) if axis == 0 else (across, along), "white")
    place = 0
    for picture, side in zip(pictures, sides, strict=True):
        sheet.paste(picture, (place, 0) if axis == 0 else (0, place))
        place += side[axis] + gap
    return sheet


if __name__ == "__main__":
    main()
