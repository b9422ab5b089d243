"""`.npy` files that hold a pickled dict of arrays, as caffe-tensorflow wrote them, read without running the pickle."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from jpst.models.pickles import Call, Names, Unpickler, inert_name, leaves, refusal
from jpst.models.tensors import CheckpointError, Tensors, damage_explained

_NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}


def read_npy(path: str | Path) -> Tensors:
    """The arrays of a dict (of dicts) that `numpy.save` pickled; nested names are joined by '/'."""
    with damage_explained(path, "a NumPy .npy file"):
        file = io.BytesIO(Path(path).read_bytes())
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _order, dtype = read_header[np.lib.format.read_magic(file)](file)
        if not dtype.hasobject or math.prod(shape) != 1:
            raise CheckpointError(
                f"{path}: found one array, {dtype} {shape}, without names; needed is a dict of arrays."
            )
        # Pickles of Python 2 keep raw bytes as text; latin1 gives them back as they were.
        root = Unpickler(file, _NAMES, encoding="latin1").load()
        tree = root.items[0] if isinstance(root, _Array) and root.items else root
        tensors: Tensors = {}
        for name, node in leaves(tree, "/"):
            if asked := inert_name(node):
                raise refusal(path, asked)
            if isinstance(node, _Array):
                tensors[name] = node.array()
        return tensors


class _Type:
    """Stands in for `numpy.dtype`: a kind and size such as 'f4', and the byte order that its state brings."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_options: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        """The dtype itself, if it is one of numbers."""
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError("an array of no numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for `numpy.ndarray`: what the file claims of one, checked when it is read."""

    __slots__ = ("data", "fortran", "items", "shape", "type")

    def __init__(self, *_ignored: Any) -> None:
        self.type, self.shape, self.fortran, self.data, self.items = None, (), False, b"", ()

    def __setstate__(self, state: Any) -> None:
        _version, shape, self.type, self.fortran, data = state
        self.shape = tuple(shape)
        if isinstance(data, list):
            self.items = tuple(data)
        else:
            self.data = data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))

    def array(self) -> np.ndarray:
        """The array itself, in C order."""
        if not isinstance(self.type, _Type) or not all(type(n) is int and n >= 0 for n in self.shape):
            raise ValueError("an array without type or shape")
        dtype = self.type.dtype()
        if math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise ValueError(f"an array {dtype}{self.shape} of {len(self.data)} bytes")
        array = np.frombuffer(self.data, dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(array.astype(dtype.newbyteorder("="))).reshape(self.shape)


def _scalar(kind: Any, data: Any = b"") -> _Array:
    array = _Array()
    array.__setstate__((1, (), kind, False, data))
    return array


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "bytes"):
        raise ValueError("bytes in an encoding that NumPy does not write")
    return text.encode("latin1")


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
