"""The engine `ray` of a batch: rows done by the workers of a Ray cluster, answered as `crew` answers them.

Ray runs in a process of its own, `ray_driver`: it takes over the signals and the standard output of the process that it
is in, starts others by `fork`, which JAX's threads do not stand, and may end it.
"""

import importlib.util
import pickle
import secrets
import subprocess
import sys
import time
from collections.abc import Generator, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

from jpst import ranges
from jpst.errors import JpstError
from jpst.many import Engine, crew, worker
from jpst.many.manifest import Row
from jpst.weights import unfinished

_PROGRAM = "jpst.many.ray_driver"
_PACKAGES = ("ray", "pandas", "pyarrow")  # Ray Data needs the others
_LOG = "ray.log"
# No usage statistics, no advice on coming versions, and of Ray's C++ code only why it ended the process.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
_PATIENCE = 30  # seconds for Ray to end
_GRACE = 10  # seconds then for its workers to be gone


def check(engine: Engine, address: str | None) -> None:
    """Raises `JpstError` if there is no such engine, Ray is wanted but not installed, or the address cannot be used."""
    ranges.check_choice("engine", engine, get_args(Engine))
    if engine == "local" and address is not None:
        raise JpstError(f"address is {address}, and engine is local. Give `engine` as ray, or no `address`.")
    if engine == "ray" and any(importlib.util.find_spec(name) is None for name in _PACKAGES):
        raise JpstError('The engine "ray" needs Ray Data. Install it: pip install "jpst[ray]".')
    if address is not None and "://" in address:
        needed = "as HOST:PORT or auto, and run jpst on a machine of the cluster"
        raise JpstError(f"address is {address}, which asks for a client of Ray. Give `address` {needed}.")


def answers(
    waiting: dict[Hashable, list[Row]], workers: int, folder: Path, address: str | None = None
) -> Generator[tuple[Row, str | None], None, None]:
    """Gives rows to workers in a Ray cluster; yields each, with why it failed or None, as the answers come.

    A row whose worker ended over it is given out once more. Closing the iterator ends the workers.

    Args:
      waiting: rows by shape. They are begun shape by shape, so that few programs compile.
      folder: where scratch files go. All machines of the cluster see it and all inputs at the same paths.
      address: of a cluster; without it one is started on this machine and stopped at the end.

    Raises:
      JpstError: there is no such cluster, or it was lost.
    """
    rows = [row for alike in waiting.values() for row in alike]
    if not rows:
        return
    left = set(range(len(rows)))
    with unfinished.scratch(folder.absolute(), worker.PREFIX) as scratch, _driver(scratch, address) as process:
        assert process.stdin and process.stdout, "both are pipes"
        asked = (list(map(pickle.dumps, rows)), workers, scratch, Path.cwd(), address)
        with suppress(OSError):  # it ended: its log says why
            pickle.dump(asked, process.stdin)
            process.stdin.flush()
        for told in _told(process):
            if isinstance(told, str):
                raise JpstError(told)
            number, reason = told
            left.discard(number)
            yield rows[number], reason or None
        if left:
            raise JpstError(f"Ray ended before all rows were done{_last_words(scratch)}. The same command goes on.")


def _told(process: "subprocess.Popen[bytes]") -> Iterator[Any]:
    assert process.stdout, "it is a pipe"
    with suppress(EOFError, pickle.UnpicklingError):  # it ended
        while True:
            yield pickle.load(process.stdout)


@contextmanager
def _driver(scratch: Path, address: str | None) -> "Iterator[subprocess.Popen[bytes]]":
    """The process that Ray is in, which ends with the block. Ctrl-C in a terminal does not reach it.

    A cluster of our own lets nobody else in: without a token it would leave one in the user's home folder.
    """
    token = {} if address else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with (scratch / _LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=crew.environment() | _SETTINGS | token,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)
        _wait_for_workers(scratch)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process, which takes Ray down with it, and closes its pipes."""
    assert process.stdin and process.stdout, "both are pipes"
    with suppress(OSError):  # what was not sent is lost
        process.stdin.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _wait_for_workers(scratch: Path) -> None:
    """Workers that are being ended may still write: their scratch folders are removed when they are gone.

    Those of other machines cannot be seen to end.
    """
    end = time.monotonic() + _GRACE
    folders = f"{worker.PREFIX}*.part"
    while time.monotonic() < end and list(scratch.glob(folders)):
        unfinished.remove_leftovers(scratch, (folders,))
        time.sleep(0.02)


def _last_words(scratch: Path) -> str:
    """What Ray said last, in brackets."""
    with suppress(OSError):
        lines = (scratch / _LOG).read_text(errors="replace").split("\n")
        if said := [" ".join(line.split()) for line in lines if line.strip()]:
            return f" ({said[-1][:300]})"
    return ""
