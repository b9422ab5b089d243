"""The README's picture of the page of `jpst app`, with the pair of `jpst demo`.

    python benchmarks/page.py -o .github/page.jpg [--preset balanced]

Needs the extra `app`, playwright and a Chromium.
"""

import dataclasses
import shutil
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from jpst import caching
from jpst.app import server
from jpst.errors import JpstError

PAIR = {"content": ("sklearn.datasets", "images/china.jpg"), "style": ("skimage", "data/rocket.jpg")}
PORT, WAITING = 17900, 1000 * 60 * 15
"""first port that is tried; milliseconds that a transfer may take"""
WINDOW, WIDTH = (1280, 1225), 960
"""of the browser, and of the picture, in pixels"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer the pair on the page, and take a picture of the page."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    preset: str = "balanced"
    largest: int = 120_000
    """bytes of the picture, at most"""


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    with server.serving(PORT) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        width, height = WINDOW
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(address)
        _transfer(page, arguments.preset)
        taken = Image.open(BytesIO(page.screenshot()))
        browser.close()
    _save(taken.convert("RGB"), arguments.output, arguments.largest)


def _transfer(page: Page, preset: str) -> None:
    """Waits until the result and the pictures of regions are shown."""
    page.wait_for_selector("#start")
    for which, (package, path) in PAIR.items():
        page.set_input_files(f"#{which} input[type=file]", str(resources.files(package) / path))
        page.wait_for_selector(f"#{which} img[src*=shown]")
    page.click(f"#preset input[value={preset}]")
    page.click("#start")
    page.wait_for_selector("#status :text('Done')", timeout=WAITING)
    page.wait_for_selector("#style-regions img")
    page.wait_for_function("() => [...document.images].every(each => each.complete && each.naturalWidth)")
    page.mouse.move(0, 0)


def _save(picture: Image.Image, path: Path, largest: int) -> None:
    """Saves a JPEG with the best quality that keeps it this small."""
    size = WIDTH, round(WIDTH * picture.height / picture.width)
    small = picture.resize(size, Image.Resampling.LANCZOS)
    for quality in range(92, 40, -4):
        small.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= largest:
            return
    raise JpstError(f"{path}: it has more than {largest} bytes at any quality.")


if __name__ == "__main__":
    main()
