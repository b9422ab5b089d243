"""What a transfer will take, before it starts: memory from its sizes, time from this machine's speed."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jpst import memory, pyramid, solver
from jpst.errors import JpstError
from jpst.models import convolution, vgg19
from jpst.pyramid import Level
from jpst.recipe import Recipe

BASE_BYTES = 1.31e9
"""the process with its libraries, the network's weights, their expansion, and the compiler; measured"""
PHOTOGRAPH_BYTES = 30
"""for a pixel of a photograph: float32 RGB, the region it belongs to, and what passes made from both; measured"""
ACTIVATION_COPIES = 2.65
"""features, their gradients and XLA's work space, in units of all convolutions' outputs; measured"""
CURVATURE_COPIES = 3.4
"""L-BFGS's memory, the one before and what lies between them, in units of that memory; measured"""
COMPILE_SECONDS = 10.0
"""for each working size that is new to a machine"""


class ShortMemoryError(JpstError):
    """A transfer that needs more memory than there is; the text proposes a size that fits."""


class Estimate(NamedTuple):
    """What a run will take, on a CPU.

    The constants are fitted to the peaks of four runs, at 256, 384 and 640 px and for a pair of 12 megapixels (all
    compiling), and meet them within 2 %; another pair of 12 megapixels, with compiled steps at hand, within 5 %. Time
    is rough.
    """

    memory_bytes: int
    seconds: float
    compile_seconds: float
    """more, where no run of the same sizes came before"""


class Room(NamedTuple):
    """Bytes that there are for a run; None is not known, and counts as enough."""

    host: int | None
    device: int | None
    """of an accelerator; None on a CPU, where the host's memory holds everything"""

    @staticmethod
    def here() -> "Room":
        """What this process has now."""
        return Room(memory.available(), memory.available_on_device(jax.devices()[0]))


def estimate(photograph_pixels: int, levels: tuple[Level, ...], recipe: Recipe) -> Estimate:
    """For photographs of so many pixels together."""
    operations = work_per_pixel(_layers(recipe))[1]
    work = sum(steps * height * width for (height, width), _, steps in levels) * 2 * operations  # forward and backward
    needed = _host_bytes(photograph_pixels) + _device_bytes(levels, recipe)
    return Estimate(int(needed), work / _operations_per_second(), COMPILE_SECONDS * len(levels))


def shortage(
    content: tuple[int, int], style: tuple[int, int], recipe: Recipe, room: Room | None = None
) -> ShortMemoryError | None:
    """Why a transfer of photographs of these sizes (height, width) does not fit into memory, None where it does.

    `room` is what there is, by default here and now. The error, to be raised or told, proposes the largest size that
    fits, where one does.
    """
    room = room or Room.here()
    needed, there = _needed(content, style, recipe, room)
    if needed <= there:
        return None
    where = "memory" if room.device is None else "memory on host or accelerator"
    fitting = _largest(recipe, lambda smaller: _fits(content, style, smaller, room))
    advice = (
        f"Use `size={fitting}`, the largest that fits."
        if fitting
        else "No smaller `size` fits either: end other programs, or make the photographs smaller."
    )
    return ShortMemoryError(
        f"The transfer at size {recipe.size} needs about {_gib(needed)} of {where}, and {_gib(there)} are available: "
        f"it would be ended half-way. {advice}"
    )


def _fits(content: tuple[int, int], style: tuple[int, int], recipe: Recipe, room: Room) -> bool:
    needed, there = _needed(content, style, recipe, room)
    return needed <= there


def _needed(content: tuple[int, int], style: tuple[int, int], recipe: Recipe, room: Room) -> tuple[float, float]:
    """Bytes needed and available, of the scarcer of host and accelerator."""
    levels = pyramid.plan(content, style, recipe)
    photographs = content[0] * content[1] + style[0] * style[1]
    host, device = _host_bytes(photographs), _device_bytes(levels, recipe)
    if room.device is None:
        host, device = host + device, 0.0
    needs = [(host, room.host), (device, room.device)]
    known = [(need, float(there)) for need, there in needs if there is not None]
    return max(known, key=lambda each: each[0] / max(each[1], 1.0), default=(0.0, 0.0))


def _largest(recipe: Recipe, fits: Callable[[Recipe], bool]) -> int | None:
    """The largest working size below the recipe's, in steps of 16, that `fits`; None without one."""
    for size in range((recipe.size - 1) // 16 * 16, 31, -16):
        try:
            if fits(dataclasses.replace(recipe, size=size)):
                return size
        except JpstError:  # too small for the network, as all below it are
            return None
    return None


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _host_bytes(photograph_pixels: int) -> float:
    return BASE_BYTES + PHOTOGRAPH_BYTES * photograph_pixels


def _device_bytes(levels: tuple[Level, ...], recipe: Recipe) -> float:
    """Of the optimisation, at the largest level; the style's features, which need no gradient, take less."""
    largest = max(height * width for (height, width), _, _ in levels)
    numbers = ACTIVATION_COPIES * work_per_pixel(_layers(recipe))[0]
    if recipe.optimiser == "lbfgs":
        numbers += CURVATURE_COPIES * 2 * solver.MEMORY * 3  # pairs of differences, of three channels
    return 4 * numbers * largest


def _layers(recipe: Recipe) -> tuple[str, ...]:
    return recipe.content_layers + recipe.style_layers


def work_per_pixel(layers: tuple[str, ...]) -> tuple[float, float]:
    """Numbers that VGG19's convolutions put out, and operations that they take, per pixel of the image.

    Operations count multiplications and additions of the sum that a convolution is, however it is computed.
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
    """This machine's speed on one of VGG19's convolutions, computed as a transfer does, the best of three."""
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
