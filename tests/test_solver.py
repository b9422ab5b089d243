"""The solvers on functions whose minimum others know: NumPy's `solve`, SciPy's L-BFGS-B."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft, optimize

from jpst import solver
from jpst.recipe import Hyperparameters

HYPER = Hyperparameters()
SHAPE = (4, 5, 3)


def driven(function, first, steps: int):
    """All totals and the image of the lowest, after evaluating `function` so many times under L-BFGS."""
    evaluate = jax.jit(jax.value_and_grad(function))
    move = jax.jit(partial(solver.advance, hyper=HYPER))
    image, state = first, solver.start(first, "lbfgs")
    totals, images = [], []
    for _ in range(steps):
        total, gradient = evaluate(image)
        totals.append(float(total))
        images.append(image)
        image, state, _ = move(image, total, gradient, state)
    return totals, images[int(np.argmin(totals))], state


@pytest.fixture
def quadratic():
    """A function of an image with condition 1000, and where it is least.

    x^T H x / 2 - s^T x but for a constant, as a sum of squares: nothing cancels near its minimum.
    """
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    curvature, slope = np.logspace(0, 3, 60), rng.normal(size=60)
    least = np.linalg.solve(basis @ np.diag(curvature) @ basis.T, slope)
    root, centre = jnp.float32(np.sqrt(curvature)[:, None] * basis.T), jnp.float32(least)
    return lambda x: 0.5 * jnp.sum((root @ (x.ravel() - centre)) ** 2), least


def rosenbrock(x):
    """Scaled so that its curved valley lies in images of ordinary values."""
    flat = 2 * x.ravel()
    return jnp.sum(100 * (flat[1:] - flat[:-1] ** 2) ** 2 + (1 - flat[:-1]) ** 2)


def test_a_quadratic_is_solved(quadratic):
    function, expected = quadratic
    _, image, _ = driven(function, jnp.zeros(SHAPE), 200)
    np.testing.assert_allclose(np.ravel(image), expected, atol=3e-4)


def test_what_bends_with_detail_as_transfers_do_is_solved_in_half_the_steps_of_scipys_l_bfgs_b():
    shape = (24, 32, 3)
    frequency = np.hypot(np.arange(24)[:, None] / 48, np.arange(32) / 64)
    # noise of one octave in a transfer of two photographs: 250 below 0.004 cycles per pixel, 2e3 at 0.014, 5e4 at 0.06
    curvature = np.interp(
        frequency, [0.002, 0.006, 0.014, 0.028, 0.06, 0.12, 0.24, 0.5], [0.2, 0.6, 2, 9, 55, 190, 160, 130]
    )
    down, across = (fft.dct(np.eye(n), axis=0, norm="ortho") for n in shape[:2])
    best = np.random.default_rng(0).normal(size=shape) * 0.1

    def function(x):
        coefficients = jnp.einsum("uh,hwc,vw->uvc", jnp.float32(down), x - jnp.float32(best), jnp.float32(across))
        return jnp.sum(jnp.float32(curvature)[..., None] * coefficients**2)

    value = jax.jit(jax.value_and_grad(lambda x: function(x.reshape(shape))))

    def flat(x):
        total, gradient = value(jnp.float32(x))
        return float(total), np.float64(gradient)

    totals, _, _ = driven(function, jnp.zeros(shape), 12)
    theirs = optimize.minimize(flat, np.zeros(best.size), jac=True, method="L-BFGS-B", options={"maxfun": 24})
    assert min(totals) < theirs.fun
    assert min(totals) < 1e-3 * totals[0]


def test_a_curved_valley_is_followed_about_as_fast_as_scipys_l_bfgs_b_does():
    first = jnp.full(SHAPE, 0.3)
    value = jax.jit(jax.value_and_grad(rosenbrock))

    def flat(x):
        total, gradient = value(jnp.float32(x.reshape(SHAPE)))
        return float(total), np.float64(np.ravel(gradient))

    theirs = optimize.minimize(
        flat, np.ravel(first), jac=True, method="L-BFGS-B", options={"maxcor": solver.MEMORY, "ftol": 0, "gtol": 1e-2}
    )
    totals, _, _ = driven(rosenbrock, first, 2 * theirs.nfev)
    assert min(totals) <= 1.01 * theirs.fun + 1e-4


def test_where_the_curvature_is_negative_the_total_still_falls_to_a_minimum():
    def wells(x):
        return jnp.sum((4 * x**2 - 1) ** 2)  # a hill at 0 between minima at +-0.5

    totals, image, _ = driven(wells, jnp.full(SHAPE, 0.01) * jnp.sign(jnp.arange(60.0) - 29.5).reshape(SHAPE), 60)
    np.testing.assert_allclose(jnp.abs(image), 0.5, atol=1e-3)
    assert min(totals) < 1e-4


def test_a_step_that_does_not_lower_the_total_is_taken_back():
    def cliff(x):  # steeper beyond 0.1 than anything before it tells
        return jnp.sum(-x + 1e6 * jnp.maximum(x - 0.1, 0) ** 2)

    totals, image, _ = driven(cliff, jnp.zeros(SHAPE), 60)
    assert max(totals) > 0 > min(totals), "the cliff was not met"
    np.testing.assert_allclose(image, 0.1, atol=2e-3)


def test_an_image_at_its_minimum_stays_there():
    totals, image, state = driven(lambda x: jnp.sum(x**2), jnp.zeros(SHAPE), 5)
    assert totals == [0.0] * 5
    assert not jnp.any(image)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.direction))
