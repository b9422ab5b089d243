"""PSPNet50 for the 150 classes of ADE20K: one image -> scores and labels, for every published family of weights.

Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1]. Variables carry the shift and scale they were
trained with (collection `preprocessing`) and their family (the one name in the collection `family`, static wherever
they go), so that nothing else need be said about them. Label k is ADE20K's class k + 1: 0 wall, 1 building, ...
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jpst.errors import CheckpointError, JpstError
from jpst.models import framing
from jpst.models.pspnet_families import FAMILIES, Architecture, Crops, Whole
from jpst.models.pspnet_network import CLASSES, FEATURES, WIDTH, PSPNet, between, positions, resize_logits

__all__ = ["FAMILIES", "PSPNetError", "Variables", "family_of", "init", "logits", "mean_colour", "predict"]
__all__ += ["scores", "template", "template_of"]

Variables = Mapping[str, Any]


class PSPNetError(JpstError):
    """An image, or a way to segment it, that these weights cannot serve."""


def logits(variables: Variables, image: jax.Array) -> jax.Array:
    """`PSPNet` of the variables' family applied once: image [H, W, 3] RGB in [0, 1] -> [h, w, classes]; pure.

    h and w are the image's sides divided by 8 and rounded up. The `caffe` family needs sides of 473 and more, which
    `mean_colour` pads them to; its pyramid ignores what its bins of fixed size do not reach.
    """
    architecture = family_of(variables)[1]
    least = CROP if architecture.pooling == "fixed" else 1
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < least or not _floating(image):
        raise PSPNetError(
            f"PSPNet image: got {image.dtype} {image.shape}; expected one float image [H, W, 3] in [0, 1] "
            f"of at least {least}x{least} pixels (batch it with jax.vmap)."
        )
    params = variables["params"]
    width = params["layer1_0"]["conv1"]["conv"]["kernel"].shape[-1]
    network = PSPNet(architecture, width, params["classifier"]["kernel"].shape[-1])
    return network.apply({name: variables[name] for name in _COLLECTIONS}, image)  # pyright: ignore


_COLLECTIONS = ("params", "batch_stats", "preprocessing")


def scores(variables: Variables, image: np.ndarray) -> np.ndarray:
    """Class probabilities float32 [classes, h, w] of an image [H, W, 3] at the size its family is tested at.

    They cover the whole image, whatever h and w are: 512 on the longest side (`caffe`, `semseg`: the mean over crops of
    473 x 473), 512 on the shortest (`mmseg`) or 450 (`csail`). Any size of image will do. Host code around one compiled
    step.

    Differs from the families' own tests in that the image is resized bilinearly *with* antialiasing (only one of them
    does so), in the multiples of 8 of `Whole`, and in that nothing is averaged over mirror images or several sizes.
    """
    image = _checked(image)
    testing = family_of(variables)[1].testing
    if isinstance(testing, Crops):
        found = _crop_scores(variables, image, testing)
    else:
        found = _whole_scores(variables, image, testing)
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def predict(variables: Variables, image: np.ndarray) -> np.ndarray:
    """Labels int32 [H, W] in 0..149 of an image [H, W, 3] at its own size, as the reference makes them.

    With `caffe` weights it segments the whole image at its own size in one pass, padded at the bottom and on the right
    to sides of 473, so that beyond that size the pyramid's bins are no longer those of training. With other families'
    weights nothing is padded.
    """
    image = _checked(image)
    height, width, _ = image.shape
    architecture = family_of(variables)[1]
    least = CROP if architecture.pooling == "fixed" else 1
    padded = framing.padded(image, max(height, least), max(width, least), mean_colour(variables), centred=False)
    found = np.asarray(_logits(variables, padded))
    rows, columns = (
        positions(size, out, architecture.align_corners)[:kept]
        for size, out, kept in zip(found.shape, padded.shape, (height, width), strict=False)
    )
    return _labels_at(found, rows, columns)


CROP = 8 * FEATURES - 7
_logits = jax.jit(logits)


@partial(jax.jit, static_argnames=("height", "width"))
def _probabilities(variables: Variables, image: jax.Array, *, height: int, width: int) -> jax.Array:
    """Softmax of the logits, brought to [height, width, classes] before."""
    corners = family_of(variables)[1].align_corners
    return jax.nn.softmax(resize_logits(logits(variables, image), height, width, corners), axis=-1)


def _crop_scores(variables: Variables, image: np.ndarray, testing: Crops) -> np.ndarray:
    size = testing.size
    image = framing.resized(image, *_scaled(image, testing.longest / max(image.shape[:2])))
    height, width, _ = image.shape
    padded = framing.padded(image, max(height, size), max(width, size), mean_colour(variables), testing.centred)
    classes = variables["params"]["classifier"]["kernel"].shape[-1]
    total, count = (np.zeros((*padded.shape[:2], depth), np.float32) for depth in (classes, 1))
    for row, column in itertools.product(*(_starts(side, size, testing.stride) for side in padded.shape[:2])):
        at = np.s_[row : row + size, column : column + size]
        total[at] += _probabilities(variables, np.ascontiguousarray(padded[at]), height=size, width=size)
        count[at] += 1
    top, left = framing.margins(padded, image, testing.centred)
    inside = np.s_[top : top + height, left : left + width]
    return total[inside] / count[inside]


def _whole_scores(variables: Variables, image: np.ndarray, testing: Whole) -> np.ndarray:
    height, width = _whole_size(image, testing)
    return np.asarray(_probabilities(variables, framing.resized(image, height, width), height=height, width=width))


def _whole_size(image: np.ndarray, testing: Whole) -> tuple[int, int]:
    height, width, _ = image.shape
    sides = _scaled(image, min(testing.short / min(height, width), testing.longest / max(height, width)))
    up = 7 if testing.round_up else 4
    return max(8, (sides[0] + up) // 8 * 8), max(8, (sides[1] + up) // 8 * 8)


def _scaled(image: np.ndarray, scale: float) -> tuple[int, int]:
    return max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))


def _starts(side: int, size: int, stride: int) -> list[int]:
    """Where crops begin: `stride` apart, the last one at the end of the side."""
    return [min(i, side - size) for i in range(0, side - size + stride, stride)]


_MOST_VALUES = 1 << 22


def _labels_at(found: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The class of the highest score at each pair of positions between the pixels of [h, w, classes].

    A few rows at a time, and only the classes that can win: 150 planes of a photograph's size fill any memory.
    """
    kept = _possible(found)
    found = np.ascontiguousarray(found[..., kept])
    low, high, part = between(columns, found.shape[1])
    step = max(1, _MOST_VALUES // (len(columns) * len(kept)))
    labels = np.empty((len(rows), len(columns)), np.int32)
    for start in range(0, len(rows), step):
        above, below, share = between(rows[start : start + step], found.shape[0])
        lines = found[above] + share[:, None, None] * (found[below] - found[above])
        values = lines[:, low] + part[None, :, None] * (lines[:, high] - lines[:, low])
        labels[start : start + step] = kept[values.argmax(-1)]
    return labels


def _possible(found: np.ndarray) -> np.ndarray:
    """The classes that can win between any four neighbours: whose highest of the four is above every lowest."""
    down, right = (np.minimum(np.arange(side) + 1, side - 1) for side in found.shape[:2])
    corners = (found, found[down], found[:, right], found[down][:, right])
    highest, lowest = np.maximum.reduce(corners), np.minimum.reduce(corners)
    return np.flatnonzero((highest >= lowest.max(-1, keepdims=True)).any((0, 1)))


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or not np.issubdtype(image.dtype, np.floating):
        raise PSPNetError(
            f"PSPNet image: got {image.dtype} {image.shape}; expected one float image [H, W, 3] in [0, 1]."
        )
    return image.astype(np.float32)


def family_of(variables: Variables) -> tuple[str, Architecture]:
    """The family that variables belong to, by the one name in their collection `family`."""
    names = tuple(variables.get("family", ()))
    if len(names) != 1 or names[0] not in FAMILIES:
        raise CheckpointError(f"PSPNet weights: got the family {names}; expected one of {', '.join(FAMILIES)}.")
    return names[0], FAMILIES[names[0]]


def mean_colour(variables: Variables) -> np.ndarray:
    """[3] RGB that preprocessing turns into zeros: what the families pad images with."""
    record = variables["preprocessing"]
    return -np.asarray(record["offset"]) / np.asarray(record["scale"])


@cache  # tracing the network takes a second
def template(family: str, width: int = WIDTH, classes: int = CLASSES) -> Variables:
    """Shapes and types of the variables of a family."""
    network = PSPNet(FAMILIES[family], width, classes)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((CROP, CROP, 3), jnp.float32))
    return {**shapes, "family": {family: jax.ShapeDtypeStruct((), jnp.float32)}}


def template_of(tensors: Mapping[str, Any]) -> Variables:
    """The template of the family that renamed tensors say they are of."""
    names = [name.partition("/")[2] for name in tensors if name.startswith("family/")]
    return template(family_of({"family": names})[0])


def init(seed: int, family: str, width: int = WIDTH, classes: int = CLASSES) -> Variables:
    """Random variables (He et al., arXiv 1502.01852) with the preprocessing of the family, for tests."""
    rng = np.random.default_rng(seed)
    values = {"var": np.ones, "scale": np.ones, "bias": np.zeros, "mean": np.zeros, family: np.zeros}

    def value(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        if (name := path[-1].key) == "kernel":
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / np.prod(leaf.shape[:3])))
        return values[name](leaf.shape, np.float32)

    shapes = {**template(family, width, classes)}
    record = {name: np.float32(value) for name, value in FAMILIES[family].preprocessing._asdict().items()}
    del shapes["preprocessing"]
    return {**jax.tree_util.tree_map_with_path(value, shapes), "preprocessing": record}


def _floating(image: jax.Array) -> bool:
    return jnp.issubdtype(image.dtype, jnp.floating)
