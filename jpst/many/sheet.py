"""The pictures of a sweep: their names, and all of them on one sheet."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jpst.command_line import plain
from jpst.image import Photograph, seen, suffix_for
from jpst.recipe import Hyperparameters

NAME = "sheet.jpg"
SIDE = 480
"""of each picture on the sheet, at most, in pixels"""
_MARGIN, _TEXT, _MOST_COLUMNS, _NARROWEST = 12, 16, 8, 180


def varied(hypers: Sequence[Hyperparameters]) -> list[str]:
    """The numbers that differ between settings."""
    return [name for name in Hyperparameters._fields if len({getattr(hyper, name) for hyper in hypers}) > 1]


def caption(hyper: Hyperparameters, names: Sequence[str]) -> str:
    """The numbers of these names, for people."""
    return ", ".join(f"{name.replace('_', ' ')} {plain(getattr(hyper, name))}" for name in names)


def picture(folder: Path, content: Path, hyper: Hyperparameters, names: Sequence[str]) -> Path:
    """Where a setting's picture goes: the content's name with the numbers of these names."""
    told = "".join(f"_{name.replace('_', '-')}-{plain(getattr(hyper, name))}" for name in names)
    return folder / f"{content.stem}{told}{suffix_for(content)}"


def sheet(small: Sequence[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """Captioned pictures, as `reduced` makes them, in rows of so many, the first two in a row of their own."""
    columns = min(max(columns, 2), _MOST_COLUMNS)
    font = ImageFont.load_default(_TEXT)
    width, height = (max(each.size[axis] for _, each in small) for axis in (0, 1))
    width = max(width, _NARROWEST)
    texts = [_wrapped(text, font, width) for text, _ in small]
    step = width + _MARGIN, height + _MARGIN + (_TEXT + 4) * max(text.count("\n") + 1 for text in texts)
    rows = 1 + math.ceil((len(small) - 2) / columns)
    made = Image.new("RGB", (columns * step[0] + _MARGIN, rows * step[1] + _MARGIN), "white")
    drawing = ImageDraw.Draw(made)
    for number, ((_, each), text) in enumerate(zip(small, texts, strict=True)):
        row, column = (0, number) if number < 2 else divmod(number - 2 + columns, columns)
        left, top = _MARGIN + column * step[0], _MARGIN + row * step[1]
        made.paste(each, (left, top))
        drawing.multiline_text((left, top + each.height + 4), text, fill="black", font=font)
    return made


def reduced(photograph: Photograph, side: int = SIDE) -> Image.Image:
    """A photograph as displayed, no side longer than this; by default as large as it is on a sheet."""
    array = seen(photograph)
    made = Image.fromarray(np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8))
    made.thumbnail((side, side), Image.Resampling.LANCZOS)
    return made


def _wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """The text in lines that are no wider, unless a word is; a number stays with the word before it."""
    lines = [""]
    for part in re.split(r" (?![\d.])", text):
        longer = f"{lines[-1]} {part}".lstrip()
        lines[-1:] = [longer] if font.getlength(longer) <= width else [*filter(None, [lines[-1]]), part]
    return "\n".join(lines)
