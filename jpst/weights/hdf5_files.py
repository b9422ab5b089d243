"""HDF5 files and Keras 3's archives of them -> the numeric datasets in them."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jpst.weights.tensors import MOST_TENSORS, CheckpointError, Room, Tensors, damage_explained
from jpst.weights.zip_members import read_member

KERAS_WEIGHTS = "model.weights.h5"
"""The member of a `.keras` archive that holds the weights."""
_MOST_CHUNKS = 100_000  # of all datasets; each is looked up by itself, the absent ones too
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_COMPRESSION = {_DEFLATE, _LZF}
_FILTERS = {_SHUFFLE, _FLETCHER, *_COMPRESSION}
_CHECKSUM = 4  # bytes that _FLETCHER adds


def read_hdf5(path: str | Path) -> Tensors:
    """Datasets of an HDF5 file by path, in the order of Keras' `layer_names` and `weight_names`.

    A whole Keras model keeps its weights in the group `model_weights`; names are relative to that group, so
    both layouts read alike and the optimiser's state stays behind. Keras 3 files variables by the class of their
    layer and notes the layer's name beside them: those come back as `LAYER/vars/N`, without the state of the
    optimiser and of generators of random numbers.
    """
    import h5py

    with damage_explained(path, "an HDF5 file"), h5py.File(path, "r") as file:
        return _tensors(file, path, Path(path).stat().st_size)


def read_keras(path: str | Path) -> Tensors:
    """The weights of a `.keras` archive, named as `read_hdf5` names them."""
    import h5py

    with damage_explained(path, "a Keras archive"), zipfile.ZipFile(path) as archive:
        member, size = archive.getinfo(KERAS_WEIGHTS), Path(path).stat().st_size
        Room(path, size).take(KERAS_WEIGHTS, (member.file_size,), 1)
        with h5py.File(io.BytesIO(read_member(archive, member)), "r") as file:
            return _tensors(file, path, size)


def _tensors(file: Any, path: str | Path, size: int) -> Tensors:
    root = _own_group(file, "model_weights") or file
    places = _places(root, path, Room(path, size))
    order = [name for name in _keras_order(root) if name in places]
    return {name: _values(root[places[name]]) for name in dict.fromkeys([*order, *places])}


def _places(root: Any, path: str | Path, room: Room) -> dict[str, str]:
    """Where the numeric datasets inside the file are, by name; `visititems` follows neither soft nor external links."""
    import h5py

    places: dict[str, str] = {}
    chunks = 0

    def visit(place: str, item: Any) -> None:
        nonlocal chunks
        if not isinstance(item, h5py.Dataset) or not _numeric(item) or _state(place):
            return
        # External and virtual datasets take their bytes from other files of the reader's disk.
        if item.external or item.is_virtual:
            raise CheckpointError(f"{path}: dataset {place} lies in another file; refused.")
        name = _keras_3_name(place, item) or place
        # A chunk may be larger than its dataset, and is read whole.
        room.take(name, max(item.shape, item.chunks or (), key=math.prod), item.dtype.itemsize)
        chunks += _chunks(item)
        if chunks > _MOST_CHUNKS or name in places:
            raise ValueError(f"more than {_MOST_CHUNKS} chunks, or {name} twice")
        places[name] = place

    root.visititems(visit)
    return places


def _numeric(dataset: Any) -> bool:
    return dataset.shape is not None and (dataset.dtype.kind in "fiubc" or _brain(dataset))


def _brain(dataset: Any) -> bool:
    """Whether it holds bfloat16 as Keras keeps them: as two bytes without a type, which stands beside them."""
    dtype = dataset.dtype
    return dtype.kind == "V" and dtype.itemsize == 2 and str(dataset.attrs.get("dtype")) == "bfloat16"


def _state(place: str) -> bool:
    """Whether Keras 3 keeps there what only training uses."""
    *above, group, _number = ["", "", *place.split("/")]
    return group == "vars" and (above[-1] == "seed_generator" or place.startswith("optimizer/"))


def _values(dataset: Any) -> np.ndarray:
    _check_chunks(dataset)
    values = dataset[()]
    return values.view(ml_dtypes.bfloat16) if _brain(dataset) else values


def _chunks(dataset: Any) -> int:
    """How many chunks the dataset is made of, the absent ones included."""
    sides = dataset.chunks or dataset.shape
    return math.prod(-(-side // chunk) for side, chunk in zip(dataset.shape, sides, strict=True) if chunk)


def _check_chunks(dataset: Any) -> None:
    """Refuses compressed chunks that hold more than they should: HDF5 would unfold them to the end all the same."""
    filters = dataset.id.get_create_plist()
    codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    if len(set(codes)) < len(codes) or not _FILTERS.issuperset(codes):
        raise ValueError(f"filters {codes}, which no weights are kept with")
    if not _COMPRESSION.intersection(codes):
        return
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + _CHECKSUM
    for i in range(dataset.id.get_num_chunks()):
        skipped, data = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(i).chunk_offset)
        gzip = _DEFLATE in codes and not skipped >> codes.index(_DEFLATE) & 1
        size = len(zlib.decompressobj().decompress(data, most + 1)) if gzip else len(data)
        if size > most:
            raise ValueError(f"a chunk of more than {most} bytes")


def _keras_3_name(path: str, dataset: Any) -> str | None:
    """`LAYER/vars/N` for `layers/CLASS_M/vars/N` whose group says which layer it is."""
    *_, group, number = ["", "", *path.split("/")]
    layer = dataset.parent.attrs.get("name") if group == "vars" else None
    return f"{layer}/vars/{number}" if isinstance(layer, str) else None


def _keras_order(root: Any) -> list[str]:
    text = lambda name: name.decode() if isinstance(name, bytes) else str(name)  # noqa: E731
    layers = [text(layer) for layer in root.attrs.get("layer_names", ())]
    return [
        f"{layer}/{text(weight)}"
        for layer in layers[:MOST_TENSORS]
        if (group := _own_group(root, layer))
        for weight in group.attrs.get("weight_names", ())
    ]


def _own_group(root: Any, name: str) -> Any:
    """A group of this very file; a link into another file is as good as none."""
    import h5py

    return root[name] if isinstance(root.get(name, getlink=True), h5py.HardLink) else None
