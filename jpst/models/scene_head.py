"""Our scene head: VGG19's features of a photograph -> how likely each of 31 scene classes is, on cells of 8 pixels.

The classes are the first 31 of ADE20K (wall, building, sky, ...), which `deeplab` also tells apart: from its answers
the head was trained (benchmarks/distill/scene.py). Its weights come with the package. Unbatched: one image float32
[H, W, 3], sRGB-encoded RGB in [0, 1], both sides multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
WIDTH = 192
"""channels inside the head"""
BLOCKS, HEADS = 3, 6
"""of self-attention, by which a cell takes all others into account"""
WAVES = (1, 2, 4)
"""half waves across the picture, that describe a place in it"""


class Block(nn.Module):
    """Self-attention over all cells and a hidden layer, each added to its input: [cells, WIDTH] to the same."""

    dropout: float

    @nn.compact
    def __call__(self, x: Array, training: bool) -> Array:
        """One block of a transformer (Vaswani et al., arXiv 1706.03762), normalised before each part."""
        drop = nn.Dropout(self.dropout, deterministic=not training)
        x = x + drop(nn.MultiHeadDotProductAttention(HEADS, name="attention")(nn.LayerNorm()(x)))
        hidden = nn.gelu(nn.Dense(3 * WIDTH, name="hidden")(nn.LayerNorm()(x)))
        return x + drop(nn.Dense(WIDTH, name="back")(hidden))


class Head(nn.Module):
    """VGG19's features of `LAYERS` -> logits [h, w, 31]. `dropout` is for training.

    On cells of 16 pixels both layers and the place in the picture are brought together, seen beside their neighbours
    and then beside the whole picture; the shallower layer brings that to cells of 8 pixels.
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: Mapping[str, Array], training: bool = False) -> Array:
        """Logits of the classes on cells of 8 pixels."""
        drop = partial(nn.Dropout, deterministic=not training)
        middle, deep = (drop(self.dropout / 2)(tamed(features[name])) for name in LAYERS)
        middle = nn.Dense(WIDTH, name="middle")(middle)
        (height, width, _), (rows, columns, _) = middle.shape, deep.shape
        x = nn.Dense(WIDTH, name="deep")(deep) + nn.Dense(WIDTH, name="place")(places(rows, columns))
        x = x + middle.reshape(rows, 2, columns, 2, WIDTH).mean((1, 3))
        x = x + nn.Conv(WIDTH, (3, 3), name="around")(nn.gelu(nn.LayerNorm()(x)))
        x = x.reshape(-1, WIDTH)
        for number in range(BLOCKS):
            x = Block(self.dropout, name=f"block_{number}")(x, training)
        x = jax.image.resize(x.reshape(rows, columns, WIDTH), (height, width, WIDTH), "linear")
        x = x + nn.Dense(WIDTH, name="fine")(nn.gelu(middle))
        x = x + drop(self.dropout)(nn.Conv(WIDTH, (3, 3), name="edges")(nn.gelu(nn.LayerNorm()(x))))
        return nn.Dense(CLASSES, name="logits")(nn.gelu(drop(self.dropout)(nn.LayerNorm()(x))))


def tamed(features: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Square roots, which tame the few strong channels, brought to zero mean and unit variance at each place.

    Contrast and light, which a transfer changes, leave them as they are.
    """
    x = jnp.sqrt(jnp.maximum(features, 0).astype(jnp.float32))
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-6)


def places(height: int, width: int) -> Float[Array, "h w n"]:
    """The place of each cell in the picture: its height, its distance from the middle, and waves both ways."""
    down, across = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in (height, width))
    down, across = np.broadcast_arrays(down[:, None], across[None])
    waves = [wave(np.pi * count * x) for count in WAVES for x in (down, across) for wave in (np.sin, np.cos)]
    return jnp.float32(np.stack([down, np.abs(across), *waves], -1))


def probabilities(
    variables: Variables, network: vgg19.Variables, image: Float[Array, "h w 3"]
) -> Float[Array, "31 H W"]:
    """How likely each class is at each eighth of the image; they sum to one.

    They are calibrated: of the cells with a highest probability p, a share of about p has the teacher's class. Pure;
    `network` is VGG19's variables.
    """
    scores = logits(variables, vgg19.features(network, image, LAYERS))
    found = nn.softmax(scores / variables["calibration"]["temperature"])
    return jnp.moveaxis(found, -1, 0)


def logits(
    variables: Variables, features: Mapping[str, Array], *, dropout: float = 0.0, key: Array | None = None
) -> Float[Array, "h w 31"]:
    """What the softmax takes, from VGG19's features of `LAYERS`; in training with a `key` for what is dropped."""
    rngs = None if key is None else {"dropout": key}
    return jnp.asarray(Head(dropout).apply({"params": variables["params"]}, features, key is not None, rngs=rngs))


def template() -> Variables:
    """Shapes and types of the variables."""
    return jax.eval_shape(init, jax.random.key(0))


def init(key: Array, channels: int = 512) -> Variables:
    """Variables to train, or for tests. `channels`: of each of `LAYERS`."""
    features = {name: jnp.zeros((side, side, channels)) for name, side in zip(LAYERS, (2, 1), strict=True)}
    return {"params": Head().init(key, features)["params"], "calibration": {"temperature": jnp.float32(1)}}
