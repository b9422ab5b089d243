"""Our scene head: VGG19's features of a photograph -> how likely each of 31 scene classes is, on cells of 8 pixels.

The classes are the first 31 of ADE20K (wall, building, sky, ...), which `deeplab` also tells apart: from its answers
the head was trained (benchmarks/distill/scene.py). Its weights come with the package. Unbatched: one image float32
[H, W, 3], sRGB-encoded RGB in [0, 1], both sides multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jpst.models import vgg19

Variables = Mapping[str, Any]

NAME = "scene-head"
CLASSES = 31
CELL = 8
"""pixels of the image, each way, that one answer stands for"""
SIZE = 384
"""longest side, at 3:2, of the pictures that the head was trained on"""
LAYERS = ("relu4_4", "relu5_4")
AROUND = 2
"""cells of 16 pixels, each way, over which the surroundings of a cell are averaged"""
LENGTH = 4 * 512 + 2
"""numbers that describe a cell"""


class Head(nn.Module):
    """What describes a cell, [..., 2050], -> logits [..., 31]: two hidden layers. `dropout` is for training."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, training: bool = False) -> Array:
        """Logits of the classes from what `cells` gives."""
        x = nn.Dropout(self.dropout / 2, deterministic=not training)(x)
        x = nn.gelu(nn.Dense(512, name="hidden_0")(x))
        x = nn.Dropout(self.dropout, deterministic=not training)(x)
        x = nn.gelu(nn.Dense(256, name="hidden_1")(x))
        return nn.Dense(CLASSES, name="logits")(x)


def cells(features: Mapping[str, Array]) -> Float[Array, "h w n"]:
    """What describes each cell of 8 pixels, from VGG19's features of `LAYERS`.

    Both layers there, the deeper one also averaged over the surroundings and over the picture, and the place in the
    picture. Of square roots, which tame the few strong channels, each vector brought to zero mean and unit variance:
    contrast and light, which a transfer changes, leave it as it is.
    """
    middle, deep = (jnp.sqrt(jnp.maximum(features[name], 0).astype(jnp.float32)) for name in LAYERS)
    height, width, channels = middle.shape
    side = 2 * AROUND + 1
    windows = [(AROUND, AROUND), (AROUND, AROUND), (0, 0)]
    sums = jax.lax.reduce_window(deep, 0.0, jax.lax.add, (side, side, 1), (1, 1, 1), windows)
    counts = jax.lax.reduce_window(jnp.ones_like(deep[..., :1]), 0.0, jax.lax.add, (side, side, 1), (1, 1, 1), windows)
    both = jax.image.resize(jnp.concatenate([deep, sums / counts], -1), (height, width, 2 * channels), "linear")
    mean = jnp.broadcast_to(jnp.mean(deep, (0, 1)), (height, width, channels))
    parts = [middle, both[..., :channels], both[..., channels:], mean]
    return jnp.concatenate([*map(_standardised, parts), _position(height, width)], -1)


def _standardised(x: Array) -> Array:
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6)


def _position(height: int, width: int) -> Array:
    """Height in the picture and distance from its middle, in -1..1: [height, width, 2]."""
    down = np.linspace(-1, 1, height)[:, None] if height > 1 else np.zeros((1, 1))
    across = np.abs(np.linspace(-1, 1, width))[None] if width > 1 else np.zeros((1, 1))
    return jnp.float32(np.stack(np.broadcast_arrays(down, across), -1))


def probabilities(
    variables: Variables, network: vgg19.Variables, image: Float[Array, "h w 3"]
) -> Float[Array, "31 H W"]:
    """How likely each class is at each eighth of the image; they sum to one.

    They are calibrated: of the cells with a highest probability p, a share of about p has the teacher's class. Pure;
    `network` is VGG19's variables.
    """
    scores = logits(variables, cells(vgg19.features(network, image, LAYERS)))
    found = nn.softmax(scores / variables["calibration"]["temperature"])
    return jnp.moveaxis(found, -1, 0)


def logits(
    variables: Variables, cells: Float[Array, "*n k"], *, dropout: float = 0.0, key: Array | None = None
) -> Float[Array, "*n 31"]:
    """What the softmax takes, from what `cells` gives; in training with a `key` for what is dropped."""
    rngs = None if key is None else {"dropout": key}
    return jnp.asarray(Head(dropout).apply({"params": variables["params"]}, cells, key is not None, rngs=rngs))


def template() -> Variables:
    """Shapes and types of the variables."""
    return jax.eval_shape(init, jax.random.key(0))


def init(key: Array, length: int = LENGTH) -> Variables:
    """Variables to train, or for tests. `length`: how many numbers describe a cell."""
    return {"params": Head().init(key, jnp.zeros(length))["params"], "calibration": {"temperature": jnp.float32(1)}}
