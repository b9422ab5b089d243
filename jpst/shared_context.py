"""A context that several threads may be in at once, for settings that are global to the process."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack


class SharedContext:
    """The first thread to enter makes the settings, the last to leave undoes them.

    Args:
      make: gives the context manager that makes and undoes them.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make, self._lock, self._inside, self._undo = make, threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._undo.enter_context(self._make())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()
