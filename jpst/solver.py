"""The optimisers: Adam, and L-BFGS with one evaluation per step.

Both have the same interface: they get the total and its gradient at an image, and return the image to evaluate next.
Neither loops around the objective, as a line search would: XLA runs convolutions inside a loop on one thread of a CPU.

L-BFGS optimises the image's cosine coefficients (DCT-II), each scaled by the expected curvature at its frequency.
Measured with noise of one octave at a time, the curvature of the objective is hundreds of times larger along fine
detail than along smooth changes. In these coordinates the paper's objective falls in half the steps.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, Float

from jpst.caching import cached
from jpst.recipe import Hyperparameters

LEVEL = 1 / 255  # one 8-bit level in [0, 1] units
MEMORY = 20  # pairs of differences in L-BFGS's memory; 40 measured no better
FIRST_CHANGE = 5 * LEVEL  # largest change of a pixel in a step without curvature information
SUFFICIENT = 1e-4  # share of the decrease predicted by the slope that a step must reach (Armijo)
ROUNDING = 1e-6  # relative error of a total in float32
SHORTEST = 1e-3  # step length, relative to the direction, below which the direction is given up
CORNER = 0.12  # cycles per pixel above which the curvature no longer grows with the frequency
LEAST_CURVATURE = 0.04  # relative, at the mean colour; with 0.01 the paper's objective falls faster but ends higher

_lbfgs = optax.scale_by_lbfgs(MEMORY)


class Search(NamedTuple):
    """The state of L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4) between evaluations.

    The next evaluation is at the image of `base + length * direction`, or at the first image while `value` is infinite.
    All vectors are coefficients, see `_coefficients`.
    """

    base: Float[Array, "h w 3"]
    value: Float[Array, ""]
    """the total at `base`"""
    slope: Float[Array, ""]
    """derivative of the total along `direction` at `base`"""
    direction: Float[Array, "h w 3"]
    length: Float[Array, ""]
    pairs: Any
    """optax's memory; its latest entry is the gradient at `base`"""


@partial(cached, static_argnums=(1,))
def start(image: Float[Array, "h w 3"], optimiser: str) -> Any:
    """The optimiser's state before the first evaluation, at `image`.

    Each level starts with a new state: carrying over Adam's moments or L-BFGS's memory from half the size measured no
    better, or worse.
    """
    if optimiser == "adam":
        return adam(Hyperparameters()).init(image)  # the state does not depend on the hyperparameters
    zero, base = jnp.float32(0), _coefficients(image)
    return Search(base, jnp.float32(jnp.inf), zero, jnp.zeros_like(base), zero, _lbfgs.init(base))


def advance(
    image: Float[Array, "h w 3"],
    total: Float[Array, ""],
    gradient: Float[Array, "h w 3"],
    state: Any,
    hyper: Hyperparameters,
) -> tuple[Float[Array, "h w 3"], Any, Float[Array, "h w 3"]]:
    """Returns the next image to evaluate, the state for it, and the change from `image`."""
    if isinstance(state, Search):
        state = _search(_coefficients(image), total, _coefficients(gradient, of_gradient=True), state)
        following = _image(state.base + state.length * state.direction)
        return following, state, following - image
    update, state = adam(hyper).update(gradient, state)
    return jnp.asarray(optax.apply_updates(image, update)), state, jnp.asarray(update)


def adam(hyper: Hyperparameters) -> optax.GradientTransformation:
    """Adam in [0, 1] units; learning rate and epsilon are given in 8-bit levels, as in the reference."""
    return optax.adam(hyper.learning_rate * LEVEL, b1=hyper.beta1, b2=hyper.beta2, eps=hyper.epsilon / LEVEL)


def _coefficients(image: Float[Array, "h w 3"], of_gradient: bool = False) -> Float[Array, "h w 3"]:
    """The scaled coefficients of an image; for a gradient by the image, the gradient by the coefficients."""
    coefficients = dctn(image, axes=(0, 1), norm="ortho")
    scale = _scale(*image.shape[:2])
    return coefficients * scale if of_gradient else coefficients / scale


def _image(coefficients: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The image with these scaled coefficients."""
    return idctn(coefficients * _scale(*coefficients.shape[:2]), axes=(0, 1), norm="ortho")


def _scale(height: int, width: int) -> Float[Array, "h w 1"]:
    """The scale of each coefficient: one over the square root of its expected curvature."""
    down, across = (jnp.arange(side, dtype=jnp.float32) / (2 * side) for side in (height, width))
    down, across = down[:, None, None], across[None, :, None]
    squared = down**2 + across**2
    return jax.lax.rsqrt(LEAST_CURVATURE + squared / (squared + CORNER**2))


def _search(point: Array, total: Array, gradient: Array, search: Search) -> Search:
    """Accepts the evaluated step and computes a new direction if the total fell enough; else tries a shorter step."""
    promised = SUFFICIENT * search.length * search.slope
    taken = total <= search.value + promised + ROUNDING * jnp.abs(search.value)
    shorter = search._replace(length=search.length * _shortening(total, search))
    stuck = ~taken & (shorter.length < SHORTEST)
    base = jnp.where(taken, point, search.base)
    slopes = jnp.where(taken, gradient, search.pairs.updates)
    turned = _turn(base, jnp.where(taken, total, search.value), slopes, search, forget=stuck)
    return jax.tree.map(lambda new, old: jnp.where(taken | stuck, new, old), turned, shorter)


def _shortening(total: Array, search: Search) -> Array:
    """The minimum of the parabola through value, slope and the new total, as a share of the length tried."""
    bend = total - search.value - search.length * search.slope
    return jnp.clip(-search.length * search.slope / (2 * bend), 0.1, 0.5)


def _turn(base: Array, value: Array, gradient: Array, search: Search, forget: Array) -> Search:
    """A search along the L-BFGS direction at `base`, after adding the last step to the memory.

    The memory is cleared if that step had no positive curvature: the direction might not be a descent direction.
    """
    pairs = search.pairs
    curvature = jnp.vdot(base - pairs.params, gradient - pairs.updates)
    forget = forget | ((pairs.count > 0) & ~(curvature > 0))
    pairs = jax.tree.map(lambda new, old: jnp.where(forget, new, old), _lbfgs.init(base), pairs)
    known = pairs.count > 0
    ascent, pairs = _lbfgs.update(gradient, pairs, base)
    direction = -jnp.asarray(ascent)
    largest = jnp.maximum(jnp.max(jnp.abs(_image(direction))), jnp.finfo(jnp.float32).tiny)
    direction = direction * jnp.where(known, 1.0, FIRST_CHANGE / largest)
    return Search(base, value, jnp.vdot(gradient, direction), direction, jnp.float32(1), pairs)
