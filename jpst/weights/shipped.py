"""The small networks that come with the package: their files, one .npz of half-precision numbers each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jpst import weights
from jpst.models import aesthetic_head as aesthetic_heads
from jpst.models import scene_head as scene_heads
from jpst.weights import CheckpointError, Loaded, Provenance, readers
from jpst.weights.downloads import digest
from jpst.weights.unfinished import replacing

TemplateOf = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
"""from a file's arrays under their paths to the shapes and types that the variables must have"""

_PROVENANCE = "provenance/"


def file(name: str) -> Traversable:
    """Where the network of this name lies in the package."""
    return resources.files("jpst").joinpath(f"data/{name.replace('-', '_')}.npz")


def load(name: str, template_of: TemplateOf) -> Loaded:
    """The network of this name: variables of the template's shapes as float32, and provenance.

    Raises:
      CheckpointError: the package lacks the file, or it does not fit.
    """
    if not file(name).is_file():
        raise CheckpointError(f"{name}: there is no {file(name)}, which is part of the package: install jpst again.")
    with resources.as_file(file(name)) as path:
        return read(path, name, template_of)


def read(path: Path, name: str, template_of: TemplateOf) -> Loaded:
    """Variables from a file that `save` wrote.

    Raises:
      CheckpointError: the file is damaged, or another network's.
    """
    found = {key: value for key, value in readers.read(path).items() if not key.startswith(_PROVENANCE)}
    variables = weights.merge(template_of(found), found, source=path)
    return Loaded(jax.tree.map(jnp.asarray, variables), Provenance(name, digest((path,), "sha256")))


def scene_head(path: Path | None = None) -> Loaded:
    """The scene head that comes with the package, or one from a file that `save` wrote."""
    return _loaded(path, scene_heads.NAME, lambda _: scene_heads.template())


def aesthetic_head(path: Path | None = None) -> Loaded:
    """The aesthetic head that comes with the package, or one from a file that `save` wrote."""
    return _loaded(path, aesthetic_heads.NAME, aesthetic_heads.template_of)


def _loaded(path: Path | None, name: str, template_of: TemplateOf) -> Loaded:
    return load(name, template_of) if path is None else read(path, name, template_of)


def save(path: Path, name: str, variables: Mapping[str, Any]) -> None:
    """Writes variables as float16."""
    flat = flatten_dict(dict(variables), sep="/")
    found: dict[str, Any] = {key: np.asarray(value, np.float16) for key, value in flat.items()}
    found |= {f"{_PROVENANCE}network": np.str_(name), f"{_PROVENANCE}name": np.str_(name)}
    with replacing(path) as out:
        np.savez_compressed(out, **found)
