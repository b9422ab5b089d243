"""The aesthetic head fitted to the teacher's ratings: resumable; the same data and settings give the same head."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import training
from copies import Rated
from flax import serialization
from jax import Array
from scipy.stats import spearmanr

from jpst.models import aesthetic_head, nima
from jpst.weights.unfinished import replacing

CHUNK = 500
"""steps from one measurement, and one file to go on from, to the next"""
MEAN_WEIGHT = 0.2  # of the squared error of the mean rating, beside the squared distance of the distributions


class Settings(NamedTuple):
    hidden: int = 256
    dropout: float = 0.5
    decay: float = 0.1
    """of AdamW"""
    rate: float = 1e-3
    steps: int = 6000
    batch: int = 256


class State(NamedTuple):
    params: Any
    optimiser: Any
    step: int
    best: Any
    """the parameters that did best on photographs that are not trained on"""
    rank: float
    """their rank correlation there"""


class Agreement(NamedTuple):
    """Of the head's mean ratings with the teacher's."""

    rank: float
    """Spearman's correlation"""
    error: float
    """mean absolute difference"""
    lowest: float
    highest: float
    """of the teacher's"""


def fit(
    train: Rated, calibrate: Rated, settings: Settings, folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The head that ranks `calibrate` best of all that training passed through; goes on from a file in `folder`."""
    standard = _standard(train.statistics)
    path = folder / f"fitting-{_digest(train, calibrate, settings)}.msgpack"
    state = _start(train, settings)
    if path.is_file():
        state = cast(State, serialization.from_bytes(state, path.read_bytes()))
        tell(f"goes on from step {int(state.step)} ({path})")
    statistics, ratings = jnp.asarray(train.statistics), jnp.asarray(train.ratings)
    while int(state.step) < settings.steps:
        params, optimiser, loss = _chunk(
            state.params, state.optimiser, state.step, standard, statistics, ratings, settings
        )
        rank = agreement({"params": params, "standard": standard}, calibrate).rank
        state = State(params, optimiser, int(state.step) + CHUNK, state.best, float(state.rank))
        if rank > state.rank:
            state = state._replace(best=params, rank=rank)
        tell(f"step {state.step}: loss {float(loss):.4f}, rank correlation {rank:.4f} (best {state.rank:.4f})")
        with replacing(path) as file:
            file.write(serialization.to_bytes(jax.tree.map(np.asarray, state)))
    return {"params": jax.tree.map(jnp.asarray, state.best), "standard": standard}


def agreement(variables: Any, rated: Rated) -> Agreement:
    """How well a head agrees with the teacher."""
    ours, theirs = means(variables, rated.statistics), np.asarray(_means(jnp.asarray(rated.ratings)))
    return Agreement(
        rank_correlation(ours, theirs), float(np.abs(ours - theirs).mean()), float(theirs.min()), float(theirs.max())
    )


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Spearman's."""
    return float(cast(Any, spearmanr(ours, theirs)).statistic)


def means(variables: Any, statistics: np.ndarray) -> np.ndarray:
    """The head's mean ratings [n]."""
    return np.asarray(_means(_distributions(variables, jnp.asarray(statistics, jnp.float32))))


@jax.jit
def _distributions(variables: Any, statistics: Array) -> Array:
    return jax.nn.softmax(jax.vmap(aesthetic_head.logits, (None, 0))(variables, statistics))


_means = jax.vmap(nima.mean_score)


def _standard(statistics: np.ndarray) -> dict[str, Array]:
    numbers = statistics.astype(np.float32)
    return {"mean": jnp.asarray(numbers.mean(0)), "deviation": jnp.asarray(numbers.std(0))}


def _start(train: Rated, settings: Settings) -> State:
    params = aesthetic_head.init(jax.random.key(7), settings.hidden, train.statistics.shape[1])["params"]
    return State(params, training.adamw(settings).init(params), 0, params, -1.0)


@partial(jax.jit, static_argnums=6)
def _chunk(
    params: Any, optimiser: Any, first: Array, standard: Any, statistics: Array, ratings: Array, settings: Settings
) -> tuple:
    """CHUNK steps -> (parameters, optimiser's state, mean loss). A step's draws depend on its number alone."""
    solver, head = training.adamw(settings), aesthetic_head.Head(settings.hidden, settings.dropout)

    def loss_of(params: Any, x: Array, target: Array, keys: Array) -> Array:
        def logits(row: Array, key: Array) -> Array:
            standardised = aesthetic_head.standardised({"standard": standard}, row)
            return jnp.asarray(head.apply({"params": params}, standardised, True, rngs={"dropout": key}))

        return jnp.mean(jax.vmap(_loss)(jax.nn.softmax(jax.vmap(logits)(x, keys)), target))

    def step(carry: tuple, number: Array) -> tuple:
        params, optimiser = carry
        which, drop = jax.random.split(jax.random.fold_in(jax.random.key(17), number))
        rows = jax.random.randint(which, (settings.batch,), 0, len(ratings))
        keys = jax.random.split(drop, settings.batch)
        loss, slope = jax.value_and_grad(loss_of)(params, statistics[rows].astype(jnp.float32), ratings[rows], keys)
        change, optimiser = solver.update(slope, optimiser, params)
        return (optax.apply_updates(params, change), optimiser), loss

    (params, optimiser), losses = jax.lax.scan(step, (params, optimiser), first + jnp.arange(CHUNK))
    return params, optimiser, jnp.mean(losses)


def _loss(ours: Array, theirs: Array) -> Array:
    """The squared earth mover's distance (as NIMA's paper has it), and the squared error of the mean rating."""
    apart = jnp.cumsum(ours) - jnp.cumsum(theirs)
    return jnp.sum(apart**2) + MEAN_WEIGHT * (nima.mean_score(ours) - nima.mean_score(theirs)) ** 2


def _digest(train: Rated, calibrate: Rated, settings: Settings) -> str:
    sources = (Path(file).read_bytes() for file in (__file__, training.__file__))
    seen = hashlib.sha256(b"".join([*sources, repr(settings).encode()]))
    for array in (*train, *calibrate):
        seen.update(np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()[:12]
