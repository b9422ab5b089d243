"""Winograd's convolution against XLA's and PyTorch's, its gradients, and the pool against flax's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jpst.models import convolution
from jpst.models.convolution import convolve, transform

SIZES = [(1, 1), (1, 7), (6, 1), (4, 4), (5, 7), (13, 9)]


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@jax.jit
def fast(image, kernel):
    return convolve(image, kernel, transform(kernel))


stock = jax.jit(convolve)


def close(actual, expected, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(actual, expected, atol=tolerance * float(np.abs(expected).max()))


@pytest.mark.parametrize("size", SIZES)
def test_equals_a_sum_in_float64(size):
    image, kernel = random(*size, 5), random(3, 3, 5, 6, seed=1)
    padded = np.pad(np.asarray(image, np.float64), ((1, 1), (1, 1), (0, 0)))
    height, width = size
    expected = sum(
        padded[i : i + height, j : j + width] @ np.asarray(kernel[i, j], np.float64) for i in range(3) for j in range(3)
    )
    close(fast(image, kernel), expected)
    close(stock(image, kernel), expected)


def test_equals_pytorch():
    torch = pytest.importorskip("torch")
    image, kernel = random(11, 14, 8), random(3, 3, 8, 4, seed=1)
    theirs = torch.nn.functional.conv2d(
        torch.tensor(np.asarray(image)).permute(2, 0, 1)[None],
        torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1),
        padding=1,
    )
    close(fast(image, kernel), theirs[0].permute(1, 2, 0).numpy())


def test_is_accurate_at_the_widest_layer():
    image, kernel = random(8, 8, 512), random(3, 3, 512, 512, seed=1)
    close(fast(image, kernel), np.asarray(stock(image, kernel)), 5e-5)


@pytest.mark.parametrize("size", [(1, 7), (5, 7), (8, 8)])
def test_gradients_equal_those_of_the_stock_convolution(size):
    image, kernel, gradient = random(*size, 5), random(3, 3, 5, 6, seed=1), random(*size, 6, seed=2)

    def gradients(function):
        return jax.jit(lambda *primals: jax.vjp(function, *primals)[1](gradient))(image, kernel)

    transformed = jax.lax.stop_gradient(transform(kernel))
    for actual, expected in zip(
        gradients(lambda image, kernel: convolve(image, kernel, transformed)), gradients(convolve), strict=True
    ):
        close(actual, np.asarray(expected))


def test_the_kernels_gradient_is_not_computed_where_nobody_asks():
    image, kernel = random(8, 8, 5), random(3, 3, 5, 6)
    transformed = transform(kernel)
    by_image = jax.jit(jax.grad(lambda image: convolve(image, kernel, transformed).sum()))
    assert " convolution(" not in by_image.lower(image).compile().as_text()


def test_vmap_over_images_and_over_kernels_equals_a_loop():
    images, kernels = random(2, 6, 9, 3), random(2, 3, 3, 3, 4, seed=1)
    for images_too in (True, False):
        batched = jax.vmap(fast, in_axes=(0 if images_too else None, 0))(images if images_too else images[0], kernels)
        for i in range(2):
            close(batched[i], np.asarray(fast(images[i if images_too else 0], kernels[i])))


def test_the_turned_kernel_has_the_same_values_at_the_inverse_points():
    kernel = random(3, 3, 2, 3)
    values = transform(kernel).reshape(6, 6, 2, 3)
    turned = transform(kernel[::-1, ::-1]).reshape(6, 6, 2, 3)
    order = np.array(convolution.INVERSE)
    close(turned, np.asarray(values[order][:, order]), 1e-6)


@pytest.mark.parametrize("size", [(2, 2), (5, 7), (8, 6), (3, 1)])
def test_the_pool_and_its_gradient_equal_flaxs(size):
    if min(size) < 2:
        assert convolution.pool(random(*size, 3)).shape == (1, 0, 3)
        return
    image = jnp.round(2 * random(*size, 3)) / 2  # with many equal values: the gradient goes to the first
    gradient = random(size[0] // 2, size[1] // 2, 3, seed=1)
    theirs = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
    (ours, our_vjp), (expected, their_vjp) = (jax.vjp(pool, image) for pool in (convolution.pool, theirs))
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(our_vjp(gradient)[0], their_vjp(gradient)[0])


def test_the_pools_gradient_under_vmap_equals_a_loop():
    images = random(2, 5, 6, 3)
    slope = jax.grad(lambda image: (convolution.pool(image) ** 2).sum())
    np.testing.assert_array_equal(jax.vmap(slope)(images), jnp.stack([slope(image) for image in images]))
