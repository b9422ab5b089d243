"""Serves the page to this computer alone, for as long as it is wanted."""

import importlib.util
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jpst import pipeline, weights
from jpst.app import display, theme
from jpst.app.page import Page
from jpst.errors import JpstError
from jpst.weights import unfinished

HOST = "127.0.0.1"
PORTS = 100
"""how many ports are tried, from the first one wanted"""
LARGEST = "1gb"
"""of the files that are taken; how many pixels a photograph may have `image` says"""
PREFIX = "jpst-app-"
"""of the names of the folders of uploads"""


def check() -> None:
    """Raises `JpstError` unless Gradio, which makes the page, is installed."""
    if importlib.util.find_spec("gradio") is None:
        raise JpstError('The page needs Gradio. Install it: pip install "jpst[app]".')


def _gradio() -> Any:
    """The library; its import makes a folder for files where the environment says."""
    check()
    import gradio  # pyright: ignore[reportMissingImports]

    return gradio


@contextmanager
def serving(port: int) -> Iterator[str]:
    """Serves the page inside the block, on this port or the next that is free; yields its address.

    Networks stay in memory. What is uploaded lies in a temporary folder, which is gone at the end.

    Raises:
      JpstError: Gradio is missing, or no port is free.
    """
    temporary = Path(tempfile.gettempdir())
    unfinished.remove_leftovers(temporary, [f"{PREFIX}*.part"])
    weights.keep()
    with unfinished.scratch(temporary, PREFIX) as folder, _environment(folder):
        page = Page(library := _gradio(), folder)
        _, address, _ = page.blocks.launch(
            server_name=HOST,
            server_port=_free(port),
            theme=_theme(library),
            css=theme.CSS,
            head=theme.SCRIPT,
            max_file_size=LARGEST,
            app_kwargs={"middleware": [_hosts()]},
            footer_links=[],
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            quiet=True,
            prevent_thread_lock=True,
        )
        try:
            yield address
        finally:
            page.events.close()
            page.blocks.close(verbose=False)


def warm_up(tell: Callable[[str], None] = lambda _: None) -> None:
    """Loads networks and programs in a thread, by a first look at noise, so that the first visitor waits less."""

    def load() -> None:
        wide = np.random.default_rng(0).random((display.ROUGH * 2 // 3, display.ROUGH, 3), np.float32)
        try:
            for picture in (wide, wide.swapaxes(0, 1)):
                display.base_look(pipeline.plan(picture, picture, tell=tell))
        except JpstError as error:  # the first visitor hears it again
            tell(str(error))

    threading.Thread(target=load, daemon=True).start()


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Tells Gradio where files go, that nothing is reported, and that no proxy leads to this computer."""
    local = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), HOST]))
    wanted = {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    wanted |= {"NO_PROXY": local, "no_proxy": local}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _free(first: int) -> int:
    for port in range(first, min(first + PORTS, 65536)):
        with socket.socket() as tried:
            if os.name == "posix":  # on Windows a port that is taken could be bound with it
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
            return port
    raise JpstError(f"No port from {first} on is free on {HOST}. Give another one with `port`.")


def _hosts() -> Any:
    """Refuses requests under another name: a page from elsewhere could lead one here, and then read the answers."""
    from starlette.middleware import Middleware  # pyright: ignore[reportMissingImports]
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # pyright: ignore[reportMissingImports]

    return Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])


def _theme(library: Any) -> Any:
    made = library.themes.Default(
        primary_hue="orange", neutral_hue="stone", font=theme.FONTS, font_mono=theme.MONOSPACED
    )
    readable = {"body_text_color_subdued": "*neutral_500", "block_info_text_color": "*neutral_500"}
    return made.set(**readable, **{f"{name}_dark": "*neutral_400" for name in readable})
