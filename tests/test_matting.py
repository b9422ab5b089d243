"""The matting Laplacian: both forms against pymatting, Levin's equation 12, and the reference's values."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import reference
from pymatting import cf_laplacian

from jpst import matting

FORMS = {"stencil": jnp.asarray, "bcoo": matting.bcoo}
apply, energy = jax.jit(matting.apply), jax.jit(matting.energy)
gradient = jax.jit(jax.grad(matting.energy, argnums=1))
SIZE = (6, 8)  # one size wherever any will do: few compilations


@pytest.fixture(params=FORMS)
def form(request):
    """A stencil -> one form of the operator."""
    return FORMS[request.param]


def dense(laplacian, height: int, width: int) -> np.ndarray:
    """The operator as a matrix over row-major pixels, by its effect on unit vectors, for each form."""
    units = jnp.eye(height * width).reshape(height, width, height * width)
    return np.asarray(apply(laplacian, units)).reshape(height * width, height * width).astype(np.float64)


def random_image(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, shape), jnp.float32)


# At 1e-7 it is pymatting's closed-form inverse that is inexact: it is 2.6e-6 away from equation 12.
@pytest.mark.parametrize("epsilon, tolerance", [(1e-7, 1e-5), (1e-5, 1e-6), (1e-3, 1e-6)])
@pytest.mark.parametrize("size", [(13, 17), (6, 3), (3, 8)])
def test_equals_pymatting(form, photograph, size, epsilon, tolerance):
    image = photograph(*size).astype(np.float64)
    expected = cf_laplacian(image, epsilon=epsilon, radius=1).toarray()
    actual = dense(form(matting.stencil(image, epsilon)), *size)
    assert np.abs(actual - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("epsilon", [1e-7, 1e-4])
def test_equals_a_loop_over_levins_equation_12(form, photograph, epsilon):
    image = photograph(*SIZE)
    expected = reference.matting_laplacian(image, epsilon)
    actual = dense(form(matting.stencil(image, epsilon)), *SIZE)
    assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("tile", [(1, 1), (2, 7), (5, 4)])
@pytest.mark.parametrize("moments", ["float64", "float32"])
def test_tiles_leave_no_seams(photograph, monkeypatch, tile, moments):
    image = photograph(13, 17)
    whole = matting.stencil(image, moments=moments)
    monkeypatch.setattr(matting, "TILE", tile)
    np.testing.assert_allclose(matting.stencil(image, moments=moments), whole, rtol=1e-6, atol=1e-7)


def test_the_stencils_centre_is_the_diagonal(photograph):
    entries = matting.stencil(photograph(9, 12), 1e-5)  # `apply` never reads the centre: hold it here
    others = entries.astype(np.float64).sum((0, 1)) - entries[2, 2]
    np.testing.assert_allclose(entries[2, 2], -others, rtol=1e-6)


def test_is_symmetric_with_rows_that_sum_to_zero_and_no_negative_eigenvalue(form, photograph):
    matrix = dense(form(matting.stencil(photograph(*SIZE), 1e-5)), *SIZE)
    scale = np.abs(matrix).max()
    assert np.abs(matrix - matrix.T).max() < 1e-6 * scale
    assert np.abs(matrix.sum(1)).max() < 1e-5 * scale
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > -1e-6 * scale


def test_the_sparse_form_lists_each_entry_once_in_row_order(photograph):
    sparse = matting.bcoo(matting.stencil(photograph(*SIZE), 1e-5))
    flat = np.asarray(sparse.indices, np.int64) @ np.array([48, 1])
    assert sparse.shape == (48, 48)
    assert (np.diff(flat) > 0).all()


def test_energy_is_v_transposed_l_v_over_the_channels(form, photograph):
    image, other = photograph(*SIZE), random_image(*SIZE, 3)
    expected = reference.matting_energy(reference.matting_laplacian(image, 1e-5), np.asarray(other))
    np.testing.assert_allclose(energy(form(matting.stencil(image, 1e-5)), other), expected, rtol=1e-5)


def test_the_gradient_of_the_energy_is_2_l_v(form, photograph):
    image, other = photograph(*SIZE), random_image(*SIZE, 3)
    laplacian = form(matting.stencil(image, 1e-5))
    slope = gradient(laplacian, other)
    flat = np.asarray(other, np.float64).reshape(48, 3)
    expected = 2 * reference.matting_laplacian(image, 1e-5) @ flat
    np.testing.assert_allclose(slope.reshape(48, 3), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(slope, 2 * apply(laplacian, other), atol=1e-5 * np.abs(expected).max())


def test_the_gradient_agrees_with_finite_differences(form, photograph):
    laplacian, other = form(matting.stencil(photograph(*SIZE), 1e-5)), random_image(*SIZE, 3)
    direction = random_image(*SIZE, 3, seed=1) - 0.5
    slope = jnp.vdot(gradient(laplacian, other), direction)
    ahead = energy(laplacian, other + 0.1 * direction)
    behind = energy(laplacian, other - 0.1 * direction)  # exact for a quadratic, whatever the step
    np.testing.assert_allclose((ahead - behind) / 0.2, slope, rtol=1e-3)


def test_an_affine_function_of_the_colours_costs_next_to_nothing(form, photograph):
    image = photograph(*SIZE)
    laplacian = form(matting.stencil(image, 1e-7))
    mixed = jnp.asarray(image) @ jnp.float32([[0.5, 0.2, -0.3], [0.1, 0.9, 0.4], [-0.2, 0.0, 0.7]]) + 0.1
    assert energy(laplacian, mixed) < 1e-3 * energy(laplacian, random_image(*SIZE, 3))


def test_a_constant_shift_changes_nothing(form, photograph):
    laplacian, image = form(matting.stencil(photograph(*SIZE), 1e-5)), random_image(*SIZE, 3)
    before = energy(laplacian, image)
    np.testing.assert_allclose(energy(laplacian, image + 0.5), before, rtol=2e-5)


def test_a_smooth_8_bit_image_with_a_tiny_epsilon_stays_accurate(form):
    # Covariances far below float32's rounding of a mean of squares: assembled so, the gradient is noise.
    y, x = np.mgrid[0:14, 0:16]
    levels = np.round(np.stack([200 + 0.31 * x, 180 + 0.23 * y, 190 + 0.17 * (x + y)], -1))
    image = (levels / 255).astype(np.float32)
    other = random_image(14, 16, 3)
    expected = reference.matting_laplacian(image, 1e-7) @ np.asarray(other, np.float64).reshape(-1, 3)
    actual = apply(form(matting.stencil(image, 1e-7)), other).reshape(-1, 3)
    assert np.linalg.norm(actual - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (2, 9)])
def test_an_image_without_a_whole_window_has_an_empty_operator(size):
    entries = matting.stencil(np.asarray(random_image(*size, 3)), 1e-5)
    assert entries.shape == (5, 5, *size)
    assert not entries.any()
    assert matting.bcoo(entries).shape == (size[0] * size[1],) * 2


def test_an_empty_operator_has_no_energy(form):
    laplacian = form(matting.stencil(np.asarray(random_image(2, 2, 3)), 1e-5))
    assert energy(laplacian, random_image(2, 2, 3)) == 0
    assert not apply(laplacian, random_image(2, 2, 3)).any()


def test_a_single_window_equals_the_equation(form):
    image = np.asarray(random_image(3, 3, 3))
    actual = dense(form(matting.stencil(image, 1e-5)), 3, 3)
    np.testing.assert_allclose(actual, reference.matting_laplacian(image, 1e-5), atol=1e-6)


def test_a_flat_image_gives_finite_entries(form):
    laplacian = form(matting.stencil(np.full((*SIZE, 3), 0.5, np.float32), 1e-7))
    assert np.isfinite(energy(laplacian, random_image(*SIZE, 3)))


@pytest.mark.parametrize("moments", ["float64", "float32"])
def test_laplacian_under_jit_and_vmap_equals_the_direct_call(photograph, moments):
    images = jnp.stack([jnp.asarray(photograph(*SIZE, seed)) for seed in range(3)])
    direct = jnp.stack([matting.laplacian(image, 1e-5, moments) for image in images])

    def one(image):
        return matting.laplacian(image, 1e-5, moments)

    np.testing.assert_array_equal(jax.jit(one)(images[0]), direct[0])
    np.testing.assert_array_equal(jax.vmap(one)(images), direct)
    np.testing.assert_array_equal(jax.jit(jax.vmap(one))(images), direct)


def test_energy_under_vmap_over_images_equals_a_loop(form, photograph):
    laplacian = form(matting.stencil(photograph(*SIZE), 1e-5))
    images = random_image(4, *SIZE, 3)
    expected = jnp.stack([energy(laplacian, image) for image in images])
    batched = jax.jit(jax.vmap(matting.energy, in_axes=(None, 0)))(laplacian, images)
    np.testing.assert_allclose(batched, expected, rtol=1e-5)


def test_stencils_under_vmap_equal_a_loop(photograph):
    stencils = jnp.stack([jnp.asarray(matting.stencil(photograph(*SIZE, seed), 1e-5)) for seed in range(3)])
    images = random_image(3, *SIZE, 3)
    expected = jnp.stack([energy(*pair) for pair in zip(stencils, images, strict=True)])
    np.testing.assert_allclose(jax.vmap(matting.energy)(stencils, images), expected, rtol=1e-5)


def test_the_references_entries_come_out_with_its_float32_moments(golden):
    values = golden("losses")
    image = values["lap_image"] / np.float32(255)
    height, width = image.shape[:2]
    sparse = matting.bcoo(matting.stencil(image, 1e-5, "float32"))
    rows, columns = np.divmod(np.asarray(sparse.indices), width)
    ours, theirs = columns * height + rows, values["lap_indices"]
    by_index, by_their_index = np.lexsort(ours.T), np.lexsort(theirs.T)
    np.testing.assert_array_equal(ours[by_index], theirs[by_their_index])
    np.testing.assert_allclose(sparse.data[by_index], values["lap_values"][by_their_index], rtol=1e-5)


def test_the_references_photorealism_loss_comes_out(form, golden):
    values = golden("losses")
    laplacian = form(matting.stencil(values["lap_image"] / np.float32(255), 1e-5, "float32"))
    actual = energy(laplacian, jnp.asarray(values["lap_output"][0] / np.float32(255)))
    np.testing.assert_allclose(actual, values["photorealism"], rtol=1e-5)


def test_a_wrong_shape_is_refused_while_tests_run():
    with pytest.raises(jaxtyping.TypeCheckError):  # holds that the import hook of conftest.py works at all
        energy(jnp.zeros((5, 4, 6, 7)), jnp.zeros((6, 7, 3)))
