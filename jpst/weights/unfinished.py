"""Files that are being written: under another name until they are whole, and gone if they never are.

What a killed process could not remove itself, `remove_leftovers` does.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from jpst.weights.tensors import CheckpointError

_STALE = 24 * 3600  # seconds without a change after which an unfinished file is dead, whosever it is


class _Ended(BaseException):
    """SIGTERM or SIGHUP came."""


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` at the end; an exception leaves what was there before."""
    part = target.with_name(f"{target.name}{_mark()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def scratch(folder: Path, prefix: str = "fetch-") -> Iterator[Path]:
    """A folder inside `folder` that is gone at the end; `prefix` begins its name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=prefix, suffix=_mark(), dir=folder))
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> CheckpointError:
    """The error for a file or folder that cannot be made."""
    return CheckpointError(
        f"{path}: could not be written ({error}); expected a folder with room for it: set JPST_CHECKPOINTS to one."
    )


def remove_leftovers(folder: Path, patterns: Sequence[str] = ("*.part", "*/*.part")) -> None:
    """Removes what ended processes left in `folder` under names of these patterns; what cannot be removed stays."""
    with suppress(OSError):
        for path in filter(_left_over, [each for pattern in patterns for each in folder.glob(pattern)]):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _mark() -> str:
    """The end of the names of what this process has not finished: which process of which computer it is."""
    return f".{os.getpid()}@{_computer()}.part"


def _computer() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())


def _left_over(path: Path) -> bool:
    found = re.fullmatch(r".+\.(\d{1,9})(?:@([A-Za-z0-9-]*))?\.part", path.name)
    if not found:
        return False
    # A file without a computer is of an older version of ours.
    here = found[2] in (None, _computer()) and os.name == "posix"
    with suppress(OSError):
        return (here and not _running(int(found[1]))) or time.time() - path.stat().st_mtime > _STALE
    return False


def _running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP inside end the block as Ctrl-C does, so that it cleans up, and then the program."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Only the main thread may; who has a handler already has plans of his own.
    signals = [each for name in names if signal.getsignal(each := getattr(signal, name)) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        signals = []

    def end(number: int, _frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    for each in signals:
        signal.signal(each, end)
    ended = None
    try:
        yield
    except _Ended as error:
        ended = error.args[0]
    finally:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
    if ended:
        signal.raise_signal(ended)
