"""The process that drives Ray for a batch: Ray Data gives the rows to workers that keep their networks.

It reads what is asked for, pickled, from standard input, and answers on standard output: (number of the row, why it
failed or "") as rows are done, or a sentence if nothing more can be done. When standard input ends, so does Ray.
"""

import math
import os
import pickle
import platform
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from jpst.errors import JpstError
from jpst.many import crew, worker

_TRIES = 2  # of a row whose worker ends over it
_LOST = "Its process ended twice, perhaps out of memory. Use a smaller `size`, or fewer workers. Ray's logs say more."
_STORE = 100_000_000  # bytes of shared memory: only names of files go through it
_OURS = ("JPST_", "JAX_", "XLA_")  # settings that shape a result, or say where networks and programs lie
_PATIENCE = 10  # seconds for a cluster to answer


class Asked(NamedTuple):
    """What the process is started for."""

    rows: list[bytes]
    """pickled, in the order of their numbers"""
    workers: int
    scratch: Path
    """a folder that every machine sees"""
    home: Path
    """the folder that relative paths start from"""
    address: str | None
    """of a cluster; None starts one"""


class Maker:
    """Makes rows, in a worker of Ray's: never raises, and loads each network once.

    Ray starts it again when its process has ended, and gives it its row again for ever: tries are counted in files. It
    is sent as it stands here, so jpst is imported only where a failure is a row's reason.
    """

    def __init__(self, folder: Path, home: Path, tries: int, lost: str) -> None:
        self._folder, self._home, self._ready = folder, home, False
        self._tries, self._lost = tries, lost

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Makes a row; returns its number, and why that failed or ""."""
        try:
            reason = self._made(int(item["number"]), item["row"])
        except Exception as error:  # whatever it is, it must not stop the other rows
            reason = f"On {platform.node()}: {type(error).__name__}: {error}"
        return {"number": item["number"], "reason": reason or ""}

    def _made(self, number: int, row: bytes) -> str | None:
        if not self._folder.is_dir():
            return (
                f"{self._folder} is not on {platform.node()}. Inputs and outputs must be where all machines see them."
            )
        from jpst.many import worker
        from jpst.weights import unfinished

        with (self._folder / f"{number}.tries").open("ab") as tries:
            tries.write(b".")
            if tries.tell() > self._tries:
                return self._lost
        self._prepare()
        with unfinished.scratch(self._folder, worker.PREFIX) as scratch:
            return worker.make(pickle.loads(row), scratch)

    def _prepare(self) -> None:
        from jpst import caching, weights

        if not self._ready:
            with suppress(OSError):  # rows whose paths are relative fail, and say so
                os.chdir(self._home)
            caching.enable()
            weights.keep()
            self._ready = True


def serve(requests: IO[bytes], told: IO[bytes]) -> None:
    """Does what is asked for; ends Ray when that is done, or `requests` ends."""
    asked = Asked(*pickle.load(requests))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by who is started in the background
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    try:
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return _say(told, f'The engine "ray" cannot be imported ({error}). Install it: pip install "jpst[ray]".')
    try:
        _join(asked.address)
        for number, reason in _outcomes(ray, asked):
            _say(told, (number, reason))
    except KeyboardInterrupt:
        pass
    except JpstError as error:
        _say(told, str(error))
    except Exception as error:
        _say(told, f"Ray cannot go on: {type(error).__name__}: {_last_line(error)}")
    finally:
        ray.shutdown()


def _listen(requests: IO[bytes]) -> None:
    os.read(requests.fileno(), 1)  # until its end: nothing follows what was asked for
    os.kill(os.getpid(), signal.SIGINT)


def _say(told: IO[bytes], what: Any) -> None:
    pickle.dump(what, told)
    told.flush()


def _join(address: str | None) -> None:
    """Joins a cluster, or starts one on this machine."""
    import ray  # pyright: ignore[reportMissingImports]

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ray.init("local", num_cpus=processors, include_dashboard=False, object_store_memory=_STORE, **options)
        return
    try:
        if address != "auto":  # Ray itself waits a long time, and then ends the process
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), _PATIENCE).close()
        ray.init(address, **options)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        needed = "Give `address` as HOST:PORT of a cluster that runs, or auto on a machine of one"
        if "Authentication" in f"{error} {error.__cause__}":
            needed = "It asks for a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's"
        raise JpstError(f"{address}: no Ray cluster can be joined there ({_last_line(error)}). {needed}.") from error


def _outcomes(ray: Any, asked: "Asked") -> Iterator[tuple[int, str]]:
    """(number, why it failed or "") of each row as it is done, one block of Ray Data's each."""
    count = min(asked.workers, len(asked.rows))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    threads = threads_each([node.get("CPU", 0) for node in nodes], count)
    device = device_each(sum(node.get("GPU", 0) for node in nodes), count)
    environment = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    if asked.address is None:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    items = [{"number": number, "row": row} for number, row in enumerate(asked.rows)]
    waiting = ray.data.from_items(items, override_num_blocks=len(items))
    waiting.context.enable_progress_bars = False
    made = waiting.map(
        Maker,
        fn_constructor_args=(asked.scratch, asked.home, _TRIES, _LOST),
        compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
        num_cpus=threads,
        num_gpus=device or None,
        runtime_env={"env_vars": environment | crew.share_of_machine(threads, device or 1)},
    )
    for block in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for answer in block.to_pylist():
            yield answer["number"], answer["reason"]


def threads_each(processors: list[float], workers: int) -> int:
    """How many processors each of so many workers has, on machines with so many; at least one."""
    most = int(max(processors, default=1))
    return next((each for each in range(most, 1, -1) if sum(n // each for n in processors) >= workers), 1)


def device_each(devices: float, workers: int) -> float:
    """What part of a GPU each of so many workers has: one divided by a whole number, as none spans two; 0 without."""
    return 1 / math.ceil(workers / devices) if devices else 0


def _last_line(error: Exception) -> str:
    return " ".join((str(error).strip().split("\n") or [""])[-1].split())


if __name__ == "__main__":
    import sys

    with worker.answers() as told:
        serve(sys.stdin.buffer, told)
