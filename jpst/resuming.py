"""The state of a transfer in a file: written while its steps run, so that it goes on after it was ended.

The file is a .npz: a header in JSON (to which transfer it belongs, losses, times), the pictures of the levels that are
done, and the arrays of the `State` of the one that is not.
"""

import glob
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jpst.errors import JpstError
from jpst.levels import Level
from jpst.optimise import Result, State, Status
from jpst.story import Climbed, Story
from jpst.weights import unfinished
from jpst.weights.tensors import CheckpointError

EVERY = 30.0
"""seconds of work between two states that are written; more where writing takes long"""
LONGEST_SHARE = 0.02  # of the time may be spent with writing
_NOBODY: Callable[[str], None] = lambda _: None  # noqa: E731
_HEADER = "jpst_state"  # the first name in the file
_NUMBERS = ("losses", "seconds", "plateau", "colour_kept")  # of a level that is done


class DamagedError(JpstError):
    """A file with a state is not whole."""


class Saved(NamedTuple):
    """Where a transfer stands between two steps."""

    done: list[Climbed]
    """the levels before"""
    leaves: list[Any]
    """the arrays of the `State` of the level at which it stands"""
    losses: dict[str, list[float]]
    """of that level; maybe of further steps, too"""
    steps: int
    """steps of that level that are done"""
    seconds: float
    """that it took so far"""


class Keeper:
    """Keeps the state of one transfer in a file; without a path it keeps nothing.

    A state that cannot be written never ends the transfer.
    """

    def __init__(
        self, path: Path | None = None, belongs: dict[str, Any] | None = None, tell: Callable[[str], None] = _NOBODY
    ) -> None:
        """Reads the file, if there is one.

        Args:
          path: of the file.
          belongs: what the steps depend on, by name, as `identity.of_steps` gives it.
          tell: called with a sentence on what was found and if a state cannot be written.

        Raises:
          JpstError: the file is of something else, or of another transfer.
        """
        self.path, self._belongs, self._tell = path, belongs or {}, tell
        self._begun = self._found() if path else None
        self._latest: Saved | None = None
        self._due = time.perf_counter() + EVERY

    @property
    def done(self) -> list[Climbed]:
        """The levels that were done before."""
        return list(self._begun.done) if self._begun else []

    @property
    def seconds(self) -> float:
        """Time that was spent before."""
        return sum(one.seconds for one in self.done) + (self._begun.seconds if self._begun else 0.0)

    def spent_on(self, before: list[Climbed]) -> float:
        """Seconds that were spent before on the level after those."""
        return self._begun.seconds if self._begun and len(before) == len(self._begun.done) else 0.0

    def begun(self, first: State, story: Story, before: list[Climbed]) -> State | None:
        """The state from which a level goes on, whose story is told so far; None if it begins.

        Args:
          first: the level's first state, which has the form of all.
          before: the levels before this one.
        """
        if self._begun is None or len(before) != len(self._begun.done):
            return None
        leaves, form = self._begun.leaves, jax.tree.structure(first)
        if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in jax.tree.leaves(first)]:
            raise JpstError(f"{self.path}: its arrays have another form. {_ADVICE}")
        state = jax.tree.unflatten(form, [jnp.asarray(leaf) for leaf in leaves])
        story.resume(state.best_image, self._begun.losses)
        return state

    def watched(self, results: Iterator[list[Result]], story: Story, before: list[Climbed]) -> Iterator[list[Result]]:
        """The results of a level as they come; the state after each is noted once the story has taken it."""
        started, done = time.perf_counter() - self.spent_on(before), list(before)
        for each in results:
            yield each
            if self.path and story.status is Status.FINE:
                leaves, steps = jax.tree.leaves(each[0].state), len(story.losses["total"])
                self._latest = Saved(done, leaves, story.losses, steps, time.perf_counter() - started)
                if time.perf_counter() >= self._due:
                    self.save()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Whatever ends the block early: the state is saved before."""
        try:
            yield
        except BaseException:
            self.save()
            raise

    def save(self) -> None:
        """Writes the state after the latest step, unless there was none."""
        if self.path is None or self._latest is None:
            return
        started = time.perf_counter()
        try:
            write(self.path, self._latest, self._belongs)
        except CheckpointError as error:
            self._tell(f"{self.path}: the state cannot be written, so that it could not go on ({error.__cause__}).")
        now = time.perf_counter()
        self._due = now + max(EVERY, (now - started) / LONGEST_SHARE)

    def _found(self) -> Saved | None:
        """The state in the file, if there is one of this transfer; tells what was found."""
        assert self.path is not None
        unfinished.remove_leftovers(self.path.parent, [f"{glob.escape(self.path.name)}.*.part"])
        if not self.path.exists():
            return None
        try:
            saved, belongs = read(self.path)
        except DamagedError as error:
            self._tell(f"{error} It is replaced: the transfer starts anew.")
            return None
        _check(self.path, belongs, self._belongs)
        steps = saved.steps + sum(len(one.losses["total"]) for one in saved.done)
        self._tell(f"{self.path}: going on after step {steps}.")
        return saved


def write(path: Path, saved: Saved, belongs: dict[str, Any]) -> None:
    """Writes a state, atomically; raises `CheckpointError` if that is not possible."""
    header = {
        "belongs": belongs,
        "levels": [[one.level, *(getattr(one, name) for name in _NUMBERS)] for one in saved.done],
        "losses": {term: values[: saved.steps] for term, values in saved.losses.items()},
        "seconds": saved.seconds,
    }
    arrays: dict[str, Any] = {_HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for number, one in enumerate(saved.done):
        arrays |= {f"content{number}": np.asarray(one.content), f"result{number}": np.asarray(one.result)}
    arrays |= {f"state{number}": np.asarray(leaf) for number, leaf in enumerate(saved.leaves)}
    with unfinished.replacing(path) as file:
        np.savez(file, **arrays)


def read(path: Path) -> tuple[Saved, dict[str, Any]]:
    """Reads a state, and to what it belongs.

    Raises:
      DamagedError: it is not whole.
      JpstError: the file is of something else.
      OSError: it cannot be read.
    """
    data = path.read_bytes()
    if data and _HEADER.encode() not in data[:128]:  # an empty file may be what a full disk left
        raise JpstError(f"{path}: expected the state of a transfer, got another file. Move it, or choose another OUT.")
    try:
        return _parsed(data)
    except Exception as error:  # of many kinds
        raise DamagedError(f"{path}: the state in it is damaged ({str(error).rstrip('.')}).") from error


def _parsed(data: bytes) -> tuple[Saved, dict[str, Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays[_HEADER].tobytes())
    done = [
        _level(told, arrays[f"content{number}"], arrays[f"result{number}"])
        for number, told in enumerate(header["levels"])
    ]
    leaves = [arrays[f"state{number}"] for number in range(len(arrays) - 1 - 2 * len(done))]
    losses = header["losses"]
    return Saved(done, leaves, losses, len(losses["total"]), header["seconds"]), header["belongs"]


def _level(told: list[Any], content: np.ndarray, result: np.ndarray) -> Climbed:
    (photograph, style, steps), losses, seconds, plateau, colour_kept = told
    level = Level(tuple(photograph), tuple(style), steps)
    pictures = jnp.asarray(content), jnp.asarray(result)
    return Climbed(level, *pictures, losses, seconds, Status.FINE, False, plateau, colour_kept)


def _check(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises `JpstError` if a state belongs to another transfer."""
    others = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
    if others:
        raise JpstError(f"{path}: is the state of another transfer: it differs in {', '.join(others)}. {_ADVICE}")


_ADVICE = "Ask for the same to go on with it, choose another OUT, or remove it to start anew."
