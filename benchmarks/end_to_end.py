"""Whole processes from two JPEGs to the finished picture: this version, another one, a colour match, a small network.

    python benchmarks/end_to_end.py CONTENT STYLE [--before CHECKOUT] [--presets balanced fast preview] [--rounds 5]

Photographs are brought to 12 megapixels first. Each command runs once to compile, which gives the cold times, and then
in turns; medians, and ratios to the first preset. CHECKOUT is a folder with another version of jpst, run with its
`balanced`. "match" is the colour match of the whole image at full size, in NumPy. "network" is a feed-forward network
with as many parameters as PCA-KD has (283 thousand; Chiu and Gurari, "PCA-based knowledge distillation towards
lightweight and content-style balanced photorealistic style transfer models", 2022), with random weights, in PyTorch:
what such a network costs, not what it can do. Each picture is checked to be there, at full size.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image, ImageOps
from timing import processor

from jpst.recipe import Preset

SIZE = (4240, 2824)
"""(width, height) of most 12 megapixel cameras"""
COMMAND = [sys.executable, "-c", "from jpst.cli import main; main()", "transfer"]
MATCH = """
import sys
import numpy as np
from PIL import Image
content, style = (np.asarray(Image.open(path).convert("RGB"), np.float32) for path in sys.argv[1:3])
a, b = (np.cov(image.reshape(-1, 3)[::7].T) for image in (content, style))
def powers(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-6) ** power) @ vectors.T
root, inverse = powers(a, 0.5), powers(a, -0.5)
transport = np.float32(inverse @ powers(root @ b @ root, 0.5) @ inverse)
matched = (content - content.mean((0, 1))) @ transport + style.mean((0, 1))
Image.fromarray(np.uint8(np.clip(matched + 0.5, 0, 255))).save(sys.argv[3], quality=95)
"""
NETWORK = """
import sys
import numpy as np, torch
from PIL import Image
from torch import nn
def read(path):
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB"), np.float32).copy()).permute(2, 0, 1)[None] / 255
def convolution(before, after):
    return nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3), nn.ReLU())
WIDTHS = (3, 16, 32, 64, 96)
encoder = nn.ModuleList(nn.Sequential(convolution(a, b), convolution(b, b)) for a, b in zip(WIDTHS, WIDTHS[1:]))
decoder = nn.ModuleList(convolution(b, a) for a, b in zip(WIDTHS, WIDTHS[1:]))
assert 250_000 < sum(p.numel() for p in [*encoder.parameters(), *decoder.parameters()]) < 310_000
def encoded(x):
    for number, stage in enumerate(encoder):
        x = stage(x if number == 0 else nn.functional.max_pool2d(x, 2))
    return x
with torch.inference_mode():
    content, style = (read(path) for path in sys.argv[1:3])
    x, y = encoded(content), encoded(style)
    x = (x - x.mean((2, 3), True)) / (x.std((2, 3), keepdim=True) + 1e-5)
    x = x * y.std((2, 3), keepdim=True) + y.mean((2, 3), True)
    for number, stage in reversed(list(enumerate(decoder))):
        x = stage(x)
        if number:
            x = nn.functional.interpolate(x, scale_factor=2)
    x = nn.functional.interpolate(x, content.shape[2:])
image = np.uint8(np.clip(x[0].permute(1, 2, 0).numpy() * 255 + 0.5, 0, 255))
Image.fromarray(image).save(sys.argv[3], quality=95)
"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Time whole commands on photographs of 12 megapixels."""

    content: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONTENT")]
    style: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="STYLE")]
    before: Path | None = None
    """a folder with another version of jpst"""
    presets: tuple[Preset, ...] = ("balanced", "fast", "preview")
    rounds: int = 5
    network: bool = True
    """time the small network, which needs PyTorch"""


def contestants(arguments: Arguments, folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each one's command, to which the three files are added, and its environment."""
    root = Path(__file__).parents[1]

    def jpst(code: Path, cache: str, preset: str) -> tuple[list[str], dict[str, str]]:
        environment = {"PYTHONPATH": str(code), "JPST_CACHE": str(folder / cache)}
        return [*COMMAND, "--preset", preset, "-o"], environment

    commands = {preset: jpst(root, "cache", preset) for preset in arguments.presets}
    if arguments.before:
        commands["before"] = jpst(arguments.before.resolve(), "cache-before", "balanced")
    commands["match"] = [sys.executable, "-c", MATCH], {}
    if arguments.network:
        commands["network"] = [sys.executable, "-c", NETWORK], {}
    return commands


def seconds(name: str, command: list[str], environment: dict[str, str], folder: Path) -> float:
    """Of one run; exits if it gives no picture of the right size."""
    content, style, out = (folder / file for file in ("content.jpg", "style.jpg", f"{name}.jpg"))
    files = [out, content, style] if command[-1] == "-o" else [content, style, out]
    out.unlink(missing_ok=True)
    out.with_suffix(".json").unlink(missing_ok=True)
    started = time.perf_counter()
    words, variables = [*command, *map(str, files)], os.environ | environment
    done = subprocess.run(words, env=variables, cwd=folder, capture_output=True, text=True)  # no jpst lies there
    taken = time.perf_counter() - started
    if done.returncode or Image.open(out).size != SIZE:
        sys.exit(f"{name} gave no picture:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return taken


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    print(f"{processor()}, {os.cpu_count()} cores, {SIZE[0]} x {SIZE[1]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("content", "style"):
            picture = ImageOps.fit(Image.open(getattr(arguments, file)).convert("RGB"), SIZE)
            picture.save(folder / f"{file}.jpg", quality=92)
        commands = contestants(arguments, folder)
        cold = {name: seconds(name, *command, folder) for name, command in commands.items()}
        warm: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                warm[name].append(seconds(name, *command, folder))
    base = statistics.median(warm[arguments.presets[0]])
    for name, times in warm.items():
        median = statistics.median(times)
        spread = f"{min(times):.1f} to {max(times):.1f}"
        print(f"{name:>9}  cold {cold[name]:6.1f} s  warm {median:6.1f} s ({spread})  ratio {median / base:.2f}")


if __name__ == "__main__":
    main()
