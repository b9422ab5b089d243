"""A photograph to regions with names: the scene classes of ADE20K, by whichever network is here. Host code."""

import os
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from jpst import ade20k, pixels, segment
from jpst.caching import cached
from jpst.models import deeplab, framing, pspnet, scene_head, weights
from jpst.models.vgg19 import is_oxfords
from jpst.models.weights import CheckpointError, Provenance
from jpst.segment import Segmentation

Labeller = Literal["pspnet", "deeplab", "scene"]
LABELLERS: tuple[Labeller, ...] = ("pspnet", "deeplab", "scene")
"""the best first"""

SIZE = 384
"""longest side, at 3:2, of label maps"""
MOST_CLASSES = 12  # of a photograph, that are told apart at edges: few have more
EDGE_RADIUS = 6  # pixels of a label map: a cell of the scene head is 8, one of DeepLab 3
EDGE_EPSILON = 1e-3


class FeaturesError(CheckpointError):
    """A VGG19 whose features our scene head does not know."""


class Labelled(NamedTuple):
    """A photograph's regions, what named them, and its weights."""

    segmentation: Segmentation
    labeller: Labeller
    checkpoint: Provenance


def best() -> Labeller:
    """The best network that is here; our own scene head always is."""
    return next(name for name in LABELLERS if name == "scene" or weights.find(name))


def label(
    photograph: Float[np.ndarray, "h w 3"], labeller: Labeller, vgg19: PyTree | None = None, *, paper: bool = False
) -> Labelled:
    """The scene classes of a photograph, sRGB in [0, 1], and how sure each pixel's is.

    Args:
      labeller: the network; DeepLab is fetched where it is not here. `vgg19`: variables, which the scene head needs.
      paper: PSPNet as the reference runs it, labels at the photograph's own size and without confidence.

    Returns:
      Labels of `ade20k.NAMES` at the size that `pixels.common_size` gives for `SIZE`; they follow the edges.

    Raises:
      FeaturesError: the scene head is asked for, and the VGG19 is not Oxford's.
      CheckpointError: the network's weights are not here, or damaged.
    """
    if labeller == "scene":
        variables, checkpoint = _scene_head()
        network = weights.load("vgg19").variables if vgg19 is None else vgg19
        _check_features(network)
        size = pixels.common_size(photograph.shape[0], photograph.shape[1], scene_head.SIZE, 16)
        scores = np.asarray(_scene_scores(variables, network, pixels.at_size(photograph, size)))
        return Labelled(_to_edges(scores, photograph), labeller, checkpoint)
    variables, checkpoint = weights.load(labeller)
    if labeller == "deeplab":
        return Labelled(
            _to_edges(deeplab.probabilities(variables, photograph, flip=True), photograph), labeller, checkpoint
        )
    if paper:
        labels = pspnet.predict(variables, photograph, mode="paper")
        return Labelled(Segmentation(labels, ade20k.NAMES), labeller, checkpoint)
    return Labelled(_to_edges(pspnet.scores(variables, photograph), photograph), labeller, checkpoint)


def _check_features(variables: PyTree) -> None:
    if not is_oxfords(variables):
        raise FeaturesError(
            f"{scene_head.NAME}: found a VGG19 trained by others; needed is Oxford's, whose features it names regions "
            "by. Get that one with `jpst weights fetch vgg19`, or choose another --segmenter."
        )


_scene_head = cache(scene_head.load)
_scene_scores = cached(scene_head.probabilities)


def _to_edges(scores: Float[np.ndarray, "c h w"], photograph: Float[np.ndarray, "h2 w2 3"]) -> Segmentation:
    """Class probabilities of any size, the classes those of `ade20k` from the first on, brought to the edges."""
    size = pixels.common_size(photograph.shape[0], photograph.shape[1], SIZE, 16)
    likeliest = np.argsort(-scores.mean((1, 2)), kind="stable")[:MOST_CLASSES]
    planes = framing.resized(np.moveaxis(scores[likeliest], 0, -1), *size)
    planes = planes / np.maximum(planes.sum(-1, keepdims=True), 1e-6)
    small = pixels.at_size(photograph, size)
    refined = np.asarray(segment.refine(jnp.moveaxis(jnp.asarray(planes), -1, 0), small, EDGE_RADIUS, EDGE_EPSILON))
    labels = likeliest.astype(np.int32)[refined.argmax(0)]
    return Segmentation(labels, ade20k.NAMES, refined.max(0))


OFFLINE = "JPST_OFFLINE"
"""environment variable: where it is set, DeepLab is fetched only if it is asked for by name"""


def fetch_deeplab(tell: Callable[[str], None] = lambda _: None) -> str:
    """Fetches DeepLab where no scene network but our own is here; a sentence if that failed, else nothing.

    `tell` is told one line before. A failure is not tried again in the same process.
    """
    if best() != "scene":
        return ""
    if os.environ.get(OFFLINE):
        return f"DeepLab is not here, and {OFFLINE} is set."
    return _fetched_once(tell)


_failed: list[str] = []


def _fetched_once(tell: Callable[[str], None]) -> str:
    if not _failed:
        (terms,) = weights.licences("deeplab")
        tell(f"Fetching DeepLab (2.9 MB), which names regions. {terms}")
        try:
            weights.fetch("deeplab", on_progress=lambda *_: None)
            return ""
        except CheckpointError as error:
            _failed.append(str(error))
    return _failed[0]
