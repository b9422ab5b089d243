"""TensorFlow checkpoints of format V2 ("tensor bundles") -> tensors, without TensorFlow.

`NAME.index` is a table of the LevelDB format: sorted keys, prefix-compressed, in checksummed blocks. Each value is a
protocol buffer that says where in `NAME.data-00000-of-00001` the tensor of that name lies.
Formats: github.com/google/leveldb/blob/main/doc/table_format.md and tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jpst.weights.crc32c import crc32c
from jpst.weights.tensors import LONGEST_NAME, MOST_TENSORS, CheckpointError, Room, Tensors, damage_explained, whole

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
"""The last eight bytes of a table."""

_FOOTER = 48
_TRAILER = 5  # how a block is compressed, and its checksum
_DTYPES: dict[int, Any] = {1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?"}
_DTYPES |= {14: ml_dtypes.bfloat16, 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8"}
_STRING = 7  # such as the graph of Python objects that TensorFlow 2 keeps beside the variables


def read_tf_bundle(path: str | Path) -> Tensors:
    """Numeric variables of a checkpoint given by its `.index` file, by name, checksums verified."""
    path = Path(path)
    with damage_explained(path, "a TensorFlow checkpoint index"):
        table = _table(whole(path), path)
        header = _message(dict(table)[b""])
        if isinstance(header.get(1, [0])[0], bytes):
            raise CheckpointError(
                f"{path}: got a TensorFlow checkpoint of the old format V1 (one file); expected V2 (.index and "
                ".data): restore and save it with TensorFlow 1.x (tf.train.Saver writes V2 since 1.0)."
            )
        if header.get(2, [0])[0]:
            raise CheckpointError(f"{path}: got big-endian data; save it again on a little-endian machine.")
        shards = header.get(1, [0])[0]
        entries = [(key.decode(), _message(value)) for key, value in table if key]
    with damage_explained(path, "a TensorFlow checkpoint"), _Shards(path, shards) as data:
        room = Room(path, sum(file.stat().st_size for file in (path, *data_files(path))))
        claims = [claim for name, entry in entries if (claim := _claim(path, name, entry, room))]
        return {claim.name: _tensor(claim, data) for claim in claims}


def data_files(index: Path) -> tuple[Path, ...]:
    """The files with the numbers of a checkpoint, those of `index.data-*` that are there."""
    return tuple(sorted(index.parent.glob(f"{_glob_safe(index.stem)}.data-*-of-*")))


def _glob_safe(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


class _Shards:
    """The data files, each mapped into memory when first asked for."""

    def __init__(self, index: Path, count: int) -> None:
        self._index, self._count = index, count
        self._mapped: dict[int, mmap.mmap] = {}

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_error: object) -> None:
        for mapped in self._mapped.values():
            mapped.close()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer raise."""
        if shard not in self._mapped:
            path = self._index.with_name(f"{self._index.stem}.data-{shard:05}-of-{self._count:05}")
            if not path.is_file():
                raise CheckpointError(
                    f"{self._index}: its data file {path.name} is missing; expected it beside this one."
                )
            with path.open("rb") as file:
                self._mapped[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        data = self._mapped[shard]
        if not 0 <= offset <= offset + size <= len(data):
            raise ValueError(f"bytes {offset}..{offset + size} of a data file of {len(data)}")
        return data[offset : offset + size]


class _Claim(NamedTuple):
    """What the index says of a variable."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    checksum: int | None


def _claim(path: Path, name: str, entry: dict[int, list[Any]], room: Room) -> _Claim | None:
    kind, shard, offset, size = (entry.get(field, [0])[0] for field in (1, 3, 4, 5))
    if kind == _STRING:
        return None
    if 7 in entry:
        raise CheckpointError(f"{path}: {name} is a variable in slices (partitioned); expected a checkpoint without.")
    if kind not in _DTYPES:
        raise CheckpointError(f"{path}: {name} is a variable of TensorFlow's type {kind}; expected plain numbers.")
    dtype = np.dtype(_DTYPES[kind])
    dimensions = _message(entry.get(2, [b""])[0]).get(2, [])
    shape = tuple(_message(dimension).get(1, [0])[0] for dimension in dimensions)
    room.take(name, shape, dtype.itemsize)
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name}: {dtype}{shape} in {size} bytes")
    return _Claim(name, dtype, shape, shard, offset, _unmasked(entry[6][0]) if 6 in entry else None)


def _tensor(claim: _Claim, data: _Shards) -> np.ndarray:
    raw = data.read(claim.shard, claim.offset, math.prod(claim.shape) * claim.dtype.itemsize)
    if claim.checksum not in (None, crc32c(raw)):
        raise ValueError(f"{claim.name}: wrong checksum")
    return np.frombuffer(raw, claim.dtype).reshape(claim.shape)


def _table(data: bytes, path: Path) -> list[tuple[bytes, bytes]]:
    """Keys and values of a whole table."""
    if data[-8:] != TABLE_MAGIC:
        raise ValueError("no end of a table")
    footer = data[-_FOOTER:]
    _metaindex_offset, at = _varint(footer, 0)
    _metaindex_size, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    pairs: list[tuple[bytes, bytes]] = []
    end = 0
    for _separator, handle in _entries(_block(data, offset, size, path)):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        if start < end:
            raise ValueError("blocks that share bytes")
        end = start + length
        pairs += _entries(_block(data, start, length, path))
        if len(pairs) > MOST_TENSORS:
            raise ValueError(f"more than {MOST_TENSORS} entries")
    return pairs


def _block(data: bytes, offset: int, size: int, path: Path) -> bytes:
    end = offset + size + _TRAILER
    if end > len(data):
        raise ValueError(f"a block at {offset}..{end} of {len(data)} bytes")
    compression, checksum = struct.unpack_from("<BI", data, offset + size)
    if _unmasked(checksum) != crc32c(data[offset : end - 4]):
        raise ValueError("a block with a wrong checksum")
    if compression:
        raise CheckpointError(
            f"{path}: got blocks compressed with {'Snappy' if compression == 1 else f'method {compression}'}; "
            "expected an index without compression, as TensorFlow's Saver writes it."
        )
    return data[offset : offset + size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each key repeats `shared` bytes of the one before; the offsets of whole keys follow the entries."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared + unshared > LONGEST_NAME:
            raise ValueError("an endless key")
        if shared > len(key) or at + unshared + length > end:
            raise ValueError("an entry beyond its block")
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        yield key, block[at - length : at]


def _message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer by number, as whole numbers or bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                value, at = struct.unpack_from("<Q", data, at)[0], at + 8
            case 2:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
            case 5:
                value, at = struct.unpack_from("<I", data, at)[0], at + 4
            case kind:
                raise ValueError(f"a field of kind {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    if at != len(data):
        raise ValueError("a field beyond its message")
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _unmasked(checksum: int) -> int:
    """LevelDB stores checksums rotated and shifted, so that a checksum over checksums stays a good one."""
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
