"""The full-size step: a working result brought to 2, 12 and 50 megapixels, its time and its peak memory.

    python benchmarks/highres.py [--megapixels 2 12 50] [--size 384]

The photograph is made in code (sky, textured ground, a sharp horizon, hard discs, noise in every pixel). Checked before
anything is printed: made small again, the full-size result is the working result within 2 levels of 255 on average, and
an affine change of all colours is reproduced where a window's colours determine it (on the ground). Each size runs in a
process of its own; "step" is the peak during the step beyond what the process held before it (which has the photograph,
float32, in it), "process" the whole.
"""

import dataclasses
import multiprocessing
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jpst import caching, highres, pixels

AFFINE = np.array([[0.6, 0.1, 0.0], [0.05, 0.5, 0.1], [0.0, 0.1, 0.7]], np.float32)
BAND = 256
HORIZON = 0.65
"""of the height: below it the ground has texture in all three colours"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Time the full-size step and measure its memory."""

    megapixels: tuple[float, ...] = (2, 12, 50)
    size: int = 384
    """longest side of the working picture"""


class Row(NamedTuple):
    """One size, measured."""

    seconds_first: float
    """compilation for a new size included"""
    seconds: float
    step: int | None
    """bytes; None where the system does not tell"""
    process: int | None
    back: float
    """mean absolute difference to the working result, in levels of 255"""
    affine: float
    """largest difference to an affine change of all colours on the ground, in levels of 255"""


def photograph(megapixels: float) -> np.ndarray:
    """float32 [H, W, 3] of ratio 3 : 2, 8-bit values, made a band at a time."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    rng = np.random.default_rng(0)
    high, low, ground, disc = rng.uniform(0.15, 0.85, (4, 3)).astype(np.float32)
    out = np.empty((height, width, 3), np.float32)
    x = (np.arange(width, dtype=np.float32)[None] + 0.5) / width
    for top in range(0, height, BAND):
        y = (np.arange(top, min(top + BAND, height), dtype=np.float32)[:, None] + 0.5) / height
        band = high + (low - high) * y[..., None] + np.float32(0.1) * x[..., None]
        texture = [np.sin(220 * x + 70 * y), np.sin(60 * x - 250 * y), np.cos(180 * x) * np.sin(200 * y)]
        band = np.where((y > HORIZON - 0.1 + 0.1 * x)[..., None], ground + 0.1 * np.stack(texture, -1), band)
        band = np.where(((y - 0.35) ** 2 + (x - 0.6) ** 2 < 0.03)[..., None], disc, band)
        band += 0.02 * rng.standard_normal(band.shape, np.float32)
        out[top : top + BAND] = np.round(255 * band.clip(0.02, 0.98)) / 255
    return out


def transferred(content: jax.Array) -> jax.Array:
    """A change that is not affine: darker towards the top, a curve for each channel, more contrast in the middle."""
    height = content.shape[0]
    light = jnp.linspace(0.7, 1.1, height, dtype=jnp.float32)[:, None, None]
    curved = content ** jnp.array([1.4, 1.1, 0.8], jnp.float32) * light
    return jnp.clip(curved + 0.05 * jnp.sin(6 * content), 0.0, 1.0)


def _status(field: str) -> int | None:
    """A size of this process in bytes, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines() if sys.platform == "linux" else ()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def _forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def measure(megapixels: float, size: int) -> Row:
    """One size, in this process."""
    caching.enable()
    full = photograph(megapixels)
    working = pixels.working_size(full.shape[0], full.shape[1], size)
    content = pixels.at_size(full, working)
    result = jax.block_until_ready(transferred(content))
    before = _status("VmRSS")
    _forget_peak()
    first, out = _timed(full, content, result)
    peak = _status("VmHWM")
    back = 255 * float(jnp.abs(pixels.at_size(out, working) - result).mean())
    del out
    again, _ = _timed(full, content, result)  # finds everything compiled
    assert back < 2, f"made small again, the result is {back:.2f} levels from the working result"
    affine = _affine_error(full, content)
    assert affine < 2, f"an affine change of all colours is missed by {affine:.2f} levels"
    step = peak - before if peak is not None and before is not None else None
    return Row(first, again, step, peak, back, affine)


def _timed(full: np.ndarray, content: jax.Array, result: jax.Array) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    out = highres.apply(full, content, result)
    return time.perf_counter() - started, out


def _affine_error(full: np.ndarray, content: jax.Array) -> float:
    """Largest difference to the exact change, in levels of 255; the ridge is put out of the way."""
    out = highres.apply(full, content, content @ AFFINE + 0.1, epsilon=1e-8)
    ground = round((HORIZON + 0.03) * len(full))  # three working pixels and more below the horizon
    bands = (np.s_[top : top + BAND] for top in range(ground, len(full), BAND))
    return 255 * max(float(np.abs(out[band] - (full[band] @ AFFINE + 0.1)).max()) for band in bands)


def main() -> None:
    arguments = tyro.cli(Arguments)
    print(f"device: {jax.devices()[0].device_kind}; working size {arguments.size}")
    print("megapixels  first, s  again, s  step, GB  process, GB  made small again  affine change")
    for megapixels in arguments.megapixels:
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            row = fresh.apply(measure, (megapixels, arguments.size))
        step, process = ("-" if each is None else f"{each / 1e9:.2f}" for each in (row.step, row.process))
        print(
            f"{megapixels:10g} {row.seconds_first:9.1f} {row.seconds:9.1f} {step:>9} {process:>12} "
            f"{row.back:10.2f} levels {row.affine:7.2f} levels",
            flush=True,
        )


if __name__ == "__main__":
    main()
