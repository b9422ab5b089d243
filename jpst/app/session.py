"""A transfer for a page: what there is to see of it, state by state, while it waits, begins, runs and ends.

The work is done in a thread of its own, which also takes its place in the line, so that it ends and lets the next one
begin even if nobody asks for its states any more.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import PIL.Image

from jpst import pipeline, record
from jpst.app import display
from jpst.app.display import Finished
from jpst.errors import OUT_OF_MEMORY, JpstError, out_of_memory
from jpst.job import Job
from jpst.optimise import Status
from jpst.presets import preset
from jpst.recipe import Hyperparameters, Recipe
from jpst.regions import semantics
from jpst.story import Progress

PAUSE = 0.5
"""seconds after which a state without news follows"""
SHOWN_EVERY = 1.0
"""seconds between two states of the result while it grows, which cost time"""


class Upload(NamedTuple):
    """A photograph that was given to the page."""

    path: Path
    name: str
    """of the file where it came from"""


class Asked(NamedTuple):
    """What is asked for: two photographs and how one gets the look of the other."""

    content: Upload
    style: Upload
    preset: str
    choices: dict[str, Any]
    """fields of `Recipe` and `Hyperparameters`, as `jpst.preset` takes them"""

    def settings(self) -> tuple[Recipe, Hyperparameters]:
        """Recipe and numbers; raises `JpstError` if they cannot be."""
        return preset(self.preset, **self.choices)

    def finds_the_same(self, other: "Asked") -> bool:
        """Whether another one has these photographs, and regions that are found in the same way."""
        same = self.content is other.content and self.style is other.style
        return same and self.choices.get("segmenter") == other.choices.get("segmenter")


class State(NamedTuple):
    """What there is to see; what is None has not changed."""

    told: str | None = None
    """what is being done, in a sentence"""
    share: float | None = None
    """of the steps that are done, if there are any to do"""
    left: float | None = None
    """seconds until the last step, if that can be told"""
    before: PIL.Image.Image | None = None
    after: PIL.Image.Image | None = None
    rows: list[semantics.Row] | None = None
    """the regions and their pairing"""
    job: Job | None = None
    """what was planned"""
    notes: list[str] | None = None
    """sentences on the regions and the files"""
    finished: Finished | None = None
    over: bool = False
    """whether it is the last one"""


class Line:
    """Whose turn it is: one transfer at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, who: "Work") -> Iterator[bool]:
        """Waits until it is one's turn, or one no longer wants it; yields which."""
        with self._moved:
            self._waiting.append(who)
            self._moved.wait_for(lambda: self._waiting[0] is who or who.unwanted)
        try:
            yield not who.unwanted
        finally:
            with self._moved:
                self._waiting.remove(who)
                self._moved.notify_all()

    def ahead(self, who: "Work") -> int:
        """How many are before one."""
        with self._moved:
            return self._waiting.index(who) if who in self._waiting else 0

    def left(self) -> None:
        """Lets those who no longer want their turn leave the line."""
        with self._moved:
            self._moved.notify_all()


class _Dropped(Exception):
    """Nobody waits for the steps that would follow."""


class Work:
    """A transfer in a thread of its own. `states` tells of it; `cancel` and `leave` may come from any other thread."""

    def __init__(self, asked: Asked, line: Line) -> None:
        self._asked, self._line = asked, line
        self._news: SimpleQueue[State | BaseException] = SimpleQueue()
        self._cancelled, self._dropped = threading.Event(), threading.Event()
        self._job: Job | None = None
        self._steps: _Steps | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    @property
    def unwanted(self) -> bool:
        """Whether it is not to be begun any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ends the steps after the one that is running; the best so far is finished, or else the base look."""
        self._cancelled.set()
        self._line.left()

    def leave(self) -> None:
        """Ends the work: nobody waits for it."""
        self._dropped.set()
        self.cancel()

    def states(self) -> Iterator[State]:
        """Begins the work and tells of it until it is over.

        Raises:
          JpstError: it cannot be done; the message says why and what to do.
        """
        self._thread.start()
        over = False
        try:
            while not over:
                state = self._next()
                over = state.over
                yield state
        finally:
            self.leave()

    def _next(self) -> State:
        """The next news, or after a while without any, what is being waited for."""
        try:
            news = self._news.get(timeout=PAUSE)
        except Empty:
            if self._dropped.is_set():
                return State(over=True)
            return self._instead() if self.unwanted and not (self._steps and self._steps.begun) else self._meanwhile()
        if isinstance(news, BaseException):
            raise _as_error(news) from news
        return news

    def _instead(self) -> State:
        """What there is if it was cancelled before the first step."""
        if self._job is None:
            return State("Cancelled before there was anything to show.", over=True)
        base = pipeline.run(display.without_steps(self._job))
        return _ended(Finished(self._job, base), "Cancelled: this is the base look.")

    def _meanwhile(self) -> State:
        if ahead := self._line.ahead(self):
            others = "Another transfer is" if ahead == 1 else f"{ahead} other transfers are"
            return State(f"{others} running or waiting before yours, which begins by itself.")
        return State() if self._steps is None else self._steps.meanwhile()

    def _work(self) -> None:
        try:
            with self._line.turn(self) as wanted:
                if wanted:
                    self._transfer()
        except _Dropped:
            pass
        except BaseException as error:  # whatever it is, `states` tells it
            self._news.put(error)

    def _transfer(self) -> None:
        recipe, hyper = self._asked.settings()
        self._tell("Reading the photographs and finding regions.")
        paths = self._asked.content.path, self._asked.style.path
        job = pipeline.plan(*paths, recipe=recipe, hyper=hyper, tell=self._tell)
        self._news.put(_begun(job))
        self._job, self._steps = job, _Steps(job)
        self._news.put(_ended(Finished(job, pipeline.run(job, on_step=self._on_step))))

    def _tell(self, line: str) -> None:
        self._news.put(State(line))

    def _on_step(self, now: Progress) -> None:
        if self._dropped.is_set():
            raise _Dropped
        assert self._steps, "they are there before the first one is taken"
        if state := self._steps.taken(now, last=self.unwanted):
            self._news.put(state)
        if self.unwanted:
            raise KeyboardInterrupt  # as from the keyboard: the best so far is finished


class _Steps:
    """How far the steps of a job are."""

    def __init__(self, job: Job) -> None:
        self.begun = False
        self._total = sum(level.steps for level in job.levels)
        self._growing = display.Growing(job)
        self._since = self._shown = time.monotonic()
        self._first = 0

    def meanwhile(self) -> State:
        """While nothing is heard of steps: the first one is compiled, or a result is brought to full size."""
        if self.begun or not self._total:
            return State()
        return State(
            f"Preparing the steps, {time.monotonic() - self._since:.0f} s so far. The first time for photographs of "
            "this shape it takes up to a minute. You see the base look, a colour match.",
            share=0.0,
        )

    def taken(self, now: Progress, last: bool) -> State | None:
        """The state after a step; None if the one before was shown just now."""
        time_now = time.monotonic()
        if not self.begun:
            self.begun, self._since, self._first = True, time_now, now.step
        last = last or now.step >= self._total
        if not last and now.step > self._first and time_now - self._shown < SHOWN_EVERY:
            return None
        self._shown = time_now
        told = "Bringing the result to full size." if last else f"Step {now.step} of {self._total}."
        left = None if last else self._left(now.step, time_now)
        return State(told, now.step / self._total, left, after=self._growing.after(now))

    def _left(self, step: int, time_now: float) -> float | None:
        done = step - self._first
        return (self._total - step) * (time_now - self._since) / done if done else None


def _begun(job: Job) -> State:
    """The first answer: the base look, and what was found in the photographs."""
    return State(
        "This is the base look, a colour match. The steps that refine it are being prepared.",
        share=0.0 if job.recipe.optimises else None,
        before=display.reduced(job.original, display.ROUGH),
        after=display.base_look(job),
        rows=semantics.table(job.found.regions),
        job=job,
        notes=record.notes(job),
    )


def _ended(finished: Finished, told: str = "") -> State:
    run, job = finished.run, finished.job
    if not told:
        height, width = run.photograph.pixels.shape[:2]
        told = "Cancelled: this is the best result so far." if run.interrupted else f"Done, {width} x {height} pixels."
    status = [] if run.record["status"] == Status.FINE.sentence else [run.record["status"]]
    return State(
        told,
        before=finished.before,
        after=finished.shown(1.0),
        notes=[*record.notes(job), *status, *run.record["warnings"]],
        finished=finished,
        over=True,
    )


def _as_error(error: BaseException) -> JpstError:
    """An error that says in a sentence what is wrong."""
    if isinstance(error, JpstError):
        return error
    if out_of_memory(error):
        return JpstError(OUT_OF_MEMORY)
    if isinstance(error, OSError):
        return JpstError(" ".join(str(error).split()))
    return JpstError(f"Unexpected {type(error).__name__}: {' '.join(str(error).split())}")
