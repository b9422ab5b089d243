"""How a photograph would be rated: NIMA loaded, and applied to finished pictures."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from jpst import pixels
from jpst.models import fetch, nima, weights
from jpst.models.registry import REGISTRY
from jpst.models.weights import CheckpointError, Loaded


class Score(NamedTuple):
    """Ratings from 1 to 10."""

    mean: float
    deviation: float
    """standard deviation"""
    distribution: tuple[float, ...]
    """probability of each rating"""


def load(checkpoint: str | Path | None = None) -> Loaded:
    """NIMA's variables from a file or a registered name; without either, from the first registered one that is here.

    Nothing is fetched: sizes and licences differ too much for that to be done unasked.

    Raises:
      CheckpointError: there is no such file; the message tells how to fetch each and under which licence.
    """
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
    """The terms of a registered checkpoint, in words; of any other file that they are not known."""
    registered = REGISTRY.get(name)
    return registered.licence if registered else "licence not known"


def score(variables: PyTree, photograph: Float[np.ndarray, "h w 3"], size: int = nima.TRAINED_SIZE) -> Score:
    """Rates a photograph, sRGB in [0, 1], brought to a square of `size` pixels (0: as it is)."""
    picture = np.asarray(photograph, np.float32)
    if size:  # outside of what is compiled: one network for photographs of all sizes
        picture = pixels.at_size(picture, (size, size))
    ratings = _distribution(variables, picture)
    mean, deviation = float(nima.mean_score(ratings)), float(nima.deviation(ratings))
    return Score(mean, deviation, tuple(np.asarray(ratings, float).tolist()))


@jax.jit
def _distribution(variables: PyTree, picture: Float[Array, "h w 3"]) -> Float[Array, " ratings"]:
    return nima.distribution(variables, picture)
