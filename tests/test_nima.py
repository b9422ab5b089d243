"""NIMA against Keras applications, PyTorch and the tflite runtime; the files' families; what it says to wrong use."""

from __future__ import annotations

import os
import warnings

import jax
import jax.numpy as jnp
import nima_others as others
import numpy as np
import pytest

from jpst import aesthetics, image, optimise, preparation, weights
from jpst.models import nima
from jpst.models.nima import NimaError
from jpst.optimise import Status
from jpst.recipe import Hyperparameters, Recipe
from jpst.total import Networks
from jpst.weights import CheckpointError, downloads, registry

run = jax.jit(nima.distribution, static_argnames="remat")
# Neither square nor both even. Every size is a compilation, of ten seconds for Inception-ResNet-v2.
SIZE = (90, 107)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty checkpoint folder."""
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).random((height, width, 3), dtype=np.float32)


def close(found, expected) -> None:
    assert expected.std() > 0.01, "a distribution that is flat or a single peak would hide differences"
    np.testing.assert_allclose(found, expected, atol=1e-5)


# ---- Networks that others built


@pytest.fixture(scope="module")
def keras_networks():
    """name -> the network, built once."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings(action="ignore"):
        keras = pytest.importorskip("keras")
        patch = pytest.MonkeyPatch()
        # Their own initialiser takes long to compile and is overwritten anyway.
        patch.setattr(keras.initializers.GlorotUniform, "__call__", lambda _self, shape, **_: np.zeros(shape))
        built = {name: others.keras_network(keras, name) for name in ("inception_resnet_v2", "mobilenet")}
        patch.undo()
        return built


def keras_distribution(network, picture) -> np.ndarray:
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings(action="ignore"):
        return others.keras_distribution(network, picture)


@pytest.mark.parametrize(("offset", "dense"), [(0, "dense"), (407, "dense_3")])
def test_inception_resnet_v2_equals_keras(tmp_path, keras_networks, offset, dense):
    """Whatever number the layers of the session began with."""
    network = keras_networks["inception_resnet_v2"]
    others.write_keras(tmp_path / "f.h5", network, offset, dense)
    variables = weights.load("nima", tmp_path / "f.h5").variables
    kernel = np.asarray(network.get_layer("conv_7b").kernel.value)
    np.testing.assert_array_equal(variables["params"]["conv2d_7b"]["conv"]["kernel"], kernel)
    if offset == 407:
        close(run(variables, photo(*SIZE)), keras_distribution(network, photo(*SIZE)))


@pytest.mark.parametrize("size", [(224, 224), (299, 299), (187, 242)])
def test_mobilenet_equals_keras(tmp_path, keras_networks, size):
    """On odd sizes too, which Keras pads in one way before its first convolution and in another before the others."""
    others.write_keras(tmp_path / "f.h5", keras_networks["mobilenet"], dense="dense")
    variables = weights.load("nima", tmp_path / "f.h5").variables
    close(run(variables, photo(*size)), keras_distribution(keras_networks["mobilenet"], photo(*size)))


@pytest.mark.parametrize("name", ["inception_resnet_v2", "vgg16"])
def test_files_of_pyiqa_equal_pytorch(tmp_path, name):
    torch = pytest.importorskip("torch")
    network = others.torch_nima(torch, name)
    prefix = "module." if name == "vgg16" else ""
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    torch.save({"params": state}, tmp_path / "f.pth")
    variables = weights.load("nima", tmp_path / "f.pth").variables
    assert nima.architecture(variables["params"]) == name
    close(run(variables, photo(*SIZE)), others.torch_distribution(torch, network, photo(*SIZE), name))


@pytest.fixture(scope="module")
def tflite(shared):
    path = shared / "weights" / "nima_mobilenet_aesthetic.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def test_real_scores_follow_the_tflite_runtime(shared, tflite):
    """Whose activations are quantised too, so not equal."""
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="needs pip install ai-edge-litert")
    from scipy.stats import spearmanr

    interpreter = runtime.Interpreter(str(tflite))
    interpreter.allocate_tensors()
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    variables = weights.load("nima", tflite).variables
    ours, theirs = [], []
    for path in sorted((shared / "dpst").glob("*/content.png"))[:20]:
        picture = image.read(path).pixels
        small = np.asarray(jnp.clip(jax.image.resize(picture, (224, 224, 3), "cubic"), 0, 1))
        interpreter.set_tensor(entry["index"], small[None] * 2 - 1)
        interpreter.invoke()
        theirs.append(interpreter.get_tensor(out["index"])[0] @ others.RATINGS)
        ours.append(aesthetics.score(variables, picture).mean)
    assert len(ours) == 20
    assert spearmanr(ours, theirs).statistic > 0.99
    assert np.abs(np.subtract(ours, theirs)).mean() < 0.05


# ---- Files that do not fit


@pytest.fixture
def keras_file(tmp_path, keras_networks):
    """keras_file(name, change): a file of that network, written after `change` has altered {path: array}."""

    def write(name: str, change):
        import h5py

        content = others.write_keras(tmp_path / "whole.h5", keras_networks[name], offset=12)
        change(content)
        with h5py.File(tmp_path / "f.h5", "w") as file:
            for path, value in content.items():
                file[path] = value
        return tmp_path / "f.h5"

    return write


def test_every_misfit_of_a_mobilenet_is_listed_in_one_error(keras_file):
    def change(content):
        del content["conv_dw_3_bn/conv_dw_3_bn/moving_mean:0"]
        content["conv_pw_14/conv_pw_14/kernel:0"] = np.zeros((1, 1, 2, 2), np.float32)
        content["dense_1/dense_1/bias:0"] = np.zeros(9, np.float32)

    with pytest.raises(CheckpointError) as error:
        weights.load("nima", keras_file("mobilenet", change))
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 3
    assert any("- batch_stats/conv_dw_3_bn/mean (128,)" in line for line in lines)
    assert any("+ params/conv_pw_14/kernel" in line for line in lines)
    assert any("! params/classifier/bias got float32 (9,), expected float32 (10,)" in line for line in lines)


def test_a_missing_or_surplus_numbered_layer_does_not_shift_the_others(keras_file):
    def change(content):
        del content["conv2d_12/conv2d_12/kernel:0"]  # the first of them
        del content["batch_normalization_100/batch_normalization_100/beta:0"]

    with pytest.raises(CheckpointError) as error:
        weights.load("nima", keras_file("inception_resnet_v2", change))
    missing = [line.split()[1] for line in str(error.value).splitlines()[1:]]
    assert set(missing) == {
        "params/conv2d_1a/conv/kernel",
        *(f"params/block17_3/branch0/bn/{kind}" for kind in ("bias", "scale")),  # 88 layers after the first
    }

    def add(content):
        content["conv2d_215/conv2d_215/kernel:0"] = np.zeros((1, 1, 2, 2), np.float32)

    with pytest.raises(CheckpointError) as error:
        weights.load("nima", keras_file("inception_resnet_v2", add))
    assert [line.split()[:2] for line in str(error.value).splitlines()[1:]] == [["+", "conv2d_215/conv2d_215/kernel:0"]]


def test_other_networks_are_not_taken_for_nima(tmp_path):
    np.savez(tmp_path / "f.npz", **{"conv1_1/W": np.zeros((3, 3, 3, 64))})
    with pytest.raises(CheckpointError, match=r"got conv1_1/W.*expected nima weights"):
        weights.load("nima", tmp_path / "f.npz")


@pytest.mark.parametrize("name", ["mobilenet", "vgg16"])
def test_convert_and_load_again(tmp_path, monkeypatch, name):
    """Our own files, which tell the networks apart by their layers; narrow, for speed."""
    narrow = nima.template(name, 0.125)
    monkeypatch.setattr(nima, "template_of", lambda _found: narrow)
    variables = nima.init(jax.random.key(0), name, 0.125)
    flat = {
        "/".join(str(key.key) for key in path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(variables)
    }
    np.savez(tmp_path / "f.npz", **flat, **{"provenance/network": "nima", "provenance/name": "x"})
    weights.convert(tmp_path / "f.npz", "nima", tmp_path / "g.npz")
    again = weights.load("nima", tmp_path / "g.npz")
    assert again.provenance.name == "x"
    jax.tree.map(np.testing.assert_array_equal, again.variables, variables)


@pytest.mark.parametrize("name", nima.ARCHITECTURES)
def test_the_network_is_found_from_its_tensors(name):
    template = nima.template(name)
    flat = {"/".join(str(key.key) for key in path): leaf for path, leaf in jax.tree.leaves_with_path(template)}
    assert jax.tree.structure(nima.template_of(flat)) == jax.tree.structure(template)


# ---- The functions


def test_mean_and_deviation():
    certain = jnp.zeros(10).at[6].set(1.0)
    assert nima.mean_score(certain) == 7
    assert nima.deviation(certain) == 0
    halves = jnp.zeros(10).at[jnp.array([0, 9])].set(0.5)
    assert nima.mean_score(halves) == 5.5
    assert nima.deviation(halves) == 4.5


@pytest.fixture(scope="module")
def narrow():
    return nima.init(jax.random.key(1), "mobilenet", 0.125)


def test_a_distribution_is_one_and_vmap_equals_a_loop(narrow):
    pictures = np.stack([photo(48, 33), photo(48, 33)[::-1]])
    batched = jax.jit(jax.vmap(nima.distribution, in_axes=(None, 0)))(narrow, pictures)
    np.testing.assert_allclose(batched.sum(1), 1, rtol=1e-6)
    for found, picture in zip(batched, pictures, strict=True):
        np.testing.assert_allclose(found, run(narrow, picture), atol=1e-6)


def test_a_gradient_computes_each_block_again_where_that_is_asked_for():
    variables = nima.template("inception_resnet_v2", 0.0625)

    def blocks(remat: bool) -> int:
        score = lambda x, variables: nima.mean_score(nima.distribution(variables, x, remat=remat))  # noqa: E731
        return sum(str(each.primitive) == "remat2" for each in jax.make_jaxpr(score)(photo(75, 75), variables).eqns)

    assert blocks(remat=True) == 5 + 3 + 40
    assert blocks(remat=False) == 0


def test_the_gradient_equals_finite_differences(narrow):
    with jax.enable_x64(True):  # in 32 bits a step that is larger than rounding crosses kinks of the activations
        variables = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), narrow)
        picture = jnp.asarray(photo(40, 48), jnp.float64)
        score = jax.jit(lambda x: nima.mean_score(nima.distribution(variables, x)))
        gradient = jax.jit(jax.grad(score))(picture)
        direction = gradient / jnp.linalg.norm(gradient)
        step = 1e-6
        finite = (score(picture + step * direction) - score(picture - step * direction)) / (2 * step)
        np.testing.assert_allclose(finite, jnp.sum(gradient * direction), rtol=1e-5)


@pytest.mark.parametrize("name", nima.ARCHITECTURES)
def test_images_that_do_not_fit(name):
    variables = nima.template(name, 0.125)
    least = nima.ARCHITECTURES[name].minimum_size
    shapes = jax.eval_shape(nima.distribution, variables, jax.ShapeDtypeStruct((least, least, 3), "float32"))
    assert shapes.shape == (10,)
    for wrong in ((least - 1, 200, 3), (200, 200), (1, 200, 200, 3), (200, 200, 4)):
        with pytest.raises(NimaError, match=rf"got float32 .*for {name} expected.*{least}x{least}"):
            jax.eval_shape(nima.distribution, variables, jax.ShapeDtypeStruct(wrong, "float32"))
    with pytest.raises(NimaError, match=r"uint8.*in \[0, 1\]"):
        jax.eval_shape(nima.distribution, variables, jax.ShapeDtypeStruct((200, 200, 3), "uint8"))


# ---- Which checkpoint


def test_without_a_network_the_error_tells_how_to_fetch_each_and_its_licence():
    with pytest.raises(CheckpointError) as error:
        aesthetics.load()
    assert "jpst weights fetch nima-mobilenet-idealo-aesthetic  (Apache-2.0)" in str(error.value)
    assert "nima-vgg16-pyiqa  (CC-BY-NC-SA-4.0: non-commercial use only)" in str(error.value)
    with pytest.raises(CheckpointError, match=r"fetch it with `jpst weights fetch nima-vgg16-pyiqa`.*non-commercial"):
        aesthetics.load("nima-vgg16-pyiqa")
    with pytest.raises(CheckpointError, match="expected weights of nima, got weights of vgg19"):
        aesthetics.load("vgg19-keras")
    assert "non-commercial" in registry.licences("nima-inception-resnet-v2-pyiqa")[0]


def test_a_file_in_git_is_known_by_its_id(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"hello\n")
    assert downloads.digest(path, "git-blob") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_a_real_score(shared, tflite):
    loaded = aesthetics.load(tflite)
    good, dull = (image.read(shared / "dpst" / name / "content.png").pixels for name in ("34", "20"))
    scores = [aesthetics.score(loaded.variables, picture) for picture in (good, dull)]
    assert scores[0].mean > scores[1].mean + 1
    assert abs(sum(scores[0].distribution) - 1) < 1e-5
    assert 0.5 < scores[0].deviation < 3


def test_the_aesthetic_term_alone_makes_a_dull_photograph_score_higher(shared, tflite, vgg19_tiny):
    networks = Networks(vgg19_tiny, weights.load("nima", tflite).variables)
    dull = image.read(shared / "dpst" / "20" / "content.png").pixels
    dull = jnp.clip(jax.image.resize(dull, (96, 128, 3), "cubic"), 0, 1)
    masks = jnp.ones((1, 96, 128))
    recipe = Recipe(nima_size=0, content_layers=("relu2_1",), style_layers=("relu1_1",), start="content")
    hyper = Hyperparameters(0.0, 0.0, 0.0, nima_weight=1.0)
    targets = preparation.prepare(dull, dull, masks, masks, networks, recipe=recipe)
    state = optimise.init(targets, hyper, recipe=recipe)
    result = optimise.transfer(state, targets, hyper, networks, recipe=recipe, steps=50)
    losses = result.history["aesthetics"]
    assert result.status == Status.FINE
    assert losses[0] - losses.min() >= 0.3
    np.testing.assert_array_equal(losses, result.history["total"])
