"""Weight files of which bytes are missing or changed, or whose tensors are no finite real numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import test_readers as made
import test_weights as vgg
from test_tflite import small_model

from jpst import weights
from jpst.models import vgg19
from jpst.weights import readers
from jpst.weights.readers import CheckpointError


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    shapes = vgg19.template(vgg.NARROW)
    monkeypatch.setattr(vgg19, "template", lambda: shapes)


# ---- Missing and changed bytes


def write_keras_3(path: Path) -> Path:
    """The layout of Keras 3, without Keras."""
    import h5py

    with h5py.File(path, "w") as file:
        for i, (name, pair) in enumerate(vgg.numbers().items()):
            group = file.create_group(f"layers/conv2d_{i}/vars")
            group.attrs["name"] = vgg.keras_name(name)
            for number, value in enumerate(pair):
                group[str(number)] = value
    return path


def write_archive(path: Path) -> Path:
    import zipfile

    inner = write_keras_3(path.with_suffix(".inner"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(inner, "model.weights.h5")
    return path


def write_gzip(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in vgg.numbers().items():
            for kind, value in (("kernel", kernel), ("bias", bias)):
                place = f"{vgg.keras_name(name)}/{vgg.keras_name(name)}/{kind}:0"
                file.create_dataset(place, data=value, compression="gzip", fletcher32=True)
    return path


def write_npz(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez_compressed(file, **{f"{name}/{kind}": value for name, kind, value in pairs()})
    return path


def pairs():
    return [(name, kind, value) for name, pair in vgg.numbers().items() for kind, value in zip("Wb", pair, strict=True)]


def write_npy(path: Path) -> Path:
    tree: dict = {}
    for name, kind, value in pairs():
        tree.setdefault(name, {})[kind] = value
    with path.open("wb") as file:
        np.save(file, np.asarray(tree, object), allow_pickle=True)
    return path


def write_safetensors(path: Path) -> Path:
    arrays = {name: ("F32", list(array.shape), array.tobytes()) for name, array in vgg.torch_arrays().items()}
    return made.write_safetensors(path, arrays)


def write_bundle(path: Path) -> Path:
    return made.tensorflow_bundle(path, {f"{name}/{kind}": value for name, kind, value in pairs()})


def write_tflite(path: Path) -> Path:
    path.write_bytes(small_model())
    return path


CHECKED = {
    "torch zip": lambda path: made.write_state_dict(path, vgg.torch_arrays(), made.write_zip),
    "npz": write_npz,
    "gzip": write_gzip,
    "keras archive": write_archive,
    "tensorflow": write_bundle,
}
"""Formats with checksums over all numbers."""
UNCHECKED = {
    "torch legacy": lambda path: made.write_state_dict(path, vgg.torch_arrays(), made.write_legacy),
    "codebook": vgg.write_codebook,
    "hdf5": vgg.write_keras,
    "keras 3": write_keras_3,
    "npy": write_npy,
    "safetensors": write_safetensors,
    "tflite": write_tflite,
}


def outcome(path: Path) -> dict[str, np.ndarray] | None:
    """The tensors, or None where there was one error of ours; loading ends in variables or one such error too."""
    try:
        weights.load("vgg19", path)
    except CheckpointError as error:
        assert path.name.split(".")[0] in str(error)
    try:
        return readers.read(path)
    except CheckpointError as error:
        message = str(error)
        assert path.parent.name in message and "\n" not in message and len(message) < 1000
        return None


def changes(whole: bytes, count: int) -> list[bytes]:
    """Files with a byte or a few changed: half of them where headers usually are, at either end."""
    rng = np.random.default_rng(len(whole))
    changed = []
    for i in range(count):
        data = bytearray(whole)
        ends = [*range(min(800, len(whole))), *range(max(len(whole) - 800, 0), len(whole))]
        for _ in range(1 if i % 3 else 4):
            at = int(rng.choice(ends)) if i % 2 else int(rng.integers(len(whole)))
            data[at] = int(rng.integers(256))
        changed.append(bytes(data))
    return changed


@pytest.mark.parametrize("kind", [*CHECKED, *UNCHECKED])
def test_changed_bytes(tmp_path, kind):
    path = (CHECKED | UNCHECKED)[kind](tmp_path / "file")
    expected = readers.read(path)
    whole = path.read_bytes()
    refusals = 0
    for data in changes(whole, 100):
        path.write_bytes(data)
        found = outcome(path)
        refusals += found is None
        if found is not None and kind in CHECKED:
            for name in found.keys() & expected.keys():
                np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert refusals > 5


@pytest.mark.parametrize("kind", [*CHECKED, *UNCHECKED])
def test_truncated_at_any_place(tmp_path, kind):
    path = (CHECKED | UNCHECKED)[kind](tmp_path / "file")
    whole = path.read_bytes()
    for length in np.random.default_rng(1).integers(0, len(whole) - 1, 40):
        path.write_bytes(whole[:length])
        outcome(path)


def test_changed_data_of_tensorflow(tmp_path):
    path = write_bundle(tmp_path / "file")
    data = path.with_name("file.data-00000-of-00001")
    whole = data.read_bytes()
    for changed in changes(whole, 20):
        data.write_bytes(changed)
        assert outcome(path) is None or changed == whole
    data.write_bytes(whole[:-1])
    assert outcome(path) is None


# ---- Numbers that are none


def first_bias(value: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {f"{name}/{kind}": value for name, kind, value in pairs()}
    return arrays | {"conv1_1/b": value}


ODD = {
    "text": (np.array(["a", "b", "c", "d"]), r"<U1 \(4,\), expected float32 \(4,\)"),
    "bytes": (np.array([b"abc"] * 4), r"\|S3 \(4,\), expected"),
    "one text": (np.array("text"), r"<U4 \(\), expected"),
    "complex": (np.ones(4, np.complex64), r"complex64 \(4,\), expected"),
    "bool": (np.ones(4, bool), r"bool \(4,\), expected"),
    "whole": (np.ones(4, np.int64), r"int64 \(4,\), expected"),
    "dates": (np.ones(4, "M8[s]"), r"datetime64\[s\] \(4,\), expected"),
    "spans": (np.ones(4, "m8[s]"), r"timedelta64\[s\] \(4,\), expected"),
    "untyped": (np.ones(4, ml_dtypes.bfloat16).view("V2"), r"\|V2 \(4,\), expected"),
    "records": (np.ones(4, [("a", "f4"), ("b", "f4")]), r"\[\('a', '<f4'\), \('b', '<f4'\)\] \(4,\), expected"),
    "NaN": (np.float32([0, np.nan, 0, np.nan]), r"float32 \(4,\) with 2 values that are NaN or infinite, expected"),
    "infinite": (np.float64([0, np.inf, 0, 0]), r"float64 \(4,\) with 1 values that are NaN or infinite, expected"),
    "too large": (np.float64([0, 1e39, -1e300, 0]), r"float64 \(4,\) with 2 values that are too large for float32"),
    "number": (np.float32(3), r"float32 \(\), expected"),
    "table": (np.ones((4, 5), np.float32), r"float32 \(4, 5\), expected"),
}


@pytest.mark.parametrize("value, message", ODD.values(), ids=ODD)
def test_odd_values_are_listed_as_differences(tmp_path, value, message):
    np.savez(tmp_path / "f.npz", **first_bias(value))
    with pytest.raises(
        CheckpointError, match=rf"f\.npz: does not fit .*\n  ! params/conv1_1/bias got {message}"
    ) as caught:
        weights.load("vgg19", tmp_path / "f.npz")
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("value, message", ODD.values(), ids=ODD)
def test_odd_values_under_the_names_of_pytorch(tmp_path, value, message):
    """Where the family is told by numbers too."""
    arrays = vgg.torch_arrays() | {"features.0.bias": value}
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(CheckpointError, match=f"params/conv1_1/bias got {message}"):
        weights.load("vgg19", tmp_path / "f.npz")


def test_odd_values_in_codebooks(tmp_path):
    indices, table = vgg.codebook("conv1_1")
    for odd in (np.array("x"), table[None], np.float32(1), table.astype(complex), np.array(["a"] * 256)):
        np.savez(tmp_path / "f.npz", block1_conv1_W_q=indices, block1_conv1_W_table=odd)
        with pytest.raises(CheckpointError, match=r"W_q: got indices|params/conv1_1/kernel got"):
            weights.load("vgg19", tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", block1_conv1_W_q=indices[0, 0], block1_conv1_W_table=table)
    with pytest.raises(CheckpointError, match=r"params/conv1_1/kernel got uint8 \(3, 3\)"):
        weights.load("vgg19", tmp_path / "f.npz")


def test_every_odd_value_is_in_one_list(tmp_path):
    arrays = first_bias(np.float64([np.nan] * 4)) | {"conv2_1/b": np.array(["a"] * 6), "conv3_1/b": np.ones(8, "M8[s]")}
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(CheckpointError) as caught:
        weights.load("vgg19", tmp_path / "f.npz")
    assert re.findall(r"! params/(\w+)/bias", str(caught.value)) == ["conv1_1", "conv2_1", "conv3_1"]


def test_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "f.npz", **first_bias(np.array([1, "a", None, {}], dtype=object)))
    with pytest.raises(CheckpointError, match=r"f\.npz: conv1_1/b\.npy holds pickled objects"):
        weights.load("vgg19", tmp_path / "f.npz")


@pytest.mark.parametrize("kind", [np.complex64, bool])
def test_odd_values_in_hdf5(tmp_path, kind):
    import h5py

    path = vgg.write_keras(tmp_path / "f.h5", version=2)
    with h5py.File(path, "a") as file:
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1/bias:0"] = np.ones(4, kind)
    with pytest.raises(CheckpointError, match=rf"params/conv1_1/bias got {np.dtype(kind)} \(4,\), expected float32"):
        weights.load("vgg19", path)


def test_odd_values_in_safetensors_and_torch(tmp_path):
    arrays = {name: ("F32", list(array.shape), array.tobytes()) for name, array in vgg.torch_arrays().items()}
    arrays["features.0.bias"] = ("BOOL", [4], b"\1" * 4)
    with pytest.raises(CheckpointError, match="params/conv1_1/bias got bool"):
        weights.load("vgg19", made.write_safetensors(tmp_path / "f", arrays))
    state = vgg.torch_arrays() | {"features.0.bias": np.array([np.nan, 1e39, 0, 0])}
    with pytest.raises(CheckpointError, match=r"bias got float64 .* 2 values that are NaN or infinite"):
        weights.load("vgg19", made.write_state_dict(tmp_path / "g", state, made.write_zip))


@pytest.mark.parametrize("kind", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_widths_are_read(tmp_path, kind: Callable):
    arrays = {name: array.astype(kind) for name, array in vgg.torch_arrays().items()}
    names = {np.float16: "F16", np.float64: "F64", ml_dtypes.bfloat16: "BF16"}
    written = {name: (names[kind], list(array.shape), array.tobytes()) for name, array in arrays.items()}
    variables = weights.load("vgg19", made.write_safetensors(tmp_path / "f", written)).variables
    expected = arrays["features.2.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(variables["params"]["conv1_2"]["kernel"], expected, strict=True)


def test_notes_of_our_own_that_are_none(tmp_path):
    notes = {"provenance/network": np.zeros((3, 3)), "provenance/name": np.array(["a\nb"] * 3)}
    np.savez(tmp_path / "f.npz", **notes)
    with pytest.raises(CheckpointError, match=r"got weights of \[\[0\. 0\. 0\.\]") as caught:
        weights.load("vgg19", tmp_path / "f.npz")
    assert "\n" not in str(caught.value)
