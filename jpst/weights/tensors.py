"""What every reader of checkpoint files gives back, what a file may hold, and the one error that all of them raise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jpst.errors import CheckpointError as CheckpointError

Tensors = dict[str, np.ndarray]
"""Arrays by the name that the file gives them."""

MOST_BYTES = 3 << 29
"""What the tensors of one file may unfold to: 1.5 GiB. The largest published file of a network here has 0.6 GB."""
MOST_TENSORS = 10_000
MOST_AXES = 64
"""NumPy's own limit."""
LONGEST_NAME = 1024
_FREELY = 1 << 28  # bytes that a file of any size may unfold to: zeros compress a thousandfold ...
_FOLD = 20  # ... but trained weights hardly at all, so beyond that a file gives no more than this for each of its own
_LONGEST_REASON = 300


class Room:
    """What a file of `size` bytes may still unfold to. It is asked before a tensor is read or allocated."""

    def __init__(self, path: str | Path, size: int) -> None:
        self._path = path
        self._most = self._bytes = min(MOST_BYTES, _FREELY + _FOLD * size)
        self._tensors = MOST_TENSORS

    def take(self, name: str, shape: Sequence[int], itemsize: int) -> None:
        """Sets a tensor's bytes aside; a CheckpointError where they, or the tensors, are too many."""
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"{name[:40]!r} is no name of a tensor")
        if len(shape) > MOST_AXES or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"{name}: no shape of a tensor")
        self._tensors -= 1
        self._bytes -= math.prod(shape) * itemsize
        if self._tensors < 0 or self._bytes < 0:
            raise CheckpointError(
                f"{self._path}: got tensors that unfold to more than a checkpoint of its size holds (at {name} "
                f"{tuple(shape)}, of at most {MOST_TENSORS} tensors and {self._most >> 20} MiB); expected a file of "
                "one network's weights."
            )


def whole(path: str | Path) -> bytes:
    """A file's content; a CheckpointError where the file is larger than its tensors may be."""
    small_enough(path)
    return Path(path).read_bytes()


def small_enough(path: str | Path) -> int:
    """The size of a file that is to be read whole; a CheckpointError where it is larger than its tensors may be."""
    size = Path(path).stat().st_size
    if size > MOST_BYTES:
        raise CheckpointError(
            f"{path}: got a file of {size >> 20} MiB, where at most {MOST_BYTES >> 20} MiB are read; expected a "
            "file of one network's weights."
        )
    return size


@contextmanager
def damage_explained(path: str | Path, kind: str) -> Iterator[None]:
    """Whatever a parser stumbles over in a damaged or hostile file becomes one CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if len(reason) > _LONGEST_REASON:
            reason = f"{reason[:_LONGEST_REASON]} ..."
        raise CheckpointError(
            f"{path}: got {kind} that is truncated or damaged ({reason}); expected the whole file: "
            "delete it and fetch it again."
        ) from error
