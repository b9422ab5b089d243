"""DeepLabV3+ on MobileNetV2 (Chen et al., arXiv 1802.02611) for 31 classes of ADE20K, as MLPerf publishes it.

Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1], both sides multiples of 16. Channel 0 of the logits
is "unlabelled", which training ignored; channel c is ADE20K's class c, for c = 1..31 (wall, building, sky, ...).

The published files are quantised to 8 bits. Their weights are read as floating point; the ranges that layers' outputs
were stored in come along (collection `ranges`), and outputs are rounded to them, as the network was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.initializers import zeros  # only shapes are asked for, and a random one takes long to trace
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from jpst.caching import cached
from jpst.errors import JpstError
from jpst.models import framing
from jpst.models.mobilenet import Depthwise
from jpst.models.scaling import SYMMETRIC

Variables = Mapping[str, Any]

SIZE = 512
"""side of the square that the published network takes"""
CLASSES = 31
DECODED = 4
"""pixels of the image, each way, that one of the logits stands for"""
_GREY = np.full(3, 127.5 / 255)  # what images are padded with: zero after the preprocessing


class DeepLabError(JpstError):
    """An image that the network cannot take."""


class Block(NamedTuple):
    """An inverted residual block (Sandler et al., arXiv 1801.04381): channels after expansion, and at its end."""

    expanded: int
    channels: int
    stride: int = 1
    dilation: int = 1


BLOCKS = (
    Block(32, 16),
    *(Block(96, 24, 2), Block(144, 24)),
    *(Block(144, 32, 2), Block(192, 32), Block(192, 32)),
    *(Block(192, 64, 2), Block(384, 64), Block(384, 64), Block(384, 64)),
    *(Block(384, 96), Block(576, 96), Block(576, 96)),
    *(Block(576, 160), Block(960, 160, dilation=2), Block(960, 160, dilation=2)),
    Block(960, 320, dilation=2),
)
_SHALLOW = 2  # the block whose depthwise features, at a quarter of the size, the decoder also sees


class DeepLab(nn.Module):
    """[H, W, 3] in -1..1 -> logits [H / 4, W / 4, 32]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of the 32 channels from an image."""
        x = _Layer("full", 32, stride=2, name="conv")(x)
        shallow = x
        for number, block in enumerate(BLOCKS):
            x, depthwise = _Residual(block, name=f"block_{number}")(x)
            shallow = depthwise if number == _SHALLOW else shallow
        pooled = _relu(256, "image_pooling")(jnp.mean(x, (0, 1), keepdims=True))
        x = jnp.concatenate([jnp.broadcast_to(pooled, (*x.shape[:2], 256)), _relu(256, "aspp")(x)], -1)
        x = _relu(256, "concat_projection")(x)
        x = jnp.concatenate([enlarged(x, 4), _relu(48, "feature_projection")(shallow)], -1)
        for number in (0, 1):
            x = _Layer("depthwise", x.shape[-1], "relu", name=f"decoder_{number}_depthwise")(x)
            x = _relu(256, f"decoder_{number}_pointwise")(x)
        return _Layer("pointwise", CLASSES + 1, None, name="logits")(x)


class _Residual(nn.Module):
    """A block -> its output, and what its depthwise convolution gave."""

    block: Block

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        block, wide = self.block, x
        if block.expanded != x.shape[-1]:
            wide = _Layer("pointwise", block.expanded, name="expand")(x)
        wide = _Layer("depthwise", block.expanded, stride=block.stride, dilation=block.dilation, name="depthwise")(wide)
        narrow = _Layer("pointwise", block.channels, None, name="project")(wide)
        if narrow.shape == x.shape:
            narrow = as_stored(x + narrow, self.get_variable("ranges", "sum"))
        return narrow, wide


class _Layer(nn.Module):
    """Convolution, bias (which holds the folded batch normalisation), activation; rounding where there is a range."""

    kind: Literal["full", "pointwise", "depthwise"]
    channels: int
    activation: Literal["relu6", "relu"] | None = "relu6"
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "depthwise":
            convolution: nn.Module = Depthwise(self.stride, self.dilation, name="convolution")
        else:
            size = (3, 3) if self.kind == "full" else (1, 1)
            convolution = nn.Conv(
                self.channels, size, self.stride, use_bias=False, kernel_init=zeros, name="convolution"
            )
        bias = jnp.asarray(self.param("bias", zeros, (self.channels,)))
        x = convolution(x) + bias[None, None]  # pyright: ignore
        if self.activation:
            x = nn.relu6(x) if self.activation == "relu6" else nn.relu(x)
        return as_stored(x, self.get_variable("ranges", "output"))


def _relu(channels: int, name: str) -> _Layer:
    return _Layer("pointwise", channels, "relu", name=name)


def as_stored(x: Array, range: Float[Array, " 2"] | None) -> Array:
    """Values clipped to a range (lowest, highest) and rounded to its 256 steps; unchanged where there is none.

    That is what a quantised network was trained to expect.
    """
    if range is None:
        return x
    lowest, step = range[0], (range[1] - range[0]) / 255
    return lowest + step * jnp.round((jnp.clip(x, *range) - lowest) / step)


def enlarged(x: Float[Array, "h w c"], factor: int) -> Float[Array, "H W c"]:
    """Bilinear resize as TensorFlow 1 does it: output i lies at i / factor of the input, the last value is repeated."""
    for axis in (0, 1):
        following = jnp.concatenate([jax.lax.slice_in_dim(x, 1, None, axis=axis), _last(x, axis)], axis)
        between = [x + (step / factor) * (following - x) for step in range(factor)]
        shape = [size * (factor if each == axis else 1) for each, size in enumerate(x.shape)]
        x = jnp.stack(between, axis + 1).reshape(shape)
    return x


def _last(x: Array, axis: int) -> Array:
    return jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)


def logits(variables: Variables, image: Float[Array, "h w 3"]) -> Float[Array, "h4 w4 32"]:
    """The scores of an image before the softmax, at a quarter of its size; pure.

    Raises:
      DeepLabError: the image is no float [H, W, 3], or a side is not a multiple of 16.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise DeepLabError(
            f"DeepLab image: expected one float image [H, W, 3] in [0, 1], got {image.dtype} {image.shape}."
        )
    if image.shape[0] % 16 or image.shape[1] % 16:
        raise DeepLabError(f"DeepLab image: expected sides that are multiples of 16, got {image.shape[:2]}: pad it.")
    scale, offset = (variables["preprocessing"][name][None, None] for name in ("scale", "offset"))
    variables = {name: values for name, values in variables.items() if name != "preprocessing"}
    return DeepLab().apply(variables, image * scale + offset)  # pyright: ignore[reportReturnType]


def probabilities(variables: Variables, photograph: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "31 h2 w2"]:
    """How likely each class is at every point of a photograph of any size, float32; they sum to one over the classes.

    The photograph is brought to `SIZE` on its longest side and padded to a square at the bottom and on the right, as
    MLPerf does; the result, the mean over the photograph and its mirror image, has a quarter of that size, without the
    padding. Host code around one compiled network.
    """
    found, small = [], framing.resized(photograph, *framing.fitted(photograph.shape, SIZE))
    for mirrored in (False, True):
        likely = _probabilities(variables, jnp.asarray(framed(small, SIZE, mirrored)))
        found.append(unframed(np.asarray(likely), photograph.shape, SIZE, mirrored))
    return np.mean(found, axis=0).astype(np.float32)


def framed(photograph: Float[np.ndarray, "h w 3"], size: int, mirrored: bool = False) -> Float[np.ndarray, "s s 3"]:
    """A photograph, or its mirror image, brought to `size` pixels on its longest side and padded to a square."""
    small = framing.resized(photograph, *framing.fitted(photograph.shape[:2], size))
    return framing.padded(small[:, ::-1] if mirrored else small, size, size, _GREY)


def unframed(
    found: Float[np.ndarray, "s4 s4 c"], shape: tuple[int, ...], size: int, mirrored: bool = False
) -> Float[np.ndarray, "c h w"]:
    """What was found in `framed`, without the padding, at a quarter of `SIZE` for a photograph of this shape."""
    inside = [-(-side // DECODED) for side in framing.fitted(shape, size)]
    found = found[: inside[0], : inside[1]]
    sides = [-(-side // DECODED) for side in framing.fitted(shape, SIZE)]
    return np.moveaxis(framing.resized(found[:, ::-1] if mirrored else found, *sides), -1, 0)


def of_square(variables: Variables, image: Float[Array, "s s 3"]) -> Float[Array, "s4 s4 31"]:
    """Probabilities of what is in `framed`; pure."""
    return nn.softmax(logits(variables, image)[..., 1:])


_probabilities = cached(of_square)


@cache
def template(ranges: bool = False) -> Variables:
    """Shapes and types of the variables, with or without the ranges of a quantised network. Traced once."""
    shapes = jax.eval_shape(DeepLab().init, jax.random.key(0), jax.ShapeDtypeStruct((32, 32, 3), jnp.float32))
    variables = {**shapes, "preprocessing": {"scale": _floats(3), "offset": _floats(3)}}
    if ranges:
        variables["ranges"] = {}
        for path in flatten_dict(shapes["params"], sep="/"):
            if path.endswith("/bias"):
                variables["ranges"][path.replace("bias", "output")] = _floats(2)
        for number, (before, block) in enumerate(pairwise(BLOCKS), 1):
            if block.stride == 1 and block.channels == before.channels:
                variables["ranges"][f"block_{number}/sum"] = _floats(2)
        variables["ranges"] = unflatten_dict(variables["ranges"], sep="/")
    return variables


def template_of(found: Mapping[str, Any]) -> Variables:
    """The template for tensors under our own paths."""
    return template(ranges=any(name.startswith("ranges/") for name in found))


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def init(seed: int) -> Variables:
    """Random variables (He et al., arXiv 1502.01852) and the published preprocessing, for tests."""
    rng = np.random.default_rng(seed)

    def value(leaf: Any) -> jax.Array:
        spread = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * np.float32(spread))

    params = jax.tree.map(value, template()["params"])
    return {
        "params": params,
        "preprocessing": {name: jnp.float32(value) for name, value in SYMMETRIC._asdict().items()},
    }
