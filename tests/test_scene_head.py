"""Our scene head: a function of any photograph, calibrated, and its file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst.models import scene_head, shipped

FILE = shipped.file(scene_head.NAME)
run = jax.jit(scene_head.probabilities)


def seen(vgg19_tiny, photograph, height=48, width=80):
    return scene_head.seen(vgg19_tiny, jnp.asarray(photograph(height, width)))


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (96, 32)])
def test_each_eighth_of_a_picture_has_probabilities(scene_head_tiny, vgg19_tiny, photograph, size):
    picture = jnp.asarray(photograph(*size))
    found = run(scene_head_tiny.variables, vgg19_tiny, picture)
    assert found.shape == (31, size[0] // 8, size[1] // 8) and found.dtype == jnp.float32
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    again = run(scene_head_tiny.variables, vgg19_tiny, picture)
    np.testing.assert_array_equal(found, again)


def test_the_finest_features_are_averaged_to_cells_of_eight_pixels(vgg19_tiny, photograph):
    from jpst.models import vgg19

    found, picture = seen(vgg19_tiny, photograph), jnp.asarray(photograph(48, 80))
    assert {name: each.shape[:2] for name, each in found.items()} == {
        "relu3_4": (6, 10),
        "relu4_4": (6, 10),
        "relu5_4": (3, 5),
    }
    fine = np.asarray(vgg19.features(vgg19_tiny, picture, ("relu3_4",))["relu3_4"])
    np.testing.assert_allclose(found["relu3_4"][2, 3], fine[4:6, 6:8].mean((0, 1)), rtol=1e-4, atol=1e-4)


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
    features = seen(vgg19_tiny, photograph)
    features = {name: each + 1 for name, each in features.items()}
    scores = scene_head.logits(scene_head_tiny.variables, features)
    stronger = scene_head.logits(scene_head_tiny.variables, {name: 4 * each for name, each in features.items()})
    assert np.abs(scores - stronger).max() < 0.02 * np.ptp(scores)


def test_channels_are_dropped_in_training_alone(scene_head_tiny, vgg19_tiny, photograph):
    features, variables = seen(vgg19_tiny, photograph), scene_head_tiny.variables
    plain = scene_head.logits(variables, features)
    np.testing.assert_array_equal(scene_head.logits(variables, features, dropout=0.5), plain)
    dropped = [scene_head.logits(variables, features, dropout=0.5, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.abs(dropped[0] - dropped[2]).max() > 1e-3 and np.abs(dropped[0] - plain).max() > 1e-3


def test_the_head_that_ships_is_small_and_fits_vgg19():
    if not FILE.is_file():
        pytest.skip(f"{FILE} is absent: benchmarks/distill/scene.py makes it")
    assert FILE.stat().st_size < 4_000_000  # pyright: ignore
    loaded = scene_head.load()
    assert loaded.provenance.name == "scene-head"
    assert 0.1 < float(loaded.variables["calibration"]["temperature"]) < 10
