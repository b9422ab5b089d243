"""How the optimisation of a level went: what is known after each chunk of steps, and when it is over."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jpst.levels import Level
from jpst.optimise import Result, Status

PLATEAU_STEPS = 20  # over which a recipe's `plateau_tolerance` is measured


class Progress(NamedTuple):
    """Where the optimisation stands after a chunk of steps."""

    level: Level
    step: int
    """steps done, over all levels"""
    chunk: int
    """steps done since the last report"""
    terms: dict[str, float]
    """each weighted term and "total", before the last update"""
    best: Float[Array, "h w 3"]
    """the best image so far, at this level's size"""
    setting: int = 0
    """which of several hyperparameters it is about"""
    history: Mapping[str, Sequence[float]] = {}
    """`terms` before each update since the last report"""

    def turned(self) -> "Progress":
        """The same with height and width exchanged."""
        return self._replace(level=self.level.turned(), best=jnp.swapaxes(self.best, 0, 1))


class Climbed(NamedTuple):
    """One level, done (or as far as it came)."""

    level: Level
    content: Float[Array, "h w 3"]
    result: Float[Array, "h w 3"]
    losses: dict[str, list[float]]
    """each weighted term and "total" before every step"""
    seconds: float
    """wall time, compilation included; of settings that were optimised together, each one's share"""
    status: Status
    interrupted: bool
    """whether Ctrl-C ended it"""
    plateau: bool
    """whether it ended before its last step, the total having stopped falling"""
    colour_kept: float = 1.0
    """share of the colour contrast that `projection.calmed` left"""

    def turned(self) -> "Climbed":
        """The same with height and width exchanged."""
        content, result = (jnp.swapaxes(image, 0, 1) for image in (self.content, self.result))
        return self._replace(level=self.level.turned(), content=content, result=result)


class Story:
    """What is known of one setting at one level while that is optimised."""

    def __init__(self, image: Array, setting: int = 0, before: Sequence[Climbed] = ()) -> None:
        self.best, self.losses = image, {"total": []}
        self.status, self.interrupted, self.plateau = Status.FINE, False, False
        self.over = is_over(before)
        """whether an earlier level ended it"""
        self._setting, self._done = setting, sum(len(one.losses["total"]) for one in before)

    @property
    def goes_on(self) -> bool:
        """Whether there are further steps to take."""
        return not (self.over or self.plateau or self.interrupted) and self.status is Status.FINE

    def resume(self, best: Array, losses: dict[str, list[float]]) -> None:
        """Begins where an earlier process ended, with what it knew."""
        self.best, self.losses = best, {term: list(values) for term, values in losses.items()}

    def take(self, result: Result, level: Level, tolerance: float, on_step: Callable[[Progress], None]) -> None:
        """Adds the next chunk of steps."""
        self.best, self.status = result.image, Status(int(result.status))
        history = {term: np.asarray(values).tolist() for term, values in result.history.items()}
        for term, values in history.items():
            self.losses.setdefault(term, []).extend(values)
        latest = {term: values[-1] for term, values in self.losses.items()}
        totals = self.losses["total"]
        done, chunk = self._done + len(totals), len(history["total"])
        on_step(Progress(level, done, chunk, latest, self.best, self._setting, history))
        self.plateau = self.goes_on and len(totals) < level.steps and is_flat(totals, tolerance)

    def climbed(self, level: Level, content: Array, image: Array, seconds: float) -> Climbed:
        """The level as it ended."""
        return Climbed(level, content, image, self.losses, seconds, self.status, self.interrupted, self.plateau)


def is_over(climbed: Sequence[Climbed]) -> bool:
    """Whether no further level follows those climbed."""
    return bool(climbed) and (climbed[-1].interrupted or climbed[-1].status is not Status.FINE)


def watch(
    chunks: Iterator[list[Result]],
    stories: list[Story],
    level: Level,
    tolerance: float,
    on_step: Callable[[Progress], None],
) -> None:
    """Runs the chunks until each setting comes to its end, Ctrl-C, a plateau or the first loss that is not finite."""
    try:
        while any(story.goes_on for story in stories) and (results := next(chunks, None)):
            for story, result in zip(stories, results, strict=True):
                if story.goes_on:
                    story.take(result, level, tolerance, on_step)
    except KeyboardInterrupt:
        for story in stories:
            story.interrupted = not story.over


def is_flat(totals: list[float], tolerance: float) -> bool:
    """Whether the last `PLATEAU_STEPS` lowered the best total by less than a share of it."""
    if not tolerance or len(totals) <= PLATEAU_STEPS:
        return False
    before = min(totals[:-PLATEAU_STEPS])
    return before - min(totals) < tolerance * abs(before)
