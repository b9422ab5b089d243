"""VGG19 (Simonyan and Zisserman, arXiv 1409.1556): the convolutional part, as named intermediates.

`conv4_2` is the output of the second convolution of the fourth block before its ReLU, `relu4_2` after it.
Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1]; the shift and scale that a checkpoint was
trained with travel beside its kernels in the collection `preprocessing`. Batch from outside with `jax.vmap`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jpst.caching import cached
from jpst.errors import JpstError
from jpst.models import convolution
from jpst.models.scaling import CAFFE

Variables = Mapping[str, Any]

DEPTHS = (2, 2, 4, 4, 4)
CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = tuple(f"conv{block}_{i}" for block, depth in enumerate(DEPTHS, 1) for i in range(1, depth + 1))
LAYERS = tuple(name for conv in CONVOLUTIONS for name in (conv, conv.replace("conv", "relu")))


class LayerError(JpstError):
    """A layer name that VGG19 does not have, or an image that it cannot take."""


class VGG19(nn.Module):
    """Image [H, W, 3] in [0, 1] -> {layer: float32 [h, w, channels]} for the layers asked for.

    Nothing beyond the deepest of `layers` is computed. `channels` narrows the five blocks for tests.
    """

    layers: tuple[str, ...]
    channels: tuple[int, ...] = CHANNELS

    @nn.compact
    def __call__(self, image: jax.Array) -> dict[str, jax.Array]:
        """The layers asked for, by name."""
        _check_layers(self.layers)
        _check_image(image, self.layers)
        scale = self.variable("preprocessing", "scale", jnp.ones, (3,)).value
        offset = self.variable("preprocessing", "offset", jnp.zeros, (3,)).value
        x = image * scale[None, None, :] + offset[None, None, :]
        found: dict[str, jax.Array] = {}
        deepest = _deepest(self.layers)
        for name in convolutions_to(self.layers):
            if name in _FIRST_OF_BLOCK:
                x = convolution.pool(x)
            # Zero padding comes after the shift, as in training: the border is the mean colour, not black.
            x = _Convolution(self.channels[_block(name) - 1], name=name)(x)
            if name in self.layers:
                found[name] = x.astype(jnp.float32)
            if name == deepest:
                break
            x = nn.relu(x)
            if (activation := name.replace("conv", "relu")) in self.layers:
                found[activation] = x.astype(jnp.float32)
        return found


class _Convolution(nn.Module):
    """[h, w, c] -> [h, w, channels]: a 3 x 3 kernel and a bias, by Winograd's way where `accelerate` prepared it.

    Computed, and given back, in the kernel's type.
    """

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        transformed = None if self.is_initializing() else self.get_variable("winograd", "kernel")
        return convolution.convolve(x.astype(kernel.dtype), kernel, transformed) + bias[None, None, :]


_transform = cached(convolution.transform)


def accelerate(variables: Variables, least_channels: int = 128) -> Variables:
    """The same variables with a collection `winograd`, with which `features` takes about half the time on a CPU.

    It holds the transformed kernels of the layers with at least `least_channels` input channels (measured on a CPU:
    narrower ones are slower so), four times the size of the kernels. Without it, as is best on GPU and TPU, the
    platform's own convolutions run; results agree to about 1e-5. After changing `params`, call it again.
    """
    kernels = {name: layer["kernel"] for name, layer in variables["params"].items()}
    wide = {name: kernel for name, kernel in kernels.items() if kernel.shape[2] >= least_channels}
    return {**variables, "winograd": {name: {"kernel": _transform(kernel)} for name, kernel in wide.items()}}


@cached
def turned(variables: Variables) -> Variables:
    """The variables of the network that sees a picture with height and width exchanged as this one sees the picture.

    features(turned(variables), swapped(image)) is features(variables, image) with each layer swapped, but for rounding:
    a portrait then runs the program compiled for a landscape.
    """
    params = {
        name: {**layer, "kernel": jnp.swapaxes(layer["kernel"], 0, 1)} for name, layer in variables["params"].items()
    }
    swapped = {**variables, "params": params}
    if "winograd" in variables:
        swapped["winograd"] = {
            name: {"kernel": convolution.turned(layer["kernel"])} for name, layer in variables["winograd"].items()
        }
    return swapped


def is_oxfords(variables: Variables) -> bool:
    """Whether these are Oxford's numbers, by their preprocessing: networks trained by others have other features."""
    return bool(np.allclose(variables["preprocessing"]["scale"], CAFFE.scale))


def cast(variables: Variables, dtype: Any) -> Variables:
    """The same variables with kernels and biases as `dtype`, for instance bfloat16, which `features` then computes in.

    For GPU and TPU; what `accelerate` added is left out, as Winograd's differences lose too much of shorter numbers.
    """
    params = jax.tree.map(lambda x: x.astype(dtype), variables["params"])
    return {"params": params, "preprocessing": variables["preprocessing"]}


def features(variables: Variables, image: jax.Array, layers: tuple[str, ...]) -> dict[str, jax.Array]:
    """`VGG19` applied: image [H, W, 3] RGB in [0, 1] -> {layer: float32 [h, w, channels]}; pure, `layers` static.

    Widths, and the type computed in, are those of the kernels in `variables`.
    """
    _check_layers(layers)
    blocks = range(1, _block(_deepest(layers)) + 1)
    channels = tuple(variables["params"][f"conv{block}_1"]["kernel"].shape[-1] for block in blocks)
    return VGG19(tuple(layers), channels=channels).apply(variables, image)  # pyright: ignore


def template(channels: tuple[int, ...] = CHANNELS) -> Variables:
    """Shapes and types of the variables of the whole network."""
    params, inputs = {}, 3
    for name in CONVOLUTIONS:  # as the module would tell, but that tracing it takes a quarter of a second
        outputs = channels[_block(name) - 1]
        params[name] = {"kernel": _shape(3, 3, inputs, outputs), "bias": _shape(outputs)}
        inputs = outputs
    return {"params": params, "preprocessing": {"scale": _shape(3), "offset": _shape(3)}}


def _shape(*sides: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sides, jnp.float32)


def init(key: jax.Array, channels: tuple[int, ...] = CHANNELS) -> Variables:
    """Random variables (He et al., arXiv 1502.01852) and a preprocessing that changes nothing, for tests."""
    shapes = template(channels)
    # One draw for all kernels: a generator for each of their shapes takes seconds to compile.
    sizes = [layer["kernel"].size for layer in shapes["params"].values()]
    draws = np.split(np.asarray(jax.random.normal(key, (sum(sizes),))), np.cumsum(sizes)[:-1])
    params = {}
    for (name, layer), draw in zip(shapes["params"].items(), draws, strict=True):
        shape = layer["kernel"].shape
        kernel = draw.reshape(shape) * np.sqrt(2 / np.prod(shape[:3]), dtype=np.float32)
        params[name] = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(shape[-1])}
    return {"params": params, "preprocessing": {"scale": jnp.ones(3), "offset": jnp.zeros(3)}}


def convolutions_to(layers: tuple[str, ...]) -> tuple[str, ...]:
    """The convolutions that computing `layers` takes, in order."""
    _check_layers(layers)
    return CONVOLUTIONS[: LAYERS.index(_deepest(layers)) // 2 + 1]


def channels_of(layer: str) -> int:
    """Channels of a layer's output, at full width."""
    _check_layers((layer,))
    return CHANNELS[_block(layer) - 1]


def minimum_size(layers: tuple[str, ...]) -> int:
    """The smallest image side for which every one of `layers` has at least one pixel."""
    _check_layers(layers)
    return 1 << (_block(_deepest(layers)) - 1)


def _check_layers(layers: tuple[str, ...]) -> None:
    if not layers or isinstance(layers, str):
        raise LayerError(f"VGG19 layers: got {layers!r}; expected a tuple of names such as ('conv4_2',).")
    for layer in layers:
        if layer not in LAYERS:
            near = difflib.get_close_matches(str(layer), LAYERS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise LayerError(f"VGG19 has no layer {layer!r}: {hint}There are {', '.join(LAYERS)}.")


def _check_image(image: jax.Array, layers: tuple[str, ...]) -> None:
    least = minimum_size(layers)
    shape = image.shape
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < least or not jnp.issubdtype(image.dtype, jnp.floating):
        raise LayerError(
            f"VGG19 image: got {image.dtype} {shape}; for {_deepest(layers)} expected one float image "
            f"[H, W, 3] in [0, 1] of at least {least}x{least} pixels (batch it with jax.vmap)."
        )


_FIRST_OF_BLOCK = ("conv2_1", "conv3_1", "conv4_1", "conv5_1")


def _block(layer: str) -> int:
    return int(layer[4])


def _deepest(layers: tuple[str, ...]) -> str:
    return max(layers, key=LAYERS.index)
