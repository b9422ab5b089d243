"""The photographs that our networks learn from: listed, split by image, and decoded once to few shapes.

A folder of photographs has the sub-folders FOLDERS, with JPEG files. A photograph is named by its path below that
folder, such as `bsds500/100007.jpg`.
"""

import csv
import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from jpst import image

FOLDERS = ("bsds500", "imagenet-sample", "labelmefacade")
SHARES = {"train": 0.80, "calibrate": 0.08, "held-out": 0.12}
"""parts of a split, and their shares of the photographs"""

Shape = tuple[int, int]
"""height and width"""


def excluded(table: Path) -> frozenset[str]:
    """The photographs named in the columns content and style of a TSV file: they are kept for other measurements."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return frozenset(row[column] for row in rows for column in ("content", "style"))


def listing(folder: Path, without: Collection[str] = ()) -> list[str]:
    """The names of all photographs of a folder but `without`, sorted.

    Raises ValueError where a name of `without` is no photograph of the folder: a misspelt one would be trained on.
    """
    names = {path.relative_to(folder).as_posix() for part in FOLDERS for path in (folder / part).glob("*.jpg")}
    if unknown := set(without) - names:
        raise ValueError(
            f"{folder}: expected all photographs to be left out there, got no {', '.join(sorted(unknown))}."
        )
    return sorted(names - set(without))


def split(names: Iterable[str]) -> dict[str, list[str]]:
    """The parts of SHARES, each with its photographs.

    Which part a photograph is in depends on nothing but its own name: others may come or go.
    """
    parts: dict[str, list[str]] = {part: [] for part in SHARES}
    bounds = np.cumsum(list(SHARES.values()))
    for name in names:
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
        parts[list(SHARES)[int(np.searchsorted(bounds[:-1], place, side="right"))]].append(name)
    return parts


def by_shape(folder: Path, names: Iterable[str], shapes: Sequence[Shape]) -> dict[Shape, list[str]]:
    """The photographs under that one of few shapes whose ratio of sides is nearest theirs."""
    groups: dict[Shape, list[str]] = {shape: [] for shape in shapes}
    for name in names:
        with Image.open(folder / name) as photograph:
            ratio = photograph.height / photograph.width
        groups[min(shapes, key=lambda shape: abs(np.log(ratio * shape[1] / shape[0])))].append(name)
    return groups


def decoded(
    folder: Path, names: Sequence[str], shape: Shape, cache: Path, fit: Literal["crop", "squeeze"] = "squeeze"
) -> np.ndarray:
    """uint8 [n, H, W, 3], sRGB, in the order of `names`: decoded at the first call, then mapped from a file in `cache`.

    `fit`: the largest part of the photograph's middle with the ratio of the shape, or all of it.
    """
    height, width = shape
    sizes = [(name, (folder / name).stat().st_size) for name in names]
    which = hashlib.sha256(repr(sizes).encode()).hexdigest()[:12]
    path = cache / f"pictures-{height}x{width}-{fit}-{which}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npy")
        pictures = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (len(names), height, width, 3))
        with ThreadPoolExecutor() as threads:
            read_one = partial(read, shape=shape, fit=fit)
            for picture, pixels in zip(pictures, threads.map(read_one, (folder / name for name in names)), strict=True):
                picture[:] = pixels
        pictures.flush()
        unfinished.replace(path)
    return np.load(path, mmap_mode="r")


def read(path: Path, shape: Shape, fit: Literal["crop", "squeeze"] = "squeeze") -> np.ndarray:
    """One photograph, uint8 [H, W, 3], as `decoded` has it."""
    size = (shape[1], shape[0])
    picture = Image.fromarray(np.round(255 * image.seen(image.read(path))).astype(np.uint8))
    if fit == "crop":
        return np.asarray(ImageOps.fit(picture, size, Image.Resampling.BICUBIC))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
