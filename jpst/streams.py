"""What commands say, as text or strict JSON: an encoding that lacks a letter, or a reader who has left, ends no job."""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def forgiving(command: Callable[..., None]) -> Callable[..., None]:
    """The command with streams that write what their encoding lacks as escapes, and that may lose their reader."""

    @functools.wraps(command)
    def run(*arguments: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")
        try:
            command(*arguments)
        finally:
            drop_unread()

    return run


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """What is written inside gets lost, as does all after it, where nobody reads any more (`| head`)."""
    try:
        yield
    except BrokenPipeError:
        drop_unread()


def drop_unread() -> None:
    """Flushes both streams; one without a reader writes to nowhere from here on."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a process may have been started without them
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def say(text: object) -> None:
    """Prints to standard output, where a reader who has left is no failure."""
    with reader_may_leave():
        print(text, flush=True)


def say_json(told: Any) -> None:
    """Prints one JSON value, as `as_json` writes it."""
    say(as_json(told))


def as_json(told: Any) -> str:
    """Strict JSON in ASCII letters: numbers that are not finite, which it has no word for, are null."""
    return json.dumps(_finite(told), indent=1, allow_nan=False)


def _finite(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _finite(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [_finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told
