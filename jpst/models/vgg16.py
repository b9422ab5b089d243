"""VGG16 (Simonyan and Zisserman, arXiv 1409.1556): the convolutional part up to its last pool, unbatched."""

from __future__ import annotations

import jax
from flax import linen as nn

DEPTHS = (2, 2, 3, 3, 3)
CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{block}_{i}" for block, depth in enumerate(DEPTHS, 1) for i in range(1, depth + 1))
MINIMUM_SIZE = 32


class VGG16(nn.Module):
    """[H, W, 3] as the checkpoint wants it -> features [H / 32, W / 32, 512 * width], halves rounded down."""

    width: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The last features of an image."""
        for block, (depth, channels) in enumerate(zip(DEPTHS, CHANNELS, strict=True), 1):
            for i in range(1, depth + 1):
                x = nn.relu(nn.Conv(round(channels * self.width), (3, 3), name=f"conv{block}_{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x
