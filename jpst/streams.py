"""Output of the commands, as text or strict JSON. Letters missing in the encoding and broken pipes never end a job."""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def forgiving(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command: letters missing in the encoding are escaped, and broken pipes are ignored."""

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
    """Ignores a broken pipe (`| head`) inside the block; later output is discarded, too."""
    try:
        yield
    except BrokenPipeError:
        drop_unread()


def drop_unread() -> None:
    """Flushes both streams; a stream with a broken pipe is redirected to nowhere."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a process may be started without them
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def say(text: object) -> None:
    """Prints to standard output; a broken pipe is not an error."""
    with reader_may_leave():
        print(text, flush=True)


def say_json(value: Any) -> None:
    """Prints one JSON value, as `as_json` writes it."""
    say(as_json(value))


def as_json(value: Any) -> str:
    """Strict JSON in ASCII; numbers that are not finite, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
