"""Inception-ResNet-v2 (Szegedy et al., arXiv 1602.07261) as TF-slim's weights want it: the convolutional part.

Unbatched. Convolutions are named as the ports to PyTorch name them, but for the repeated blocks: `block35_0` to
`block35_9`, `block17_0` to `block17_19`, `block8_0` to `block8_9`.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Convolution(NamedTuple):
    """One convolution of a block. `branch1_0` is the first of the chain `branch1`, `branch0` a chain by itself."""

    name: str
    channels: int
    kernel: tuple[int, int]

    @property
    def branch(self) -> str:
        """The branch that the convolution belongs to."""
        return self.name.partition("_")[0]


Block = tuple[Convolution, ...]


def _block(*convolutions: tuple[str, int, tuple[int, int]]) -> Block:
    return tuple(Convolution(*each) for each in convolutions)


STEM = _block(
    ("conv2d_1a", 32, (3, 3)),
    ("conv2d_2a", 32, (3, 3)),
    ("conv2d_2b", 64, (3, 3)),
    ("conv2d_3b", 80, (1, 1)),
    ("conv2d_4a", 192, (3, 3)),
)
MIXED_5B = _block(
    ("branch0", 96, (1, 1)),
    *(("branch1_0", 48, (1, 1)), ("branch1_1", 64, (5, 5))),
    *(("branch2_0", 64, (1, 1)), ("branch2_1", 96, (3, 3)), ("branch2_2", 96, (3, 3))),
    ("branch3_1", 64, (1, 1)),  # branch3_0 is an average pool
)
BLOCK35 = _block(
    ("branch0", 32, (1, 1)),
    *(("branch1_0", 32, (1, 1)), ("branch1_1", 32, (3, 3))),
    *(("branch2_0", 32, (1, 1)), ("branch2_1", 48, (3, 3)), ("branch2_2", 64, (3, 3))),
)
MIXED_6A = _block(
    ("branch0", 384, (3, 3)),
    *(("branch1_0", 256, (1, 1)), ("branch1_1", 256, (3, 3)), ("branch1_2", 384, (3, 3))),
)
BLOCK17 = _block(
    ("branch0", 192, (1, 1)),
    *(("branch1_0", 128, (1, 1)), ("branch1_1", 160, (1, 7)), ("branch1_2", 192, (7, 1))),
)
MIXED_7A = _block(
    *(("branch0_0", 256, (1, 1)), ("branch0_1", 384, (3, 3))),
    *(("branch1_0", 256, (1, 1)), ("branch1_1", 288, (3, 3))),
    *(("branch2_0", 256, (1, 1)), ("branch2_1", 288, (3, 3)), ("branch2_2", 320, (3, 3))),
)
BLOCK8 = _block(
    ("branch0", 192, (1, 1)),
    *(("branch1_0", 192, (1, 1)), ("branch1_1", 224, (1, 3)), ("branch1_2", 256, (3, 1))),
)
REPEATS = {"block35": 10, "block17": 20, "block8": 10}

NORMALISED = {each.name: each.channels for each in STEM} | {
    f"{name}/{each.name}": each.channels
    for name, block in (
        ("mixed_5b", MIXED_5B),
        *((f"block35_{i}", BLOCK35) for i in range(REPEATS["block35"])),
        ("mixed_6a", MIXED_6A),
        *((f"block17_{i}", BLOCK17) for i in range(REPEATS["block17"])),
        ("mixed_7a", MIXED_7A),
        *((f"block8_{i}", BLOCK8) for i in range(REPEATS["block8"])),
    )
    for each in block
}
"""Path -> channels of the 203 normalised convolutions before the last, in the order in which Keras numbers them."""

MINIMUM_SIZE = 75


class Unit(nn.Module):
    """Convolution without bias, batch normalisation with the training's statistics, ReLU."""

    channels: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to features [H, W, C]."""
        x = nn.Conv(self.channels, self.kernel, self.stride, self.padding, use_bias=False, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class Mixed(nn.Module):
    """Several chains of convolutions on one input, their ends concatenated.

    With `reduce` the last of each chain has stride 2 and no padding, and the input's 3 x 3 maxima at the same stride
    come last.
    """

    block: Block
    width: float
    reduce: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to features [H, W, C]."""
        ends = _ends(x, self.block, self.width, (2, "VALID") if self.reduce else (1, "SAME"))
        return jnp.concatenate([*ends, _max_pool(x)] if self.reduce else ends, axis=-1)


class Residual(nn.Module):
    """x + scale * (its chains' ends, brought to x's channels by a 1 x 1 convolution), then a ReLU if `activated`."""

    block: Block
    width: float
    scale: float
    activated: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to features [H, W, C]."""
        mixed = jnp.concatenate(_ends(x, self.block, self.width, (1, "SAME")), axis=-1)
        x = x + self.scale * nn.Conv(x.shape[-1], (1, 1), name="conv2d")(mixed)
        return nn.relu(x) if self.activated else x


def _ends(x: jax.Array, block: Block, width: float, last: tuple[int, str]) -> list[jax.Array]:
    """The ends of a block's chains; `last` is the stride and padding of the last convolution of each.

    A chain that starts at number 1 starts from the input's 3 x 3 means.
    """
    ends = []
    for _, group in groupby(block, lambda each: each.branch):
        chain = tuple(group)
        pooled = chain[0].name.endswith("_1")
        # TensorFlow leaves the padding out of the mean; Flax by itself would count it.
        y = nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False) if pooled else x
        for name, channels, kernel in chain:
            stride, padding = last if name == chain[-1].name else (1, "SAME")
            y = Unit(round(channels * width), kernel, stride, padding, name=name)(y)
        ends.append(y)
    return ends


class InceptionResNetV2(nn.Module):
    """[H, W, 3] in -1..1, at least 75 pixels a side -> features [h, w, 1536 * width] at about a 32nd of the size.

    With `remat` a gradient keeps only what goes into each block and computes its inside again.
    """

    width: float = 1.0
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to features [H, W, C]."""
        residual, mixed = (nn.remat(Residual), nn.remat(Mixed)) if self.remat else (Residual, Mixed)
        x = self._stem(x)
        x = mixed(MIXED_5B, self.width, name="mixed_5b")(x)
        for i in range(REPEATS["block35"]):
            x = residual(BLOCK35, self.width, 0.17, name=f"block35_{i}")(x)
        x = mixed(MIXED_6A, self.width, reduce=True, name="mixed_6a")(x)
        for i in range(REPEATS["block17"]):
            x = residual(BLOCK17, self.width, 0.1, name=f"block17_{i}")(x)
        x = mixed(MIXED_7A, self.width, reduce=True, name="mixed_7a")(x)
        for i in range(last := REPEATS["block8"] - 1):
            x = residual(BLOCK8, self.width, 0.2, name=f"block8_{i}")(x)
        x = residual(BLOCK8, self.width, 1.0, activated=False, name=f"block8_{last}")(x)
        return Unit(round(1536 * self.width), (1, 1), name="conv2d_7b")(x)

    def _stem(self, x: jax.Array) -> jax.Array:
        unit = nn.remat(Unit) if self.remat else Unit
        strides, paddings = (2, 1, 1, 1, 1), ("VALID", "VALID", "SAME", "VALID", "VALID")
        for (name, channels, kernel), stride, padding in zip(STEM, strides, paddings, strict=True):
            x = unit(round(channels * self.width), kernel, stride, padding, name=name)(x)
            if name in ("conv2d_2b", "conv2d_4a"):
                x = _max_pool(x)
        return x


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2))
