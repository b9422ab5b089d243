"""`torch.save` files -> tensors, without torch and without running their pickles."""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jpst.weights.pickles import MOST_NODES, Call, Dict, Names, Unpickler, inert_name, leaves, refusal
from jpst.weights.tensors import MOST_AXES, CheckpointError, Room, Tensors, damage_explained, small_enough
from jpst.weights.zip_members import read_member

# Beside the tensors, at the top level of training checkpoints: not read, whatever they hold.
_NOTES = ("args", "callbacks", "cfg", "config", "epoch", "hyper_parameters", "loops", "message_hub", "meta")
_NOTES += ("optimizer", "optimizer_states", "param_schedulers", "scheduler", "lr_scheduler", "lr_schedulers")


def read_torch(path: str | Path) -> Tensors:
    """Tensors of a `torch.save` zip archive, without torch; nested names are joined by '.'."""
    with damage_explained(path, "a PyTorch archive"), zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        # Members may share their bytes, so they are counted as tensors are.
        room = Room(path, Path(path).stat().st_size)
        if "byteorder" in names and _stored(archive, names["byteorder"], room) != b"little":
            raise CheckpointError(f"{path}: got big-endian data; save it again on a little-endian machine.")
        tree = _Unpickler(io.BytesIO(_stored(archive, names["data.pkl"], room)), path).load()
        return _read(_claims(tree, path), _zip_storages(archive, names, room))


def read_torch_legacy(path: str | Path) -> Tensors:
    """Tensors of a `torch.save` file from before PyTorch 1.6 (five pickles, then the raw storages)."""
    with damage_explained(path, "an older PyTorch file"), _mapped(path) as file:
        if _Unpickler(file, path).load() != _LEGACY_MAGIC:
            raise CheckpointError(
                f"{path}: got a pickle that torch.save did not write; expected a file of PyTorch itself, "
                "or one of the other formats."
            )
        _protocol, system = _Unpickler(file, path).load(), _Unpickler(file, path).load()
        if not system["little_endian"]:
            raise CheckpointError(f"{path}: got big-endian data; save it again on a little-endian machine.")
        unpickler = _Unpickler(file, path)
        claims = _claims(unpickler.load(), path)
        keys = [_key(key) for key in _Unpickler(file, path).load()]
        storages = {key: _legacy_storage(file, unpickler.dtypes[key]) for key in keys}
        return _read(claims, lambda storage: storages[storage.key])


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGE_DTYPES: dict[str, Any] = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": ml_dtypes.bfloat16,
}
_STORAGE_DTYPES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "<i1", "Byte": "<u1", "Bool": "?"}


_OTHER_STORAGES = {
    "ComplexFloatStorage": "a tensor of complex numbers",
    "ComplexDoubleStorage": "a tensor of complex numbers",
    **dict.fromkeys(("QInt8Storage", "QUInt8Storage", "QInt32Storage"), "a quantised tensor"),
    **dict.fromkeys(("QUInt4x2Storage", "QUInt2x4Storage"), "a quantised tensor"),
    "UntypedStorage": "a tensor of one of PyTorch's newer number types",
}


class _StorageType(NamedTuple):
    dtype: np.dtype
    other: str = ""
    """What tensors of it are, where they are not read."""


class _Storage(NamedTuple):
    """`numel` elements from `start` on in the storage that the file calls `key`."""

    key: str
    dtype: np.dtype
    start: int
    numel: int
    other: str


class _Tensor(NamedTuple):
    """A strided view of a storage as the file claims it, counted in elements; checked when it is read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Other(NamedTuple):
    """A tensor that is no strided view of real numbers."""

    kind: str


_OTHERS = {
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_sparse_csr_tensor": "a sparse tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without values (of the device meta)",
    "_rebuild_device_tensor_from_numpy": "a tensor of another device's own format",
    "_rebuild_device_tensor_from_cpu_tensor": "a tensor of another device's own format",
    "_rebuild_tensor_v3": "a tensor of one of PyTorch's newer number types",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
}


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor | _Other:
    # What is wrong is not shown: printing a nest of tuples can take for ever.
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > MOST_AXES:
        raise ValueError("a tensor that is no view of a storage")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor with a negative offset, size or stride")
    if storage.other:
        return _Other(storage.other)
    if rest[2:] and rest[2]:  # beside whether it has a gradient, and hooks
        return _Other("a view that negates or conjugates its numbers (resolve_neg() and resolve_conj() give them)")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _size(sides: Any = ()) -> tuple[Any, ...]:
    if len(sides) > MOST_AXES:
        raise ValueError(f"a size of more than {MOST_AXES} axes")
    return tuple(sides)


def _key(key: Any) -> str:
    if not isinstance(key, str | int):
        raise ValueError("a storage without a name")
    return str(key)


class _Unpickler(Unpickler):
    """Tensors become `_Tensor`, or `_Other`."""

    def __init__(self, file: io.BytesIO | mmap.mmap, path: str | Path) -> None:
        super().__init__(file, self._names_of_torch())
        self._path = path
        self._copied = 0
        self.dtypes: dict[str, np.dtype] = {}

    def _names_of_torch(self) -> Names:
        rebuild = Call(self._known(_rebuild_tensor))
        return {
            ("collections", "OrderedDict"): Call(self._ordered),
            ("torch", "Size"): Call(_size),
            ("torch._utils", "_rebuild_parameter"): Call(lambda tensor, *_rest: tensor),
            ("torch._utils", "_rebuild_tensor"): rebuild,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild,
            **{("torch._utils", name): Call(lambda *_args, kind=kind: _Other(kind)) for name, kind in _OTHERS.items()},
            **{
                (module, name): _StorageType(np.dtype("u1"), other)
                for name, other in _OTHER_STORAGES.items()
                for module in ("torch", "torch.storage")
            },
            **{("torch", f"{name}Storage"): _StorageType(np.dtype(dtype)) for name, dtype in _STORAGE_DTYPES.items()},
        }

    def _ordered(self, pairs: Any = ()) -> Dict:
        """A dict of pairs, as Python 2 kept one. The same pairs may be asked for again and again: so many, no more."""
        self._copied += len(pairs)
        if self._copied > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES} entries in ordered dicts")
        pairs = pairs.items() if isinstance(pairs, dict) else pairs
        return Dict((key, value) for key, value in pairs if isinstance(key, str | int))

    def _known(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, for arguments of which none stands for an unknown name."""

        def checked(*args: Any) -> Any:
            for name in filter(None, map(inert_name, args)):
                raise refusal(self._path, name)
            return function(*args)

        return checked

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source code, in the older format
            return pid[1]
        tag, kind, key, _location, numel, *view = pid
        if name := inert_name(kind):
            raise refusal(self._path, name)
        if tag != "storage" or not isinstance(kind, _StorageType) or type(numel) is not int:
            raise ValueError("a storage of no known type")
        key = _key(key)
        self.dtypes[key] = kind.dtype
        if view and view[0] is not None:
            _view_key, start, length = view[0]
            return _Storage(key, kind.dtype, int(start), int(length), kind.other)
        return _Storage(key, kind.dtype, 0, numel, kind.other)


def _claims(tree: Any, path: str | Path) -> dict[str, _Tensor]:
    """The tensors of nested dicts; notes and other leaves are left, a stand-in in a tensor's place is refused."""
    claims: dict[str, _Tensor] = {}
    room = Room(path, Path(path).stat().st_size)
    for name, node in leaves(tree, ".", _NOTES):
        if asked := inert_name(node):
            raise refusal(path, asked)
        if isinstance(node, _Other):
            raise CheckpointError(f"{path}: {name} is {node.kind}; expected plain, dense tensors of real numbers.")
        if isinstance(node, _Tensor):
            _check_view(node, node.storage.numel)
            room.take(name, node.size, node.storage.dtype.itemsize)
            claims[name] = node
    return claims


def _read(claims: dict[str, _Tensor], read_storage: Callable[[_Storage], np.ndarray]) -> Tensors:
    return {name: _strided(tensor, read_storage(tensor.storage)) for name, tensor in claims.items()}


def _strided(tensor: _Tensor, root: np.ndarray) -> np.ndarray:
    """A contiguous copy of a strided view."""
    start, numel = tensor.storage.start, tensor.storage.numel
    data = root[start : start + numel] if min(start, numel) >= 0 else root[:0]
    _check_view(tensor, len(data))
    if not math.prod(tensor.size):
        return np.zeros(tensor.size, data.dtype)
    strides = [step * data.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(data[tensor.offset :], tensor.size, strides).copy()


def _check_view(tensor: _Tensor, length: int) -> None:
    """Refuses a view that would leave its storage of `length` elements, or repeat some of them."""
    count = math.prod(tensor.size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    # as_strided checks nothing: past the end it reads whatever lies in memory. A zero stride stays inside,
    # but lets a file of a few bytes ask for terabytes.
    if count > length or (count and last >= length):
        raise ValueError(
            f"a tensor {tensor.size} with offset {tensor.offset} and strides {tensor.stride} leaves "
            f"its storage of {length} elements"
        )
    reach = 0  # of the axes with shorter steps
    for step, side in sorted(zip(tensor.stride, tensor.size, strict=True)):
        if count and side > 1 and step <= reach:
            raise ValueError(f"a tensor {tensor.size} with strides {tensor.stride} repeats elements of its storage")
        reach += step * (side - 1)


def _zip_storages(archive: zipfile.ZipFile, names: dict[str, str], room: Room) -> Callable[[_Storage], np.ndarray]:
    @cache
    def read_storage(key: str, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(_stored(archive, names[f"data/{key}"], room), dtype)

    return lambda storage: read_storage(storage.key, storage.dtype)


def _stored(archive: zipfile.ZipFile, name: str, room: Room) -> bytes:
    # torch.save never compresses; a compressed member could unfold to any size.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    room.take(name, (archive.getinfo(name).file_size,), 1)
    return read_member(archive, archive.getinfo(name))


@contextmanager
def _mapped(path: str | Path) -> Iterator[mmap.mmap]:
    """The file in memory. Unlike an open file's, its `read` sets nothing aside for bytes that are not there."""
    small_enough(path)
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _legacy_storage(file: mmap.mmap, dtype: np.dtype) -> np.ndarray:
    """One storage of the older format: the number of elements as int64, then the elements."""
    size = struct.unpack("<q", file.read(8))[0] * dtype.itemsize
    left = file.size() - file.tell()
    if not 0 <= size <= left:
        raise ValueError(f"a storage of {size} bytes where {left} are left")
    return np.frombuffer(file.read(size), dtype)
