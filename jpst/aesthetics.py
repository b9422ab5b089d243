"""How a photograph would be rated: NIMA, or our own head where there is none, loaded and applied to a picture."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from jpst import pixels
from jpst.models import aesthetic_head, fetch, nima, vgg19, weights
from jpst.models.registry import REGISTRY
from jpst.models.weights import CheckpointError, Loaded, Provenance

HEAD = aesthetic_head.NAME
HEAD_LICENCE = (
    "our own, distilled from NIMA's MobileNet by idealo (Apache-2.0); the photographs it learned from (BSDS500, an "
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
    """The variables of our own head, and those of the VGG19 whose features it rates."""

    head: PyTree
    vgg19: PyTree


class Rater(NamedTuple):
    """A network for `score`."""

    variables: PyTree | Head
    provenance: Provenance
    features: Provenance | None
    """where the VGG19 under our own head comes from"""


def chosen(checkpoint: str | Path | None = None) -> str | Path | None:
    """What `rater` takes: what was asked for; or else our own head where no NIMA is here and the package has one."""
    if checkpoint is None and weights.find("nima") is None and _has_head():
        return HEAD
    return checkpoint


def _has_head() -> bool:
    try:
        aesthetic_head.load()
    except CheckpointError:
        return False
    return True


def rater(checkpoint: str | Path | None = None) -> Rater:
    """A network for `score`: our own head, by its name or where no NIMA network is here; else NIMA as `load` finds it.

    Under our own head comes VGG19, fetched at first use.

    Raises:
      CheckpointError: there is no such file; or the VGG19 here is not Oxford's, which the head was made for.
    """
    if chosen(checkpoint) != HEAD:
        loaded = load(checkpoint)
        return Rater(loaded.variables, loaded.provenance, None)
    head, features = aesthetic_head.load(), weights.load("vgg19")
    if not vgg19.is_oxfords(features.variables):
        raise CheckpointError(
            f"{features.provenance.name}: {HEAD} rates the features of Oxford's VGG19; this one was "
            "trained by others. Get that one with `jpst weights fetch vgg19`, or a NIMA network (`jpst weights list`)."
        )
    return Rater(Head(head.variables, features.variables), head.provenance, features.provenance)


def load(checkpoint: str | Path | None = None) -> Loaded:
    """NIMA's variables from a file or a registered name; without either, from the first registered one that is here.

    Nothing is fetched: sizes and licences differ too much for that to be done unasked.

    Raises:
      CheckpointError: there is no such file; the message tells how to fetch each and under which licence.
    """
    if str(checkpoint) == HEAD:
        raise CheckpointError(
            f"{checkpoint} rates photographs (`jpst score`); the aesthetic term is NIMA's. {absent()}"
        )
    if checkpoint is None:
        if weights.find("nima") is None:
            raise CheckpointError(absent())
        return weights.load("nima")
    if str(checkpoint) not in REGISTRY:
        return weights.load("nima", checkpoint)
    registered = REGISTRY[str(checkpoint)]
    if registered.network != "nima":
        raise CheckpointError(f"{checkpoint}: found weights of {registered.network}; needed are weights of nima.")
    for name in (registered.filename, f"{registered.name}.npz"):
        if (path := fetch.directory() / name).is_file():
            return weights.load("nima", path)
    raise CheckpointError(
        f"{checkpoint} is not in {fetch.directory()}: fetch it with `jpst weights fetch {checkpoint}` "
        f"({registered.licence})."
    )


def absent() -> str:
    """What to say where there is no NIMA network."""
    known = [each for each in REGISTRY.values() if each.network == "nima"]
    ways = "".join(f"\n  jpst weights fetch {each.name}  ({each.licence})" for each in known)
    return f"There is no NIMA network in {fetch.directory()}. Fetch one of:{ways}"


def licence(name: str) -> str:
    """The terms of a registered checkpoint or of our own head, in words; of any other file that they are not known."""
    if name == HEAD:
        return HEAD_LICENCE
    registered = REGISTRY.get(name)
    return registered.licence if registered else "licence not known"


def score(variables: PyTree | Head, photograph: Float[np.ndarray, "h w 3"], size: int = nima.TRAINED_SIZE) -> Score:
    """Rates a photograph, sRGB in [0, 1], brought to a square of `size` pixels (0: as it is), by NIMA or our head."""
    picture = np.asarray(photograph, np.float32)
    if size:  # outside of what is compiled: one network for photographs of all sizes
        picture = pixels.at_size(picture, (size, size))
    ratings = _distribution(variables, picture)
    mean, deviation = float(nima.mean_score(ratings)), float(nima.deviation(ratings))
    return Score(mean, deviation, tuple(np.asarray(ratings, float).tolist()))


@jax.jit
def _distribution(variables: PyTree | Head, picture: Float[Array, "h w 3"]) -> Float[Array, " ratings"]:
    if isinstance(variables, Head):
        return aesthetic_head.distribution(variables.head, picture, variables.vgg19)
    return nima.distribution(variables, picture)
