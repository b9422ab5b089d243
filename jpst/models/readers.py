"""Checkpoint files -> flat `{name: array}`, told apart by their content, never by their suffix.

No reader runs code from a file: a pickle may only name what `_GLOBALS` lists, and gets our own inert
stand-ins for it. Names stay as the file spells them; `weights` renames and checks them.

A further format is one function and one line in `_sniff`.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import ml_dtypes
import numpy as np

from jpst.errors import JpstError

Tensors = dict[str, np.ndarray]

FORMATS = "HDF5 (.h5), NumPy .npz, PyTorch .pth (zip or older), .safetensors"


class CheckpointError(JpstError):
    """A weight file is missing, damaged, refused, or not the one that is needed."""


def read(path: str | Path) -> Tensors:
    """All tensors of a checkpoint file of any supported format, in the order the file keeps them."""
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise CheckpointError(f"{path}: found {found}; needed is a checkpoint file: {FORMATS}.")
    try:
        return _sniff(path)(path)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read ({error}).") from error


def read_hdf5(path: str | Path) -> Tensors:
    """Datasets of an HDF5 file by path, in the order of Keras' `layer_names` and `weight_names`.

    A whole Keras model keeps its weights in the group `model_weights`; names are relative to that group, so
    both layouts read alike and the optimiser's state stays behind.
    """
    import h5py

    with _damage_explained(path, "an HDF5 file"), h5py.File(path, "r") as file:
        root = _own_group(file, "model_weights") or file
        datasets = _hdf5_datasets(root)
        order = [name for name in _keras_order(root) if name in datasets]
        return {name: datasets[name][()] for name in dict.fromkeys([*order, *datasets])}


def read_npz(path: str | Path) -> Tensors:
    """Arrays of a NumPy archive; pickled objects in it are refused by NumPy itself."""
    with _damage_explained(path, "an .npz archive"), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def read_safetensors(path: str | Path) -> Tensors:
    """Tensors of a safetensors file: an 8-byte header length, a JSON header, raw little-endian data."""
    with _damage_explained(path, "a safetensors file"):
        data = Path(path).read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {name: _safetensor(memoryview(data)[start:], **entry) for name, entry in header.items()}


def read_torch(path: str | Path) -> Tensors:
    """Tensors of a `torch.save` zip archive, without torch; nested names are joined by '.'."""
    with _damage_explained(path, "a PyTorch archive"), zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "byteorder" in names and _stored(archive, names["byteorder"]) != b"little":
            raise CheckpointError(f"{path}: found big-endian data; save it again on a little-endian machine.")
        tree = _Unpickler(io.BytesIO(_stored(archive, names["data.pkl"])), path).load()
        return _tensors(tree, _zip_storages(archive, names))


def read_torch_legacy(path: str | Path) -> Tensors:
    """Tensors of a `torch.save` file from before PyTorch 1.6 (five pickles, then the raw storages)."""
    with _damage_explained(path, "an older PyTorch file"), _mapped(path) as file:
        if _Unpickler(file, path).load() != _LEGACY_MAGIC:
            raise CheckpointError(f"{path}: found a pickle that torch.save did not write; needed is {FORMATS}.")
        _protocol, system = _Unpickler(file, path).load(), _Unpickler(file, path).load()
        if not system["little_endian"]:
            raise CheckpointError(f"{path}: found big-endian data; save it again on a little-endian machine.")
        unpickler = _Unpickler(file, path)
        tree = unpickler.load()
        keys = [str(key) for key in _Unpickler(file, path).load()]
        storages = {key: _legacy_storage(file, unpickler.dtypes[key]) for key in keys}
        return _tensors(tree, lambda storage: storages[storage.key])


def _sniff(path: Path) -> Callable[[Path], Tensors]:
    """The reader for a file, from its first bytes (and from the member names of a zip)."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_hdf5
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    if head[:1] == b"\x80":
        return read_torch_legacy
    if head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return read_safetensors
    raise CheckpointError(f"{path}: found {_described(head)}; needed is one of {FORMATS}.")


def _sniff_zip(path: Path) -> Callable[[Path], Tensors]:
    with _damage_explained(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.partition("/")[2] == "data.pkl" for name in names):
        return read_torch
    if names and all(name.endswith(".npy") for name in names):
        return read_npz
    raise CheckpointError(f"{path}: found a zip archive of {names[:3]} ...; needed is one of {FORMATS}.")


def _described(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.lstrip()[:1] == b"<":
        return "a web page (the download was probably answered with an error page)"
    if head[257:262] == b"ustar":
        return "a tar archive (such as PyTorch wrote before 0.1.10; load it there and save it again)"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the file itself with git lfs pull)"
    return f"no known format (it starts with {head[:8]!r})"


@contextmanager
def _damage_explained(path: str | Path, kind: str) -> Iterator[None]:
    """Whatever a parser stumbles over in a damaged or hostile file becomes one CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path}: found {kind} that is truncated or damaged ({reason}); needed is the whole file: "
            "delete it and fetch it again."
        ) from error


def _hdf5_datasets(root: Any) -> dict[str, Any]:
    """Numeric datasets inside the file; `visititems` follows neither soft nor external links."""
    import h5py

    datasets: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        # External and virtual datasets take their bytes from other files of the reader's disk.
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            if item.external or item.is_virtual:
                raise CheckpointError(f"{root.file.filename}: dataset {name} lies in another file; refused.")
            datasets[name] = item

    root.visititems(visit)
    return datasets


def _keras_order(root: Any) -> list[str]:
    text = lambda name: name.decode() if isinstance(name, bytes) else str(name)  # noqa: E731
    layers = [text(layer) for layer in root.attrs.get("layer_names", ())]
    return [
        f"{layer}/{text(weight)}"
        for layer in layers
        if (group := _own_group(root, layer))
        for weight in group.attrs.get("weight_names", ())
    ]


def _own_group(root: Any, name: str) -> Any:
    """A group of this very file; a link into another file is as good as none."""
    import h5py

    return root[name] if isinstance(root.get(name, getlink=True), h5py.HardLink) else None


_SAFETENSORS_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I64": "<i8"}
_SAFETENSORS_DTYPES |= {"I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?"}


def _safetensor(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    begin, end = data_offsets
    kind = np.dtype(_SAFETENSORS_DTYPES[dtype])
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{dtype}{shape} at bytes {begin}..{end} of {len(data)}")
    return np.frombuffer(data[begin:end], kind).reshape(shape).copy()


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGE_DTYPES: dict[str, Any] = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": ml_dtypes.bfloat16,
}
_STORAGE_DTYPES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "<i1", "Byte": "<u1", "Bool": "?"}


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Storage(NamedTuple):
    """`numel` elements from `start` on in the storage that the file calls `key`."""

    key: str
    dtype: np.dtype
    start: int
    numel: int


class _Tensor(NamedTuple):
    """A strided view of a storage as the file claims it, counted in elements; checked when it is read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Call(NamedTuple):
    """What a pickle gets when it names a function. A tuple has no attributes for it to overwrite."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


class _Dict(dict):
    """Stands in for OrderedDict; the attributes that state dicts hang on it (`_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        pass


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> _Tensor:
    # What is wrong is not shown: printing a nest of tuples can take for ever.
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("a tensor that is no view of a storage")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor with a negative offset, size or stride")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


# The only names that a pickle may use. Adding one here must never add a way to run or read anything.
_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Call(_Dict),
    ("torch", "Size"): _Call(tuple),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda tensor, *_rest: tensor),
    ("torch._utils", "_rebuild_tensor"): _Call(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_rebuild_tensor),
    **{("torch", f"{name}Storage"): _StorageType(np.dtype(dtype)) for name, dtype in _STORAGE_DTYPES.items()},
}


_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_UNUSED = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")


class _Unpickler(pickle.Unpickler):
    """Unpickles containers, numbers and strings; tensors become `_Tensor`, everything else is refused."""

    def __init__(self, file: io.BytesIO | mmap.mmap, path: str | Path) -> None:
        super().__init__(file, encoding="utf-8")
        self._file = file
        self._path = path
        self.dtypes: dict[str, np.dtype] = {}

    def load(self) -> Any:
        start = self._file.tell()
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(Any, self._file))):
            # The unpickler keeps a list as long as the largest memo index: one of 32 bits would fill the memory.
            if opcode.name in _UNUSED or (opcode.name in _MEMO and cast(int, argument) > count):
                raise ValueError(f"{opcode.name} {argument} is nothing that torch.save writes")
        self._file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise CheckpointError(
                f"{self._path}: its pickle asks for {module}.{name}, which could run code and is refused; "
                "needed is a file of tensors only (save the state dict alone, or as .npz or .safetensors)."
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        tag, kind, key, _location, numel, *view = pid
        if tag != "storage" or not isinstance(kind, _StorageType) or type(numel) is not int:
            raise ValueError("a storage of no known type")
        self.dtypes[str(key)] = kind.dtype
        if view and view[0] is not None:
            _view_key, start, length = view[0]
            return _Storage(str(key), kind.dtype, int(start), int(length))
        return _Storage(str(key), kind.dtype, 0, numel)


def _tensors(tree: Any, read_storage: Callable[[_Storage], np.ndarray]) -> Tensors:
    """The tensors of nested dicts, under their keys joined by '.'; optimisers and other leaves are left."""
    tensors: Tensors = {}
    pending: list[tuple[str, Any]] = [("", tree)]
    for _ in range(_MOST_NODES):
        if not pending:
            return tensors
        name, node = pending.pop()
        if isinstance(node, dict):
            named = [(str(key), child) for key, child in node.items() if isinstance(key, str | int)]
            pending += [
                (f"{name}.{key}" if name else key, child)
                for key, child in reversed(named)
                if name or key not in _TRAINING_STATE
            ]
        elif isinstance(node, _Tensor):
            tensors[name] = _strided(node, read_storage(node.storage))
    # A dict may contain itself, or each of thirty dicts the next one twice.
    raise ValueError(f"more than {_MOST_NODES} entries")


_MOST_NODES = 1_000_000
_TRAINING_STATE = ("optimizer", "optimizer_states", "lr_schedulers")


def _strided(tensor: _Tensor, root: np.ndarray) -> np.ndarray:
    """A contiguous copy of a strided view, refused if it would leave its storage or repeat it."""
    _, _, start, numel = tensor.storage
    data = root[start : start + numel] if min(start, numel) >= 0 else root[:0]
    count = math.prod(tensor.size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    # as_strided checks nothing: past the end it reads whatever lies in memory. A zero stride stays inside,
    # but lets a file of a few bytes ask for terabytes.
    if count > len(data) or (count and last >= len(data)):
        raise ValueError(
            f"a tensor {tensor.size} with offset {tensor.offset} and strides {tensor.stride} leaves "
            f"its storage of {len(data)} elements"
        )
    if not count:
        return np.zeros(tensor.size, data.dtype)
    strides = [step * data.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(data[tensor.offset :], tensor.size, strides).copy()


def _zip_storages(archive: zipfile.ZipFile, names: dict[str, str]) -> Callable[[_Storage], np.ndarray]:
    @cache
    def read_storage(key: str, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(_stored(archive, names[f"data/{key}"]), dtype)

    return lambda storage: read_storage(storage.key, storage.dtype)


def _stored(archive: zipfile.ZipFile, name: str) -> bytes:
    # torch.save never compresses; a compressed member could unfold to any size.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


@contextmanager
def _mapped(path: str | Path) -> Iterator[mmap.mmap]:
    """The file in memory. Unlike an open file's, its `read` sets nothing aside for bytes that are not there."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _legacy_storage(file: mmap.mmap, dtype: np.dtype) -> np.ndarray:
    """One storage of the older format: the number of elements as int64, then the elements."""
    size = struct.unpack("<q", file.read(8))[0] * dtype.itemsize
    left = file.size() - file.tell()
    if not 0 <= size <= left:
        raise ValueError(f"a storage of {size} bytes where {left} are left")
    return np.frombuffer(file.read(size), dtype)
