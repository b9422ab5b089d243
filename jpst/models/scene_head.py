"""Our scene head: VGG19's features of a photograph -> how likely each of 31 scene classes is, on cells of 8 pixels.

The classes are the first 31 of ADE20K (wall, building, sky, ...), which `deeplab` also tells apart: from its answers
the head was trained (benchmarks/distill/scene.py). Its weights come with the package. Unbatched: one image float32
[H, W, 3], sRGB-encoded RGB in [0, 1], both sides multiples of 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jpst.models import shipped, vgg19
from jpst.models.weights import Loaded

Variables = Mapping[str, Any]

NAME = "scene-head"
CLASSES = 31
CELL = 8
"""pixels of the image, each way, that one answer stands for"""
SIZE = 384
"""longest side, at 3:2, of the pictures that the head was trained on"""
LAYERS = ("relu3_4", "relu4_4", "relu5_4")
FEATURES_SCALE = 255.0
"""of the images in the preprocessing of Oxford's VGG19, whose features it learned on"""
_RATES = (1, 3, 6)
"""of the dilated convolutions that look around, in cells of 16 pixels"""


class Head(nn.Module):
    """What `seen` gives, [2h, 2w, 256], [2h, 2w, 512] and [h, w, 512], -> logits [2h, 2w, 31].

    In the manner of DeepLabV3+ (arXiv 1802.02611): separable convolutions of several reaches and the picture's mean on
    the deepest features, joined by the shallower ones. `dropout` drops whole channels in training.
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(self, features: Mapping[str, Array], training: bool = False) -> Array:
        fine, middle, deep = (_tamed(features[name], name) for name in LAYERS)
        deep = jnp.concatenate([nn.gelu(nn.Dense(384, name="deep")(deep)), _position(*deep.shape[:2])], -1)
        around = [nn.gelu(_Separable(128, rate, name=f"around_{rate}")(deep)) for rate in _RATES]
        mean = nn.gelu(nn.Dense(128, name="mean")(jnp.mean(deep, (0, 1))))
        deep = jnp.concatenate([deep, *around, jnp.broadcast_to(mean, (*deep.shape[:2], 128))], -1)
        deep = nn.gelu(nn.Dense(384, name="joined")(self._dropped(deep, training)))
        height, width = middle.shape[:2]
        up = jax.image.resize(deep, (height, width, deep.shape[-1]), "linear")
        fine = nn.gelu(nn.Dense(64, name="fine")(fine))
        x = jnp.concatenate([up, nn.gelu(nn.Dense(192, name="middle")(middle)), fine], -1)
        x = nn.gelu(_Separable(256, 1, name="decoder_0")(self._dropped(x, training)))
        x = nn.gelu(_Separable(256, 1, name="decoder_1")(x))
        return nn.Dense(CLASSES, name="logits")(x)

    def _dropped(self, x: Array, training: bool) -> Array:
        return nn.Dropout(self.dropout, broadcast_dims=(0, 1), deterministic=not training)(x)


class _Separable(nn.Module):
    """A 3 x 3 convolution of each channel by itself, and a mixture of channels, added to nothing."""

    channels: int
    rate: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        groups = x.shape[-1]
        x = nn.Conv(groups, (3, 3), kernel_dilation=self.rate, feature_group_count=groups, name="depthwise")(x)
        return nn.Dense(self.channels, name="pointwise")(nn.LayerNorm(name="norm")(x))


def _tamed(x: Array, name: str) -> Array:
    """Square roots, which tame the few strong channels, each cell brought to unit variance: contrast and light, which a
    transfer changes, leave it as it is."""
    return nn.LayerNorm(name=f"{name}_norm")(jnp.sqrt(jnp.maximum(x, 0) + 1e-6))


def _position(height: int, width: int) -> Array:
    """Height in the picture and distance from its middle, in -1..1: [height, width, 2]."""
    down = np.linspace(-1, 1, height)[:, None] if height > 1 else np.zeros((1, 1))
    across = np.abs(np.linspace(-1, 1, width))[None] if width > 1 else np.zeros((1, 1))
    return jnp.float32(np.stack(np.broadcast_arrays(down, across), -1))


def seen(network: vgg19.Variables, image: Float[Array, "h w 3"]) -> dict[str, Array]:
    """VGG19's features of `LAYERS`, the first of them averaged to cells of 8 pixels too."""
    found = vgg19.features(network, image, LAYERS)
    fine = found[LAYERS[0]]
    height, width, channels = fine.shape
    return {**found, LAYERS[0]: jnp.mean(fine.reshape(height // 2, 2, width // 2, 2, channels), (1, 3))}


def probabilities(
    variables: Variables, network: vgg19.Variables, image: Float[Array, "h w 3"]
) -> Float[Array, "31 H W"]:
    """How likely each class is at each eighth of the image; they sum to one, and are calibrated: of the cells with a
    highest probability p, a share of about p has the teacher's class. Pure; `network` is VGG19's variables.
    """
    scores = logits(variables, seen(network, image))
    found = nn.softmax(scores / variables["calibration"]["temperature"])
    return jnp.moveaxis(found, -1, 0)


def logits(
    variables: Variables, features: Mapping[str, Array], *, dropout: float = 0.0, key: Array | None = None
) -> Float[Array, "h w 31"]:
    """What the softmax takes, from what `seen` gives; in training with a `key` for the channels that are dropped."""
    rngs = None if key is None else {"dropout": key}
    found = Head(dropout).apply({"params": variables["params"]}, features, key is not None, rngs=rngs)
    return jnp.asarray(found)


def load() -> Loaded:
    """The head that comes with the package."""
    return shipped.load(NAME, lambda _: template())


def read(path: Path) -> Loaded:
    """A head from a file that `shipped.save` wrote."""
    return shipped.read(path, NAME, lambda _: template())


def template() -> Variables:
    """Shapes and types of the variables."""
    return jax.eval_shape(init, jax.random.key(0))


def init(key: Array, channels: tuple[int, int, int] = (256, 512, 512)) -> Variables:
    """Variables to train, or for tests. `channels`: of the features of `LAYERS`."""
    features = {
        name: jnp.zeros((side, side, count)) for name, side, count in zip(LAYERS, (2, 2, 1), channels, strict=True)
    }
    return {"params": Head().init(key, features)["params"], "calibration": {"temperature": jnp.float32(1)}}
