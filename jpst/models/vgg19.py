"""VGG19 (Simonyan and Zisserman, arXiv 1409.1556): the convolutional part, as named intermediates.

`conv4_2` is the output of the second convolution of the fourth block before its ReLU, `relu4_2` after it.
Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1]; the shift and scale that a checkpoint was
trained with travel beside its kernels in the collection `preprocessing`. Batch from outside with `jax.vmap`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jpst.caching import cached
from jpst.errors import JpstError
from jpst.models import convolution
from jpst.models.readers import CheckpointError, Tensors
from jpst.models.weights import OIHW, Preprocessing, Rule, Table

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
    return bool(np.allclose(variables["preprocessing"]["scale"], _CAFFE.scale))


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


def size_at(layer: str, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's output for an image: halved and rounded down at each pool before it."""
    _check_layers((layer,))
    pools = _block(layer) - 1
    return height >> pools, width >> pools


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
        raise LayerError(f"VGG19 layers: found {layers!r}; needed is a tuple of names such as ('conv4_2',).")
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
            f"VGG19 image: found {image.dtype} {shape}; needed for {_deepest(layers)} is one float image "
            f"[H, W, 3] in [0, 1] of at least {least}x{least} pixels (batch it with jax.vmap)."
        )


_FIRST_OF_BLOCK = ("conv2_1", "conv3_1", "conv4_1", "conv5_1")


def _block(layer: str) -> int:
    return int(layer[4])


def _deepest(layers: tuple[str, ...]) -> str:
    return max(layers, key=LAYERS.index)


# In RGB order, on [0, 1]: Caffe's BGR - (103.939, 116.779, 123.68) on 0..255, torch's (x - mean) / std.
_CAFFE = Preprocessing("BGR", scale=(255.0, 255.0, 255.0), offset=(-123.68, -116.779, -103.939))
_TORCH = Preprocessing(
    "RGB",
    scale=(1 / 0.229, 1 / 0.224, 1 / 0.225),
    offset=(-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
)

_FIRST_KERNEL = "params/conv1_1/kernel"

_KERNEL_AND_BIAS = (("weight", "kernel"), ("bias", "bias"))
_TORCH_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
_TORCH_RULES = tuple(
    Rule(
        rf"(?:state_dict\.|module\.)*features\.{index}\.{theirs}",
        f"params/{name}/{ours}",
        OIHW if ours == "kernel" else None,
    )
    for index, name in zip(_TORCH_INDICES, CONVOLUTIONS, strict=True)
    for theirs, ours in _KERNEL_AND_BIAS
)
_TORCH_IGNORED = r".*(classifier|pre_logits|head)\..*"
# The first numbers of conv1_1's bias in Oxford's original weights.
_CAFFE_BIAS = (0.7301776, 0.06493629, 0.03428847, 0.8260386)


def _expand_codebook(tensors: Tensors) -> Tensors:
    """Replaces the indices `X_q` by their values in `X_table`. Other indices stay, for `merge` to refuse."""
    expanded: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("_q") and tensor.ndim == 4 and tensor.size <= _LARGEST_KERNEL:
            table = tensors.get(f"{name[:-2]}_table", np.empty(0, np.float32))
            if tensor.dtype.kind != "u" or table.ndim != 1 or tensor.max(initial=0) >= len(table):
                raise CheckpointError(
                    f"{name}: found indices beyond its table of {table.size} values; the file is damaged."
                )
            expanded[name] = table[tensor]
        elif not name.endswith("_table"):
            expanded[name] = tensor
    return expanded


_LARGEST_KERNEL = 9 * CHANNELS[-1] ** 2


def _from_caffe(tensors: Tensors) -> bool:
    """Whether a file with torchvision's names holds the Caffe numbers, which want the Caffe preprocessing.

    jcjohnson's conversion numbers the classifier as old torchvision did; a copy that was saved again may not,
    but still has Oxford's biases.
    """
    if any(name.endswith("classifier.1.weight") for name in tensors):
        return True
    biases = [tensor for name, tensor in tensors.items() if name.endswith("features.0.bias")]
    biases = [bias for bias in biases if bias.ndim == 1 and jnp.issubdtype(bias.dtype, jnp.floating)]
    return any(len(bias) >= 4 and np.allclose(bias[:4], _CAFFE_BIAS, atol=1e-3) for bias in biases)


# Keras 3 at first wrote no names of layers, but counted those of a class.
_NUMBERED = r"(?:.*/)?layers/conv2d(?:_(\d+))?"


def _numbered(kind: str) -> Callable[[re.Match[str]], str]:
    names = dict(enumerate(CONVOLUTIONS))
    return lambda found: f"params/{names[i]}/{kind}" if (i := int(found[1] or 0)) in names else found[0]


TABLES = (
    Table(
        "codebook",
        prepare=_expand_codebook,
        rules=(
            Rule(r"block(\d)_conv(\d)_W_q", r"params/conv\1_\2/kernel", OIHW),
            Rule(r"block(\d)_conv(\d)_b", r"params/conv\1_\2/bias"),
        ),
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "Keras",
        rules=(
            Rule(r".*/block(\d)_conv(\d)(?:_W_\d+|_W|/kernel)(?::0)?", r"params/conv\1_\2/kernel"),
            Rule(r".*/block(\d)_conv(\d)(?:_b_\d+|_b|/bias)(?::0)?", r"params/conv\1_\2/bias"),
            Rule(r"block(\d)_conv(\d)/vars/0", r"params/conv\1_\2/kernel"),
            Rule(r"block(\d)_conv(\d)/vars/1", r"params/conv\1_\2/bias"),
            Rule(rf"{_NUMBERED}/vars/0", _numbered("kernel")),
            Rule(rf"{_NUMBERED}/vars/1", _numbered("bias")),
        ),
        ignore=r"(?:.*/)?(fc\d|predictions|dense.*)/.*",
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "tensorpack",
        rules=(Rule(r"(conv\d_\d)/W", r"params/\1/kernel"), Rule(r"(conv\d_\d)/b", r"params/\1/bias")),
        ignore=r"fc\d/.*",
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "PyTorch (Caffe numbers)",
        rules=_TORCH_RULES,
        ignore=_TORCH_IGNORED,
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
        when=_from_caffe,
    ),
    Table(
        "PyTorch (torchvision)",
        rules=_TORCH_RULES,
        ignore=_TORCH_IGNORED,
        preprocessing=_TORCH,
        first_kernel=_FIRST_KERNEL,
    ),
)
