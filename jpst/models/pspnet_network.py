"""The network of PSPNet50 (Zhao et al., arXiv 1612.01105) in Flax, with the differences between its families as data.

A ResNet-50 with three convolutions as its stem, dilated so that its features keep an eighth of the image's size, and
means over a pyramid of bins beside them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jpst.models.pspnet_families import Architecture

WIDTH, CLASSES = 64, 150
BLOCKS = (3, 4, 6, 3)
FEATURES = 60
"""Side of the feature map that the fixed bins of the pyramid are made for: that of a 473 pixel crop."""
EPSILON = 1e-5


class Unit(nn.Module):
    """Convolution without bias and normalisation by the statistics of training."""

    features: int
    size: int = 1
    stride: int = 1
    dilation: int = 1
    padding: str | int = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to an image or features [H, W, C]."""
        x = nn.Conv(
            self.features,
            (self.size, self.size),
            strides=self.stride,
            kernel_dilation=self.dilation,
            padding=self.padding,
            use_bias=False,
            name="conv",
        )(x)
        return nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name="bn")(x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut, which is a convolution in a stage's first block."""

    features: int
    first: bool
    stride: int
    dilation: int
    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the module to an image or features [H, W, C]."""
        strides = {"conv1": 1, "conv2": 1, self.architecture.strided: self.stride}
        padding = self.architecture.padding if strides["conv2"] > 1 else "SAME"
        y = nn.relu(Unit(self.features, stride=strides["conv1"], name="conv1")(x))
        y = Unit(self.features, 3, strides["conv2"], self.dilation, padding, name="conv2")(y)
        y = Unit(4 * self.features, name="conv3")(nn.relu(y))
        if self.first:
            x = Unit(4 * self.features, stride=self.stride, name="downsample")(x)
        return nn.relu(x + y)


class PSPNet(nn.Module):
    """Image [H, W, 3] in [0, 1] -> logits [ceil(H / 8), ceil(W / 8), classes]. `width` is 64, less in tests."""

    architecture: Architecture
    width: int = WIDTH
    classes: int = CLASSES

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies the module to an image or features [H, W, C]."""
        scale = self.variable("preprocessing", "scale", jnp.ones, (3,)).value
        offset = self.variable("preprocessing", "offset", jnp.zeros, (3,)).value
        x = self._stem(image * scale[None, None, :] + offset[None, None, :])
        for stage, (blocks, dilation) in enumerate(zip(BLOCKS, (1, 1, 2, 4), strict=True), 1):
            for block in range(blocks):
                contracted = self.architecture.contracted and block == 0 and dilation > 1
                x = Bottleneck(
                    self.width << (stage - 1),
                    first=block == 0,
                    stride=2 if stage == 2 and block == 0 else 1,
                    dilation=dilation // 2 if contracted else dilation,
                    architecture=self.architecture,
                    name=f"layer{stage}_{block}",
                )(x)
        x = jnp.concatenate([x, *(self._level(x, level) for level in self.architecture.pyramid)], axis=-1)
        x = nn.relu(Unit(8 * self.width, 3, name="head")(x))
        return nn.Conv(self.classes, (1, 1), name="classifier")(x)

    def _stem(self, x: jax.Array) -> jax.Array:
        padding = self.architecture.padding
        for i, channels in enumerate(self.architecture.stem, 1):
            at = {"stride": 2, "padding": padding} if i == 1 else {}
            x = nn.relu(Unit(channels * self.width // WIDTH, 3, name=f"stem{i}", **at)(x))
        # Padded with minus infinity: no border is ever the largest.
        if isinstance(padding, int):
            x = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)), constant_values=-jnp.inf)
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding="VALID" if isinstance(padding, int) else padding)

    def _level(self, x: jax.Array, level: int) -> jax.Array:
        """The means over the bins of one level of the pyramid, brought back to the size of `x`."""
        height, width, _ = x.shape
        bins = _fixed_bins if self.architecture.pooling == "fixed" else _adaptive_bins
        pooled = _resampled(x, bins(height, level), bins(width, level))
        pooled = nn.relu(Unit(8 * self.width, name=f"pyramid{level}")(pooled))
        corners = self.architecture.align_corners
        rows, columns = (
            interpolation(bins, size, corners) for bins, size in zip(pooled.shape, (height, width), strict=False)
        )
        return _resampled(pooled, rows, columns)


def interpolation(size: int, out: int, align_corners: bool) -> np.ndarray:
    """[out, size]: bilinear resize of one axis, without antialiasing, as torch and TensorFlow do it."""
    matrix = np.zeros((out, size), np.float32)
    low, high, part = between(positions(size, out, align_corners), size)
    np.add.at(matrix, (np.arange(out), low), 1 - part)
    np.add.at(matrix, (np.arange(out), high), part)
    return matrix


def positions(size: int, out: int, align_corners: bool) -> np.ndarray:
    """[out]: where each output pixel's centre lies among the input's, counted from the first of them."""
    if align_corners:
        return np.arange(out) * ((size - 1) / max(out - 1, 1))
    return np.clip((np.arange(out) + 0.5) * (size / out) - 0.5, 0, size - 1)


def between(at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels below and above each position, and how far it is from the first to the second."""
    low = np.minimum(np.floor(at + 1e-9).astype(int), size - 1)  # a product may fall just short of a whole number
    return low, np.minimum(low + 1, size - 1), np.maximum(at - low, 0).astype(np.float32)


def _adaptive_bins(size: int, count: int) -> np.ndarray:
    """[count, size]: means over `count` bins, which share a pixel where a border falls inside it (PyTorch)."""
    edges = np.arange(count + 1) * size
    low, high = edges[:-1] // count, -(-edges[1:] // count)
    return _means(low, high, size)


def _fixed_bins(size: int, level: int) -> np.ndarray:
    """[bins, size]: means over bins of 60/level pixels; a rest that fills no bin is left out."""
    side = FEATURES // level
    low = np.arange(0, size - side + 1, side)
    return _means(low, low + side, size)


def _means(low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
    at = np.arange(size)
    inside = (at >= low[:, None]) & (at < high[:, None])
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def _resampled(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """[h, w, c] -> [H, W, c] by a matrix for each axis."""
    return jnp.einsum("hwc,Hh,Ww->HWc", x, rows, columns, precision="highest")


def resize_logits(logits: jax.Array, height: int, width: int, align_corners: bool) -> jax.Array:
    """[h, w, classes] -> [height, width, classes], bilinear."""
    rows = interpolation(logits.shape[0], height, align_corners)
    return _resampled(logits, rows, interpolation(logits.shape[1], width, align_corners))
