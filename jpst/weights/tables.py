"""How the files of a network name, lay out and preprocess its tensors, and their conversion to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from jpst.weights.readers import CheckpointError, Tensors

OIHW = (2, 3, 1, 0)
"""The transposition of PyTorch's convolution kernels to the HWIO of Flax."""


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint was trained on: `image * scale + offset` per channel, for RGB in [0, 1] (see `models.scaling`).

    `order` is the colour order of the input channels of the file's first kernel; scale and offset are given
    in RGB order whatever it is.
    """

    order: Literal["RGB", "BGR"]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class Rule:
    """A pattern, matched in full, of names in a file -> the path in our variables, and the transposition.

    The path is a template for the pattern's groups, or made from its match.
    """

    pattern: str
    path: str | Callable[[re.Match[str]], str]
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Table:
    """How one family of files names, lays out and preprocesses the tensors of a network.

    A file belongs to the first table with a rule for one of its names for which `when` holds. `prepare`
    rewrites tensors under their names in the file; names that match `ignore` are left out. `constants` are
    variables that every file of the family gets: where networks differ, their module keeps there which this is.
    """

    name: str
    rules: tuple[Rule, ...]
    preprocessing: Preprocessing
    first_kernel: str
    ignore: str = r"(?!)"
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    prepare: Callable[[Tensors], Tensors] = dict
    when: Callable[[Tensors], bool] = lambda _tensors: True


def recognised(tables: tuple[Table, ...], network: str, tensors: Tensors, source: Path) -> Table:
    """The table of a file; raises CheckpointError if none knows its names."""
    for table in tables:
        if any(_rule(table, name) for name in tensors) and table.when(tensors):
            return table
    seen = ", ".join(list(tensors)[:4]) or "no tensors"
    known = ", ".join(table.name for table in tables)
    raise CheckpointError(f"{source}: got {seen} ...; expected {network} weights as named by {known}.")


def _rule(table: Table, name: str) -> Rule | None:
    return next((rule for rule in table.rules if re.fullmatch(rule.pattern, name)), None)


def converted(table: Table, tensors: Tensors, source: Path) -> Tensors:
    """Our names and layouts, and the preprocessing; a name without a rule stays, for `merge` to refuse."""
    found: Tensors = {
        "preprocessing/scale": np.asarray(table.preprocessing.scale),
        "preprocessing/offset": np.asarray(table.preprocessing.offset),
        **table.constants,
    }
    for name, tensor in table.prepare(tensors).items():
        rule = _rule(table, name)
        path = re.sub(rule.pattern, rule.path, name) if rule else name
        if path in found:
            raise CheckpointError(f"{source}: got two tensors for {path}, the second is {name}; expected one.")
        if rule:
            found[path] = _laid_out(
                tensor, rule, flip=path == table.first_kernel and table.preprocessing.order == "BGR"
            )
        elif not re.fullmatch(table.ignore, name):
            found[name] = tensor
    return found


def _laid_out(tensor: np.ndarray, rule: Rule, flip: bool) -> np.ndarray:
    """The tensor in our layout; one with the wrong number of axes stays, for `merge` to refuse."""
    if rule.axes and tensor.ndim == len(rule.axes):
        tensor = tensor.transpose(rule.axes)
    return np.flip(tensor, axis=-2) if flip and tensor.ndim > 1 else tensor
