"""Photographs reduced for a page, as data URIs, each file once."""

import base64
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jpst import image
from jpst.errors import JpstError
from jpst.many import sheet

SIDE, QUALITY = 720, 80
ASIDE = 300
"""longest side of what is shown beside the pictures"""
FULL = 100
"""so many pictures have a longest side of `SIDE`; where there are more, all together have the pixels of these: 100 are
about 10 MB of a page"""


class Thumbnail(NamedTuple):
    """A reduced photograph."""

    number: int
    """of the photograph on the page"""
    uri: str
    width: int
    height: int
    size: tuple[int, int]
    """width and height of the photograph itself"""


def side(count: int) -> int:
    """The longest side of each of so many pictures."""
    return min(SIDE, math.floor(SIDE * math.sqrt(FULL / max(count, 1))))


class Thumbnails:
    """The reduced photographs of a page."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._made: dict[tuple[str, int], Thumbnail | str] = {}

    def of(self, paths: Sequence[Path], size: object = None, *, aside: bool = False) -> Thumbnail:
        """The first photograph that can be read and has this size [width, height], if one is given, or its turn.

        Args:
          aside: made smaller.

        Raises:
          JpstError: there is none; says what is wrong with the first.
        """
        errors = []
        for path in paths:
            try:
                self._check_size(path, size)
                return self._read(path, min(ASIDE, self._side) if aside else self._side)
            except (JpstError, OSError, ValueError) as error:
                errors.append(str(error))
        raise JpstError(errors[0])

    def _check_size(self, path: Path, size: object) -> None:
        height, width = image.size(path)
        if isinstance(size, list) and sorted(size, key=str) != sorted([width, height], key=str):
            told = " x ".join(map(str, size))
            raise JpstError(f"{path}: this is another picture, {width} x {height}; the record tells of {told}.")

    def _read(self, path: Path, side: int) -> Thumbnail:
        key = os.path.realpath(path), side
        if key not in self._made:
            try:
                self._made[key] = self._reduced(path, side)
            except (JpstError, OSError, MemoryError) as error:
                self._made[key] = str(error) or f"{path}: there is not enough memory to read it."
        made = self._made[key]
        if isinstance(made, str):
            raise JpstError(made)
        return made

    def _reduced(self, path: Path, side: int) -> Thumbnail:
        photograph = image.read(path)
        small, file = sheet.reduced(photograph, side), io.BytesIO()
        small.save(file, format="WEBP", quality=QUALITY)
        uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
        height, width = photograph.pixels.shape[:2]
        return Thumbnail(len(self._made), uri, *small.size, (width, height))
