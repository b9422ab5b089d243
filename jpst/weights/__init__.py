"""Checkpoint files to Flax variables: recognised, checked, renamed, transposed and strictly merged.

`networks` says what the variables of each network look like and how each family of files names them. Colour order,
scale and offset belong to the weights: they are loaded as the collection `preprocessing`, and the input channels of the
first kernel are reversed where the file's are BGR, so that every network takes RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jpst.weights import networks, readers
from jpst.weights.checkpoint import Checkpoint
from jpst.weights.downloads import check, digest, directory, fetch
from jpst.weights.readers import CheckpointError, Tensors
from jpst.weights.registry import AUTOMATIC, REGISTRY, licences
from jpst.weights.tables import converted, recognised
from jpst.weights.unfinished import replacing

__all__ = [
    "REGISTRY",
    "CheckpointError",
    "convert",
    "directory",
    "fetch",
    "find",
    "keep",
    "kept",
    "licences",
    "listing",
    "load",
]
__all__ += ["merge", "verify"]

_memory: dict[Hashable, Loaded] | None = None


class Provenance(NamedTuple):
    """Which file variables came from: its registered name, or else its file name.

    Where a checkpoint has several files, the hash is that of all their bytes, one file after the other.
    """

    name: str
    sha256: str


class Loaded(NamedTuple):
    variables: dict[str, Any]
    provenance: Provenance


class Found(NamedTuple):
    checkpoint: Checkpoint
    path: Path


class Row(NamedTuple):
    """One checkpoint of the registry; `path` is None where it is absent, `size` (bytes) where unknown."""

    name: str
    network: str
    path: Path | None
    size: int | None
    licence: str
    source: str


def find(network: str) -> Found | None:
    """The first file of a network, in the registry's order, that is present in `directory()`."""
    networks.network(network)
    for checkpoint in REGISTRY.values():
        if checkpoint.network == network and (paths := _present(checkpoint)):
            return Found(checkpoint, paths[0])
    return None


def keep() -> None:
    """From now on networks stay in memory once they are loaded: for a process that makes many transfers."""
    global _memory
    _memory = {} if _memory is None else _memory


def kept(key: Hashable, load: Callable[[], Loaded]) -> Loaded:
    """What `load` returns; after `keep`, what it returned the first time for this key."""
    if _memory is None:
        return load()
    if key not in _memory:
        _memory[key] = load()
    return _memory[key]


def load(network: str, path: str | Path | None = None) -> Loaded:
    """Variables `{'params': ..., 'preprocessing': {'scale': [3], 'offset': [3]}}` and their provenance.

    From `path`: a file, or folder of files, of any supported format and family. Without it: the one that `find`
    finds, its hash checked where one is published, or else a fetched one where `AUTOMATIC` allows it. Some networks
    have further collections, such as `batch_stats`.
    """
    return kept((network, path and str(path)), lambda: _load(network, path))


def _load(network: str, path: str | Path | None) -> Loaded:
    if path is None:
        path = _present_or_fetched(network)
        _check_published(path)
    path = Path(path)
    tensors = readers.read(path)
    variables = _variables(network, tensors, path)
    return Loaded(jax.device_put(variables), _provenance(path, tensors))


def convert(path: str | Path, network: str, out: str | Path) -> Path:
    """Writes any readable checkpoint of a network as our own .npz: the variables by path, and provenance."""
    path, out = Path(path), Path(out)
    tensors = readers.read(path)
    arrays = _flat(_variables(network, tensors, path))
    provenance = {"network": network, **_provenance(path, tensors)._asdict()}
    arrays |= {f"{_PROVENANCE}{key}": np.asarray(value) for key, value in provenance.items()}
    with replacing(out) as file:
        np.savez(file, allow_pickle=False, **arrays)
    return out


def verify() -> list[tuple[str, str]]:
    """(file name, 'ok' or what is wrong with it) of every registered checkpoint in `directory()`."""
    return [(path.name, _status(checkpoint, path)) for checkpoint in REGISTRY.values() for path in _present(checkpoint)]


def listing() -> list[Row]:
    """Every checkpoint of the registry, present or not."""
    rows = []
    for checkpoint in REGISTRY.values():
        path = next(iter(_present(checkpoint)), None)
        size = _size(path) if path else checkpoint.size
        licence = f"{checkpoint.licence} ({checkpoint.licence_source})"
        source = f"{checkpoint.filename} ({checkpoint.sources[0]})"
        rows.append(Row(checkpoint.name, checkpoint.network, path, size, licence, source))
    return rows


def merge(expected: Mapping[str, Any], found: Mapping[str, Any], *, source: str | Path) -> dict[str, Any]:
    """`found` as nested arrays with the types of `expected`, or one CheckpointError with every difference.

    Both are nested dicts, or flat ones with '/' in their keys; `expected` may come from `jax.eval_shape`.
    """
    wanted, have = _flat(expected), _flat(found)
    problems = [f"  - {path} {spec.shape}" for path, spec in wanted.items() if path not in have]
    problems += [f"  + {path} {tensor.shape}" for path, tensor in have.items() if path not in wanted]
    problems += [
        f"  ! {path} got {misfit}, expected {spec.dtype} {spec.shape}"
        for path, spec in wanted.items()
        if path in have and (misfit := _misfit(have[path], spec))
    ]
    if problems:
        lines = "\n".join(problems)
        raise CheckpointError(f"{source}: does not fit (- missing, + surplus, ! differs):\n{lines}")
    merged = {path: np.asarray(have[path], dtype=spec.dtype) for path, spec in wanted.items()}
    return unflatten_dict(merged, sep="/")


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return dict(flatten_dict(dict(tree), sep="/"))


def _misfit(tensor: Any, spec: Any) -> str | None:
    """What a tensor is, where it does not fit its place."""
    found = f"{tensor.dtype} {tensor.shape}"
    # Whole numbers where fractions belong are indices or 8-bit codes; taken as they are, they run silently.
    kind = jnp.floating if jnp.issubdtype(spec.dtype, jnp.floating) else jnp.integer
    if tensor.shape != spec.shape or not jnp.issubdtype(tensor.dtype, kind):
        return found
    with np.errstate(all="ignore"):
        odd = np.size(tensor) - np.isfinite(np.asarray(tensor, dtype=spec.dtype)).sum()
        why = "NaN or infinite" if not np.isfinite(tensor).all() else f"too large for {spec.dtype}"
    return f"{found} with {odd} values that are {why}" if odd else None


_PROVENANCE = "provenance/"


def _present(checkpoint: Checkpoint) -> list[Path]:
    """A checkpoint's files in `directory()`: as published, and as converted by us."""
    names = (checkpoint.filename, f"{checkpoint.name}.npz")
    try:
        return [path for name in names if (path := directory() / name).exists()]
    except OSError as error:
        raise CheckpointError(
            f"{directory()}: could not be looked into ({error}); expected a folder for network weights: set "
            "JPST_CHECKPOINTS to one."
        ) from error


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))


def _present_or_fetched(network: str) -> Path:
    if found := find(network):
        return found.path
    if network in AUTOMATIC:
        return fetch(network)
    names = ", ".join(checkpoint.name for checkpoint in REGISTRY.values() if checkpoint.network == network)
    raise CheckpointError(
        f"{network}: there are no weights in {directory()}; expected one of {names}: get them with "
        "`jpst weights fetch NAME`."
    )


def _check_published(path: Path) -> None:
    for checkpoint in REGISTRY.values():
        if checkpoint.filename == path.name and checkpoint.hash:
            check(path, checkpoint.hash)


def _status(checkpoint: Checkpoint, path: Path) -> str:
    try:
        _check_published(path)
        # Where nobody published a hash, that every tensor is there and fits is the next best.
        if path.name != checkpoint.filename or not checkpoint.hash:
            _variables(checkpoint.network, readers.read(path), path)
    except CheckpointError as error:
        return str(error)
    return "ok"


def _variables(network: str, tensors: Tensors, source: Path) -> dict[str, Any]:
    """The strictly merged NumPy variables of a network from the tensors of a file."""
    known = networks.network(network)
    if f"{_PROVENANCE}network" not in tensors:
        found = converted(recognised(known.tables, network, tensors, source), tensors, source)
    elif (theirs := _note(tensors, "network")) == network:
        found = {name: tensor for name, tensor in tensors.items() if not name.startswith(_PROVENANCE)}
    else:
        raise CheckpointError(f"{source}: got weights of {theirs}; expected weights of {network}.")
    expected = known.template_of(found)
    return merge(expected, found, source=source)


def _note(tensors: Tensors, kind: str) -> str:
    """A text of ours in a file of ours; what somebody else put there, as one short line."""
    return " ".join(str(tensors[f"{_PROVENANCE}{kind}"]).split())[:200]


def _provenance(path: Path, tensors: Tensors) -> Provenance:
    parts = readers.files(path)
    sha256 = digest(parts, "sha256")
    if f"{_PROVENANCE}name" in tensors:
        return Provenance(_note(tensors, "name"), sha256)
    for checkpoint in REGISTRY.values():
        if checkpoint.hash and checkpoint.size in (None, sum(part.stat().st_size for part in parts)):
            algorithm, published = checkpoint.hash.algorithm, checkpoint.hash.hexdigest
            if (sha256 if algorithm == "sha256" else digest(parts, algorithm)).startswith(published):
                return Provenance(checkpoint.name, sha256)
    return Provenance(path.name, sha256)
