"""Sizes, resizing and the box filter, each against a loop or SciPy."""

import itertools
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import ndimage

from jpst import pixels

# Compiled: operation by operation, each would be compiled by itself.
resize, resize_tf1, area_mean = (
    jax.jit(function, static_argnums=(1, 2)) for function in (pixels.resize, pixels.resize_tf1, pixels.area_mean)
)
box_mean = jax.jit(pixels.box_mean, static_argnums=1)


def planes(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, shape), jnp.float32)


# ---- Working size


@pytest.mark.parametrize(
    "height, width, longest, multiple, expected",
    [
        pytest.param(3000, 4000, 448, 32, (320, 448), id="a usual photograph"),
        pytest.param(4000, 3000, 448, 32, (448, 320), id="upright"),
        pytest.param(3000, 4000, 448, 1, (336, 448), id="exact"),
        pytest.param(1000, 1000, 448, 32, (448, 448), id="square"),
        pytest.param(300, 400, 448, 1, (300, 400), id="small enough keeps its size"),
        pytest.param(300, 400, 448, 32, (288, 384), id="small enough is rounded down"),
        pytest.param(448, 448, 448, 32, (448, 448), id="just small enough"),
        pytest.param(3, 5, 448, 1, (3, 5), id="tiny"),
        pytest.param(3, 5, 448, 32, (32, 32), id="a side is at least the multiple"),
        pytest.param(1, 1, 448, 1, (1, 1), id="one pixel"),
        pytest.param(20, 8000, 448, 32, (32, 448), id="a panorama's short side is at least the multiple"),
        pytest.param(1, 10000, 448, 1, (1, 448), id="a line"),
        pytest.param(10000, 3, 700, 1, (700, 1), id="a column"),
    ],
)
def test_working_size(height, width, longest, multiple, expected):
    assert pixels.working_size(height, width, longest, multiple) == expected


def test_the_working_size_is_whole_multiples_no_longer_than_asked_and_never_enlarged():
    sides, longests, multiples = (1, 33, 100, 470, 479, 480, 481, 2000), (64, 100, 448, 470, 478), (1, 8, 32)
    wrong = []
    for height, width, longest, multiple in itertools.product(sides, sides, longests, multiples):
        size = pixels.working_size(height, width, longest, multiple)
        whole = all(side % multiple == 0 and side > 0 for side in size)
        allowed = [max(multiple, min(side, longest)) for side in (height, width)]
        if not whole or size[0] > allowed[0] or size[1] > allowed[1]:
            wrong.append(f"{height} x {width}, longest {longest}, multiple {multiple} -> {size}")
    assert not wrong, f"{len(wrong)} wrong, such as " + "; ".join(wrong[:3])


def test_common_shapes_are_few_squeeze_little_and_have_about_as_many_pixels():
    shapes = set()
    for height, width in itertools.product(range(300, 701, 25), repeat=2):
        rows, columns = pixels.common_size(height, width, 384, 16)
        shapes.add((rows, columns))
        squeeze = (width / height) / (columns / rows)
        assert 1 / 1.3 < squeeze < 1.3  # the square root of 3:2, and rounding
        assert abs(rows * columns / (384 * 256) - 1) < 0.05
        assert pixels.common_size(width, height, 384, 16)[::-1] == (rows, columns) or width == height
    assert shapes == {(320, 320), (256, 384), (384, 256), (208, 464), (464, 208)}


# ---- Resizing


@pytest.mark.parametrize(
    "size, out", [((8, 12), (2, 3)), ((9, 7), (4, 3)), ((5, 4), (11, 9)), ((6, 6), (6, 6)), ((3, 1), (2, 4))]
)
def test_resize_tf1_equals_a_loop_over_the_stated_rule(size, out):
    image = planes(2, *size)
    expected = [reference.resize_tf1(np.asarray(plane), *out) for plane in image]
    np.testing.assert_allclose(resize_tf1(image, *out), expected, atol=1e-6)


@pytest.mark.parametrize(
    "size, out", [((8, 12), (2, 3)), ((9, 7), (4, 3)), ((5, 4), (11, 9)), ((6, 6), (6, 6)), ((7, 5), (1, 1))]
)
def test_area_mean_equals_the_integral_over_each_cell(size, out):
    image = planes(2, *size)
    expected = [reference.area_mean(np.asarray(plane), *out) for plane in image]
    np.testing.assert_allclose(area_mean(image, *out), expected, atol=1e-6)


@pytest.mark.parametrize("out", [(6, 8), (5, 7), (1, 1), (31, 40)])
def test_area_mean_sums_to_one_where_its_planes_do(soft_masks, out):
    small = area_mean(jnp.asarray(soft_masks(24, 32)), *out)
    assert (small >= 0).all()
    np.testing.assert_allclose(small.sum(0), np.ones(out), atol=1e-6)


@pytest.mark.parametrize("out", [(12, 16), (48, 64), (7, 9)])
def test_resize_keeps_a_constant_and_a_centre_of_mass(out):
    np.testing.assert_allclose(resize(jnp.full((24, 32, 3), 0.3), *out), np.full((*out, 3), 0.3), atol=1e-5)
    ramp = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32)[None, :, None], (24, 32, 3))
    np.testing.assert_allclose(np.mean(resize(ramp, *out)), 0.5, atol=1e-3)


def test_resize_averages_out_detail_that_the_small_image_cannot_hold():
    stripes = np.broadcast_to((np.arange(64, dtype=np.float32) % 2)[None, :, None], (48, 64, 3))
    small = resize(stripes, 12, 16)
    assert np.abs(np.asarray(small)[:, 2:-2] - 0.5).max() < 0.05  # without antialiasing it would be black or white


@pytest.mark.parametrize("size", [(20, 28), (13, 28), (40, 19), (61, 60), (1, 1), (40, 56)])
def test_a_photograph_at_a_size_is_what_jax_resizes_it_to(photograph, size):
    image = photograph(40, 56)
    expected = jnp.clip(resize(jnp.asarray(image), *size), 0, 1)
    np.testing.assert_allclose(pixels.at_size(image, size), expected, atol=1e-6)


def test_a_photograph_of_that_size_is_left_as_it_is(photograph):
    image = photograph(40, 56)
    np.testing.assert_array_equal(pixels.at_size(image, (40, 56)), image)


# ---- The box filter


@pytest.mark.parametrize("radius", [0, 1, 3, 9])
def test_box_mean_equals_scipys_over_the_pixels_inside(radius):
    image = planes(7, 10, 3)  # at radius 9 every window is larger than the image
    uniform = partial(ndimage.uniform_filter, size=(2 * radius + 1, 2 * radius + 1, 1), mode="constant")
    expected = uniform(np.asarray(image, np.float64)) / uniform(np.ones((7, 10, 1)))
    np.testing.assert_allclose(box_mean(image, radius), expected, atol=1e-6)


# ---- Affine maps


THREADS = """
import threading
import jax.numpy as jnp
from jpst.pixels import affine_maps

def maps(size):
    for _ in range(20):
        guide = jnp.linspace(0, 1, size * size * 3).reshape(size, size, 3)
        affine_maps(guide, guide, 2, 1e-3, jnp.eye(3)).block_until_ready()

threads = [threading.Thread(target=maps, args=(size,)) for size in (128, 192)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_maps_made_in_two_threads_do_not_wait_for_each_other():
    """As JAX 0.10's batches of LAPACK calls do, for ever, on two cores."""
    subprocess.run([sys.executable, "-c", THREADS], check=True, timeout=300)
