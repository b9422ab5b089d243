"""What one visitor has on the page: two photographs, a transfer, and the files that are made of it."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL.Image

from jpst import command_line, image, lut, lut_files, outputs
from jpst.app import display
from jpst.app.display import Finished
from jpst.app.pairs import Pairs
from jpst.app.session import Asked, Line, State, Upload, Work
from jpst.app.words import CONTENT, PHOTOGRAPHS, STYLE
from jpst.errors import JpstError
from jpst.job import Job
from jpst.regions import semantics
from jpst.regions.pairing import NONE

KEPT = 8
"""pictures that are kept for a browser that has not fetched them yet"""
MOST_BYTES = 110
"""of the name of each photograph in that of the result"""

NO_RESULT = "There is no result yet. Start a transfer."
RUNNING = "A transfer with the pairs that it began with is running. Cancel it to change them, or wait."


class Visit:
    """One visitor. Files are made in `folder`, which `close` removes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures = {kind: itertools.count(1) for kind in ("shown", "regions")}
        self._copies = itertools.count(1)
        self._lock = threading.Lock()
        """of what follows: handlers run in threads"""
        self._uploads: dict[str, Upload] = {}
        self._begun: list[Asked] = []
        """transfers that are not over, the last one and those that it takes the place of"""
        self._kept: set[Path] = set()
        """copies of photographs"""
        self._work: Work | None = None
        self._asked: Asked | None = None
        self._finished: Finished | None = None
        self._before: Path | None = None
        self._running = False
        self.pairs: Pairs | None = None
        """of the regions of the last transfer, if there are any"""

    def take(self, which: str, upload: Upload) -> Path:
        """Takes a photograph and returns a picture of it that any browser shows.

        Raises:
          JpstError: it cannot be read; the visitor then has none.
        """
        self.drop(which)
        # A copy, as equal files of several visitors are one upload; of a new name, as a transfer may wait for the old.
        own = self._folder / f"{which}-{next(self._copies)}{upload.path.suffix}"
        try:
            outputs.make_folder(self._folder)
            shutil.copyfile(upload.path, own)
            shown = self._picture(display.reduced(image.read(own), display.ROUGH))
            with self._lock:
                self._uploads[which] = upload._replace(path=own)
        except (OSError, MemoryError) as error:
            reason = str(error) or "there is not enough memory"
            raise JpstError(f"{upload.name}: it cannot be read ({reason}). Choose another photograph.") from error
        except JpstError as error:
            raise JpstError(str(error).replace(str(own), upload.name)) from error
        finally:
            with self._lock:
                self._kept.add(own)
                self._tidy()
        return shown

    def drop(self, which: str) -> None:
        """Forgets a photograph."""
        with self._lock:
            self._uploads.pop(which, None)
            self._tidy()

    def _tidy(self) -> None:
        """Removes the copies that nothing refers to any more."""
        of_transfers = (upload for asked in self._begun for upload in (asked.content, asked.style))
        needed = {upload.path for upload in (*self._uploads.values(), *of_transfers)}
        for path in self._kept - needed:
            with suppress(OSError):  # it is being read, on Windows: the next time
                path.unlink(missing_ok=True)
                self._kept.discard(path)

    def transfer(self, preset: str, choices: dict[str, Any], line: Line) -> Iterator[State]:
        """Begins a transfer of the two photographs and tells of it.

        Raises:
          JpstError: it cannot be done; the message says why and what to do.
        """
        with self._lock:
            missing = [PHOTOGRAPHS[which][0] for which in (CONTENT, STYLE) if which not in self._uploads]
            if missing:
                raise JpstError(f"No picture yet: {', '.join(missing)}. Drop one there, or click to choose one.")
            begun = asked = Asked(self._uploads[CONTENT], self._uploads[STYLE], preset, choices)
            self._begun.append(begun)
        self.cancel()
        if self.pairs and self._asked and self._asked.finds_the_same(asked):
            asked = asked._replace(choices=choices | {"pairs": self.pairs.changes})
        work = Work(asked, line)
        self._asked, self._work, self._finished, self._running = asked, work, None, True
        try:
            for state in work.states():
                self._finished = state.finished
                if state.job or (state.over and not state.finished):
                    self.pairs = state.job and self._paired(state.job)
                self._running = not state.over
                yield state
        except JpstError as error:
            self.pairs = None  # they are not seen any more, and may be the reason
            raise JpstError(_named(str(error), asked)) from error
        finally:
            with self._lock:
                self._begun.remove(begun)
                self._tidy()
            self._running = self._running and self._work is not work  # another one may have begun

    def cancel(self) -> None:
        """Ends the steps of the transfer that is running, if there is one."""
        if self._work:
            self._work.cancel()

    def pictures(self, state: State) -> tuple[str, str] | None:
        """Files of the pictures before and after of a state; None if it has no new one."""
        self._before = self._picture(state.before) if state.before else self._before
        return (str(self._before), str(self._picture(state.after))) if state.after and self._before else None

    def pick(self, name: str) -> None:
        """Picks a region of the content, to give it another partner."""
        if self.pairs:
            self.pairs.pick(name)

    def give(self, partner: str) -> None:
        """Gives the region picked another partner, a region of the style or `NONE`.

        Raises:
          JpstError: the transfer is running.
        """
        if self._running:
            raise JpstError(RUNNING)
        if self.pairs:
            self.pairs.give(None if partner == NONE else partner)

    def click(self, which: str, across: int, down: int) -> bool:
        """A click on a picture of regions: picks one of the content, or gives the one picked one of the style.

        Returns:
          Whether a partner was given.

        Raises:
          JpstError: as `give`.
        """
        name = self.pairs and self.pairs.at("content" if which == CONTENT else "style", across, down)
        if name and which == CONTENT:
            self.pick(name)
        elif which == STYLE:
            self.give(name or NONE)
        return which == STYLE

    def reset(self) -> None:
        """Goes back to the automatic pairs; raises as `give`."""
        if self._running:
            raise JpstError(RUNNING)
        if self.pairs:
            self.pairs.reset()

    def region_pictures(self) -> tuple[str, str] | None:
        """Content and style with their regions; None if they have none."""
        if self.pairs is None:
            return None
        content, style = (str(self._picture(each, "regions")) for each in self.pairs.pictures())
        return content, style

    def first_look(self) -> tuple[tuple[str, str], list[semantics.Row], bool] | None:
        """With the pairs that were given: pictures before and after, the regions, and whether that is the result.

        The picture after is the base look, unless it is the result that has these pairs. None if there are none.
        """
        if self.pairs is None or self._before is None:
            return None
        job = self.pairs.job()
        made = self._result()
        after = made.shown(1.0) if made else display.base_look(job)
        return (str(self._before), str(self._picture(after))), semantics.table(job.found.regions), made is not None

    def _paired(self, job: Job) -> Pairs | None:
        made = Pairs(job) if Pairs.possible(job) else None
        if made and self.pairs and self.pairs.picked in dict(made.offered("content")).values():
            made.pick(self.pairs.picked)
        return made

    def _result(self) -> Finished | None:
        """The finished transfer, unless other pairs were given since."""
        if self._finished and self.pairs and self.pairs.changes != self._finished.job.recipe.pairs:
            return None
        return self._finished

    def shown(self, strength: float) -> tuple[str, str] | None:
        """The result at this strength, after the photograph, as it is shown; None if there is none."""
        made = self._result()
        return made and (str(self._before), str(self._picture(made.shown(strength))))

    def written(self, strength: float) -> Path:
        """The result at full size, in the content's format if that can be written, else as PNG.

        Raises:
          JpstError: there is none, or it cannot be written.
        """
        if (result := self._result()) is None:
            raise JpstError(NO_RESULT)
        made = self._folder / self._name()
        image.write(made, **result.whole(strength)._asdict())
        return made

    def look(self, strength: float) -> Path:
        """The colours of the result as a LUT (.cube), without what it does differently in different places.

        Raises:
          JpstError: there is no result, colour-science is missing, or the file cannot be written.
        """
        if (result := self._result()) is None:
            raise JpstError(NO_RESULT)
        made = (self._folder / self._name()).with_suffix(".cube")
        lut_files.check(made)
        table, _ = lut.of_pictures(result.job.original.pixels, result.whole(strength).pixels)
        lut_files.write(made, table, made.stem)
        return made

    def command(self, strength: float) -> str:
        """What would be typed for the same picture; nothing without a result."""
        if self._result() is None or self._asked is None:
            return ""
        content, style, made = (Path(name) for name in (self._asked.content.name, self._asked.style.name, self._name()))
        others: dict[str, object] = {} if strength == 1 else {"strength": float(strength)}
        return command_line.command(content, style, made, *self._asked.settings(), others)

    def left_out(self) -> list[str]:
        """What the file of the result cannot keep, a sentence each."""
        return [*image.left_out(self._name(), self._finished.run.full_strength)] if self._finished else []

    def close(self) -> None:
        """Ends the work and removes the visitor's files."""
        if self._work:
            self._work.leave()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _name(self) -> str:
        assert self._asked, "a transfer was asked for"
        content, style = Path(self._asked.content.name), Path(self._asked.style.name)
        return f"{_short(content.stem)}_{_short(style.stem)}{image.suffix_for(content)}"

    def _picture(self, picture: PIL.Image.Image, kind: str = "shown") -> Path:
        """A file of a picture to be shown, under a name of its own: browsers keep what they have seen."""
        number = next(self._pictures[kind])
        made, old = (self._folder / f"{kind}-{each}.jpg" for each in (number, number - KEPT))
        picture.save(made, quality=92, subsampling=0)
        if old != self._before:
            old.unlink(missing_ok=True)
        return made


def _short(name: str) -> str:
    """A name of which two are no longer, with a suffix, than a file system allows: 255 bytes."""
    return name.encode(errors="ignore")[:MOST_BYTES].decode(errors="ignore")


def _named(sentence: str, asked: Asked) -> str:
    """A sentence with the names of the files where they came from."""
    for upload in (asked.content, asked.style):
        sentence = sentence.replace(str(upload.path), upload.name)
    return sentence
