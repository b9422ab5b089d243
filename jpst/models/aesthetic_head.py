"""Our own aesthetic head: statistics of VGG19's style layers -> the probability of each rating from 1 to 10.

It learned from NIMA's MobileNet what people would say (benchmarks/distill/aesthetic.py), and costs nothing beside the
features that a transfer computes anyway. No good enough file of it ships yet. It stands in for NIMA where photographs
are rated or ranked, never in the paper's objective. Unbatched: one image float32 [H, W, 3], sRGB-encoded RGB in [0, 1],
of any size from `MINIMUM_SIZE` on; batch it with `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jpst.errors import JpstError
from jpst.models import vgg19

Variables = Mapping[str, Any]

NAME = "aesthetic-head"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
RATINGS = 10
MINIMUM_SIZE = 32
"""pixels: below, the deepest layer has hardly one"""
STEADY = 1e-4  # under the root: its gradient at zero would be infinite
SMALLEST = 1e-2  # of a statistic's deviation over photographs: one that hardly varies is not blown up


class HeadError(JpstError):
    """An image that the head cannot rate."""


class Head(nn.Module):
    """Standardised statistics [n] -> logits [10]: one hidden layer. `dropout` is the share left out in training."""

    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, standardised: jax.Array, training: bool = False) -> jax.Array:
        """Logits of the ratings from standardised statistics."""
        dropped = nn.Dropout(self.dropout / 2, deterministic=not training)(standardised)
        x = nn.gelu(nn.Dense(self.hidden, name="hidden")(dropped))
        x = nn.Dropout(self.dropout, deterministic=not training)(x)
        return nn.Dense(RATINGS, name="ratings")(x)


def distribution(
    variables: Variables, image: Float[Array, "h w 3"], features: vgg19.Variables
) -> Float[Array, " ratings"]:
    """The probability of each rating from 1 to 10. `features`: the variables of VGG19, Oxford's."""
    return nn.softmax(logits(variables, statistics(features, image)))


def statistics(features: vgg19.Variables, image: Float[Array, "h w 3"]) -> Float[Array, " n"]:
    """Two of each channel of `LAYERS` over the image: the mean of log(1 + x), and log(1 + p), p the fourth-power mean.

    The one tells how much there is of something, the other how strong it is where it is strongest. Layer by layer, all
    of the one and then all of the other.
    """
    _check_image(image)
    found = vgg19.features(features, image, LAYERS)
    parts = []
    for layer in LAYERS:
        usual = jnp.mean(jnp.log1p(found[layer]), (0, 1))  # features span orders of magnitude
        strongest = (jnp.mean(found[layer] ** 4, (0, 1)) + STEADY) ** 0.25 - STEADY**0.25
        parts += [usual, jnp.log1p(strongest)]
    return jnp.concatenate(parts)


def logits(variables: Variables, statistics: Float[Array, " n"]) -> Float[Array, " ratings"]:
    """What the softmax of `distribution` takes, from `statistics`."""
    hidden = variables["params"]["hidden"]["bias"].shape[0]
    head = Head(hidden).apply({"params": variables["params"]}, standardised(variables, statistics))
    return jnp.asarray(head)


def standardised(variables: Variables, statistics: Float[Array, " n"]) -> Float[Array, " n"]:
    """Statistics less their mean over the photographs of training, by their deviation there."""
    standard = variables["standard"]
    return (statistics - standard["mean"]) / jnp.maximum(standard["deviation"], SMALLEST)


def length(channels: tuple[int, ...] = vgg19.CHANNELS) -> int:
    """How many statistics there are."""
    return 2 * sum(channels)


def template(hidden: int, statistics: int) -> Variables:
    """Shapes and types of the variables."""

    def layer(inputs: int, outputs: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {"kernel": _floats(inputs, outputs), "bias": _floats(outputs)}

    params = {"hidden": layer(statistics, hidden), "ratings": layer(hidden, RATINGS)}
    return {"params": params, "standard": {"mean": _floats(statistics), "deviation": _floats(statistics)}}


def init(key: Array, hidden: int, statistics: int) -> Variables:
    """Random variables that standardise nothing: where training starts, and for tests."""
    params = Head(hidden).init(key, jnp.zeros(statistics))["params"]
    return {"params": params, "standard": {"mean": jnp.zeros(statistics), "deviation": jnp.ones(statistics)}}


def template_of(found: Mapping[str, Any]) -> Variables:
    """The template for arrays under our own paths, as wide as they are."""
    hidden, statistics = (np.size(found.get(name, ())) for name in ("params/hidden/bias", "standard/mean"))
    return template(hidden, statistics)


def _floats(*sides: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sides, jnp.float32)


def _check_image(image: Array) -> None:
    shape = image.shape
    small = len(shape) == 3 and min(shape[:2]) < MINIMUM_SIZE
    if small or len(shape) != 3 or shape[2] != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise HeadError(
            f"{NAME}: got an image {image.dtype} {shape}; expected one float image [H, W, 3] in [0, 1] of at least "
            f"{MINIMUM_SIZE}x{MINIMUM_SIZE} pixels (batch it with jax.vmap)."
        )
