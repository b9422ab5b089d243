"""The worker processes of a batch: rows are given out to them, answers collected, and those that end replaced."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Hashable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from jpst.many.manifest import Row

_PROGRAM = "jpst.many.worker"
_SHARE_OF_DEVICE = 0.75  # what the workers of a device take of its memory together, JAX's own share


class Lost(NamedTuple):
    """In place of an answer: the worker ended over a row."""

    status: int
    """its exit status, as `subprocess` tells it"""

    @property
    def sentence(self) -> str:
        """Why a row was lost twice."""
        if self.status == -getattr(signal, "SIGKILL", 9):
            return "The system ended its process twice, probably out of memory. Use a smaller `size`."
        return f"Its process ended twice, with status {self.status}. What it said is on the standard error."


def answers(
    waiting: dict[Hashable, list[Row]], workers: int, folder: Path
) -> Generator[tuple[Row, str | None], None, None]:
    """Gives rows to worker processes; yields each, with why it failed or None, as the answers come.

    A row whose worker ended over it, for want of memory perhaps, is given out once more, alone, when all others are
    done. Closing the iterator ends the workers.

    Args:
      waiting: rows by shape. A worker stays with a shape as long as there are rows of it, so that few programs compile.
      folder: where the workers' scratch folders go.
    """
    lost = []
    with closing(_pass(waiting, workers, folder)) as first:
        for row, answer in first:
            if isinstance(answer, Lost):
                lost.append(row)
            else:
                yield row, answer
    with closing(_pass({None: lost}, 1, folder)) as second:
        for row, answer in second:
            yield row, answer.sentence if isinstance(answer, Lost) else answer


def _pass(waiting: dict[Hashable, list[Row]], workers: int, folder: Path) -> Generator[tuple[Row, Any], None, None]:
    shared, told = _Shared(waiting), queue.SimpleQueue()
    count = min(workers, sum(map(len, waiting.values())))
    crew = [_Worker(folder, number, count) for number in range(count)]
    threads = [threading.Thread(target=_drive, args=(worker, shared, told), daemon=True) for worker in crew]
    for thread in threads:
        thread.start()
    try:
        with _interrupting(told):
            while count:
                answer = told.get()
                if isinstance(answer, BaseException):
                    raise answer
                if answer is None:
                    count -= 1
                else:
                    yield answer
    finally:
        for worker in crew:
            worker.end()
        for thread in threads:
            thread.join()


@contextmanager
def _interrupting(told: queue.SimpleQueue) -> Iterator[None]:
    """Ctrl-C is also an answer in the block: its exception is lost if it hits a callback of the garbage collector."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        told.put(KeyboardInterrupt())
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _drive(worker: "_Worker", shared: "_Shared", told: queue.SimpleQueue) -> None:
    shape = None
    try:
        while not worker.ended and (task := shared.next(shape)):
            shape, row = task
            told.put((row, worker.answer(row)))
        worker.dismiss()
    except Exception as error:  # no process can be started, for example
        told.put(error)
    told.put(None)


class _Shared:
    """The rows not yet given out."""

    def __init__(self, waiting: dict[Hashable, list[Row]]) -> None:
        self._rows = {shape: rows[::-1] for shape, rows in waiting.items()}
        self._begun: set[Hashable] = set()
        self._lock = threading.Lock()

    def next(self, shape: Hashable) -> tuple[Hashable, Row] | None:
        """A row of this shape, or else of one that no worker has begun, or else of the one with most rows left."""
        with self._lock:
            left = {each: len(rows) for each, rows in self._rows.items() if rows}
            if not left:
                return None
            if shape not in left:
                fresh = [each for each in left if each not in self._begun]
                shape = fresh[0] if fresh else max(left, key=lambda each: left[each])
            self._begun.add(shape)
            return shape, self._rows[shape].pop()


class _Worker:
    """A process that answers rows, started when it is first needed and again when it was lost."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.ended = False
        self._folder, self._number, self._count = folder, number, count
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def answer(self, row: Row) -> Any:
        """Why a row failed, None if it did not, or `Lost`."""
        process = self._running()
        if process is None:
            return Lost(0)
        assert process.stdin and process.stdout, "both are pipes"
        try:
            pickle.dump(row, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it ended, or was ended
            self._process = None
            return Lost(_ended(process))

    def dismiss(self) -> None:
        """Lets the process end by itself."""
        with self._lock:
            if (process := self._process) and process.stdin:
                with suppress(OSError):  # it has ended already
                    pickle.dump(None, process.stdin)
                    process.stdin.flush()
                    process.wait()

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        with self._lock:
            self.ended = True
            if self._process:
                _ended(self._process)

    def _running(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._process is None and not self.ended:
                self._process = self._started()
            return self._process

    def _started(self) -> "subprocess.Popen[bytes]":
        """A new process. It is of another session: Ctrl-C in a terminal reaches only who started it."""
        share = share_of_machine(_processors(self._number, self._count), 1 / self._count)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment() | share,
            start_new_session=True,
        )


def environment() -> dict[str, str]:
    """The environment of a process that shall find this package."""
    package = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}


def share_of_machine(threads: int, device: float) -> dict[str, str]:
    """What a worker's environment says of its threads and, if it has only a part of a device, of the device's memory.

    The last bits of a result depend on the number of threads.
    """
    share = {"NPROC": str(threads), "OMP_NUM_THREADS": str(threads)}  # NPROC: XLA reads it
    if device < 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        share["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_SHARE_OF_DEVICE * device:.3f}"
    return share


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Ends a process, if it has not ended, and closes its pipes; its exit status."""
    process.kill()
    for pipe in filter(None, (process.stdin, process.stdout)):
        with suppress(OSError):  # what was not sent is lost
            pipe.close()
    return process.wait()


def _processors(number: int, count: int) -> int:
    """How many processors worker `number` of `count` may use; what this thread starts is kept to them."""
    if not hasattr(os, "sched_setaffinity"):
        return max(1, (os.cpu_count() or 1) // count)
    processors = sorted(os.sched_getaffinity(os.getpid()))
    share = processors[number::count] or [processors[number % len(processors)]]
    os.sched_setaffinity(0, share)  # of this thread alone, which its children inherit
    return len(share)
