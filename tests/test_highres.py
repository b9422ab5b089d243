"""From a small result to full size: exact where the change is affine, never softer than the photograph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jpst import highres, pixels

FULL, SMALL = (75, 98), (24, 32)  # not multiples of each other, of a power of two, or of a band of rows


@pytest.fixture(scope="module")
def full(photograph) -> np.ndarray:
    return photograph(*FULL)


@pytest.fixture(scope="module")
def small(full) -> jax.Array:
    return pixels.resize(jnp.asarray(full), *SMALL)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    waves = [np.sin(3 * x + 2 * y), np.cos(4 * y), np.sin(2 * x - 3 * y)]
    return (0.5 + 0.2 * np.stack(waves, -1)).astype(np.float32)


def test_a_result_equal_to_the_content_gives_back_the_photograph(full, small):
    np.testing.assert_allclose(highres.apply(full, small, small), full, atol=1e-4)


def test_the_output_is_float32_of_the_photographs_size_within_the_range(full, small):
    out = highres.apply(full, small, 3 * small - 1)
    assert out.dtype == np.float32
    assert out.shape == full.shape
    assert out.min() == 0
    assert out.max() == 1


AFFINE = np.float32([[0.6, 0.1, 0.0], [0.05, 0.5, 0.1], [0.0, 0.1, 0.7]])


def test_an_affine_change_of_all_colours_is_reproduced_at_full_size(full, small):
    # The ridge pulls flat windows to a plain shift: small here, so that the affine map itself can be held.
    out = highres.apply(full, small, small @ AFFINE + 0.1, epsilon=1e-9)
    textured = np.s_[50:]  # the ground: in the sky the colours of a window lie on a line, and its map is not unique
    np.testing.assert_allclose(out[textured], (full @ AFFINE + 0.1)[textured], atol=5e-3)


def test_a_plain_shift_is_reproduced_at_full_size_whatever_the_ridge(full, small):
    dimmed = 0.8 * full + 0.05
    out = highres.apply(dimmed, 0.8 * small + 0.05, 0.8 * small + 0.05 + jnp.float32([[[0.1, 0.0, -0.04]]]))
    np.testing.assert_allclose(out, (dimmed + np.float32([0.1, 0.0, -0.04])).clip(0, 1), atol=1e-4)


def test_the_maps_equal_least_squares_in_each_window_then_averaged(photograph):
    content, result, radius, epsilon = photograph(6, 7), photograph(6, 7, seed=1), 1, 1e-3
    windows = [[np.s_[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] for x in range(7)] for y in range(6)]
    solved = np.array([[reference.guided_map(content[w], result[w], epsilon) for w in row] for row in windows])
    expected = np.array([[solved[w].mean((0, 1)) for w in row] for row in windows])
    actual = pixels.affine_maps(jnp.asarray(content), jnp.asarray(result), radius, epsilon, jnp.eye(3))
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_the_working_result_comes_back_when_a_smooth_full_result_is_made_small():
    full, content = smooth(*FULL), smooth(*SMALL)
    result = np.clip(content**1.3 * np.float32([0.9, 1.0, 1.1]), 0, 1)
    out = highres.apply(full, jnp.asarray(content), jnp.asarray(result))
    back = pixels.resize(jnp.asarray(out), *SMALL)
    assert np.abs(back - result).max() < 2 / 255


def test_a_step_edge_stays_a_step_edge():
    # An edge inside a working pixel, and less contrast: a plain upsampling would ramp over several pixels.
    full = np.full((*FULL, 3), 0.3, np.float32)
    full[:, 50:] = 0.7
    content = pixels.resize(jnp.asarray(full), *SMALL, "linear")
    out = highres.apply(full, content, 0.8 * content - 0.1)
    profile = out[FULL[0] // 2, :, 0]
    height = profile[60] - profile[40]
    assert height > 0.25  # of 0.32
    steps = np.diff(profile)
    assert steps[49] > 0.9 * height
    assert np.abs(np.delete(steps, 49)).max() < 0.03


def test_a_change_across_the_picture_lands_where_it_belongs():
    def ramp(width: int) -> np.ndarray:
        return np.broadcast_to(0.3 * (np.arange(width)[None, :, None] + 0.5) / width, (*SMALL[:1], width, 3))

    content = jnp.full((*SMALL, 3), 0.4)
    out = highres.apply(np.full((*FULL, 3), 0.4, np.float32), content, content + jnp.float32(ramp(SMALL[1])))
    inner = np.s_[FULL[1] // 3 : -FULL[1] // 3]  # windows that are cut off at the sides average less of the ramp
    expected = np.broadcast_to(0.4 + ramp(FULL[1])[:1], out.shape)
    np.testing.assert_allclose(out[:, inner], expected[:, inner], atol=2e-4)


def test_detail_finer_than_a_working_pixel_survives(key):
    noise = np.asarray(0.05 * jax.random.normal(key, (*FULL, 3)))
    full = (smooth(*FULL) + noise).clip(0, 1).astype(np.float32)
    content = pixels.resize(jnp.asarray(full), *SMALL)
    out = highres.apply(full, content, content + 0.05)
    assert np.corrcoef((out - smooth(*FULL)).ravel(), noise.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("size", [(24, 32), (23, 31), (64, 65), (65, 64), (128, 33), (1, 1)])
def test_any_full_size_works(small, size):
    full = np.full((*size, 3), 0.5, np.float32)
    out = highres.apply(full, small, small + 0.1)
    np.testing.assert_allclose(out, np.full((*size, 3), 0.6), atol=1e-4)
    assert out.shape == full.shape


def test_a_flat_photograph_takes_the_shift_and_nothing_else(key):
    content = jnp.full((*SMALL, 3), 0.4)
    result = content + 0.2 + 1e-3 * jax.random.normal(key, content.shape)  # a map fitted to this noise would be wild
    out = highres.apply(np.full((*FULL, 3), 0.4, np.float32), content, result)
    np.testing.assert_allclose(out, np.full((*FULL, 3), 0.6), atol=2e-3)
