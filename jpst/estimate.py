"""What a transfer will take, before it starts: memory from its sizes, time from this machine's speed."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jpst.models import vgg19
from jpst.pyramid import Level

BASE_BYTES = 950e6
"""the process with its libraries, the network's weights and their expansion; measured"""
PHOTOGRAPH_BYTES = 16
"""for a pixel of a photograph: float32 RGB and the region it belongs to; copies are made a band at a time"""
ACTIVATION_COPIES = 4.2
"""features, their gradients and XLA's work space, in units of all convolutions' outputs; measured"""
COMPILE_SECONDS = 15.0
"""for each working size that is new to a machine"""


class Estimate(NamedTuple):
    """What a run will take, on a CPU.

    Memory came out within 5 % of the peaks measured at 384 and 700 px and for 12 megapixels; time is rough, meant to be
    within half and twice.
    """

    memory_bytes: int
    seconds: float
    compile_seconds: float
    """more, where no run of the same sizes came before"""


def estimate(photograph_pixels: int, levels: tuple[Level, ...], layers: tuple[str, ...]) -> Estimate:
    """For photographs of so many pixels together, and the layers that the objective reads."""
    largest = max(height * width for (height, width), _, _ in levels)
    outputs, operations = _per_pixel(layers)
    memory = BASE_BYTES + PHOTOGRAPH_BYTES * photograph_pixels + 4 * ACTIVATION_COPIES * outputs * largest
    work = sum(steps * height * width for (height, width), _, steps in levels) * 2 * operations  # forward and backward
    return Estimate(int(memory), work / _operations_per_second(), COMPILE_SECONDS * len(levels))


def _per_pixel(layers: tuple[str, ...]) -> tuple[float, float]:
    """Numbers that VGG19's convolutions put out, and operations that they take, per pixel of the image."""
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
    """This machine's speed on one of VGG19's convolutions, the best of three."""
    size, channels = 96, 128
    image, kernel = jnp.ones((1, size, size, channels)), jnp.ones((3, 3, channels, channels))

    @jax.jit
    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    convolve(image, kernel).block_until_ready()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        convolve(image, kernel).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2 * 9 * size**2 * channels**2 / min(seconds)
