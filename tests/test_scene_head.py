"""Our scene head: a function of any photograph, calibrated, and its file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst.models import scene_head, vgg19
from jpst.weights import shipped

FILE = shipped.file(scene_head.NAME)
run = jax.jit(scene_head.probabilities)


def features(vgg19_tiny, photograph, height=48, width=80):
    return vgg19.features(vgg19_tiny, jnp.asarray(photograph(height, width)), scene_head.LAYERS)


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (96, 32)])
def test_each_eighth_of_a_picture_has_probabilities(scene_head_tiny, vgg19_tiny, photograph, size):
    picture = jnp.asarray(photograph(*size))
    found = run(scene_head_tiny.variables, vgg19_tiny, picture)
    assert found.shape == (31, size[0] // 8, size[1] // 8) and found.dtype == jnp.float32
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    again = run(scene_head_tiny.variables, vgg19_tiny, picture)
    np.testing.assert_array_equal(found, again)


def test_features_are_tamed_at_each_place_by_itself(vgg19_tiny, photograph):
    found = features(vgg19_tiny, photograph)["relu4_4"]
    roots = np.sqrt(np.asarray(found) + 0.0)[2, 3]
    expected = (roots - roots.mean()) / np.sqrt(roots.var() + 1e-6)
    np.testing.assert_allclose(scene_head.tamed(found)[2, 3], expected, atol=1e-3)


def test_a_place_is_told_by_its_height_and_its_distance_from_the_middle():
    found = scene_head.places(3, 5)
    assert found.shape == (3, 5, 2 + 4 * len(scene_head.WAVES))
    np.testing.assert_allclose(found[:, 0, 0], (-1, 0, 1))
    np.testing.assert_allclose(found[0, :, 1], (1, 0.5, 0, 0.5, 1))
    assert np.isfinite(scene_head.places(1, 1)).all()


def test_every_cell_depends_on_the_whole_picture(scene_head_tiny, vgg19_tiny, photograph):
    found = features(vgg19_tiny, photograph)
    plain = scene_head.logits(scene_head_tiny.variables, found)
    other = {name: each.at[-1, -1].add(5.0) for name, each in found.items()}
    assert np.abs(scene_head.logits(scene_head_tiny.variables, other) - plain)[0, 0].max() > 1e-6


def test_temperature_makes_it_less_sure_and_keeps_the_order(scene_head_tiny, vgg19_tiny, photograph):
    picture, variables = jnp.asarray(photograph(48, 80)), scene_head_tiny.variables
    cool, warm = (
        run({**variables, "calibration": {"temperature": jnp.float32(t)}}, vgg19_tiny, picture) for t in (1, 2)
    )
    np.testing.assert_array_equal(cool.argmax(0), warm.argmax(0))
    assert (warm.max(0) < cool.max(0)).all()
    root = jnp.sqrt(cool)
    np.testing.assert_allclose(warm, root / root.sum(0, keepdims=True), rtol=1e-3)


def test_light_and_contrast_of_features_leave_it_as_it_is(scene_head_tiny, vgg19_tiny, photograph):
    """It tames features: four times as strong, they say the same."""
    found = {name: each + 1 for name, each in features(vgg19_tiny, photograph).items()}
    strong = {name: 4 * each for name, each in found.items()}
    scores, stronger = (scene_head.logits(scene_head_tiny.variables, x) for x in (found, strong))
    assert np.abs(scores - stronger).max() < 0.02 * np.ptp(scores)


def test_channels_are_dropped_in_training_alone(scene_head_tiny, vgg19_tiny, photograph):
    found, variables = features(vgg19_tiny, photograph), scene_head_tiny.variables
    plain = scene_head.logits(variables, found)
    np.testing.assert_array_equal(scene_head.logits(variables, found, dropout=0.5), plain)
    dropped = [scene_head.logits(variables, found, dropout=0.5, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.abs(dropped[0] - dropped[2]).max() > 1e-3 and np.abs(dropped[0] - plain).max() > 1e-3


def test_the_head_that_ships_is_small_and_fits_vgg19():
    if not FILE.is_file():
        pytest.skip(f"{FILE} is absent: benchmarks/distill/scene.py makes it")
    assert FILE.stat().st_size < 4_000_000  # pyright: ignore
    loaded = shipped.scene_head()
    assert loaded.provenance.name == "scene-head"
    assert 0.1 < float(loaded.variables["calibration"]["temperature"]) < 10
