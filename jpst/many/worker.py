"""A process that makes the pictures of a batch, one row after the other, for as long as the one that started it lives.

It reads pickled rows from standard input and answers each on standard output. Networks are loaded once. A picture and
its record are written to a scratch folder and moved to their place when they are whole, the record last: a row is
finished when its record is there.
"""

import os
import pickle
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jpst.errors import JpstError, out_of_memory
from jpst.many.manifest import Row

PREFIX = ".jpst-"
"""of the names of scratch folders"""
OUT_OF_MEMORY = "There was not enough memory. Use a smaller `size`, or fewer workers."


def make(row: Row, scratch: Path) -> str | None:
    """Makes a row's picture and record. Returns why that failed; None if it did not."""
    from jpst import job, outputs, pipeline

    try:
        assert row.content and row.style and row.output, "rows with a problem are not given to a worker"
        digest = identity(row)
        planned = job.plan(
            row.content,
            row.style,
            recipe=row.recipe,
            hyper=row.hyper,
            content_seg=row.content_seg,
            style_seg=row.style_seg,
            seed=row.seed,
            strength=row.strength,
            compile_ahead=True,
        )
        run = pipeline.run(planned)
        if run.interrupted:  # such as by SIGINT: it would count as done for good
            return "Its process was interrupted."
        run.record["batch"] = {"row": row.where, "state": "done", "reason": None, "identity": digest}
        made = scratch / row.output.name
        outputs.write_result(made, run)
        row.output.parent.mkdir(parents=True, exist_ok=True)
        if not outputs.record_of(row.output).exists():
            # if this process ends now, the next call knows the picture as ours
            note(row, "Its process ended at the last moment.", scratch)
        os.replace(made, row.output)
        os.replace(outputs.record_of(made), outputs.record_of(row.output))
        return None
    except Exception as error:  # whatever it is, it must not stop the other rows
        return _reason(error)


def note(row: Row, reason: str | None, scratch: Path) -> None:
    """Puts the record of a failed row in its place."""
    import jpst
    from jpst import outputs, streams

    assert row.output, "a row without an output has no place for a record"
    record = {
        "output": row.output.name,
        **{name: {"path": str(path)} for name, path in (("content", row.content), ("style", row.style)) if path},
        "versions": {"jpst": jpst.__version__},
        "batch": {"row": row.where, "state": "failed", "reason": reason, "identity": None},
    }
    made = scratch / "note"  # no picture or record has a name without suffix
    made.write_text(streams.as_json(record), encoding="ascii")
    os.replace(made, outputs.record_of(row.output))


def _reason(error: Exception) -> str:
    if out_of_memory(error):
        return OUT_OF_MEMORY
    told = isinstance(error, JpstError | OSError)
    return " ".join((str(error) if told else f"Unexpected {type(error).__name__}: {error}").split())


def identity(row: Row) -> str:
    """A digest of all that a row's picture depends on: the bytes of its inputs, its settings, the version of jpst.

    Raises:
      JpstError: masks that cannot be used.
      OSError: an input cannot be read.
    """
    from jpst import regions
    from jpst.identity import of_files

    assert row.content and row.style, "a row without a problem names both"
    masks = regions.painted((row.content, row.style), (row.content_seg, row.style_seg), row.recipe) or ()
    inputs = [Path(str(path)) for path in (row.content, row.style, *masks)]
    return of_files(inputs, row.recipe, row.hyper, row.seed, row.strength)


def serve(folder: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Makes each row that comes from `requests`, until there are no more; `folder` takes the scratch folder."""
    from jpst import caching, weights
    from jpst.weights import unfinished

    caching.enable()
    weights.keep()
    with unfinished.scratch(folder, PREFIX) as scratch:
        for row in _asked(requests, scratch):
            pickle.dump(make(row, scratch), answers)
            answers.flush()


def _asked(requests: IO[bytes], scratch: Path) -> Iterator[Row]:
    """The rows as they come. If who sends them ends without a word, so does this process, in the midst of its work."""
    waiting: queue.Queue[Any] = queue.Queue()

    def listen() -> None:
        try:
            while (row := pickle.load(requests)) is not None:
                waiting.put(row)
            waiting.put(None)
        except Exception:  # the other end is gone
            shutil.rmtree(scratch, ignore_errors=True)
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (row := waiting.get()) is not None:
        yield row


@contextmanager
def answers() -> Iterator[IO[bytes]]:
    """Standard output as bytes; whatever else is printed goes to standard error."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        yield answers


if __name__ == "__main__":
    with answers() as told:
        serve(Path(sys.argv[1]), sys.stdin.buffer, told)
