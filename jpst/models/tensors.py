"""What every reader of checkpoint files gives back, and the one error that all of them raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jpst.errors import JpstError

Tensors = dict[str, np.ndarray]
"""Arrays by the name that the file gives them."""


class CheckpointError(JpstError):
    """A weight file is missing, damaged, refused, or not the one that is needed."""


@contextmanager
def damage_explained(path: str | Path, kind: str) -> Iterator[None]:
    """Whatever a parser stumbles over in a damaged or hostile file becomes one CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path}: found {kind} that is truncated or damaged ({reason}); needed is the whole file: "
            "delete it and fetch it again."
        ) from error
