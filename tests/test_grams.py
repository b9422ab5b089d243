"""Grams by pairs of pixel and region against a float64 loop and the dense form: values, gradients, every overlap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jpst import grams

HEIGHT, WIDTH = 24, 32


def features(channels: int = 4, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, channels)), jnp.float32)


def hard(count: int) -> np.ndarray:
    """Vertical stripes."""
    owner = np.arange(WIDTH) * count // WIDTH
    stripes = owner[None, None] == np.arange(count)[:, None, None]
    return np.broadcast_to(stripes, (count, HEIGHT, WIDTH)).astype(np.float32)


def softened() -> np.ndarray:
    """Stripes whose edges are shared by two regions, or three."""
    masks = hard(6)
    return (np.roll(masks, 1, 2) + 2 * masks + np.roll(masks, -1, 2)) / 4


def with_an_empty_one() -> np.ndarray:
    masks = hard(6).copy()
    masks[1] += masks[2]
    masks[2] = 0
    return masks


def overlapping() -> np.ndarray:
    """Each pixel of a band in five regions at once."""
    masks = hard(8).copy()
    masks[:5, :2] = 0.2
    return masks


SPARSE = {"hard": lambda: hard(5), "soft": softened, "empty": with_an_empty_one, "overlapping": overlapping}


@pytest.fixture(params=SPARSE)
def masks(request) -> np.ndarray:
    return SPARSE[request.param]()


def test_grams_of_pairs_equal_a_float64_loop(masks):
    pairs = grams.gather(masks)
    assert pairs is not None
    actual = jax.jit(grams.of_pairs, static_argnums=2)(features(), pairs, len(masks))
    expected = np.stack([reference.gram(np.asarray(features()), mask) for mask in masks])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_their_gradient_equals_that_of_the_dense_form(masks):
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(len(masks), 4, 4)), jnp.float32)
    pairs = grams.gather(masks)

    def slope(gram, masks):
        return jax.jit(jax.grad(lambda x, masks: jnp.vdot(weights, gram(x, masks))))(features(), masks)

    expected = slope(grams.dense, jnp.asarray(masks))
    actual = slope(lambda x, pairs: grams.of_pairs(x, pairs, len(masks)), pairs)
    np.testing.assert_allclose(actual, expected, atol=1e-6 * float(jnp.abs(expected).max()))


def test_every_pair_is_listed_once(masks):
    pairs = grams.gather(masks)
    found = np.zeros_like(masks).reshape(len(masks), -1)
    for region, pixels, weights in zip(*map(np.asarray, (pairs.regions, pairs.pixels, pairs.weights)), strict=True):
        np.add.at(found[region], pixels, weights)
    np.testing.assert_array_equal(found.reshape(masks.shape), masks)


@pytest.mark.parametrize("masks", [np.ones((1, 24, 32)), np.full((6, 24, 32), 1 / 6), hard(3)[:, :3, :4]])
def test_masks_for_which_lists_are_no_shorter_stay_dense(masks):
    assert grams.gather(np.float32(masks)) is None


def test_other_masks_with_as_many_regions_give_lists_of_the_same_shapes():
    shapes = [jax.tree.map(jnp.shape, grams.gather(masks)) for masks in (hard(6), hard(6)[::-1], with_an_empty_one())]
    assert shapes[0] == shapes[1] == shapes[2]


def test_vmap_over_features_and_over_lists_equals_a_loop():
    lists = jax.tree.map(lambda *x: jnp.stack(x), *(grams.gather(masks) for masks in (hard(6), hard(6)[::-1])))
    images = jnp.stack([features(), features(seed=1)])

    def energy(x, pairs):
        return jnp.sum(grams.of_pairs(x, pairs, 6) ** 2)

    both = jax.vmap(jax.value_and_grad(energy))(images, lists)
    for i in range(2):
        alone = jax.value_and_grad(energy)(images[i], jax.tree.map(lambda x, i=i: x[i], lists))
        for batched, single in zip(both, alone, strict=True):
            np.testing.assert_allclose(batched[i], single, rtol=1e-4, atol=1e-3)
