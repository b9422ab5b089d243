"""Finds named regions of a photograph, scene classes of ADE20K, with the best network available. Host code."""

import os
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from jpst import masks, pixels, weights
from jpst.caching import cached
from jpst.models import deeplab, framing, pspnet, scene_head
from jpst.models.vgg19 import is_oxfords
from jpst.regions import ade20k, colour_models
from jpst.regions.segment import Segmentation
from jpst.weights import CheckpointError, Loaded, Provenance, shipped

Labeller = Literal["pspnet", "deeplab", "scene"]
LABELLERS: tuple[Labeller, ...] = ("pspnet", "deeplab", "scene")
"""the best first"""

SIZE = 384
"""longest side of label maps, for an aspect ratio of 3:2"""
MOST_CLASSES = 12  # classes per photograph that are refined at edges: few photographs have more
EDGE_RADIUS = 6  # pixels of a label map: a cell of the scene head is 8 pixels, one of DeepLab 3
EDGE_EPSILON = 1e-3


class FeaturesError(CheckpointError):
    """A VGG19 other than the one on which the scene head was trained."""


class Labelled(NamedTuple):
    """The regions of a photograph, the network that found them, and its checkpoint."""

    segmentation: Segmentation
    labeller: Labeller
    checkpoint: Provenance


def best() -> Labeller:
    """The best network whose weights are present; the scene head ships with the package."""
    return next(name for name in LABELLERS if name == "scene" or weights.find(name))


def load(labeller: Labeller) -> Loaded:
    """A network's variables; DeepLab is downloaded if it is missing.

    Raises:
      CheckpointError: its weights are missing or damaged.
    """
    return _scene_head() if labeller == "scene" else weights.load(labeller)


def label(
    photograph: Float[np.ndarray, "h w 3"],
    labeller: Labeller,
    network: Loaded,
    vgg19: PyTree | None = None,
    *,
    paper: bool = False,
) -> Labelled:
    """The scene class of each pixel of a photograph, sRGB in [0, 1], with its confidence.

    Args:
      network: the labeller's, as `load` gives it.
      vgg19: its variables, for the scene head; loaded if None.
      paper: run PSPNet as the reference does: labels at the photograph's size, without confidence.

    Returns:
      Labels of `ade20k.NAMES` at the size that `pixels.common_size` gives for `SIZE`, aligned with edges.

    Raises:
      FeaturesError: the scene head is used with a VGG19 that is not Oxford's.
      CheckpointError: VGG19 is missing or damaged.
    """
    variables, checkpoint = network
    with jax.default_matmul_precision("float32"):  # a GPU would round the factors, and label other pixels than a CPU
        if labeller == "scene":
            vgg19 = weights.load("vgg19").variables if vgg19 is None else vgg19
            _check_features(vgg19)
            size = pixels.common_size(photograph.shape[0], photograph.shape[1], scene_head.SIZE, 16)
            scores = np.asarray(_scene_scores(variables, vgg19, pixels.at_size(photograph, size)))
        elif labeller == "deeplab":
            scores = deeplab.probabilities(variables, photograph)
        elif paper:
            labels = pspnet.predict(variables, photograph)
            return Labelled(Segmentation(labels, ade20k.NAMES), labeller, checkpoint)
        else:
            scores = pspnet.scores(variables, photograph)
    return Labelled(_to_edges(scores, photograph), labeller, checkpoint)


def _check_features(variables: PyTree) -> None:
    if not is_oxfords(variables):
        raise FeaturesError(
            f"{scene_head.NAME}: expected Oxford's VGG19, on whose features it was trained, got a VGG19 trained by "
            "others. Run `jpst weights fetch vgg19`, or choose another `segmenter`."
        )


_scene_head = cache(shipped.scene_head)
_scene_scores = cached(scene_head.probabilities)


def _to_edges(scores: Float[np.ndarray, "c h w"], photograph: Float[np.ndarray, "h2 w2 3"]) -> Segmentation:
    """Labels from class probabilities [c, h, w] of any size, corrected by colours and aligned with edges.

    The classes are the first c of `ade20k`.
    """
    size = pixels.common_size(photograph.shape[0], photograph.shape[1], SIZE, 16)
    likeliest = np.argsort(-scores.mean((1, 2)), kind="stable")[:MOST_CLASSES]
    planes = framing.resized(np.moveaxis(scores[likeliest], 0, -1), *size)
    planes = planes / np.maximum(planes.sum(-1, keepdims=True), 1e-6)
    small = pixels.at_size(photograph, size)
    found = colour_models.corrected(np.moveaxis(planes, -1, 0), np.asarray(small))
    refined = masks.refine(jnp.asarray(found.probabilities), small, EDGE_RADIUS, EDGE_EPSILON)
    labels = np.asarray(refined).argmax(0)
    return Segmentation(likeliest.astype(np.int32)[labels], ade20k.NAMES, found.confidence(labels))


OFFLINE = "JPST_OFFLINE"
"""environment variable: if it is set, DeepLab is downloaded only where it is asked for by name"""


def fetch_deeplab(tell: Callable[[str], None] = lambda _: None) -> str:
    """Downloads DeepLab if the scene head is the only network present. Returns a sentence on failure, else "".

    `tell` is called with one line before the download. After a failure the same process does not try again.
    """
    if best() != "scene":
        return ""
    if os.environ.get(OFFLINE):
        return f"DeepLab is missing, and {OFFLINE} is set."
    return _fetched_once(tell)


_failed: list[str] = []


def _fetched_once(tell: Callable[[str], None]) -> str:
    if not _failed:
        (terms,) = weights.licences("deeplab")
        tell(f"Downloading DeepLab (2.9 MB), which names regions. {terms}")
        try:
            weights.fetch("deeplab", on_progress=lambda *_: None)
            return ""
        except CheckpointError as error:
            _failed.append(str(error))
    return _failed[0]
