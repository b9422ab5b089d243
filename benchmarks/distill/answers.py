"""What the scene head learns from: photographs of two shapes, and the teacher's answers for each, in files."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import photographs

from jpst import image, pixels, weights
from jpst.models import deeplab, scene_head
from jpst.weights.unfinished import replacing

SHAPES = ((288, 432), (432, 288))
"""of the pictures, a little larger than what the head sees, so that there are parts to choose from"""
BATCH = 1 if jax.default_backend() == "cpu" else 32

View = tuple[int, bool]
"""the size at which the teacher looks, and whether at the mirror image"""
VIEWS: tuple[View, ...] = ((512, False), (384, True))


class Answered(NamedTuple):
    """Of n photographs of one shape."""

    pictures: np.ndarray
    """uint8 [n, H, W, 3]"""
    answers: np.ndarray
    """uint8 [n, H / 8, W / 8, 31]: the teacher's probabilities times 255"""


def answered(
    folder: Path, names: Sequence[str], teacher: weights.Loaded, views: tuple[View, ...], cache: Path
) -> list[Answered]:
    """The photographs of each shape with the teacher's answers, computed or from the files in `cache`."""
    groups = photographs.by_shape(folder, names, SHAPES)
    found = []
    for shape, group in groups.items():
        if group:
            pictures = photographs.decoded(folder, group, shape, cache)
            found.append(Answered(pictures, _answers(folder, group, teacher, views, shape, cache)))
    return found


def _answers(
    folder: Path, names: Sequence[str], teacher: weights.Loaded, views: tuple[View, ...], shape: tuple, cache: Path
) -> np.ndarray:
    parts = (*names, teacher.provenance.sha256, views, shape)
    path = cache / f"answers-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        grid = shape[0] // scene_head.CELL, shape[1] // scene_head.CELL
        made = []
        for start in range(0, len(names), BATCH):
            chosen = [folder / name for name in names[start : start + BATCH]]
            filled = chosen + chosen[-1:] * (BATCH - len(chosen))  # the last batch is filled up: one program
            likely = mean_answers(teacher.variables, filled, views)[: len(chosen)]
            made += [_area_mean(each, *grid) for each in likely]
        answers = np.round(255 * np.stack(made)).astype(np.uint8).transpose(0, 2, 3, 1)
        with replacing(path) as file:
            np.save(file, answers)
    return np.load(path, mmap_mode="r")


def mean_answers(variables: dict, paths: Sequence[Path], views: tuple[View, ...]) -> list[np.ndarray]:
    """The mean of `deeplab.probabilities` over several views, [31, h, w] each: of many photographs at a time."""
    with ThreadPoolExecutor() as threads:
        read = list(threads.map(_read, paths))
        shapes = [photograph.shape for photograph in read]
        total = [np.float32(0)] * len(read)
        for size, mirrored in views:
            squares = np.stack(list(threads.map(partial(deeplab.framed, size=size, mirrored=mirrored), read)))
            likely = np.asarray(_likely(variables, jnp.asarray(squares)))
            back = partial(deeplab.unframed, size=size, mirrored=mirrored)
            total = [sum_ + each for sum_, each in zip(total, threads.map(back, likely, shapes), strict=True)]
    return [np.asarray(sum_) / len(views) for sum_ in total]


def _area_mean(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """`pixels.area_mean` on the host: photographs have many sizes, and each would be compiled for."""
    return pixels.area_weights(planes.shape[1], height) @ planes @ pixels.area_weights(planes.shape[2], width).T


_likely = jax.jit(jax.vmap(deeplab.of_square, (None, 0)))


def _read(path: Path) -> np.ndarray:
    return image.seen(image.read(path))
