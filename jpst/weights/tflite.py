"""TensorFlow Lite models -> their constant tensors in floating point, without TensorFlow.

A model is a FlatBuffer: tables whose fields lie at offsets that a table of offsets tells, all of it in one piece.
Formats: flatbuffers.dev/internals and tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpst.weights.tensors import (
    LONGEST_NAME,
    MOST_AXES,
    MOST_TENSORS,
    CheckpointError,
    Room,
    Tensors,
    damage_explained,
    whole,
)

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of a file."""

_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "<u1", 4: "<i8", 7: "<i2", 9: "<i1", 10: "<f8"}
_BYTES = {3: (0, 255), 9: (-128, 127)}  # types of 8 bits, and what they reach
_ADD, _DEQUANTIZE = 0, 6
_WEIGHTED = {3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED"}  # inputs: data, weights, bias
_ROLES = {1: "weights", 2: "bias"}
_MOST_FIELDS = 32  # that are looked at; the tables of the format have fewer
_REPEATED = 4  # constants may share their bytes, but not without end


def read_tflite(path: str | Path) -> Tensors:
    """Constants of a model's first graph, in the order of the graph, quantised ones as float32 values.

    Converters give constants names without meaning, and operators' outputs those of the layers. So weights and bias
    of a convolution or dense layer come back as `OUTPUT/weights` and `OUTPUT/bias`; other constants keep their
    names. Layouts stay the file's: [out, height, width, in], depthwise [1, height, width, channels], dense [out, in].
    Where the output of such a layer, or of an addition, is stored in 8 bits, `OUTPUT/range` [2] tells the lowest and
    highest value that it can have.
    """
    with damage_explained(path, "a TensorFlow Lite model"):
        data = whole(path)
        root = _Table(data, _unsigned(data, 0))
        graph = root.tables(2)[0]
        codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
        tensors = [_Constant.of(table, data) for table in graph.tables(0)]
        operators = [
            _Operator(codes[table.number(0, "I")], *map(table.vector, (1, 2), "ii")) for table in graph.tables(3)
        ]
        named = _named(tensors, operators)
        if sum(len(tensor.bytes) for tensor in named.values()) > _REPEATED * len(data):
            raise ValueError("constants that repeat the same bytes over and over")
        room = Room(path, len(data))
        for name, tensor in named.items():
            room.take(name, tensor.shape, 4 if tensor.scale.size else tensor.dtype(path).itemsize)
        return {name: tensor.values(path) for name, tensor in named.items()} | _ranges(tensors, operators)


class _Operator(NamedTuple):
    code: int
    inputs: np.ndarray
    outputs: np.ndarray


class _Constant(NamedTuple):
    """A tensor of the graph; `bytes` is empty where it is computed. value = scale * (stored - zero)."""

    name: str
    kind: int
    shape: tuple[int, ...]
    bytes: memoryview
    scale: np.ndarray
    zero: np.ndarray
    axis: int

    @staticmethod
    def of(table: _Table, data: bytes) -> _Constant:
        buffers = _Table(data, _unsigned(data, 0)).field(4)
        buffer = _Table(data, _pointed(data, _element(data, buffers, table.number(2, "I"))))
        quantisation, sides = table.table(4), table.vector(0, "i")
        scale, zero, axis = np.empty(0, "<f4"), np.empty(0, "<i8"), 0
        if quantisation:
            scale, zero, axis = quantisation.vector(2, "f"), quantisation.vector(3, "q"), quantisation.number(6, "i")
        shape = tuple(sides[: MOST_AXES + 1].tolist())
        return _Constant(table.text(3), table.number(1, "b"), shape, buffer.raw(0), scale, zero, axis)

    def dtype(self, path: str | Path) -> np.dtype:
        """Of the numbers as stored."""
        if self.kind not in _DTYPES:
            raise CheckpointError(f"{path}: {self.name} has the tensor type {self.kind}; expected a type of {_DTYPES}.")
        return np.dtype(_DTYPES[self.kind])

    def values(self, path: str | Path) -> np.ndarray:
        stored = np.frombuffer(self.bytes, self.dtype(path))
        if math.prod(self.shape) != stored.size:
            raise ValueError(f"{self.name}: {self.shape} of {stored.size} values")
        stored = stored.reshape(self.shape)
        if not self.scale.size:
            return stored.copy()
        along = [1] * stored.ndim
        if self.scale.size > 1:
            along[self.axis] = stored.shape[self.axis]
        zero = self.zero if self.zero.size else np.zeros_like(self.scale)
        scale, zero = (each.astype(np.float32).reshape(along) for each in (self.scale, zero))
        with np.errstate(all="ignore"):  # numbers that overflow are refused where a network takes them
            return scale * (stored.astype(np.float32) - zero)


def _named(tensors: list[_Constant], operators: list[_Operator]) -> dict[str, _Constant]:
    """The constants by the names that `read_tflite` promises."""
    halves = {int(each.outputs[0]): int(each.inputs[0]) for each in operators if each.code == _DEQUANTIZE}
    named: dict[str, _Constant] = {}
    taken: set[int] = set()
    for operator in operators:
        if operator.code in _WEIGHTED:
            for position, role in _ROLES.items():
                index = int(operator.inputs[position]) if position < len(operator.inputs) else -1
                index = halves.get(index, index)
                if index >= 0 and tensors[index].bytes:
                    named[f"{tensors[operator.outputs[0]].name}/{role}"] = tensors[index]
                    taken.add(index)
    rest = {each.name: each for index, each in enumerate(tensors) if each.bytes and index not in taken}
    return named | rest


def _ranges(tensors: list[_Constant], operators: list[_Operator]) -> dict[str, np.ndarray]:
    """Of the outputs that are stored in 8 bits, the lowest and the highest value."""
    weighted = [tensors[each.outputs[0]] for each in operators if each.code in (_ADD, *_WEIGHTED)]
    return {
        f"{output.name}/range": _range(output)
        for output in weighted
        if output.kind in _BYTES and len(output.scale) == 1
    }


def _range(output: _Constant) -> np.ndarray:
    zero = output.zero if output.zero.size else np.zeros(1)
    with np.errstate(all="ignore"):  # as in `values`
        return (output.scale * (np.array(_BYTES[output.kind]) - zero)).astype(np.float32)


class _Table:
    """One table of a FlatBuffer at `start`. Fields are counted from 0; an absent one is 0 or empty."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.start = data, start
        offsets = start - _unpacked(data, "i", start)[0]
        (size, _) = _unpacked(data, "2H", offsets)
        fields = min(size // 2 - 2, _MOST_FIELDS)
        self.offsets = _unpacked(data, f"{fields}H", offsets + 4) if fields > 0 else ()

    def field(self, number: int) -> int:
        """Where a field lies; for a vector, string or table, where that begins. 0 where it is absent."""
        return self._at(number) and _pointed(self.data, self._at(number))

    def _at(self, number: int) -> int:
        offset = self.offsets[number] if number < len(self.offsets) else 0
        return offset and self.start + offset

    def number(self, number: int, kind: str) -> int:
        at = self._at(number)
        return _unpacked(self.data, kind, at)[0] if at else 0

    def vector(self, number: int, kind: str) -> np.ndarray:
        """The numbers where they lie: any number of tables may share them."""
        at = self.field(number)
        return np.frombuffer(self.data, f"<{kind}", _unsigned(self.data, at) if at else 0, at + 4)

    def raw(self, number: int) -> memoryview:
        at = self.field(number)
        size = _unsigned(self.data, at) if at else 0
        if at + 4 + size > len(self.data):
            raise ValueError(f"{size} bytes beyond the end")
        return memoryview(self.data)[at + 4 : at + 4 + size] if at else memoryview(b"")

    def text(self, number: int) -> str:
        raw = self.raw(number)
        if len(raw) > LONGEST_NAME:
            raise ValueError("an endless name")
        return bytes(raw).decode()

    def table(self, number: int) -> _Table | None:
        at = self.field(number)
        return _Table(self.data, at) if at else None

    def tables(self, number: int) -> list[_Table]:
        at = self.field(number)
        return [_Table(self.data, position) for position in _elements(self.data, at)] if at else []


def _elements(data: bytes, vector: int) -> Iterator[int]:
    if _unsigned(data, vector) > MOST_TENSORS:
        raise ValueError(f"more than {MOST_TENSORS} entries")
    for index in range(_unsigned(data, vector)):
        yield _pointed(data, _element(data, vector, index))


def _element(data: bytes, vector: int, index: int) -> int:
    if index >= _unsigned(data, vector):
        raise ValueError(f"entry {index} of {_unsigned(data, vector)}")
    return vector + 4 + 4 * index


def _pointed(data: bytes, at: int) -> int:
    return at + _unsigned(data, at)


def _unsigned(data: bytes, at: int) -> int:
    return _unpacked(data, "I", at)[0]


def _unpacked(data: bytes, kind: str, at: int) -> tuple[Any, ...]:
    if at < 0:  # which struct would count from the end
        raise ValueError(f"an offset of {at}")
    return struct.unpack_from(f"<{kind}", data, at)
