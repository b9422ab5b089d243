"""The course of a transfer for TensorBoard: losses and previews in an event file, written while it runs.

The file is made by tensorboardX, of the extra `tensorboard`. Its events are written at once, not by its
`SummaryWriter`, whose thread would end at a full disk and let the transfer wait for it for ever.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jpst import image, outputs
from jpst.errors import JpstError
from jpst.story import Progress

PICTURES = 20
"""so many previews, if nothing else is asked for"""
FLUSHED_EVERY = 2.0  # seconds: TensorBoard looks for news every 5


def check() -> None:
    """Raises `JpstError` if tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise JpstError('--tensorboard needs tensorboardX. Install it: pip install "jpst[tensorboard]".') from None


@contextmanager
def written(
    folder: Path, steps: int, every: int, photograph: tuple[int, int], tell: Callable[[str], None]
) -> Iterator[Callable[[Progress], None]]:
    """Yields a function to call after each step: it writes the losses, and a preview every so often.

    Step n has the losses before the nth update. What an earlier run wrote to the folder is hidden from the first step
    of this one on. A file that cannot be written never ends the transfer.

    Args:
      folder: takes the event file.
      steps: of the whole transfer.
      every: steps between two previews; 0 for about `PICTURES` of them.
      photograph: (height, width) of the content.
      tell: called with a sentence if the file cannot be written.

    Raises:
      JpstError: tensorboardX is not installed, or the folder cannot be made.
    """
    check()
    outputs.make_folder(folder)
    every = every or max(1, steps // PICTURES)
    file: _Events | None = None
    broken = False

    def write(now: Progress) -> None:
        nonlocal file, broken
        if broken:
            return
        try:
            file = file or _Events(folder, now.step - now.chunk + 1)
            file.losses(now)
            if outputs.due(now, every) or now.step == steps:
                file.picture(now.step, outputs.preview(now, photograph))
            file.flush()
        except OSError as error:
            broken = True
            tell(f"{folder}: no more is written for TensorBoard ({error.strerror or error}).")

    try:
        yield write
    finally:
        if file:
            file.close()


class _Events:
    """An event file of the steps from `first` on."""

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2

        protos: Any = event_pb2
        self._event, status = protos.Event, protos.SessionLog
        name = f"events.out.tfevents.{time.time():.6f}"  # files are read in the order of their names
        self._file = RecordWriter(str(folder.resolve() / name))  # resolved: "s3:" at the start would be a server
        self._due = 0.0
        self._add(0, file_version="brain.Event:2")
        self._add(first, session_log=status(status=status.START))

    def losses(self, now: Progress) -> None:
        from tensorboardX import summary

        for term, values in now.history.items():
            for step, value in enumerate(values, now.step - now.chunk + 1):
                self._add(step, summary=summary.scalar(f"losses/{term}", value))

    def picture(self, step: int, pixels: np.ndarray) -> None:
        from tensorboardX import summary

        samples = image.quantised(pixels, np.uint8)
        self._add(step, summary=summary.image("preview", samples, dataformats="HWC"))

    def flush(self) -> None:
        if time.monotonic() >= self._due:
            self._file.flush()
            self._due = time.monotonic() + FLUSHED_EVERY

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def _add(self, step: int, **what: Any) -> None:
        self._file.write(self._event(wall_time=time.time(), step=step, **what).SerializeToString())
