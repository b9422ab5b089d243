"""Estimates a transfer before it starts: memory from its sizes, time from this machine's speed."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jpst import memory, solver
from jpst.errors import JpstError
from jpst.levels import Level, plan
from jpst.models import convolution, vgg19
from jpst.recipe import Recipe

BASE_BYTES = 1.31e9
"""the process with its libraries, the network's weights and transformed weights, and the compiler; measured"""
PHOTOGRAPH_BYTES = 30
"""per pixel of a photograph: float32 RGB, its region label, and temporaries made from both; measured"""
ACTIVATION_COPIES = 2.65
"""features, their gradients and XLA's work space, in units of all convolutions' outputs; measured"""
CURVATURE_COPIES = 3.4
"""L-BFGS's memory before and after an update, and temporaries, in units of that memory; measured"""
MOST_AT_ONCE = 16
"""images of one device: more would gain nothing"""
COMPILE_SECONDS = 10.0
"""for each working size that is not in the cache"""


class ShortMemoryError(JpstError):
    """A transfer needs more memory than is available; the message proposes a size that fits."""


class Estimate(NamedTuple):
    """Estimated cost of a run on a CPU.

    The constants are fitted to the peaks of four runs, at 256, 384 and 640 px and for a pair of 12 megapixels (all with
    compilation), and agree within 2 %. Another pair of 12 megapixels, with cached programs, agrees within 5 %. The time
    is a rough estimate.
    """

    memory_bytes: int
    seconds: float
    compile_seconds: float
    """additional seconds if no earlier run had the same sizes"""


class Room(NamedTuple):
    """Bytes available for a run; None means unknown and counts as enough."""

    host: int | None
    device: int | None
    """on an accelerator; None on a CPU, where everything is in the host's memory"""

    @staticmethod
    def here() -> "Room":
        """The memory available to this process now."""
        return Room(memory.available(), memory.available_on_device(jax.devices()[0]))


def estimate(photograph_pixels: int, levels: tuple[Level, ...], recipe: Recipe) -> Estimate:
    """Estimates a run; `photograph_pixels` is the number of pixels of both photographs together."""
    operations = work_per_pixel(_layers(recipe))[1]
    work = sum(steps * height * width for (height, width), _, steps in levels) * 2 * operations  # forward and backward
    needed = _host_bytes(photograph_pixels) + _device_bytes(levels, recipe)
    return Estimate(int(needed), work / _operations_per_second(), COMPILE_SECONDS * len(levels))


def shortage(
    content: tuple[int, int],
    style: tuple[int, int],
    recipe: Recipe,
    room: Room | None = None,
    *,
    projected: bool = False,
) -> ShortMemoryError | None:
    """Why a transfer of photographs of these sizes (height, width) does not fit into memory; None if it fits.

    `room` is the memory available, by default now; `projected` as for `levels.plan`. The error, to be raised or shown,
    proposes the largest size that fits, if there is one.
    """
    room = room or Room.here()
    needed, available = _needed(content, style, recipe, room, projected)
    if needed <= available:
        return None
    where = "memory" if room.device is None else "memory on host or accelerator"
    fitting = _largest(recipe, lambda smaller: _fits(content, style, smaller, room, projected))
    advice = (
        f"Use `size={fitting}`, the largest that fits."
        if fitting
        else "No smaller `size` fits either: end other programs, or make the photographs smaller."
    )
    return ShortMemoryError(
        f"The transfer at size {recipe.size} needs about {_gib(needed)} of {where}, but {_gib(available)} are "
        f"available: the system would stop it half-way. {advice}"
    )


def fitting_a_device(levels: tuple[Level, ...], recipe: Recipe, room: Room | None = None) -> int:
    """How many images can be optimised at once in a device's memory: 1 to `MOST_AT_ONCE`; 1 if that is not known."""
    free = (room or Room.here()).device
    return 1 if free is None else int(min(MOST_AT_ONCE, max(1.0, free // _device_bytes(levels, recipe))))


def _fits(content: tuple[int, int], style: tuple[int, int], recipe: Recipe, room: Room, projected: bool) -> bool:
    needed, available = _needed(content, style, recipe, room, projected)
    return needed <= available


def _needed(
    content: tuple[int, int], style: tuple[int, int], recipe: Recipe, room: Room, projected: bool
) -> tuple[float, float]:
    """Bytes needed and bytes available, on the host or the accelerator, whichever is scarcer."""
    levels = plan(content, style, recipe, projected=projected)
    photographs = content[0] * content[1] + style[0] * style[1]
    host, device = _host_bytes(photographs), _device_bytes(levels, recipe)
    if room.device is None:
        host, device = host + device, 0.0
    needs = [(host, room.host), (device, room.device)]
    known = [(need, float(limit)) for need, limit in needs if limit is not None]
    return max(known, key=lambda each: each[0] / max(each[1], 1.0), default=(0.0, 0.0))


def _largest(recipe: Recipe, fits: Callable[[Recipe], bool]) -> int | None:
    """The largest working size below the recipe's, in steps of 16, that `fits`; None if there is none."""
    for size in range((recipe.size - 1) // 16 * 16, 31, -16):
        try:
            if fits(dataclasses.replace(recipe, size=size)):
                return size
        except JpstError:  # too small for the network, and so are all smaller ones
            return None
    return None


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _host_bytes(photograph_pixels: int) -> float:
    return BASE_BYTES + PHOTOGRAPH_BYTES * photograph_pixels


def _device_bytes(levels: tuple[Level, ...], recipe: Recipe) -> float:
    """Bytes of the optimisation at the largest level; the style's features need no gradient and take less."""
    largest = max(height * width for (height, width), _, _ in levels)
    numbers = ACTIVATION_COPIES * work_per_pixel(_layers(recipe))[0]
    if recipe.optimiser == "lbfgs":
        numbers += CURVATURE_COPIES * 2 * solver.MEMORY * 3  # pairs of differences in three channels
    return 4 * numbers * largest


def _layers(recipe: Recipe) -> tuple[str, ...]:
    return recipe.content_layers + recipe.style_layers


def work_per_pixel(layers: tuple[str, ...]) -> tuple[float, float]:
    """Outputs of VGG19's convolutions and their operations, each per pixel of the image.

    Operations are the multiplications and additions of a direct convolution, whatever algorithm is used.
    """
    outputs = operations = 0.0
    before = 3
    for name in vgg19.convolutions_to(layers):
        channels = vgg19.channels_of(name)
        area = 4.0 ** -(int(name[4]) - 1)
        outputs += channels * area
        operations += 2 * 9 * before * channels * area
        before = channels
    return outputs, operations


def _operations_per_second() -> float:
    """This machine's speed on one of VGG19's convolutions, as a transfer computes it; the best of three runs."""
    size, channels = 96, 128
    image, kernel = jnp.ones((size, size, channels)), jnp.ones((3, 3, channels, channels))
    transformed = convolution.transform(kernel) if jax.default_backend() == "cpu" else None
    convolve = jax.jit(convolution.convolve)
    convolve(image, kernel, transformed).block_until_ready()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        convolve(image, kernel, transformed).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2 * 9 * size**2 * channels**2 / min(seconds)
