"""NumPy's files: `.npz` archives, and `.npy` that hold a pickled dict of arrays, as caffe-tensorflow wrote them.

No pickle is run.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jpst.weights.pickles import Call, Names, Unpickler, inert_name, leaves, refusal
from jpst.weights.tensors import MOST_AXES, CheckpointError, Room, Tensors, damage_explained, whole
from jpst.weights.zip_members import read_member

_NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
_HEADER = 1 << 16  # bytes of a member that its header lies in; those of numbers have about a hundred


def read_npz(path: str | Path) -> Tensors:
    """Arrays of a NumPy archive, of any kind but pickled objects."""
    with damage_explained(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        room, members = Room(path, Path(path).stat().st_size), archive.infolist()
        for member in members:
            room.take(member.filename, (member.file_size,), 1)
        if len({member.filename for member in members}) < len(members):
            raise ValueError("two members of one name")
        return {member.filename.removesuffix(".npy"): _member(archive, member, path) for member in members}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str | Path) -> np.ndarray:
    data = read_member(archive, member)
    header = io.BytesIO(data[:_HEADER])
    shape, fortran, dtype = _header(header)
    if dtype.hasobject:
        raise CheckpointError(
            f"{path}: {member.filename} holds pickled objects, which are never loaded (allow_pickle=False); "
            "expected arrays of numbers."
        )
    if math.prod(shape) * dtype.itemsize != len(data) - header.tell():
        raise ValueError(f"{member.filename}: an array {dtype}{shape} in {len(data) - header.tell()} bytes")
    return np.frombuffer(data, dtype, offset=header.tell()).reshape(shape, order="F" if fortran else "C")


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis varies fastest, and type."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required", UserWarning)  # those of Python 2
        return read[np.lib.format.read_magic(file)](file)


def read_npy(path: str | Path) -> Tensors:
    """The arrays of a dict (of dicts) that `numpy.save` pickled; nested names are joined by '/'."""
    with damage_explained(path, "a NumPy .npy file"):
        data = whole(path)
        file, room = io.BytesIO(data), Room(path, len(data))
        shape, _fortran, dtype = _header(file)
        if not dtype.hasobject or math.prod(shape) != 1:
            raise CheckpointError(f"{path}: got one array, {dtype} {shape}, without names; expected a dict of arrays.")
        # Pickles of Python 2 keep raw bytes as text; latin1 gives them back as they were.
        root = Unpickler(file, _NAMES, encoding="latin1").load()
        tree = root.items[0] if isinstance(root, _Array) and root.items else root
        arrays: dict[str, _Array] = {}
        for name, node in leaves(tree, "/"):
            if asked := inert_name(node):
                raise refusal(path, asked)
            if isinstance(node, _Array):
                room.take(name, (len(node.data),), 1)
                arrays[name] = node
        return {name: array.array() for name, array in arrays.items()}


class _Type:
    """Stands in for `numpy.dtype`: a kind and size such as 'f4', and the byte order that its state brings."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_options: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        """The dtype itself, if it is one of numbers."""
        if not isinstance(self.code, str) or self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError("an array of no numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for `numpy.ndarray`: what the file claims of one, checked when it is read."""

    __slots__ = ("data", "fortran", "items", "shape", "type")

    def __init__(self, *_ignored: Any) -> None:
        self.type, self.shape, self.fortran, self.data, self.items = None, (), False, b"", []

    def __setstate__(self, state: Any) -> None:
        _version, shape, self.type, self.fortran, data = state
        if len(shape) > MOST_AXES or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("an array without a shape")
        self.shape = tuple(shape)
        # Nothing is copied: the same bytes may belong to any number of arrays.
        if isinstance(data, list):
            self.items = data
        elif isinstance(data, str | bytes):
            self.data = data
        else:
            raise ValueError("an array without numbers")

    def array(self) -> np.ndarray:
        """The array itself, in C order."""
        if not isinstance(self.type, _Type):
            raise ValueError("an array without a type")
        dtype = self.type.dtype()
        if math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise ValueError(f"an array {dtype}{self.shape} of {len(self.data)} bytes")
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        array = np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(array.astype(dtype.newbyteorder("="))).reshape(self.shape)


def _scalar(kind: Any, data: Any = b"") -> _Array:
    array = _Array()
    array.__setstate__((1, (), kind, False, data))
    return array


def _encode(text: str, encoding: str = "latin1") -> str:
    """The text as it is, which stands for its bytes until an array needs them."""
    if not isinstance(text, str) or encoding not in ("latin1", "bytes"):
        raise ValueError("bytes in an encoding that NumPy does not write")
    return text


_NAMES: Names = {
    ("_codecs", "encode"): Call(_encode),
    ("__builtin__", "bytes"): Call(lambda: b""),  # no bytes at all; any number of them would be a bomb
    ("numpy", "dtype"): Call(_Type),
    ("numpy", "ndarray"): None,
    **{
        (f"{module}.multiarray", name): Call(function)
        for module in ("numpy.core", "numpy._core")
        for name, function in (("_reconstruct", _Array), ("scalar", _scalar))
    },
}
