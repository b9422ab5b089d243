"""Aesthetic scores of photographs: loads NIMA, or jpst's small aesthetic head if there is no NIMA, and applies it."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from jpst import pixels, weights
from jpst.models import aesthetic_head, nima, vgg19
from jpst.weights import CheckpointError, Loaded, Provenance, downloads, shipped
from jpst.weights.registry import REGISTRY

HEAD = aesthetic_head.NAME
HEAD_LICENCE = (
    "made by jpst, distilled from NIMA's MobileNet by idealo (Apache-2.0); its training photographs (BSDS500, an "
    "ImageNet sample, LabelMeFacade) are for research use"
)


class Score(NamedTuple):
    """Ratings from 1 to 10."""

    mean: float
    deviation: float
    """standard deviation"""
    distribution: tuple[float, ...]
    """probability of each rating"""


class Head(NamedTuple):
    """The variables of the aesthetic head and of the VGG19 whose features it takes."""

    head: PyTree
    vgg19: PyTree


class Rater(NamedTuple):
    """A network for `score`."""

    variables: PyTree | Head
    provenance: Provenance
    features: Provenance | None
    """provenance of the VGG19 under the aesthetic head; None for NIMA"""


def chosen(checkpoint: str | Path | None = None) -> str | Path | None:
    """The argument for `rater`: `checkpoint`, or else the aesthetic head or None.

    The head if NIMA is missing and the package has the head.
    """
    if checkpoint is None and weights.find("nima") is None and _has_head():
        return HEAD
    return checkpoint


def _has_head() -> bool:
    try:
        shipped.aesthetic_head()
    except CheckpointError:
        return False
    return True


def rater(checkpoint: str | Path | None = None) -> Rater:
    """Loads a network for `score`: the aesthetic head, as `chosen` decides, else NIMA as `load` finds it.

    The head needs VGG19, which is downloaded at first use.

    Raises:
      CheckpointError: the file is missing, or the VGG19 found is not Oxford's, on which the head was trained.
    """
    if chosen(checkpoint) != HEAD:
        loaded = load(checkpoint)
        return Rater(loaded.variables, loaded.provenance, None)
    head, features = shipped.aesthetic_head(), weights.load("vgg19")
    if not vgg19.is_oxfords(features.variables):
        raise CheckpointError(
            f"{features.provenance.name}: {HEAD} expects the features of Oxford's VGG19, got a VGG19 trained by "
            "others. Run `jpst weights fetch vgg19`, or fetch a NIMA network (`jpst weights list`)."
        )
    return Rater(Head(head.variables, features.variables), head.provenance, features.provenance)


def load(checkpoint: str | Path | None = None) -> Loaded:
    """Loads NIMA from a file or a registered name; without `checkpoint`, from the first registered file that exists.

    Downloads nothing: sizes and licences differ too much to do that without being asked.

    Raises:
      CheckpointError: the file is missing; the message says how to download each network and under which licence.
    """
    if str(checkpoint) == HEAD:
        raise CheckpointError(
            f"{checkpoint} is for scoring photographs (`jpst score`); the aesthetic term needs NIMA. {absent()}"
        )
    if checkpoint is None:
        if weights.find("nima") is None:
            raise CheckpointError(absent())
        return weights.load("nima")
    if str(checkpoint) not in REGISTRY:
        return weights.load("nima", checkpoint)
    registered = REGISTRY[str(checkpoint)]
    if registered.network != "nima":
        raise CheckpointError(f"{checkpoint}: expected weights of nima, got weights of {registered.network}.")
    for name in (registered.filename, f"{registered.name}.npz"):
        if (path := downloads.directory() / name).is_file():
            return weights.load("nima", path)
    raise CheckpointError(
        f"{checkpoint} is not in {downloads.directory()}: fetch it with `jpst weights fetch {checkpoint}` "
        f"({registered.licence})."
    )


def absent() -> str:
    """The message for a missing NIMA network: how to download each one, with its licence."""
    known = [each for each in REGISTRY.values() if each.network == "nima"]
    ways = "".join(f"\n  jpst weights fetch {each.name}  ({each.licence})" for each in known)
    return f"There is no NIMA network in {downloads.directory()}. Fetch one of:{ways}"


def licence(name: str) -> str:
    """The licence of a registered checkpoint or of the aesthetic head, or "licence not known"."""
    if name == HEAD:
        return HEAD_LICENCE
    registered = REGISTRY.get(name)
    return registered.licence if registered else "licence not known"


def score(variables: PyTree | Head, photograph: Float[np.ndarray, "h w 3"], size: int = nima.TRAINED_SIZE) -> Score:
    """Scores a photograph, sRGB in [0, 1], with NIMA or the aesthetic head.

    The photograph is first resized to a square of `size` pixels; 0 keeps its size.
    """
    picture = np.asarray(photograph, np.float32)
    if size:  # outside the compiled function, so that one program serves photographs of all sizes
        picture = pixels.at_size(picture, (size, size))
    ratings = _distribution(variables, picture)
    mean, deviation = float(nima.mean_score(ratings)), float(nima.deviation(ratings))
    return Score(mean, deviation, tuple(np.asarray(ratings, float).tolist()))


@jax.jit
def _distribution(variables: PyTree | Head, picture: Float[Array, "h w 3"]) -> Float[Array, " ratings"]:
    if isinstance(variables, Head):
        return aesthetic_head.distribution(variables.head, picture, variables.vgg19)
    return nima.distribution(variables, picture)
