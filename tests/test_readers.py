"""Checkpoint readers: what libraries and hand-made pickles write comes back; hostile files are refused."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jpst.weights import crc32c, pickles, readers
from jpst.weights.readers import CheckpointError

# A tiny assembler of pickles (protocol 2): these tests need no torch, and can write what torch would not.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    return b"\x8a" + bytes([(n := value.bit_length() // 8 + 1)]) + value.to_bytes(n, "little", signed=True)


def tup(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def integers(values: tuple[int, ...]) -> bytes:
    return tup(*map(integer, values))


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def mapping(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def document(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}
STORAGES |= {"uint8": "ByteStorage", "int8": "CharStorage", "bool": "BoolStorage", "int32": "IntStorage"}


def tensor(key: str, root: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    kind = glob("torch", STORAGES[root.dtype.name])
    storage = tup(text("storage"), kind, text(key), text("cpu"), integer(root.size)) + b"Q"
    hooks = glob("collections", "OrderedDict") + b")R"
    args = tup(storage, integer(offset), integers(size), integers(stride), b"\x89", hooks)
    return glob("torch._utils", "_rebuild_tensor_v2") + args + b"R"


def contiguous(key: str, array: np.ndarray) -> bytes:
    stride = tuple(step // array.itemsize for step in array.strides)
    return tensor(key, array, 0, array.shape, stride)


def write_zip(path: Path, body: bytes, roots: dict[str, np.ndarray], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", document(body))
        archive.writestr("archive/byteorder", b"little")
        for key, root in roots.items():
            archive.writestr(f"archive/data/{key}", root.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


def write_legacy(path: Path, body: bytes, roots: dict[str, np.ndarray]) -> Path:
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(value, file, protocol=2)
        file.write(document(body))
        pickle.dump(list(roots), file, protocol=2)
        for root in roots.values():
            file.write(struct.pack("<q", root.size) + root.tobytes())
    return path


def write_state_dict(path: Path, arrays: dict[str, np.ndarray], write: Callable[..., Path]) -> Path:
    """A flat state dict of whole arrays, each with a storage of its own."""
    body = mapping({name: contiguous(str(i), array) for i, (name, array) in enumerate(arrays.items())})
    return write(path, body, {str(i): array for i, array in enumerate(arrays.values())})


def write_safetensors(path: Path, arrays: dict[str, tuple[str, list[int], bytes]]) -> Path:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, raw) in arrays.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    blob = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(blob)) + blob + data)
    return path


TORCH_WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])
ARRAYS = {
    "b.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "a.bias": np.array([1.5, -2.0]),
    "steps": np.array(7, dtype=np.int64),
    "codes": np.arange(5, dtype=np.uint8),
    "empty": np.zeros((0, 3), np.float32),
}


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, strict=True)


@TORCH_WRITERS
def test_hand_made_torch_files(tmp_path, write):
    same(readers.read(write_state_dict(tmp_path / "any.name", ARRAYS, write)), ARRAYS)


@TORCH_WRITERS
def test_nested_dicts_flatten_and_other_leaves_are_dropped(tmp_path, write):
    root = np.arange(3, dtype=np.float32)
    state = mapping({"net": mapping({"w": contiguous("0", root)}), "epoch": integer(3)})
    momentum = mapping({"m": contiguous("0", root)})
    body = mapping({"state_dict": state, "optimizer": momentum, "meta": text("by hand"), "list": b"]"})
    same(readers.read(write(tmp_path / "f", body, {"0": root})), {"state_dict.net.w": root})


@TORCH_WRITERS
def test_views_share_a_storage(tmp_path, write):
    root = np.arange(24, dtype=np.float32)
    body = mapping({"t": tensor("0", root, 1, (5, 2), (2, 12)), "whole": contiguous("0", root)})
    found = readers.read(write(tmp_path / "f", body, {"0": root}))
    same(found, {"t": root.reshape(2, 12)[:, 1:10:2].T, "whole": root})


def test_storage_views_of_the_legacy_format(tmp_path):
    root = np.arange(10, dtype=np.float32)
    view = tup(text("other"), integer(4), integer(6))
    pid = tup(text("storage"), glob("torch", "FloatStorage"), text("0"), text("cpu"), integer(10), view) + b"Q"
    args = tup(pid, integer(1), integers((2, 2)), integers((2, 1)))
    body = mapping({"t": glob("torch._utils", "_rebuild_tensor_v2") + args + b"R"})
    same(readers.read(write_legacy(tmp_path / "f", body, {"0": root})), {"t": root[5:9].reshape(2, 2)})


OUTSIDE = {
    "past the end": (0, (5, 5), (5, 1)),
    "offset past the end": (25, (1,), (1,)),
    "large stride": (0, (2, 2), (1 << 60, 1)),
    "large size": (0, (1 << 40,), (1,)),
    "large product": (0, (1 << 33, 1 << 33), (0, 0)),
    "repeated": (0, (100,), (0,)),
    "negative offset": (-1, (2,), (1,)),
    "negative stride": (5, (3,), (-1,)),
    "negative size": (0, (-2, -2), (1, 1)),
    "sizes without strides": (0, (2, 2), (1,)),
    "too many axes": (0, (1,) * 70, (1,) * 70),
}


@TORCH_WRITERS
@pytest.mark.parametrize("view", OUTSIDE.values(), ids=OUTSIDE)
def test_views_that_leave_their_storage_are_refused(tmp_path, write, view):
    root = np.arange(24, dtype=np.float32)
    path = write(tmp_path / "evil.pth", mapping({"t": tensor("0", root, *view)}), {"0": root})
    with pytest.raises(CheckpointError, match=r"evil\.pth.*damaged"):
        readers.read(path)


@TORCH_WRITERS
def test_a_storage_shorter_than_claimed_is_refused(tmp_path, write):
    claimed = np.arange(24, dtype=np.float32)
    path = write(tmp_path / "f", mapping({"t": contiguous("0", claimed)}), {"0": claimed[:20]})
    with pytest.raises(CheckpointError, match="leaves its storage of 20"):
        readers.read(path)


def call(module: str, name: str, *args: bytes) -> bytes:
    return glob(module, name) + tup(*args) + b"R"


def hostile(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Pickle bodies that would make `marker` if any of them ran, and the name each must be refused for."""
    shell, code = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w')")
    harmless = glob("collections", "OrderedDict") + b")R"
    inner = call("builtins", "getattr", call("importlib", "import_module", text("os")), text("system"))
    return {
        "os.system": (call("os", "system", shell), "os.system"),
        "posix.system": (call("posix", "system", shell), "posix.system"),
        "subprocess": (call("subprocess", "check_call", shell), "subprocess.check_call"),
        "eval": (call("builtins", "eval", code), "builtins.eval"),
        "exec of Python 2": (call("__builtin__", "exec", code), "__builtin__.exec"),
        "torch.load": (call("torch", "load", text(str(marker))), "torch.load"),
        "torch.hub": (call("torch.hub", "load", text(str(marker))), "torch.hub.load"),
        "numpy.load": (call("numpy", "load", text(str(marker))), "numpy.load"),
        "partial": (call("functools", "partial", glob("os", "system"), shell), "functools.partial"),
        "nested reduce": (inner + tup(shell) + b"R", "builtins.getattr"),
        "attribute of an allowed one": (
            call("collections", "OrderedDict.fromkeys", shell),
            "OrderedDict.fromkeys",
        ),
        "module of an allowed one": (call("torch._utils", "os.system", shell), "torch._utils.os.system"),
        "stack global": (text("os") + text("system") + b"\x93" + tup(shell) + b"R", "os.system"),
        "instance opcode": (b"(" + shell + b"ios\nsystem\n", "os.system"),
        "object opcode": (b"(" + glob("os", "system") + shell + b"o", "os.system"),
        "new object opcode": (glob("os", "system") + tup(shell) + b"\x81", "os.system"),
        "hidden in a value": (mapping({"a": harmless, "b": call("os", "system", shell)}), "os.system"),
        "hidden in a tensor": (
            call("torch._utils", "_rebuild_tensor_v2", call("os", "system", shell), integer(0)),
            "os.system",
        ),
    }


@TORCH_WRITERS
@pytest.mark.parametrize("attack", hostile(Path("m")))
def test_pickles_that_would_run_code_are_refused(tmp_path, write, attack):
    marker = tmp_path / "marker"
    body, refused = hostile(marker)[attack]
    path = write(tmp_path / "evil.pth", body, {})
    with pytest.raises(CheckpointError, match="refused") as caught:
        readers.read(path)
    assert refused in str(caught.value) and "evil.pth" in str(caught.value)
    assert not marker.exists()


def test_the_attack_pickles_are_real(tmp_path):
    """Python's own unpickler does run them: otherwise the test above would prove nothing."""
    marker = tmp_path / "marker"
    pickle.loads(document(hostile(marker)["os.system"][0]))
    assert marker.exists()


STATES = {
    "attribute of a function": glob("torch._utils", "_rebuild_tensor_v2")
    + b"N"
    + mapping({"function": b"N"})
    + b"\x86b",
    "dict of a function": glob("torch._utils", "_rebuild_parameter") + mapping({"__call__": b"N"}) + b"b",
    "attribute of a storage type": glob("torch", "FloatStorage") + b"N" + mapping({"dtype": b"N"}) + b"\x86b",
    "dict of the dict": glob("collections", "OrderedDict") + mapping({"items": b"N"}) + b"b",
    "size of a call": call("torch", "Size", integer(5)),
    "storage of a string": call("torch._utils", "_rebuild_tensor_v2", text("x"), integer(0), b")", b")"),
    "unknown storage": mapping({"t": tup(text("storage"), text("Float"), text("0"), text("cpu"), integer(1)) + b"Q"}),
}


@TORCH_WRITERS
@pytest.mark.parametrize("body", STATES.values(), ids=STATES)
def test_stand_ins_cannot_be_changed_or_misused(tmp_path, write, body):
    with pytest.raises(CheckpointError):
        readers.read(write(tmp_path / "evil", body, {}))
    same(readers.read(write_state_dict(tmp_path / "good", ARRAYS, write)), ARRAYS)


@TORCH_WRITERS
def test_attributes_on_state_dicts_are_ignored(tmp_path, write):
    state = mapping({"_metadata": b"N", "items": b"N", "__class__": b"N"})
    body = (
        glob("collections", "OrderedDict")
        + b")R("
        + text("w")
        + contiguous("0", ARRAYS["a.bias"])
        + b"u"
        + state
        + b"b"
    )
    same(readers.read(write(tmp_path / "f", body, {"0": ARRAYS["a.bias"]})), {"w": ARRAYS["a.bias"]})


GREEDY = {
    "memo index": b"}r\xff\xff\xff\x7f",
    "bytearray": b"\x96" + struct.pack("<Q", 1 << 40),
    "text": b"\x8d" + struct.pack("<Q", 1 << 40),
    "frame": b"\x95" + struct.pack("<Q", 1 << 40),
    "extension": b"\x82\x01",
}


@TORCH_WRITERS
@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_pickles_cannot_ask_for_more_memory_than_the_file(tmp_path, write, body):
    import resource

    path = write(tmp_path / "evil", body, {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="damaged"):
        readers.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@TORCH_WRITERS
@pytest.mark.parametrize("doublings", [0, 40])
def test_endless_dicts_are_refused(tmp_path, write, doublings, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_NODES", 10_000)
    cyclic = b"}q\x00" + text("self") + b"h\x00s"
    doubled = b"}q\x00" + b"".join(
        b"}q%c" % (i + 1) + text("a") + b"h%c" % i + b"s" + text("b") + b"h%c" % i + b"s" for i in range(doublings)
    )
    with pytest.raises(CheckpointError, match="entries"):
        readers.read(write(tmp_path / "f", doubled if doublings else cyclic, {}))


def test_compressed_storages_are_refused(tmp_path):
    root = np.zeros(1000, np.float32)
    path = write_zip(tmp_path / "f", contiguous("0", root), {"0": root}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        readers.read(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch_itself(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    whole = torch.arange(120, dtype=torch.float32).reshape(4, 5, 6)
    layer = torch.nn.BatchNorm2d(3)
    tensors = {
        "view": whole.permute(2, 0, 1)[1:, ::2, 3],
        "whole": whole,
        "half": whole.half(),
        "brain": whole.bfloat16(),
        "flags": whole[0] > 3,
        "parameter": torch.nn.Parameter(whole[1]),
        **layer.state_dict(),
    }
    torch.save({"state": tensors, "epoch": 3}, tmp_path / "f", _use_new_zipfile_serialization=not legacy)
    found = readers.read(tmp_path / "f")
    assert list(found) == [f"state.{name}" for name in tensors]
    assert found["state.brain"].dtype.name == "bfloat16"
    for name, expected in tensors.items():
        np.testing.assert_array_equal(found[f"state.{name}"].astype(float), expected.detach().double().numpy())
    torch.save(layer.state_dict(), tmp_path / "g", _use_new_zipfile_serialization=not legacy)
    assert list(readers.read(tmp_path / "g")) == list(layer.state_dict())


@pytest.mark.parametrize("legacy", [False, True])
def test_whole_modules_of_torch_are_refused(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "f", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear.*state dict"):
        readers.read(tmp_path / "f")


def write_hdf5(path: Path, group: str = "/") -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        root.attrs["layer_names"] = [b"z_conv", b"pool", b"a_conv"]
        root.create_group("pool").attrs["weight_names"] = []
        for layer, value in (("a_conv", 1.0), ("z_conv", 2.0)):
            root.create_group(layer).attrs["weight_names"] = [
                f"{layer}_W_1:0".encode(),
                f"{layer}_b_1:0".encode(),
            ]
            root[layer][f"{layer}_b_1:0"] = np.full(2, value, np.float32)
            root[layer][f"{layer}_W_1:0"] = np.full((3, 2), value, np.float32)
        file["a_note"] = "text is no tensor"
    return path


@pytest.mark.parametrize("group", ["/", "model_weights"])
def test_hdf5_in_the_order_of_weight_names(tmp_path, group):
    found = readers.read(write_hdf5(tmp_path / "f", group))
    expected = [f"{layer}/{layer}_{kind}_1:0" for layer in ("z_conv", "a_conv") for kind in "Wb"]
    assert list(found) == expected
    np.testing.assert_array_equal(found["z_conv/z_conv_W_1:0"], np.full((3, 2), 2, np.float32), strict=True)


def test_hdf5_never_leaves_its_file(tmp_path):
    import h5py

    other = write_hdf5(tmp_path / "other")
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    with h5py.File(tmp_path / "links", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(other), "/")
        file["own"] = np.zeros(2)
    assert list(readers.read(tmp_path / "links")) == ["own"]
    with h5py.File(tmp_path / "external", "w") as file:
        file.create_dataset("stolen", (8,), "u1", external=[(str(secret), 0, 8)])
    with pytest.raises(CheckpointError, match="another file"):
        readers.read(tmp_path / "external")


def test_npz(tmp_path):
    np.savez(tmp_path / "f.npz", **ARRAYS)
    same(readers.read(tmp_path / "f.npz"), ARRAYS)
    np.savez_compressed(tmp_path / "c.npz", **ARRAYS)
    same(readers.read(tmp_path / "c.npz"), ARRAYS)


def test_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "f.npz", evil=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match=r"f\.npz.*allow_pickle"):
        readers.read(tmp_path / "f.npz")


def test_safetensors(tmp_path):
    values = np.array([[1.5, -2.0]], np.float32)
    brain = (values.view(np.uint32) >> 16).astype(np.uint16)
    arrays = {
        "f": ("F32", [1, 2], values.tobytes()),
        "h": ("F16", [1, 2], values.astype(np.float16).tobytes()),
        "b": ("BF16", [1, 2], brain.tobytes()),
        "i": ("I64", [], np.int64(7).tobytes()),
    }
    found = readers.read(write_safetensors(tmp_path / "f", arrays))
    assert [array.dtype.name for array in found.values()] == ["float32", "float16", "bfloat16", "int64"]
    for name in "fhb":
        np.testing.assert_array_equal(found[name].astype(np.float32), values, strict=True)
    assert found["i"].shape == () and found["i"] == 7


def test_safetensors_whose_length_begins_as_a_pickle(tmp_path):
    for surplus in range(256):
        path = write_safetensors(tmp_path / "f", {"a" * (1 + surplus): ("F32", [2], np.float32([1, 2]).tobytes())})
        if path.read_bytes()[0] == 0x80:
            break
    same(readers.read(path), {"a" * (1 + surplus): np.float32([1, 2])})
    assert path.read_bytes()[0] == 0x80


def test_safetensors_out_of_bounds(tmp_path):
    path = write_safetensors(tmp_path / "f", {"a": ("F32", [3], b"\0" * 8)})
    with pytest.raises(CheckpointError, match=r"bytes 0\.\.8 of 8"):
        readers.read(path)


def whole_files(folder: Path) -> dict[str, Path]:
    np.savez(folder / "npz", **ARRAYS)
    (folder / "npz.npz").rename(folder / "npz")
    return {
        "hdf5": write_hdf5(folder / "hdf5"),
        "npz": folder / "npz",
        "zip": write_state_dict(folder / "zip", ARRAYS, write_zip),
        "legacy": write_state_dict(folder / "legacy", ARRAYS, write_legacy),
        "safetensors": write_safetensors(folder / "safetensors", {"a": ("F32", [64], b"\0" * 256)}),
    }


@pytest.mark.parametrize("kind", ["hdf5", "npz", "zip", "legacy", "safetensors"])
def test_truncated_files(tmp_path, kind):
    path = whole_files(tmp_path)[kind]
    assert readers.read(path)
    whole = path.read_bytes()
    for length in sorted({0, 1, 7, 9, 40, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=str(path)):
            readers.read(path)


def test_changed_bytes_in_a_zip_are_noticed(tmp_path):
    path = write_state_dict(tmp_path / "f", ARRAYS, write_zip)
    at = path.read_bytes().index(ARRAYS["b.weight"].tobytes())
    changed = bytearray(path.read_bytes())
    changed[at + 9] ^= 1
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="CRC"):
        readers.read(path)


STRANGE = {
    "empty": (b"", "an empty file"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "text": (b"conv1_1 0.5 0.25\n" * 9, "no known format"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    "other pickle": (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    "tar": (b"\0" * 257 + b"ustar\x0000" + b"\0" * 300, "a tar archive"),
}


@pytest.mark.parametrize("content, found", STRANGE.values(), ids=STRANGE)
def test_other_files_are_named_for_what_they_are(tmp_path, content, found):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\.pth: got {found}.*expected"):
        readers.read(tmp_path / "weights.pth")


def test_other_zips_folders_and_missing_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("photo.txt", "x")
    for path, found in ((tmp_path / "z", r"a zip archive of \['photo.txt'"), (tmp_path, "a folder")):
        with pytest.raises(CheckpointError, match=found):
            readers.read(path)
    with pytest.raises(CheckpointError, match="there is no such file"):
        readers.read(tmp_path / "absent")


# TensorFlow's bundles, by a small writer of our own: no package but TensorFlow writes them.


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def masked(data: bytes) -> bytes:
    checksum = crc32c.crc32c(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


TENSORFLOW = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def tensorflow_bundle(prefix: Path, tensors: dict, per_block: int = 40, compression: int = 0, header=None) -> Path:
    """A V2 checkpoint, in blocks of some entries with shared beginnings of keys, a restart every 16."""
    data, pairs = b"", [(b"", field(1, 1) + field(3, field(1, 1)) if header is None else header)]
    for name in sorted(tensors):
        value = np.asarray(tensors[name])
        raw = value.tobytes()
        shape = b"".join(field(2, field(1, size)) for size in value.shape)
        entry = field(1, TENSORFLOW[value.dtype.name]) + field(2, shape) + field(4, len(data)) + field(5, len(raw))
        pairs.append((name.encode(), entry + varint(6 << 3 | 5) + masked(raw)))
        data += raw
    index, handles = b"", []
    for start in range(0, len(pairs), per_block):
        handle, index = written_block(index, pairs[start : start + per_block], compression)
        handles.append((pairs[min(start + per_block, len(pairs)) - 1][0], handle))
    metaindex, index = written_block(index, [], compression)
    footer, index = written_block(index, handles, compression)
    index += (metaindex + footer).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    path = prefix.with_name(f"{prefix.name}.index")
    path.write_bytes(index)
    return path


def written_block(file: bytes, pairs: list[tuple[bytes, bytes]], compression: int) -> tuple[bytes, bytes]:
    """(where the block lies, the file with it)"""
    block, restarts, before = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % 16 == 0:
            restarts.append(len(block))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = varint(len(file)) + varint(len(block))
    block += bytes([compression])
    return handle, file + block + masked(block)


VARIABLES = {
    "conv1/weights": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "conv1/weights/Momentum": np.zeros(3, np.float32),
    "conv10/biases": np.array([1.5, -2.0]),
    "half": np.arange(6, dtype=np.float16),
    "large": np.random.default_rng(0).random(20_000, np.float32),
    "steps": np.array(7, np.int64),
    **{f"unit_{i:03}/gamma": np.full(i % 5, i, np.int32) for i in range(90)},
}


@pytest.mark.parametrize("per_block", [1, 7, 1000])
def test_tensorflow_bundles(tmp_path, per_block):
    path = tensorflow_bundle(tmp_path / "model.ckpt-5", VARIABLES, per_block)
    same(readers.read(path), dict(sorted(VARIABLES.items())))
    assert [file.name for file in readers.files(tmp_path)] == [path.name, "model.ckpt-5.data-00000-of-00001"]
    same(readers.read(tmp_path), readers.read(tmp_path / "model.ckpt-5"))


def test_the_checksum():
    """Published values: RFC 3720, appendix B.4. Long data takes another road: compared bit by bit."""
    assert crc32c.crc32c(b"123456789") == 0xE3069283
    assert crc32c.crc32c(bytes(32)) == 0x8A9136AA and crc32c.crc32c(bytes(range(32))) == 0x46DD794E
    for data in (np.random.default_rng(0).bytes(size) for size in (4095, 4096, 9001)):
        register = 0xFFFFFFFF
        for byte in data:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ 0x82F63B78 * (register & 1)
        assert crc32c.crc32c(data) == register ^ 0xFFFFFFFF


def test_broken_tensorflow_bundles(tmp_path):
    path = tensorflow_bundle(tmp_path / "a", VARIABLES)
    data = tmp_path / "a.data-00000-of-00001"
    whole, index = data.read_bytes(), path.read_bytes()
    for changed in (whole[:-1], whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], b""):
        data.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"a\.index: got a TensorFlow checkpoint that is .* damaged"):
            readers.read(path)
    data.unlink()
    with pytest.raises(CheckpointError, match=r"data file a\.data-00000-of-00001 is missing"):
        readers.read(path)
    data.write_bytes(whole)
    for length in (0, 1, 40, len(index) // 2, len(index) - 1):
        path.write_bytes(index[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            readers.read(path)
    for at in range(0, len(index) - 60, 97):
        path.write_bytes(index[:at] + bytes([index[at] ^ 4]) + index[at + 1 :])
        with pytest.raises(CheckpointError, match="checksum"):
            readers.read(path)


def test_tensorflow_bundles_of_other_kinds(tmp_path):
    path = tensorflow_bundle(tmp_path / "a", VARIABLES, compression=1)
    with pytest.raises(CheckpointError, match="compressed with Snappy"):
        readers.read(path)
    v1 = tensorflow_bundle(tmp_path / "b", {}, header=field(1, b"")).rename(tmp_path / "model.ckpt-1")
    with pytest.raises(CheckpointError, match="old format V1"):
        readers.read(v1)
    path = tensorflow_bundle(tmp_path / "c", VARIABLES, header=field(1, 1) + field(2, 1))
    with pytest.raises(CheckpointError, match="big-endian"):
        readers.read(path)


def write_npy(path: Path, body: bytes) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(body)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_npy_with_a_dict(tmp_path, protocol):
    arrays = {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "bytes": np.arange(200, 256, dtype=np.uint8),
        "big": np.arange(3, dtype=">f8"),
        "empty": np.zeros((0, 2), np.int16),
        "scalar": np.float64(2.5),
    }
    root = np.array({"layer": arrays, "note": "text"}, dtype=object)
    found = readers.read(write_npy(tmp_path / "f.npy", pickle.dumps(root, protocol)))
    assert list(found) == [f"layer/{name}" for name in arrays]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[f"layer/{name}"], array)
        assert found[f"layer/{name}"].shape == array.shape
    assert found["layer/big"].dtype == np.float64
    np.save(tmp_path / "own.npy", root, allow_pickle=True)
    assert list(readers.read(tmp_path / "own.npy")) == list(found)


def test_npy_of_python_2(tmp_path):
    """Its strings are bytes without an encoding, and its module names end differently from today's."""
    state = tup(integer(1), tup(integer(2)), b"h\x01", b"\x89", b"U\x08" + np.float32([1.5, -7]).tobytes())
    kind = glob("numpy", "dtype") + tup(b"U\x02f4", integer(0), integer(1)) + b"Rq\x01"
    kind += tup(integer(3), b"U\x01<", b"N", b"N", b"N", integer(-1), integer(-1), integer(0)) + b"b0"
    made = glob("numpy.core.multiarray", "_reconstruct") + tup(glob("numpy", "ndarray"), tup(integer(0)), b"U\x01b")
    body = b"\x80\x02" + kind + b"}U\x04conv}U\x07weights" + made + b"R" + state + b"bss."
    found = readers.read(write_npy(tmp_path / "f.npy", body))
    same(found, {"conv/weights": np.float32([1.5, -7])})


@pytest.mark.parametrize("attack", hostile(Path("m")))
def test_npy_that_would_run_code_is_refused(tmp_path, attack):
    marker = tmp_path / "marker"
    with pytest.raises(CheckpointError):
        readers.read(write_npy(tmp_path / "evil.npy", document(mapping({"a": hostile(marker)[attack][0]}))))
    assert not marker.exists()


def test_npy_without_a_dict(tmp_path):
    np.save(tmp_path / "f.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match=r"got one array, float64 \(3,\)"):
        readers.read(tmp_path / "f.npy")
    root = pickle.dumps(np.array({"a": np.zeros(3, "c8")}, dtype=object), 2)
    with pytest.raises(CheckpointError, match="an array of no numbers"):
        readers.read(write_npy(tmp_path / "g.npy", root))


@TORCH_WRITERS
@pytest.mark.parametrize("attack", hostile(Path("m")))
def test_notes_beside_the_tensors_do_no_harm(tmp_path, write, attack):
    """Unknown names under `meta` are neither run nor in the way; a tensor that needs one is refused, as above."""
    marker = tmp_path / "marker"
    root = np.arange(3, dtype=np.float32)
    body = mapping({"meta": hostile(marker)[attack][0], "state_dict": mapping({"w": contiguous("0", root)})})
    path = write(tmp_path / "f", body, {"0": root})
    if "tensor" in attack:
        with pytest.raises(CheckpointError, match="refused"):
            readers.read(path)
    else:
        same(readers.read(path), {"state_dict.w": root})
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_notes_of_torch_itself(tmp_path, legacy):
    import argparse
    import collections
    import datetime

    torch = pytest.importorskip("torch")
    notes = {
        "scalar": np.float64(0.5),
        "array": np.arange(4),
        "when": datetime.datetime(2020, 6, 15),
        "options": argparse.Namespace(lr=0.1),
        "history": collections.defaultdict(list, a=[1, 2]),
        "layer": torch.nn.Linear(2, 2),
    }
    content = {"meta": notes, "state_dict": {"w": torch.arange(3.0)}, "optimizer": notes}
    torch.save(content, tmp_path / "f", _use_new_zipfile_serialization=not legacy)
    same(readers.read(tmp_path / "f"), {"state_dict.w": np.arange(3, dtype=np.float32)})


def test_keras_3_names_layers_beside_their_variables(tmp_path):
    import h5py

    with h5py.File(tmp_path / "f.weights.h5", "w") as file:
        for path, name in (("layers/conv2d", "stem"), ("layers/conv2d_1", "head")):
            file.create_group(f"{path}/vars").attrs["name"] = name
            file[f"{path}/vars/0"] = np.zeros(2)
        file["layers/dense/vars/0"] = np.ones(2)
    assert set(readers.read(tmp_path / "f.weights.h5")) == {"stem/vars/0", "head/vars/0", "layers/dense/vars/0"}
