"""Files that would unfold to more than memory holds, hold what is no number, or were changed: one error, at once."""

from __future__ import annotations

import json
import pickle
import resource
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import test_readers as made
from test_readers import document, glob, integer, mapping, tensor, text, tup
from test_tflite import small_model

from jpst.weights import readers, tensors
from jpst.weights.readers import CheckpointError

MIB = 1 << 20


def refused(path: Path, match: str) -> None:
    """One sentence that names the file, and next to no memory, whether of Python, of NumPy or of a library in C."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=match) as caught:
            readers.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 1000
    assert peak < 64 * MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


TOO_MUCH = "unfold to more than a checkpoint of its size holds"

# ---- HDF5


def fill_values(file, h5py) -> None:
    file.create_dataset("w", (1 << 29,), "f4", fillvalue=3)


def a_petabyte(file, h5py) -> None:
    file.create_dataset("w", (1 << 50,), "u1", chunks=(1 << 20,))


def empty_gzip_chunks(file, h5py) -> None:
    dataset = file.create_dataset("w", (1 << 29,), "f4", chunks=(1 << 20,), compression="gzip")
    dataset[: 1 << 20] = np.zeros(1 << 20, np.float32)


def many_datasets(file, h5py) -> None:
    for i in range(101):
        file[f"{i}"] = np.uint8(i & 255)


def one_value_in_a_large_chunk(file, h5py) -> None:
    file.create_dataset("w", (1,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")


def chunks_of_one_value(file, h5py) -> None:
    file.create_dataset("w", (1 << 20,), "f4", chunks=(1,))


def a_chunk_that_goes_on(file, h5py) -> None:
    dataset = file.create_dataset("w", (4,), "f4", chunks=(4,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(300 * MIB), 1))


def folded_twice(file, h5py) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((4,))
    properties.set_deflate(9)
    properties.set_deflate(9)
    space = h5py.h5s.create_simple((4,))
    dataset = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, properties)
    dataset.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(100 * MIB), 9), 9))


HDF5 = {
    fill_values: TOO_MUCH,
    a_petabyte: TOO_MUCH,
    empty_gzip_chunks: TOO_MUCH,
    many_datasets: "at most 100 tensors",
    one_value_in_a_large_chunk: TOO_MUCH,
    chunks_of_one_value: "more than 100000 chunks",
    a_chunk_that_goes_on: "a chunk of more than",
    folded_twice: "filters",
}


@pytest.mark.parametrize("write", HDF5, ids=lambda write: write.__name__)
def test_hdf5(tmp_path, write, monkeypatch):
    import h5py

    monkeypatch.setattr(tensors, "MOST_TENSORS", 100)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        write(file, h5py)
    refused(tmp_path / "f.h5", HDF5[write])


def test_compressed_hdf5_is_read(tmp_path):
    import h5py

    values = np.random.default_rng(0).random((70, 50), np.float32)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for i, options in enumerate(
            ({"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"})
        ):
            file.create_dataset(f"w{i}", data=values, chunks=(16, 50), **options)
        file.create_dataset("zeros", (100, 100), "f4", compression="gzip")
    found = readers.read(tmp_path / "f.h5")
    np.testing.assert_array_equal(found["w0"], values, strict=True)
    np.testing.assert_array_equal(found["w1"], values, strict=True)
    assert not found["zeros"].any()


# ---- NumPy's archives


def member(content: bytes, shape: tuple[int, ...] | None = None, descr: str = "<f4") -> bytes:
    """A `.npy` file of `content`, which it says has that shape."""
    import io

    file = io.BytesIO()
    shape = (len(content) // 4,) if shape is None else shape
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def write_npz(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_npz_of_zeros(tmp_path):
    refused(write_npz(tmp_path / "f.npz", {"w": member(bytes(300 * MIB))}), TOO_MUCH)
    refused(write_npz(tmp_path / "f.npz", {f"w{i}": member(bytes(30 * MIB)) for i in range(10)}), TOO_MUCH)


def test_npz_of_more_than_it_says(tmp_path):
    """300 MiB in a member of which the archive says that it has a hundred bytes."""
    content = member(bytes(300 * MIB))
    path = write_npz(tmp_path / "f.npz", {"w": content})
    changed = path.read_bytes().replace(struct.pack("<L", len(content)), struct.pack("<L", 200))
    path.write_bytes(changed)
    refused(path, "damaged")


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 33, 1 << 33), (-1,), (-2, -2), (5,), (1,) * 70])
def test_npz_that_claims_another_shape(tmp_path, shape):
    refused(write_npz(tmp_path / "f.npz", {"w": member(bytes(16), shape)} | {"x": member(bytes(8))}), "damaged")


def test_npz_of_other_kinds(tmp_path, monkeypatch):
    refused(write_npz(tmp_path / "f.npz", {"w": member(bytes(10 * MIB))}, zipfile.ZIP_BZIP2), "in a way that no check")
    inner = write_npz(tmp_path / "inner.npz", {"w": member(bytes(8))}).read_bytes()
    refused(write_npz(tmp_path / "f.npz", {"w": inner}), "damaged")
    monkeypatch.setattr(tensors, "MOST_TENSORS", 100)
    refused(write_npz(tmp_path / "f.npz", {f"{i}": member(b"") for i in range(101)}), TOO_MUCH)


# ---- PyTorch


VIEWS = {
    "many": ((1 << 18,), (1,), 20_000),
    "some": ((1 << 18,), (1,), 9_000),
    "shifted": ((1 << 17,), (1,), 9_000),
    "every other": ((1 << 17,), (2,), 9_000),
}


@made.TORCH_WRITERS
@pytest.mark.parametrize("size, stride, count", VIEWS.values(), ids=VIEWS)
def test_views_of_one_storage(tmp_path, write, size, stride, count):
    root = np.zeros(1 << 18, np.float32)
    # The tensor is named once and then again by its place in the memo.
    body = b"}(" + text("0") + tensor("0", root, 0, size, stride) + b"q\x01"
    body += b"".join(text(str(i)) + b"h\x01" for i in range(1, count)) + b"u"
    refused(write(tmp_path / "f.pth", body, {"0": root}), TOO_MUCH)


@made.TORCH_WRITERS
@pytest.mark.parametrize("size, stride", [((3, 4), (1, 1)), ((2, 5), (2, 1)), ((10,), (0,)), ((2, 2, 2), (4, 2, 2))])
def test_strides_that_repeat_a_storage(tmp_path, write, size, stride):
    root = np.arange(24, dtype=np.float32)
    refused(write(tmp_path / "f.pth", mapping({"t": tensor("0", root, 0, size, stride)}), {"0": root}), "repeats")


def test_axes_of_one_may_have_any_stride(tmp_path):
    root = np.arange(6, dtype=np.float32)
    path = made.write_zip(tmp_path / "f", mapping({"t": tensor("0", root, 0, (1, 3, 1, 2), (0, 2, 1, 1))}), {"0": root})
    np.testing.assert_array_equal(readers.read(path)["t"], root.reshape(1, 3, 1, 2))


def test_a_sparse_file(tmp_path):
    """Larger than all memory, and nothing on the disk."""
    for name, head in (
        ("f.safetensors", struct.pack("<Q", 2) + b"{}"),
        ("f.pth", b"\x80\x02"),
        ("f.tflite", b"\0" * 4 + b"TFL3"),
    ):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(1 << 40)
        refused(tmp_path / name, "a file of 1048576 MiB, where at most 1536 MiB are read")


# ---- Pickles


def chain(opcodes: bytes, first: bytes = b"}") -> bytes:
    """Forty objects, each made by `opcodes` of the one before, twice: at the end it stands for 2 ** 40 of them."""
    body = first + b"q\x00"
    for i in range(40):
        body += opcodes.replace(b"BEFORE", b"h" + bytes([i])) + b"q" + bytes([i + 1])
    return body


ENDLESS = {
    "dicts": chain(b"}(" + text("a") + b"BEFORE" + text("b") + b"BEFOREu"),
    "a dict in itself": b"}q\x00" + text("self") + b"h\x00s" + text("w") + integer(1) + b"s",
    "a dict in a dict in it": b"}q\x00" + text("a") + b"}" + text("b") + b"h\x00ss",
    "deep dicts": b"".join(b"}" + text("a") for _ in range(5000)) + b"N" + b"s" * 5000,
    "long names": b"}" + text("n" * 5000) + b"Ns",
    "lists": chain(b"](BEFOREBEFOREe", b"]"),
    "tuples": chain(b"BEFOREBEFORE\x86", b")"),
    "tuples as a key": b"}" + chain(b"BEFOREBEFORE\x86", b")") + b"Ns",
    "tuples as a key of a dict made at once": b"(" + chain(b"BEFOREBEFORE\x86", b")") + b"Nd",
    "tuples in a set": b"\x8f(" + chain(b"BEFOREBEFORE\x86", b")") + b"\x90",
    "tuples in a frozen set": b"(" + chain(b"BEFOREBEFORE\x86", b")") + b"\x91",
    "tuples as a storage's name": tup(
        text("storage"), glob("torch", "FloatStorage"), chain(b"BEFOREBEFORE\x86", b")"), text("cpu"), integer(1)
    )
    + b"Q",
    "a list as a storage's name": tup(
        text("storage"), glob("torch", "FloatStorage"), chain(b"](BEFOREBEFOREe", b"]"), text("cpu"), integer(1)
    )
    + b"Q",
    "tuples as a number type": glob("numpy", "dtype") + tup(chain(b"BEFOREBEFORE\x86", b")")) + b"R",
    "steps": b"]" * 500_100,
}
BIG = b"](" + b"K\x00" * 100_000 + b"eq\x00"
ENDLESS |= {
    "copies as a size": BIG + b"(" + (glob("torch", "Size") + b"h\x00\x85R") * 2000 + b"l",
    "copies as a dict": b"}("
    + b"".join(integer(i) + b"N" for i in range(20_000))
    + b"uq\x00("
    + (glob("collections", "OrderedDict") + b"h\x00\x85R") * 2000
    + b"l",
    "copies of text as bytes": text("n" * 1_000_000)
    + b"q\x00("
    + (glob("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R") * 2000
    + b"l",
}


@made.TORCH_WRITERS
@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_endless_pickles_of_torch(tmp_path, write, body):
    ends_at_once(write(tmp_path / "f.pth", mapping({"w": body}), {}))


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_endless_pickles_of_numpy(tmp_path, body):
    ends_at_once(made.write_npy(tmp_path / "f.npy", document(mapping({"w": body}))))


def ends_at_once(path: Path) -> None:
    """Either nothing in it is a tensor, or it is refused."""
    tracemalloc.start()
    try:
        assert readers.read(path) == {}
    except CheckpointError as error:
        assert str(path) in str(error) and len(str(error)) < 1000
    assert tracemalloc.get_traced_memory()[1] < 200 * MIB
    tracemalloc.stop()


def test_a_dict_in_itself_as_numpy_and_torch_write_it(tmp_path):
    endless = {}
    endless["self"] = endless
    endless["w"] = np.ones(2)
    np.save(tmp_path / "f.npy", np.asarray(endless, object), allow_pickle=True)
    refused(tmp_path / "f.npy", "among its own entries")
    torch = pytest.importorskip("torch")
    endless["w"] = torch.ones(2)
    for zipped in (True, False):
        torch.save(endless, tmp_path / "f.pth", _use_new_zipfile_serialization=zipped)
        refused(tmp_path / "f.pth", "among its own entries")


def test_one_dict_under_two_names_is_read(tmp_path):
    weights = {"w": np.arange(2.0)}
    np.save(tmp_path / "f.npy", np.asarray({"model": weights, "average": weights}, object), allow_pickle=True)
    found = readers.read(tmp_path / "f.npy")
    assert list(found) == ["model/w", "average/w"]


def test_arrays_that_share_their_bytes(tmp_path):
    big = np.zeros(MIB, np.uint8)
    body = pickle.dumps(np.asarray({str(i): big for i in range(9_000)}, object), 2)
    refused(made.write_npy(tmp_path / "f.npy", body), TOO_MUCH)


# ---- Views and other kinds of tensors, by PyTorch itself


def other_tensors(torch) -> dict:
    whole = torch.arange(6.0).reshape(2, 3)
    made = {
        "negated": torch._neg_view(whole),
        "conjugated": torch.complex(whole, whole).conj(),
        "imaginary": torch.complex(whole, whole).conj().imag,
        "sparse": whole.to_sparse(),
        "quantised": torch.quantize_per_tensor(whole, 0.1, 0, torch.quint8),
        "meta": whole.to("meta"),
        "complex": torch.complex(whole, whole),
        "unsigned": torch.arange(3).to(torch.uint16),
        "eight bits": whole.to(torch.float8_e4m3fn),
    }
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "kind, name",
    [
        ("negated", "state.b is a view that negates or conjugates"),
        ("imaginary", "state.b is a view that negates or conjugates"),
        ("conjugated", "state.b is a tensor of complex numbers"),
        ("complex", "state.b is a tensor of complex numbers"),
        ("sparse", "state.b is a sparse tensor"),
        ("quantised", "state.b is a quantised tensor"),
        ("meta", "state.b is a tensor without values"),
        ("unsigned", "state.b is .* newer number types"),
        ("eight bits", "state.b is .* newer number types"),
    ],
)
def test_tensors_of_other_kinds_are_named(tmp_path, kind, name, legacy):
    torch = pytest.importorskip("torch")
    tensors = {"w": torch.ones(2), "b": other_tensors(torch)[kind]}
    torch.save({"state": tensors}, tmp_path / "f.pth", _use_new_zipfile_serialization=not legacy)
    refused(tmp_path / "f.pth", name)


@pytest.mark.parametrize("legacy", [False, True])
def test_resolved_views_are_read(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    view = torch._neg_view(torch.arange(3.0)).resolve_neg()
    torch.save({"b": view}, tmp_path / "f.pth", _use_new_zipfile_serialization=not legacy)
    np.testing.assert_array_equal(readers.read(tmp_path / "f.pth")["b"], [0, -1, -2])


# ---- safetensors


def write_safetensors(path: Path, header: object, data: bytes) -> Path:
    blob = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(blob)) + blob + data)
    return path


def entry(shape: list, begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


SAFETENSORS = {
    "views": ({str(i): entry([1 << 18], 0, MIB) for i in range(20_000)}, "shares bytes|unfold"),
    "two views": ({"a": entry([1 << 18], 0, MIB), "b": entry([1 << 17], MIB // 2, MIB)}, "b shares bytes"),
    "shape": ({"a": entry([1 << 40], 0, MIB)}, TOO_MUCH),
    "product": ({"a": entry([1 << 40, 1 << 40], 0, MIB)}, TOO_MUCH),
    "negative": ({"a": entry([-1, -(1 << 18)], 0, MIB)}, "damaged"),
    "no numbers": ({"a": entry(["x"], 0, MIB)}, "damaged"),
    "axes": ({"a": entry([1] * 1000, 0, 4)}, "damaged"),
    "past the end": ({"a": entry([1 << 19], 0, 2 * MIB)}, "bytes"),
    "backwards": ({"a": entry([0], 8, 4)}, "bytes"),
    "type": ({"a": entry([1], 0, 1, "F8_E4M3")}, "number type F8_E4M3; expected one of F64"),
    "list": ([1, 2], "no known format"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "damaged"),
    "letters": ({"a\n\x1b[31mb": entry([1], 0, 4)}, "no name of a tensor"),
    "surplus": ({"a": {**entry([1], 0, 4), "x": 1}}, "damaged"),
}


@pytest.mark.parametrize("header, match", SAFETENSORS.values(), ids=SAFETENSORS)
def test_safetensors(tmp_path, header, match):
    refused(write_safetensors(tmp_path / "f.safetensors", header, bytes(MIB)), match)


# ---- TensorFlow


def varied_bundle(tmp_path: Path, change) -> Path:
    """A bundle whose entries {name: (shape, offset, size)} are those that `change` leaves of a MiB of zeros."""
    entries = change({"w": ((1 << 18,), 0, MIB)})
    pairs = [(b"", made.field(1, 1))]
    for name, (shape, offset, size) in sorted(entries.items()):
        sides = b"".join(made.field(2, made.field(1, side)) for side in shape)
        value = made.field(1, 1) + made.field(2, sides) + made.field(4, offset) + made.field(5, size)
        pairs.append((name.encode(), value))
    handle, index = made.written_block(b"", pairs, 0)
    metaindex, index = made.written_block(index, [], 0)
    footer, index = made.written_block(index, [(b"z", handle)], 0)
    (tmp_path / "f.data-00000-of-00001").write_bytes(bytes(MIB))
    path = tmp_path / "f.index"
    path.write_bytes(index + (metaindex + footer).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))
    return path


TENSORFLOW = {
    "views": (lambda _: {f"{i:05}": ((1 << 18,), 0, MIB) for i in range(9_000)}, TOO_MUCH),
    "many": (lambda _: {f"{i:05}": ((), 0, 4) for i in range(10_001)}, "more than 10000 entries"),
    "shape": (lambda _: {"w": ((1 << 40,), 0, MIB)}, TOO_MUCH),
    "negative": (lambda _: {"w": ((2**64 - 1, 2**64 - (1 << 18)), 0, MIB)}, TOO_MUCH),
    "past the end": (lambda _: {"w": ((1 << 19,), 0, 2 * MIB)}, "bytes"),
    "names": (lambda _: {"n" * 2000: ((), 0, 4)}, "an endless key"),
}


@pytest.mark.parametrize("change, match", TENSORFLOW.values(), ids=TENSORFLOW)
def test_tensorflow(tmp_path, change, match):
    refused(varied_bundle(tmp_path, change), match)


def test_tensorflow_blocks_that_repeat(tmp_path):
    handle, index = made.written_block(b"", [(b"", made.field(1, 1))], 0)
    metaindex, index = made.written_block(index, [], 0)
    footer, index = made.written_block(index, [(bytes([i]), handle) for i in range(200)], 0)
    path = tmp_path / "f.index"
    path.write_bytes(index + (metaindex + footer).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))
    refused(path, "blocks that share bytes")


def test_a_folder_whose_note_is_no_text(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b'\xff\xfe\nmodel_checkpoint_path: "\xff"\n')
    with pytest.raises(CheckpointError, match="there is no such file"):
        readers.read(tmp_path)


# ---- TensorFlow Lite


@pytest.mark.parametrize("scale", [(0.5,) * 3, (0.5,) * 5000, (0.5,) * 200_000])
def test_tflite_scales_that_do_not_fit(tmp_path, scale):
    (tmp_path / "f.tflite").write_bytes(small_model(scale=scale))
    refused(tmp_path / "f.tflite", "damaged")


@pytest.mark.parametrize("shape", [(1 << 30, 1 << 30, 1, 1), (-2, -2, 1, 1), (1,) * 100])
def test_tflite_shapes(tmp_path, shape):
    (tmp_path / "f.tflite").write_bytes(small_model(shape=shape))
    refused(tmp_path / "f.tflite", f"damaged|{TOO_MUCH}")
