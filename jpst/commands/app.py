"""The command line's `jpst app`: the page for people who do not type."""

import dataclasses
import threading
from typing import Annotated

from tyro.conf import arg

from jpst import ranges, streams
from jpst.ranges import Range

PORT = Range(1, 65535, whole=True)


@dataclasses.dataclass(frozen=True)
class App:
    """Open a page in the browser on which two photographs are dropped, for people who do not type.

    It is served to this computer alone, and no picture leaves it. Ctrl-C ends it.
    """

    port: Annotated[int, arg(metavar="N")] = 7860
    """where it is served; the next one that is free if this one is not"""
    open: bool = True
    """open it in the browser"""

    def __post_init__(self) -> None:
        ranges.check("port", self.port, PORT)

    def run(self) -> None:
        """Serves the page until Ctrl-C."""
        from jpst import terminal
        from jpst.app import server
        from jpst.weights import unfinished

        server.check()
        terminal.fetch_if_missing("vgg19", terminal.console())
        with unfinished.ended_cleanly(), server.serving(self.port) as address:
            server.warm_up(streams.say)
            streams.say(f"The page is at {address}. Ctrl-C ends it.")
            if self.open:
                import webbrowser

                webbrowser.open(address)
            try:
                while not threading.Event().wait(0.5):  # without an end Windows would not hear Ctrl-C
                    pass
            except KeyboardInterrupt:
                streams.say("The page is closed.")
