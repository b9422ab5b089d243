"""The optimisation: `init` a state, `step` or `transfer` it. Pure functions on arrays.

Images are float32 [H, W, 3], sRGB-encoded RGB in [0, 1]; masks float32 [R, H, W], summing to one over R. Everything is
written for one image and batched by `jax.vmap` from outside, for instance over `Hyperparameters`.
"""

import enum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from jpst import arguments, ranges, solver
from jpst.caching import cached
from jpst.losses import Targets
from jpst.recipe import STEPS, Hyperparameters, Recipe
from jpst.total import Networks, check_networks, objective, precision


class State(NamedTuple):
    """A transfer between two steps. NumPy arrays, as a state that was saved may have them, will do."""

    image: Float[Array, "h w 3"]
    """what is evaluated next; it may leave [0, 1]"""
    opt_state: Any
    """of the optimiser that `init` was asked for: a pytree of arrays"""
    step: Int[Array, ""]
    """updates made so far"""
    best_image: Float[Array, "h w 3"]
    """the image evaluated so far that had the lowest total; it may leave [0, 1]"""
    best_loss: Float[Array, ""]
    """the total of `best_image`; infinite before the first step"""


class Status(enum.IntEnum):
    """How a transfer went, as data: jitted code cannot raise. `sentence` is what to tell a person."""

    FINE = 0
    NOT_FINITE = 1

    @property
    def sentence(self) -> str:
        """What to tell a person."""
        if self is Status.FINE:
            return "every step was finite"
        return (
            "a loss or gradient became infinite or not a number; the picture stopped changing there. "
            "Try smaller weights or, with the optimiser adam, a smaller learning rate."
        )


class Result(NamedTuple):
    """What `transfer` returns."""

    image: Float[Array, "h w 3"]
    """the image of lowest total so far, that of earlier calls included, in sRGB. Steps are not bounded, so that it may
    leave [0, 1]: clip it before it is shown or written."""
    state: State
    """continues the run"""
    history: dict[str, Float[Array, " steps"]]
    """each weighted term and their "total" before every update of this call"""
    status: Int[Array, ""]
    """a `Status`: `Status(int(status)).sentence` tells it in words"""


def init(targets: Targets, hyper: Hyperparameters | None = None, *, recipe: Recipe, key: Array | None = None) -> State:
    """The state before the first step.

    Args:
      targets: as `prepare` gives them.
      hyper: only checked: no optimiser's first state depends on the numbers.
      recipe: the start and the optimiser.
      key: needed where `recipe.start == "noise"`: 1e-4 levels around the mean colour that the network was trained with.

    Raises:
      JpstError: a number out of its range.
      ValueError: there is no key, and one is needed.
    """
    if hyper is not None:
        arguments.check_ranges(hyper)
    image = jnp.asarray(targets.start)
    if recipe.start == "noise":
        if key is None:
            raise ValueError('recipe.start is "noise", which needs a random key: pass key=jax.random.key(seed).')
        image = image + 1e-4 * solver.LEVEL * jax.random.normal(key, image.shape)
    return State(image, solver.start(image, recipe.optimiser), jnp.int32(0), image, jnp.float32(jnp.inf))


def step(
    state: State,
    targets: Targets,
    hyper: Hyperparameters,
    networks: Networks,
    *,
    recipe: Recipe | None = None,
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One evaluation at `state.image` and the update that follows from it; `transfer` makes many.

    Args as in `transfer`; of the recipe only `feature_precision` counts, float32 without one. The optimiser is the one
    that `init` was asked for. The numbers may differ from step to step, which compiles nothing anew.

    Returns:
      The next state, and each weighted term and their "total" before the update. Where a loss or gradient is not
      finite the image stays as it was.
    """
    state, targets, hyper, networks = _checked_step(state, targets, hyper, networks)
    with precision(recipe):
        state, (terms, _) = _step(state, targets, hyper, networks)
    return state, terms


def transfer(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, *, recipe: Recipe, steps: int
) -> Result:
    """`steps` evaluations, each followed by an update of the image; n steps and then m more equal n + m.

    This is the optimisation, named after what it does, as `jpst.optimise` is the module.

    Args:
      state: from `init`, from a call before, or such a state restored as NumPy arrays.
      targets: as `prepare` gives them.
      hyper: one number each, for this call. Several go through `jax.vmap`.
      networks: as for `prepare`; without NIMA there is no aesthetic term, whatever its weight.
      recipe: what `prepare` and `init` were given; only `feature_precision` counts here.
      steps: a whole number; static.

    Under a caller's `jit` or `vmap`, and on accelerators, this is one `lax.scan`. Called with plain arrays on a CPU it
    drives the same jitted step from Python instead, because XLA runs a scan's convolutions there on one thread.

    Raises:
      JpstError: a number out of its range, or a state and targets of different pairs. What becomes infinite on the way
        raises nothing: see `Result.status`.
    """
    ranges.check("steps", steps, STEPS)
    return _moved(*_checked_step(state, targets, hyper, networks), recipe, steps)


def transfer_all(
    states: State, targets: Targets, hypers: Hyperparameters, networks: Networks, *, recipe: Recipe, steps: int
) -> Result:
    """`transfer` of one pair with several settings at once: `jax.vmap`, also where steps are driven from Python.

    Args:
      states, hypers: with a new first axis, as long for both. On several devices, see `stacking.spread`.
      targets, networks: shared by all.
      recipe, steps: as in `transfer`.

    Returns:
      Image, state and status with that first axis; in the history it is the second, after the steps.
    """
    arguments.check_ranges(hypers)
    hypers = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hypers)
    return _moved(states, targets, hypers, networks, recipe, steps)


def _moved(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, recipe: Recipe, steps: int
) -> Result:
    """`steps` steps of one state, or of several with a first axis."""
    one, scan = _programs(state)
    with precision(recipe):
        if _plain_on_cpu(state, targets, hyper, networks):
            records = []
            for _ in range(steps):
                state, record = one(state, targets, hyper, networks)
                records.append(record)
            first = records[0] if records else jax.eval_shape(one, state, targets, hyper, networks)[1]
            history, finite = jax.tree.map(_joined, first, *records)
        else:
            state, (history, finite) = scan(state, targets, hyper, networks, steps)
    status = jnp.where(jnp.all(finite, axis=0), jnp.int32(Status.FINE), jnp.int32(Status.NOT_FINITE))
    return Result(state.best_image, state, history, status)


def _joined(like: Any, *values: Array) -> Array:
    joined = np.asarray([np.asarray(value) for value in values], like.dtype)
    return jax.device_put(joined.reshape(len(values), *like.shape))


def _checked_step(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks
) -> tuple[State, Targets, Hyperparameters, Networks]:
    """The arguments of a step as JAX's arrays; JpstError unless they go together."""
    check_networks(networks)
    arguments.check_one_each(hyper)
    state, targets, networks = jax.tree.map(_as_jax, (state, targets, networks))
    arguments.check_like("state.image", state.image, "targets.start", targets.start)
    return state, targets, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper), networks


def _as_jax(leaf: Any) -> Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.asarray(leaf))


def compile_transfer(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, *, recipe: Recipe, steps: int
) -> None:
    """Compiles what `transfer` of such arrays would, for instance in a thread beside other work; runs nothing.

    Or what `transfer_all` would, for states and numbers with a first axis.
    """
    one, scan = _programs(state)
    hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
    with precision(recipe):
        if _plain_on_cpu(state, targets, hyper, networks):
            one.compile(state, targets, hyper, networks)
        else:
            scan.compile(state, targets, hyper, networks, steps)


def _plain_on_cpu(state: State, *others: PyTree) -> bool:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((state, others))):
        return False
    return next(iter(state.image.devices())).platform == "cpu"


def _programs(state: State) -> tuple[cached, cached]:
    """A step and a scan of steps, of one state or of several."""
    return (_step_all, _scan_all) if np.ndim(state.step) else (_step, _scan)


@partial(cached, static_argnums=(4,))
def _scan(state, targets, hyper, networks, steps):
    return jax.lax.scan(lambda state, _: _step(state, targets, hyper, networks), state, length=steps)


@cached
def _step(state: State, targets: Targets, hyper: Hyperparameters, networks: Networks):
    """One update: the terms at the image as it is, the best image from that same pair, then the solver's move."""
    (total, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.image, targets, hyper, networks)
    following, opt_state, update = solver.advance(state.image, total, gradient, state.opt_state, hyper)
    finite = jnp.isfinite(total) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(update))
    better = jnp.isfinite(total) & (total < state.best_loss)
    changed = following, opt_state, state.step + 1
    kept = state.image, state.opt_state, state.step
    image, opt_state, step = jax.tree.map(lambda new, old: jnp.where(finite, new, old), changed, kept)
    best_image = jnp.where(better, state.image, state.best_image)
    state = State(image, opt_state, step, best_image, jnp.where(better, total, state.best_loss))
    return state, (terms | {"total": total}, finite)


@cached
def _step_all(states: State, targets: Targets, hypers: Hyperparameters, networks: Networks):
    return jax.vmap(_step, in_axes=(0, None, 0, None))(states, targets, hypers, networks)


@partial(cached, static_argnums=(4,))
def _scan_all(states, targets, hypers, networks, steps):
    return jax.lax.scan(lambda states, _: _step_all(states, targets, hypers, networks), states, length=steps)
