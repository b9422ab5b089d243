"""NIMA (Talebi and Milanfar, arXiv 1709.05424): an image -> how people would have rated it, from 1 to 10.

A classification network without its top, the mean of its features over the image, one dense layer and a softmax. Which
network, and how wide, is read from the variables. Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1],
of any size from the network's smallest on; the networks were trained on squares of 224 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jpst.errors import JpstError
from jpst.models import inception_resnet_v2, mobilenet, vgg16
from jpst.models.inception_resnet_v2 import InceptionResNetV2
from jpst.models.mobilenet import MobileNet
from jpst.models.vgg16 import VGG16

__all__ = ["ARCHITECTURES", "TRAINED_SIZE", "NimaError", "architecture", "deviation", "distribution"]
__all__ += ["init", "mean_score", "template", "template_of"]

Variables = Mapping[str, Any]

RATINGS = 10
TRAINED_SIZE = 224
"""Side of the squares that the published networks were trained on."""


class NimaError(JpstError):
    """An image that a NIMA network cannot take."""


class Architecture(NamedTuple):
    """A network under the dense layer: names of its layers, and its last channels at width 1."""

    module: type[nn.Module]
    layers: frozenset[str]
    features: int
    minimum_size: int


ARCHITECTURES = {
    "inception_resnet_v2": Architecture(
        InceptionResNetV2,
        frozenset(path.split("/")[0] for path in inception_resnet_v2.NORMALISED),
        features=1536,
        minimum_size=inception_resnet_v2.MINIMUM_SIZE,
    ),
    "mobilenet": Architecture(
        MobileNet, frozenset(mobilenet.CONVOLUTIONS), features=1024, minimum_size=mobilenet.MINIMUM_SIZE
    ),
    "vgg16": Architecture(VGG16, frozenset(vgg16.CONVOLUTIONS), features=512, minimum_size=vgg16.MINIMUM_SIZE),
}


def distribution(
    variables: Variables, image: Float[Array, "h w 3"], *, remat: bool = False
) -> Float[Array, " ratings"]:
    """The probability of each rating from 1 to 10.

    `remat`: a gradient through Inception-ResNet-v2 keeps only what goes into each of its blocks and computes the
    inside again. XLA's CPU backend undoes that: there the compiled program is the same size in memory and operations.
    """
    name = architecture(variables["params"])
    _check_image(image, name)
    classifier, preprocessing = variables["params"]["classifier"], variables["preprocessing"]
    x = image * preprocessing["scale"][None, None, :] + preprocessing["offset"][None, None, :]
    width = classifier["kernel"].shape[0] / ARCHITECTURES[name].features
    features = jnp.asarray(_network(name, width, remat).apply(dict(variables), x))
    return nn.softmax(jnp.mean(features, (0, 1)) @ classifier["kernel"] + classifier["bias"])


def mean_score(distribution: Float[Array, " ratings"]) -> Float[Array, ""]:
    """The mean rating, from 1 to 10."""
    return distribution @ jnp.arange(1.0, RATINGS + 1)


def deviation(distribution: Float[Array, " ratings"]) -> Float[Array, ""]:
    """The standard deviation of the ratings."""
    apart = jnp.arange(1.0, RATINGS + 1) - mean_score(distribution)
    return jnp.sqrt(distribution @ apart**2)


def architecture(params: Iterable[str]) -> str:
    """Which of `ARCHITECTURES` has most of these layers: the names that `params` starts with."""
    return max(ARCHITECTURES, key=lambda name: len(ARCHITECTURES[name].layers.intersection(params)))


def template(name: str = "inception_resnet_v2", width: float = 1.0) -> Variables:
    """Shapes and types of the variables over one of `ARCHITECTURES`; `width` scales its channels, for tests."""
    network, smallest = _network(name, width, remat=False), ARCHITECTURES[name].minimum_size
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((smallest, smallest, 3)))
    features = round(ARCHITECTURES[name].features * width)
    params = {**shapes["params"], "classifier": {"kernel": _floats(features, RATINGS), "bias": _floats(RATINGS)}}
    return {**shapes, "params": params, "preprocessing": {"scale": _floats(3), "offset": _floats(3)}}


def template_of(found: Mapping[str, Any]) -> Variables:
    """The template for tensors under our own paths."""
    return template(architecture([path.split("/")[1] for path in found if path.startswith("params/")]))


def init(key: Array, name: str, width: float = 1.0) -> Variables:
    """Random variables (He et al., arXiv 1502.01852), their ratings near even; for tests. Images go in as -1..1."""
    leaves, structure = jax.tree.flatten(template(name, width))
    # One draw for all kernels: a generator for each of their shapes takes long to compile.
    ends = np.cumsum([leaf.size for leaf in leaves])
    draws = np.split(np.asarray(jax.random.normal(key, (int(ends[-1]),))), ends[:-1])
    values = [
        draw.reshape(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]), dtype=np.float32)
        if len(leaf.shape) > 1
        else np.ones(leaf.shape, np.float32)
        for leaf, draw in zip(leaves, draws, strict=True)
    ]
    variables = jax.tree.unflatten(structure, map(jnp.asarray, values))
    return {**variables, "preprocessing": {"scale": jnp.full(3, 2.0), "offset": jnp.full(3, -1.0)}}


def _network(name: str, width: float, remat: bool) -> nn.Module:
    if name == "inception_resnet_v2":
        return InceptionResNetV2(width, remat)
    return ARCHITECTURES[name].module(width)  # pyright: ignore


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _check_image(image: Array, name: str) -> None:
    least, shape = ARCHITECTURES[name].minimum_size, image.shape
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < least or not jnp.issubdtype(image.dtype, jnp.floating):
        raise NimaError(
            f"NIMA image: got {image.dtype} {shape}; for {name} expected one float image [H, W, 3] in [0, 1] of "
            f"at least {least}x{least} pixels (batch it with jax.vmap)."
        )
