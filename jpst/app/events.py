"""What happens when the page is used, for each of its visitors."""

import html
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jpst.app import theme, words
from jpst.app.session import Line, State, Upload
from jpst.app.visit import Visit
from jpst.commands import options
from jpst.commands.transfer import Transfer
from jpst.errors import JpstError
from jpst.regions.pairing import NONE

TOASTED = 20
"""seconds for which a sentence about something that failed is shown above the page"""
DONE = "Done, with these pairs."
_GIVING = ("partner", "reset")
"""the components that give a region another partner, which waits until no transfer is running"""


class Events:
    """The handlers of the page's events.

    Gradio calls each with who asks, which it passes where the annotation is its `Request`, and with the values of the
    event's inputs; what comes back goes to the outputs.
    """

    def __init__(self, gradio: Any, folder: Path) -> None:
        self._gr, self._folder = gradio, folder
        self._line = Line()
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()
        """of the visits: handlers run in threads"""

    def take(self, which: str) -> Callable[..., Any]:
        """A photograph was dropped: what to show of it, or nothing and a sentence if it cannot be read."""

        def take(here: Visit, given: dict[str, Any] | None) -> str | None:
            if given is None:
                return here.drop(which)
            path = Path(given["path"])
            name = Path(given.get("orig_name") or path.name).name
            try:
                return str(here.take(which, Upload(path, name)))
            except JpstError as error:
                self._warn(self._sentence(error))
                return None

        return self._answer(take)

    def drop(self, which: str) -> Callable[..., None]:
        """A photograph was taken away."""
        return self._answer(lambda here: here.drop(which))

    def transfer(self, shown: dict[str, Any], names: Sequence[str]) -> Callable[..., Iterator[dict[Any, Any]]]:
        """A transfer was asked for: all that changes while it is made.

        Args:
          shown: the components that change, by name.
          names: fields of recipe and numbers, whose values follow that of the preset.
        """

        def transfer(request, preset: str, *values: Any) -> Iterator[dict[Any, Any]]:
            here = self._visit(request)
            yield self._updates(shown, self._begins())
            try:
                for state in here.transfer(preset, dict(zip(names, values, strict=True)), self._line):
                    if changes := self._changes(state, here):
                        yield self._updates(shown, changes)
            except JpstError as error:
                sentence = self._sentence(error)
                self._warn(sentence)
                yield self._updates(shown, self._ends() | {"status": {"value": theme.failed(sentence)}})

        return self._annotated(transfer)

    def cancel(self) -> Callable[..., Any]:
        """The steps shall end: the button says that this was heard."""

        def cancel(here: Visit) -> Any:
            here.cancel()
            return self._gr.update(value="Cancelling ...", interactive=False)

        return self._answer(cancel)

    def strengthen(self) -> Callable[..., Any]:
        """Another strength is asked for: the pictures and the command."""

        def strengthen(here: Visit, strength: float) -> Any:
            return here.shown(strength) or self._gr.skip(), here.command(strength)

        return self._answer(strengthen)

    def pick(self, shown: dict[str, Any]) -> Callable[..., dict[Any, Any]]:
        """A region of the content was chosen in the list."""

        def pick(here: Visit, name: str) -> dict[Any, Any]:
            here.pick(name)
            return self._updates(shown, self._regions(here))

        return self._answer(pick)

    def give(self, shown: dict[str, Any]) -> Callable[..., dict[Any, Any]]:
        """A partner of the region picked was chosen in the list."""

        def give(here: Visit, partner: str) -> dict[Any, Any]:
            here.give(partner)
            return self._updates(shown, self._looks_first(here))

        return self._answer(give)

    def reset(self, shown: dict[str, Any]) -> Callable[..., dict[Any, Any]]:
        """The automatic pairs are wanted again."""

        def reset(here: Visit) -> dict[Any, Any]:
            here.reset()
            return self._updates(shown, self._looks_first(here))

        return self._answer(reset)

    def click(self, which: str, shown: dict[str, Any]) -> Callable[..., dict[Any, Any]]:
        """A picture of regions was clicked; Gradio tells where."""

        def click(here: Visit, event: Any) -> dict[Any, Any]:
            given = here.click(which, *(int(each) for each in event.index))
            return self._updates(shown, self._looks_first(here) if given else self._regions(here))

        clicked = lambda request, event: self._answered(click, request, event)  # noqa: E731
        return self._annotated(clicked, event=self._gr.SelectData)

    def file(self, make: Callable[[Visit, float], Path]) -> Callable[..., Any]:
        """A file is asked for: its path."""
        return self._answer(lambda here, strength: str(make(here, strength)))

    def leave(self) -> Callable[..., None]:
        """A visitor closed the page, or the browser fell silent."""

        def leave(request) -> None:
            with self._lock:
                here = self._visits.pop(str(request.session_hash), None)
            if here:
                here.close()

        return self._annotated(leave)

    def close(self) -> None:
        """Ends the work of all visitors."""
        with self._lock:
            visits = [*self._visits.values()]
        for here in visits:
            here.close()

    def _visit(self, request: Any) -> Visit:
        name = str(request.session_hash)
        with self._lock:
            if name not in self._visits:
                self._visits[name] = Visit(self._folder / f"visit-{secrets.token_hex(8)}")
            return self._visits[name]

    def _answer(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """A handler of a visit and values, as Gradio calls it."""
        return self._annotated(lambda request, *values: self._answered(handler, request, *values))

    def _answered(self, handler: Callable[..., Any], request: Any, *values: Any) -> Any:
        """What a handler returns. Its `JpstError`s are shown as their sentences."""
        try:
            return handler(self._visit(request), *values)
        except JpstError as error:
            told = html.escape(self._sentence(error))
            raise self._gr.Error(told, duration=TOASTED, title="Sorry", print_exception=False) from error

    def _annotated(self, handler: Callable[..., Any], **kinds: Any) -> Callable[..., Any]:
        """A handler with the kinds of those of its parameters that Gradio fills in by itself."""
        handler.__annotations__ = {"request": self._gr.Request, **kinds}
        return handler

    def _sentence(self, error: JpstError) -> str:
        return words.told(str(error), options(Transfer))

    def _warn(self, sentence: str) -> None:
        self._gr.Warning(html.escape(sentence), duration=TOASTED, title="Sorry")

    def _updates(self, shown: dict[str, Any], changes: dict[str, dict[str, Any]]) -> dict[Any, Any]:
        return {shown[name]: self._gr.update(**change) for name, change in changes.items()}

    def _begins(self) -> dict[str, dict[str, Any]]:
        return {
            "start": {"visible": False},
            "cancel": {"visible": True, "interactive": True, "value": "Cancel"},
            "status": {"value": theme.status(State("Reading the photographs.")), "visible": True},
            **{name: {"visible": False} for name in ("finished", "command_box", "regions_box")},
            **{name: {"interactive": False} for name in _GIVING},
            "notes": {"value": ""},
        }

    def _ends(self) -> dict[str, dict[str, Any]]:
        return {
            "start": {"visible": True},
            "cancel": {"visible": False},
            **{name: {"interactive": True} for name in _GIVING},
        }

    def _regions(self, here: Visit) -> dict[str, dict[str, Any]]:
        """The pictures of regions, and the lists to choose from."""
        pairs, pictures = here.pairs, here.region_pictures()
        if pairs is None or pictures is None:
            return {"pairs": {"visible": False}}
        return {
            "pairs": {"visible": True},
            "content_regions": {"value": pictures[0]},
            "style_regions": {"value": pictures[1]},
            "picked": {"choices": pairs.offered("content"), "value": pairs.picked},
            "partner": {"choices": [*pairs.offered("style"), (words.WHOLE, NONE)], "value": pairs.partner},
            "reset": {"visible": bool(pairs.changes)},
        }

    def _looks_first(self, here: Visit) -> dict[str, dict[str, Any]]:
        """What changes where other pairs were given."""
        looked = here.first_look()
        if looked is None:
            return {}
        pictures, rows, finished = looked
        return self._regions(here) | {
            "pictures": {"value": pictures},
            "regions": {"value": theme.regions(rows)},
            "status": {"value": theme.status(State(DONE if finished else words.OTHER_PAIRS)), "visible": True},
            "strength": {"value": 1.0},
            "command": {"value": here.command(1.0)},
            **{name: {"visible": finished} for name in ("finished", "command_box")},
        }

    def _changes(self, state: State, here: Visit) -> dict[str, dict[str, Any]]:
        """What changes on the page for a state of the transfer."""
        changes: dict[str, dict[str, Any]] = self._ends() if state.over else {}
        if state.told is not None:
            changes["status"] = {"value": theme.status(state)}
        if pictures := here.pictures(state):
            changes |= {"pictures": {"value": pictures, "visible": True}, "empty": {"visible": False}}
        if state.rows is not None:
            changes |= {"regions": {"value": theme.regions(state.rows)}, "regions_box": {"visible": True}}
            changes |= self._regions(here)
        if state.notes is not None:
            told = [words.told(note, options(Transfer)) for note in [*state.notes, *here.left_out()]]
            changes["notes"] = {"value": theme.notes(told)}
        if state.finished:
            changes |= {"finished": {"visible": True}, "strength": {"value": 1.0}, "command_box": {"visible": True}}
            changes["command"] = {"value": here.command(1.0)}
        return changes
