"""PSPNet50 of every family against plain PyTorch, from files laid out as each family publishes them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_readers import tensorflow_bundle

from jpst import weights
from jpst.models import pspnet, pspnet_network
from jpst.models.pspnet import FAMILIES, PSPNetError
from jpst.weights import CheckpointError
from jpst.weights.checkpoint import Url
from jpst.weights.registry import REGISTRY

torch = pytest.importorskip("torch", reason="the independent networks are PyTorch's")
import pspnet_torch as independent  # noqa: E402

WIDTH, CLASSES = 4, 7
run = jax.jit(pspnet.logits)


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(pspnet, "template", partial(pspnet.template, width=WIDTH, classes=CLASSES))


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).random((height, width, 3), dtype=np.float32)


def expected(network: Callable, image: np.ndarray, caffe: bool = False) -> np.ndarray:
    with torch.no_grad():
        return network(independent.planes(image, caffe))[0].permute(1, 2, 0).numpy()


def close(found: jax.Array, reference: np.ndarray, tolerance: float = 1e-4) -> None:
    assert found.shape == reference.shape
    assert reference.std() > 0.1
    assert np.abs(np.asarray(found) - reference).max() <= tolerance * np.abs(reference).max()


# Each writes random weights of its family in one of its file formats and gives the network back.


def write_semseg(path: Path, width: int = WIDTH, classes: int = CLASSES, prefix: str = "module.", legacy=False):
    network = independent.randomise(independent.Semseg(width, classes))
    state = independent.prefixed(network.state_dict(), prefix)
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]}
    content = {"epoch": 100, "state_dict": state, "optimizer": optimizer}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path, partial(expected, network)


def write_mmseg(path: Path, width: int = WIDTH, classes: int = CLASSES):
    network = independent.randomise(independent.Mmseg(width, classes))
    meta = {"epoch": 1, "CLASSES": ("wall",), "PALETTE": np.arange(6).reshape(2, 3), "mIoU": np.float64(42.48)}
    torch.save({"meta": meta, "state_dict": network.state_dict()}, path)
    return path, partial(expected, network)


def write_csail(path: Path, width: int = WIDTH, classes: int = CLASSES):
    path.mkdir()
    encoder = independent.randomise(independent.CsailEncoder(width))
    decoder = independent.randomise(independent.CsailDecoder(width, classes), seed=1)
    state = encoder.state_dict()
    extra = {f"bn1.{name}": torch.ones(3) for name in ("_tmp_running_mean", "_tmp_running_var", "_running_iter")}
    torch.save({**state, **extra}, path / "encoder_epoch_20.pth")
    torch.save(decoder.state_dict(), path / "decoder_epoch_20.pth", _use_new_zipfile_serialization=False)
    return path, partial(expected, lambda x: decoder(encoder(x)))


def caffe(path: Path, width: int, classes: int, write: Callable[[Path, dict], Path], same: bool = True):
    numbers = independent.caffe_numbers(width, classes)
    return write(path, numbers), partial(expected, independent.Caffe(numbers, same), caffe=True)


def write_keras(path: Path, width: int = WIDTH, classes: int = CLASSES, version: int = 2):
    return caffe(path, width, classes, partial(keras_file, version=version))


KERAS = {"weights": "kernel", "biases": "bias"}
KERAS_1 = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}


def keras_file(path: Path, numbers: dict[str, np.ndarray], version: int) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        layers = dict.fromkeys(name.split("/")[0] for name in numbers)
        if version < 3:
            file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for i, layer in enumerate(layers):
            kinds = {
                KERAS.get(name.split("/")[1], name.split("/")[1]): value
                for name, value in numbers.items()
                if name.startswith(f"{layer}/")
            }
            if version == 3:
                group = file.create_group(f"layers/conv2d_{i}/vars")
                group.attrs["name"] = layer
                named = {str(j): value for j, value in enumerate(kinds.values())}
            elif version == 2:
                group = file.create_group(layer)
                named = {f"{layer}/{kind}:0": value for kind, value in kinds.items()}
            else:
                group = file.create_group(layer)
                named = {f"{layer}_{KERAS_1.get(kind, kind)}:0": value for kind, value in kinds.items()}
            if version < 3:
                group.attrs["weight_names"] = [name.encode() for name in named]
            for name, value in named.items():
                group[name] = value
    return path


def write_npy(path: Path, width: int = WIDTH, classes: int = CLASSES, protocol: int = 2):
    return caffe(path, width, classes, partial(npy_file, protocol=protocol))


NPY = {"gamma": "scale", "beta": "offset", "moving_mean": "mean", "moving_variance": "variance"}


def npy_file(path: Path, numbers: dict[str, np.ndarray], protocol: int) -> Path:
    """caffe-tensorflow's dict of dicts; its normalisations keep Caffe's four axes."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in numbers.items():
        layer, kind = name.split("/")
        vector = kind in NPY and layer.startswith("conv2")
        layers.setdefault(layer, {})[NPY.get(kind, kind)] = value.reshape(1, 1, 1, -1) if vector else value
    root = np.array(layers, dtype=object)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(root, file, protocol=protocol)
    return path


def write_bundle(path: Path, width: int = WIDTH, classes: int = CLASSES):
    return caffe(path, width, classes, bundle_folder)


def bundle_folder(path: Path, numbers: dict[str, np.ndarray]) -> Path:
    """The folder that tf.train.Saver leaves, with what training adds to it."""
    slots = {f"{name}/Momentum": np.zeros_like(value) for name, value in list(numbers.items())[:9]}
    path.mkdir()
    tensorflow_bundle(path / "model.ckpt-9", {**numbers, **slots, "global_step": np.int64(9)})
    (path / "checkpoint").write_text(
        'model_checkpoint_path: "/home/somebody/model.ckpt-9"\nall_model_checkpoint_paths: "model.ckpt-1"\n'
    )
    return path


FORMATS = {
    "semseg": ("semseg", write_semseg),
    "semseg, legacy, without prefix": ("semseg", partial(write_semseg, prefix="", legacy=True)),
    "mmseg": ("mmseg", write_mmseg),
    "csail": ("csail", write_csail),
    "Keras 1": ("caffe", partial(write_keras, version=1)),
    "Keras 2": ("caffe", write_keras),
    "Keras 3": ("caffe", partial(write_keras, version=3)),
    "npy of Python 2": ("caffe", write_npy),
    "npy": ("caffe", partial(write_npy, protocol=4)),
    "TensorFlow": ("caffe", write_bundle),
}


@pytest.mark.parametrize("family, write", FORMATS.values(), ids=FORMATS)
def test_every_published_format(tmp_path, narrow, family, write):
    """One size for all, so that a family is compiled once. Loading another format is bit for bit the same."""
    path, network = write(tmp_path / "weights")
    variables = weights.load("pspnet", path).variables
    assert pspnet.family_of(variables) == (family, FAMILIES[family])
    image = photo(473, 481) if family == "caffe" else photo(105, 89)
    close(run(variables, image), network(image))


@pytest.mark.parametrize("family, write, size", [
    ("mmseg", write_mmseg, (96, 130)),
    ("caffe", write_bundle, (480, 498)),
])  # fmt: skip
def test_other_sizes(tmp_path, narrow, family, write, size):
    """Even sides too, where TensorFlow's padding is not symmetric."""
    path, network = write(tmp_path / "weights")
    image = photo(*size)
    close(run(weights.load("pspnet", path).variables, image), network(image))


def test_caffes_own_padding_is_the_same_for_crops(tmp_path, narrow):
    path, network = caffe(tmp_path / "f", WIDTH, CLASSES, partial(keras_file, version=2), same=False)
    image = photo(473, 481)
    close(run(weights.load("pspnet", path).variables, image), network(image))


def test_full_width(tmp_path):
    """All 150 classes at the published width, in the family with a stem of its own width."""
    path, network = write_mmseg(tmp_path / "f.pth", 64, 150)
    image = photo(57, 41)
    close(run(weights.load("pspnet", path).variables, image), network(image))


def test_converted_weights_keep_their_family(tmp_path, narrow):
    path, _ = write_csail(tmp_path / "csail")
    before = weights.load("pspnet", path)
    out = weights.convert(path, "pspnet", tmp_path / "out.npz")
    after = weights.load("pspnet", out)
    assert after.provenance.name == before.provenance.name == "csail"
    assert jax.tree.structure(after.variables) == jax.tree.structure(before.variables)
    assert pspnet.family_of(after.variables)[0] == "csail"
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), after.variables, before.variables)


def test_halves_find_each_other(tmp_path, narrow):
    path, _ = write_csail(tmp_path / "csail")
    by_folder = weights.load("pspnet", path).provenance.sha256
    for half in ("encoder", "decoder"):
        loaded = weights.load("pspnet", path / f"{half}_epoch_20.pth")
        assert loaded.provenance == (f"{half}_epoch_20.pth", by_folder)
    (path / "decoder_epoch_20.pth").unlink()
    for given in (path, path / "encoder_epoch_20.pth"):
        with pytest.raises(CheckpointError, match=r"one half .*expected decoder_epoch_20\.pth beside it"):
            weights.load("pspnet", given)


def test_any_name_of_a_tensorflow_checkpoint(tmp_path, narrow):
    path, _ = write_bundle(tmp_path / "f")
    names = ("", "model.ckpt-9", "model.ckpt-9.index", "model.ckpt-9.meta", "model.ckpt-9.data-00000-of-00001")
    assert len({weights.load("pspnet", path / name).provenance.sha256 for name in names}) == 1


def test_one_error_lists_what_does_not_fit(tmp_path, narrow):
    numbers = independent.caffe_numbers(WIDTH, CLASSES)
    del numbers["conv4_3_3x3/weights"], numbers["conv5_3_pool3_conv_bn/moving_variance"]
    numbers["conv6/biases"] = np.zeros(3, np.float32)
    numbers["conv4_7_3x3/weights"] = np.zeros((3, 3, 16, 16), np.float32)
    numbers["aside/weights"] = np.zeros(2, np.float32)
    with pytest.raises(CheckpointError) as caught:
        weights.load("pspnet", keras_file(tmp_path / "f.h5", numbers, 2))
    assert str(caught.value).splitlines()[1:] == [
        "  - batch_stats/pyramid3/bn/var (32,)",
        "  - params/layer3_2/conv2/conv/kernel (3, 3, 16, 16)",
        "  + params/layer3_6/conv2/conv/kernel (3, 3, 16, 16)",
        "  + aside/aside/kernel:0 (2,)",
        "  ! params/classifier/bias got float32 (3,), expected float32 (7,)",
    ]


def test_files_of_other_networks_are_named(tmp_path, narrow):
    np.savez(tmp_path / "f.npz", **{"features.0.weight": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"expected pspnet weights as named by caffe .*, mmseg .*, semseg"):
        weights.load("pspnet", tmp_path / "f.npz")


def test_weights_are_fetched_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"there are no weights .*`jpst weights fetch NAME`"):
        weights.load("pspnet")
    with pytest.raises(CheckpointError, match=r"a browser .*put pspnet50-ade20k-semseg\.pth .*drive\.google"):
        weights.fetch("pspnet50-ade20k-semseg")
    assert REGISTRY["pspnet50-ade20k"].hash.hexdigest == "1890b0bd"
    assert next(name for name, each in REGISTRY.items() if each.network == "pspnet") == "pspnet50-ade20k"


def test_both_halves_are_fetched_into_one_folder(tmp_path, monkeypatch, narrow):
    path, _ = write_csail(tmp_path / "published")
    source = dataclasses.replace(
        REGISTRY["pspnet50-ade20k-csail"].sources[0],
        urls=tuple(Url(file.as_uri()) for file in sorted(path.iterdir())),
    )
    changed = dataclasses.replace(REGISTRY["pspnet50-ade20k-csail"], sources=(source,))
    monkeypatch.setitem(REGISTRY, changed.name, changed)
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "checkpoints"))
    weights.fetch("pspnet50-ade20k-csail")
    assert pspnet.family_of(weights.load("pspnet").variables)[0] == "csail"
    assert weights.verify() == [("pspnet50-ade20k-csail", "ok")]


@pytest.mark.parametrize("family", ["semseg", "csail"])
def test_new_weights_compile_nothing(family, no_compilation):
    first, second = (device(pspnet.init(seed, family, WIDTH, CLASSES)) for seed in (0, 1))
    image = photo(40, 40)
    before = pspnet.scores(first, image)
    with no_compilation():
        after = pspnet.scores(second, image)
    assert before.shape == after.shape and before.dtype == np.float32
    assert (before != after).any()


def device(variables: pspnet.Variables) -> pspnet.Variables:
    return jax.tree.map(jnp.asarray, variables)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (300, 3), (600, 410)])
@pytest.mark.parametrize("family", ["caffe", "semseg"])
def test_any_size_is_served_by_one_compiled_crop(family, shape, no_compilation):
    variables = device(pspnet.init(0, family, WIDTH, CLASSES))
    pspnet.scores(variables, photo(9, 9))
    with no_compilation():
        found = pspnet.scores(variables, photo(*shape))
    assert found.shape[0] == CLASSES and max(found.shape) == 512
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_crops_by_hand():
    """semseg's test, step by step: 512 x 288 centred on 512 x 473, crops at 0 and 39, averaged."""
    variables, image = device(pspnet.init(0, "semseg", WIDTH, CLASSES)), photo(512, 288)
    padded = np.tile(np.float32([0.485, 0.456, 0.406]), (512, 473, 1))
    padded[:, 92:380] = image
    total, count = np.zeros((512, 473, CLASSES)), np.zeros((512, 1, 1))
    for top in (0, 39):
        logits = torch.from_numpy(np.array(run(variables, padded[top : top + 473]))).permute(2, 0, 1)[None]
        resized = torch.nn.functional.interpolate(logits, (473, 473), mode="bilinear", align_corners=True)
        total[top : top + 473] += resized[0].softmax(0).permute(1, 2, 0).numpy()
        count[top : top + 473] += 1
    found = pspnet.scores(variables, image)
    np.testing.assert_allclose(found, (total / count)[:, 92:380].transpose(2, 0, 1), atol=1e-5)


def test_a_whole_image_by_hand(monkeypatch):
    """csail's test, at a smaller size: sides rounded up to multiples of 8."""
    from PIL import Image

    testing = dataclasses.replace(FAMILIES["csail"].testing, short=36)
    monkeypatch.setitem(FAMILIES, "csail", dataclasses.replace(FAMILIES["csail"], testing=testing))
    variables, image = device(pspnet.init(0, "csail", WIDTH, CLASSES)), photo(150, 200)
    planes = [Image.fromarray(image[..., i]).resize((48, 40), Image.Resampling.BILINEAR) for i in range(3)]
    logits = np.array(run(variables, np.stack([np.asarray(plane) for plane in planes], -1)))
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(logits).permute(2, 0, 1)[None], (40, 48), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(pspnet.scores(variables, image), resized[0].softmax(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("family, shape, size", [
    ("csail", (3000, 4000), (456, 600)),
    ("csail", (400, 4000), (104, 1000)),
    ("csail", (5, 5), (456, 456)),
    ("mmseg", (3000, 4000), (512, 680)),
    ("mmseg", (300, 4000), (152, 2048)),
    ("mmseg", (1, 300), (8, 2048)),
])  # fmt: skip
def test_sizes_of_whole_images(family, shape, size):
    testing = FAMILIES[family].testing
    assert pspnet._whole_size(np.broadcast_to(np.float32(0), (*shape, 3)), testing) == size


def test_labels_are_the_references(tmp_path, narrow):
    """Padded below and on the right with the mean, one pass, bilinear with aligned corners, cropped, argmax."""
    numbers = independent.caffe_numbers(WIDTH, CLASSES)
    variables = weights.load("pspnet", bundle_folder(tmp_path / "f", numbers)).variables
    size = (500, 330)
    image = photo(*size)
    x = independent.planes(image, caffe=True)
    height, width = max(473, size[0]), max(473, size[1])
    with torch.no_grad():
        x = torch.nn.functional.pad(x, (0, width - size[1], 0, height - size[0]))
        logits = independent.Caffe(numbers)(x)
        resized = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear", align_corners=True)
    reference = resized[0].argmax(0).numpy()[: size[0], : size[1]]
    assert len(np.unique(reference)) > 1
    # Rounding decides a tie now and then.
    found = pspnet.predict(variables, image)
    assert found.shape == size and found.dtype == np.int32
    assert (found == reference).mean() > 0.9999


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size, out", [(1, 60), (2, 7), (3, 60), (6, 119), (60, 473), (9, 4), (5, 1)])
def test_interpolation_equals_pytorch(size, out, align_corners):
    values = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(values), (out, out), mode="bilinear", align_corners=align_corners
    )
    matrix = pspnet_network.interpolation(size, out, align_corners)
    np.testing.assert_allclose(matrix @ values[0, 0] @ matrix.T, reference[0, 0].numpy(), atol=1e-5)


def test_leaving_out_classes_changes_no_label():
    rng = np.random.default_rng(0)
    rare = np.where(np.arange(40) < 20, 1, 0.05)
    scores = (
        rare * rng.random((9, 12, 40), dtype=np.float32) + 2 * np.eye(40, dtype=np.float32)[rng.integers(0, 6, (9, 12))]
    )
    rows, columns = pspnet_network.positions(9, 71, False), pspnet_network.positions(12, 50, False)
    row_matrix, column_matrix = pspnet_network.interpolation(9, 71, False), pspnet_network.interpolation(12, 50, False)
    whole = np.einsum("hwc,Hh,Ww->HWc", scores, row_matrix, column_matrix).argmax(-1)
    assert len(pspnet._possible(scores)) < 40
    np.testing.assert_array_equal(pspnet._labels_at(scores, rows, columns), whole)


def test_wrong_use():
    variables = pspnet.init(0, "caffe", WIDTH, CLASSES)
    with pytest.raises(PSPNetError, match=r"float32 \(100, 500, 3\); expected .*473x473"):
        pspnet.logits(variables, photo(100, 500))
    for image in (np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5)), np.zeros((0, 5, 3), np.float32)):
        with pytest.raises(PSPNetError, match="expected one float image"):
            pspnet.predict(variables, image)
    with pytest.raises(CheckpointError, match=r"family \(\)"):
        pspnet.predict({**variables, "family": {}}, photo(5, 5))
