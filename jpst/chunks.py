"""The optimisation of a level in chunks of steps, between which the host may look; of several settings at once."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jpst.losses import Targets
from jpst.optimise import Result, State, transfer, transfer_all
from jpst.recipe import Hyperparameters, Recipe
from jpst.stacking import spread
from jpst.total import Networks

ACCELERATOR_CHUNK = 10  # at most so many steps in one call on GPU and TPU, between two reports of progress


def results(
    images: list[Array],
    state: State,
    targets: Targets,
    hypers: Sequence[Hyperparameters],
    networks: Networks,
    recipe: Recipe,
    steps: int,
) -> Iterator[list[Result]]:
    """The results of each image's `transfer` in pieces between which the host may look, and stop.

    Single steps on a CPU, scans elsewhere. There may be more settings than images: these fill up a program's number.
    """
    count = len(images)
    state, targets, hyper, networks = arguments(
        [*images, *[images[-1]] * (len(hypers) - count)], state, targets, hypers, networks
    )
    if len(hypers) == 1:
        yield from following(state, targets, hyper, networks, recipe, steps)
        return
    for _ in range(0, steps, chunk := length(steps)):
        result = transfer_all(state, targets, hyper, networks, recipe=recipe, steps=chunk)
        yield _apart(result, count)
        state = result.state


def following(
    state: State,
    targets: Targets,
    hyper: Hyperparameters,
    networks: Networks,
    recipe: Recipe,
    steps: int,
    done: int = 0,
) -> Iterator[list[Result]]:
    """The results of one setting in pieces, as above, after so many of the steps are done."""
    for _ in range(done, steps, chunk := length(steps)):
        result = transfer(state, targets, hyper, networks, recipe=recipe, steps=chunk)
        yield [result]
        state = result.state


def arguments(
    images: Sequence[Array], state: State, targets: Targets, hypers: Sequence[Hyperparameters], networks: Networks
) -> tuple[State, Targets, Hyperparameters, Networks]:
    """The arguments of `transfer` for one image and setting, of `transfer_all` for several."""
    if len(hypers) == 1:
        return state._replace(image=images[0], best_image=images[0]), targets, hypers[0], networks
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(hypers)), state)
    first = jnp.stack([jnp.asarray(image) for image in images])
    stacked = stacked._replace(image=first, best_image=first)
    numbers = jax.tree.map(lambda *each: jnp.stack([jnp.asarray(x, jnp.float32) for x in each]), *hypers)
    (stacked, numbers), (targets, networks) = spread((stacked, numbers), (targets, networks))
    return stacked, targets, numbers, networks


def _apart(result: Result, count: int) -> list[Result]:
    """The first results of `transfer_all`, on the host."""
    image, status = np.asarray(result.image), np.asarray(result.status)
    history = {term: np.asarray(values) for term, values in result.history.items()}
    return [
        Result(image[at], None, {term: values[:, at] for term, values in history.items()}, status[at])  # pyright: ignore
        for at in range(count)
    ]


def length(steps: int) -> int:
    """So many of a level's steps are one call of `transfer`."""
    return 1 if jax.default_backend() == "cpu" else _largest_divisor(steps, ACCELERATOR_CHUNK)


def _largest_divisor(steps: int, most: int) -> int:
    """Up to `most`: a last, shorter scan would be compiled for itself, which takes longer than all its steps."""
    return max(length for length in range(1, most + 1) if steps % length == 0)
