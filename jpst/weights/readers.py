"""Checkpoint files -> flat `{name: array}`, told apart by their content, never by their suffix.

No reader runs code from a file. Names stay as the file spells them; `weights` renames and checks them.

A further format is one function and one line in `_sniff`.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from jpst.weights.hdf5_files import KERAS_WEIGHTS, read_hdf5, read_keras
from jpst.weights.npy_files import read_npy, read_npz
from jpst.weights.tensors import CheckpointError, Room, Tensors, damage_explained, whole
from jpst.weights.tf_bundle import TABLE_MAGIC, data_files, read_tf_bundle
from jpst.weights.tflite import IDENTIFIER, read_tflite
from jpst.weights.torch_files import read_torch, read_torch_legacy

__all__ = ["FORMATS", "CheckpointError", "Tensors", "files", "read"]
__all__ += ["read_hdf5", "read_keras", "read_npy", "read_npz", "read_safetensors", "read_tf_bundle", "read_tflite"]
__all__ += ["read_torch", "read_torch_legacy"]

FORMATS = (
    "HDF5 (.h5), Keras (.weights.h5, .keras), NumPy .npz or .npy, PyTorch .pth (zip or older), .safetensors, "
    "TensorFlow (.index with its data), TensorFlow Lite .tflite"
)


def read(path: str | Path) -> Tensors:
    """All tensors of a checkpoint of any supported format, in the order the file keeps them.

    A TensorFlow checkpoint may be given by its folder, its prefix or any of its files; one that comes as
    `encoder_epoch_N.pth` and `decoder_epoch_N.pth` by either, or by its folder.
    """
    path = Path(path)
    try:
        tensors: Tensors = {}
        for part in _parts(path):
            tensors |= _sniff(part)(part)
        return tensors
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read ({error}).") from error


def files(path: str | Path) -> tuple[Path, ...]:
    """The files that `read` reads for a path, in order; a CheckpointError where there is none or one is missing."""
    parts = _parts(Path(path))
    return tuple(file for part in parts for file in (part, *(data_files(part) if part.suffix == ".index" else ())))


def _parts(path: Path) -> tuple[Path, ...]:
    """The files to give to a reader each."""
    if path.is_dir():
        path = _in_folder(path)
    if index := _index(path):
        return (index,)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; expected a checkpoint file: {FORMATS}.")
    if half := re.fullmatch(r"(encoder|decoder)(_epoch_\d+\.pth)", path.name):
        pair = tuple(path.with_name(f"{kind}{half[2]}") for kind in ("encoder", "decoder"))
        for part in pair:
            if not part.is_file():
                raise CheckpointError(f"{path}: got one half of a checkpoint; expected {part.name} beside it.")
        return pair
    return (path,)


def _index(path: Path) -> Path | None:
    """The index of a TensorFlow checkpoint given by its prefix, or by any of its files."""
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path.name)
    index = path.with_name(f"{prefix}.index")
    return index if index.is_file() and (prefix != path.name or not path.exists()) else None


def _in_folder(folder: Path) -> Path:
    """The one checkpoint of a folder: TensorFlow's latest or only one, or an encoder that has its decoder."""
    note = folder / "checkpoint"
    if note.is_file() and (latest := re.search(r'^model_checkpoint_path: "(.*)"', _beginning(note), re.M)):
        # The path is that of the machine it was trained on.
        return folder / re.split(r"[/\\]", latest[1])[-1]
    found = [*folder.glob("*.index"), *folder.glob("encoder_epoch_*.pth")]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)) or "no checkpoint that is known to come as a folder"
        raise CheckpointError(f"{folder}: got a folder with {names}; expected one checkpoint: {FORMATS}.")
    return found[0]


def _beginning(note: Path) -> str:
    with note.open("rb") as file:
        return file.read(1 << 16).decode("utf-8", "replace")


def read_safetensors(path: str | Path) -> Tensors:
    """Tensors of a safetensors file: an 8-byte header length, a JSON header, raw little-endian data."""
    with damage_explained(path, "a safetensors file"):
        content = whole(path)
        start = 8 + int.from_bytes(content[:8], "little")
        if start > _LONGEST_HEADER:
            raise ValueError(f"a header of {start} bytes")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        data, room, end = memoryview(content)[start:], Room(path, len(content)), 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if entry["dtype"] not in _SAFETENSORS_DTYPES:
                raise CheckpointError(
                    f"{path}: {name:.80} has the number type {entry['dtype']:.20}; expected one of "
                    f"{', '.join(_SAFETENSORS_DTYPES)}."
                )
            room.take(name, entry["shape"], np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]]).itemsize)
            begin, after = entry["data_offsets"]
            if begin < end:
                raise ValueError(f"{name} shares bytes with another tensor")
            end = after
        return {name: _safetensor(data, **entry) for name, entry in header.items()}


def _sniff(path: Path) -> Callable[[Path], Tensors]:
    """The reader for a file, from its first bytes (and from the member names of a zip)."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_hdf5
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    if head[4:8] == IDENTIFIER:
        return read_tflite
    if head.startswith(b"\x93NUMPY"):
        return read_npy
    if path.suffix == ".index" or _tail(path) == TABLE_MAGIC:
        return read_tf_bundle
    # Before pickles, as the length that it begins with may begin as they do; theirs would be longer than any file.
    if head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return read_safetensors
    if head[:1] == b"\x80":
        return read_torch_legacy
    raise CheckpointError(f"{path}: got {_described(head)}; expected one of {FORMATS}.")


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(TABLE_MAGIC), 0))
        return file.read()


def _sniff_zip(path: Path) -> Callable[[Path], Tensors]:
    with damage_explained(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.partition("/")[2] == "data.pkl" for name in names):
        return read_torch
    if KERAS_WEIGHTS in names:
        return read_keras
    if names and all(name.endswith(".npy") for name in names):
        return read_npz
    raise CheckpointError(f"{path}: got a zip archive of {names[:3]} ...; expected one of {FORMATS}.")


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


_SAFETENSORS_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I64": "<i8"}
_LONGEST_HEADER = 100_000_000  # as the format's own library has it
_SAFETENSORS_DTYPES |= {"I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "?"}


def _safetensor(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    begin, end = data_offsets
    kind = np.dtype(_SAFETENSORS_DTYPES[dtype])
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{dtype}{shape} at bytes {begin}..{end} of {len(data)}")
    return np.frombuffer(data[begin:end], kind).reshape(shape).copy()
