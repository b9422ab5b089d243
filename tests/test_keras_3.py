"""Weights as Keras 3 saves them, in each of its formats, against the tensors of the model that was saved."""

from __future__ import annotations

import os
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from jpst import weights
from jpst.models import nima, vgg19
from jpst.weights import readers
from jpst.weights.readers import CheckpointError

FORMATS = ("f.weights.h5", "nameless.weights.h5", "f.keras", "f.h5")


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings(action="ignore"):
        keras = pytest.importorskip("keras")
    # Each of its initialisers is compiled for each shape, and what it makes is overwritten anyway.
    patch = pytest.MonkeyPatch()
    for name, make in (("GlorotUniform", np.zeros), ("Zeros", np.zeros), ("Ones", np.ones)):
        kind = getattr(keras.initializers, name)
        patch.setattr(kind, "__call__", lambda _self, shape, make=make, **_: make(shape, np.float32))
    yield keras
    patch.undo()


@contextmanager
def quiet():
    """Keras broadcasts between ranks, which this suite forbids, and warns of its older format."""
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings(action="ignore"):
        yield


@pytest.fixture(autouse=True)
def quietly():
    with quiet():
        yield


def randomised(network):
    """The network with other numbers in each of its variables; those of variances are positive."""
    rng = np.random.default_rng(5)
    for variable in network.weights:
        variable.assign(rng.uniform(0.1, 1, variable.shape).astype(np.float32))
    return network


def remove_names(path: Path) -> None:
    """As the first versions of Keras 3 wrote the file."""
    import h5py

    with h5py.File(path, "a") as file:
        file.visititems(lambda _place, item: item.attrs.pop("name", None) and None)


def saved(network, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
        if path.name.startswith("nameless"):
            remove_names(path)
    else:
        network.save(path)
    return path


@pytest.fixture(scope="module")
def small_vgg19(keras):
    """VGG19 by the names of Keras, with 2 to 4 channels."""
    with quiet():
        layers = [keras.Input((32, 32, 3), name="input_layer")]
        for name in vgg19.CONVOLUTIONS:
            block, number = name.removeprefix("conv").split("_")
            convolution = keras.layers.Conv2D(
                NARROW[int(block) - 1], 3, padding="same", name=f"block{block}_conv{number}"
            )
            layers += [convolution, keras.layers.ReLU()]
        return randomised(keras.Sequential(layers))


NARROW = (2, 3, 3, 4, 4)


@pytest.mark.parametrize("name", FORMATS)
def test_vgg19(tmp_path, monkeypatch, small_vgg19, name):
    shapes = vgg19.template(NARROW)
    monkeypatch.setattr(vgg19, "template", lambda: shapes)
    params = weights.load("vgg19", saved(small_vgg19, tmp_path / name)).variables["params"]
    for ours in vgg19.CONVOLUTIONS:
        layer = small_vgg19.get_layer(ours.replace("conv", "block").replace("_", "_conv"))
        kernel = np.asarray(layer.kernel)[:, :, ::-1] if ours == "conv1_1" else layer.kernel
        np.testing.assert_array_equal(params[ours]["kernel"], kernel, strict=True)
        np.testing.assert_array_equal(params[ours]["bias"], layer.bias, strict=True)


@pytest.fixture(scope="module")
def narrow_mobilenet(keras):
    """NIMA over a MobileNet of an eighth of the channels, and the same inside another model, with its optimiser."""
    with quiet():
        base = keras.applications.MobileNet(
            include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.125, pooling="avg"
        )
        dense = keras.layers.Dense(10, activation="softmax", name="dense_1")
        flat = keras.Model(base.input, dense(keras.layers.Dropout(0.75, seed=3)(base.output)))
        nested = keras.Sequential(
            [keras.Input((32, 32, 3)), base, keras.layers.Dropout(0.75), keras.layers.Dense(10, activation="softmax")]
        )
        nested.compile("adam", "mse", metrics=["mae"])
        nested.optimizer.build(nested.trainable_variables)
        return {"flat": randomised(flat), "nested": nested}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["flat", "nested"])
def test_nima_mobilenet(tmp_path, monkeypatch, narrow_mobilenet, name, kind):
    narrow = nima.template("mobilenet", 0.125)
    monkeypatch.setattr(nima, "template_of", lambda _found: narrow)
    network = narrow_mobilenet[kind]
    variables = weights.load("nima", saved(network, tmp_path / name)).variables
    base = network if kind == "flat" else network.layers[0]
    np.testing.assert_array_equal(
        variables["params"]["conv_dw_3"]["kernel"], np.swapaxes(base.get_layer("conv_dw_3").kernel, 2, 3), strict=True
    )
    layer = base.get_layer("conv_pw_13_bn")
    for found, expected in (("scale", layer.gamma), ("bias", layer.beta)):
        np.testing.assert_array_equal(variables["params"]["conv_pw_13_bn"][found], expected)
    for found, expected in (("mean", layer.moving_mean), ("var", layer.moving_variance)):
        np.testing.assert_array_equal(variables["batch_stats"]["conv_pw_13_bn"][found], expected)
    dense = network.layers[-1]
    np.testing.assert_array_equal(variables["params"]["classifier"]["kernel"], dense.kernel, strict=True)


@pytest.fixture(scope="module")
def inception(keras):
    with quiet():
        base = keras.applications.InceptionResNetV2(
            include_top=False, weights=None, input_shape=(75, 75, 3), pooling="avg"
        )
        network = keras.Model(base.input, keras.layers.Dense(10, name="dense_1")(base.output))
        for layer in network.layers:
            if layer.weights:
                layer.set_weights([np.full(each.shape, i, np.float32) for i, each in enumerate(layer.weights, 1)])
        return network


def test_nima_inception(tmp_path, inception):
    """Its normalisations have no gamma, so their first variable is beta."""
    first = next(layer for layer in inception.layers if layer.name.startswith("batch_normalization"))
    assert [each.name for each in first.weights] == ["beta", "moving_mean", "moving_variance"]
    kernels = {layer.name: layer for layer in inception.layers}
    kernels["conv_7b"].set_weights([np.random.default_rng(0).random(kernels["conv_7b"].kernel.shape, np.float32)])
    variables = weights.load("nima", saved(inception, tmp_path / "f.weights.h5")).variables
    stem = "conv2d_1a"
    assert np.unique(variables["params"][stem]["bn"]["scale"]).tolist() == [1]
    assert np.unique(variables["params"][stem]["bn"]["bias"]).tolist() == [1]
    assert np.unique(variables["batch_stats"][stem]["bn"]["mean"]).tolist() == [2]
    assert np.unique(variables["batch_stats"][stem]["bn"]["var"]).tolist() == [3]
    np.testing.assert_array_equal(variables["params"]["conv2d_7b"]["conv"]["kernel"], kernels["conv_7b"].kernel)


def test_bfloat16_as_keras_keeps_it(tmp_path, keras):
    layers = [keras.Input((3,)), keras.layers.Dense(2, name="dense", dtype="bfloat16")]
    network = randomised(keras.Sequential(layers))
    found = readers.read(saved(network, tmp_path / "f.weights.h5"))
    assert {name: array.dtype.name for name, array in found.items()} == dict.fromkeys(
        ("dense/vars/0", "dense/vars/1"), "bfloat16"
    )
    np.testing.assert_array_equal(found["dense/vars/0"], np.asarray(network.layers[-1].kernel))


def test_damaged_and_hostile_archives(tmp_path, small_vgg19):
    path = saved(small_vgg19, tmp_path / "f.keras")
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"f\.keras: got a zip archive that is truncated"):
            readers.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("model.weights.h5", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
        archive.writestr("config.json", "{}")
    with pytest.raises(CheckpointError, match=r"f\.keras: got tensors that unfold to more"):
        readers.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model.weights.h5", bytes(100))
    with pytest.raises(CheckpointError, match="compressed in a way that no checkpoint is"):
        readers.read(path)
