"""What a result depends on, in short: tells whether a record, or a state on disk, belongs to what is asked for."""

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jpst
from jpst.job import Job
from jpst.recipe import Hyperparameters, Recipe
from jpst.total import Networks


def of_files(inputs: Sequence[Path], recipe: Recipe, hyper: Hyperparameters, *choices: float) -> str:
    """A digest of the bytes of files, all settings, and the version of jpst.

    Raises:
      OSError: a file cannot be read.
    """
    settings = [repr(recipe), _plain(hyper), *choices, jpst.__version__]
    return hashlib.sha256(json.dumps([list(map(_of_file, inputs)), settings]).encode()).hexdigest()


def of_steps(job: Job, networks: Networks) -> dict[str, Any]:
    """All that the steps of a job depend on, by name, as JSON has it; arrays by their digests.

    The strength is not among them: it is applied afterwards.
    """
    matched = job.found.regions
    return {
        "content": _of_arrays(job.content.pixels, job.content.alpha),
        "style": _of_arrays(job.style.pixels, job.style.alpha),
        "regions": [_of_arrays(matched.content, matched.style), list(matched.names), matched.whole],
        "networks": _of_arrays(networks),
        **{name: repr(getattr(job.recipe, name)) for name in Recipe.__dataclass_fields__},
        **_plain(job.hyper),
        "seed": int(job.seed),
        "version of jpst": jpst.__version__,
        **{f"version of {name}": metadata.version(name) for name in ("jax", "jaxlib")},
        "backend": jax.default_backend(),  # which decides how many steps are one call
    }


def _plain(hyper: Hyperparameters) -> dict[str, float]:
    return {name: float(number) for name, number in hyper._asdict().items()}


def _of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_arrays(*trees: Any) -> str:
    """A digest of names, shapes and numbers of all arrays in pytrees."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
