"""What a user waits for compilation: the first run ever and a run of a new shape against a run of a known one.

    python benchmarks/startup.py CONTENT STYLE [--preset balanced]

Whole processes, from the command to the picture, the weights being here. Each shape is cut from CONTENT and run twice:
first in a cache that holds the programs of the first shape only, then with its own programs too. The picture of
the second run must be that of the first. What else runs on the machine shows in each single figure: read the ratios.
"""

import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageOps
from timing import processor

from jpst.recipe import Preset

SHAPES = ((640, 427), (640, 480), (427, 640), (500, 500), (640, 360), (350, 280))
"""(width, height); the first is the known one"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the first run, runs of new shapes and runs of known ones."""

    content: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONTENT")]
    style: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STYLE")]
    preset: Preset = "balanced"
    segmenter: str = "auto"
    shapes: int = len(SHAPES) - 1
    """how many new shapes"""


def run(content: Path, out: Path, cache: Path, arguments: Arguments) -> tuple[float, np.ndarray]:
    """Seconds of the whole process, and the picture."""
    command = [sys.executable, "-c", "from jpst.cli import main; main()", "transfer", content, arguments.style]
    command += ["-o", out, "--preset", arguments.preset, "--segmenter", arguments.segmenter]
    started = time.perf_counter()
    subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.DEVNULL, env=os.environ | {"JPST_CACHE": str(cache)}
    )
    return time.perf_counter() - started, np.asarray(Image.open(out))


def both(size: tuple[int, int], before: Path, folder: Path, arguments: Arguments) -> tuple[float, float]:
    """Seconds of a run with what is compiled in `before`, and of a second one."""
    name = "x".join(map(str, size))
    content, cache = folder / f"{name}.png", folder / f"cache-{name}"
    ImageOps.fit(Image.open(arguments.content).convert("RGB"), size).save(content)
    shutil.copytree(before, cache)
    new, picture = run(content, folder / "new.png", cache, arguments)
    known, again = run(content, folder / "known.png", cache, arguments)
    if not np.array_equal(picture, again):
        sys.exit(f"{name}: the second run gave another picture")
    print(f"{name:>8}  new {new:6.1f} s  known {known:6.1f} s  ratio {new / known:.2f}", flush=True)
    return new, known


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    print(f"{processor()}, {os.cpu_count()} cores, preset {arguments.preset}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty"
        empty.mkdir(mode=0o700)
        first, known = both(SHAPES[0], empty, folder, arguments)
        warm = folder / f"cache-{SHAPES[0][0]}x{SHAPES[0][1]}"
        ratios = [
            new / again
            for new, again in (both(size, warm, folder, arguments) for size in SHAPES[1 : 1 + arguments.shapes])
        ]
    print(f"the first run ever takes {first / known:.2f} times a known one")
    print(f"a run of a new shape takes {statistics.median(ratios):.2f} times a known one (median of {len(ratios)})")


if __name__ == "__main__":
    main()
