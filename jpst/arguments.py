"""What `prepare`, `step` and `transfer` are called with, checked: which argument is wrong, and how.

Shapes are always checked; values where there are some, which is not the case under `jit` and `vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jpst import ranges
from jpst.errors import JpstError
from jpst.recipe import NUMBERS, Hyperparameters

LEVELS = (-1.0, 2.0)
"""photographs are in [0, 1]; what leaves this is in other units, or broken"""
COVERED = 1 + 1e-3
"""what the masks of a pixel may sum to"""
ROUNDING = 1e-6
"""what a mask that is 0 may be below that"""


def scene(
    content: Any, style: Any, content_masks: Any, style_masks: Any, content_parts: Any
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """Photographs and masks as float32 arrays; JpstError unless `prepare` can use them."""
    content, style = array("content", content), array("style", style)
    check_photograph("content", content)
    check_photograph("style", style)
    masks = {"content_masks": array("content_masks", content_masks), "style_masks": array("style_masks", style_masks)}
    if content_parts is not None:
        masks["content_parts"] = array("content_parts", content_parts)
    for name, each in masks.items():
        sums = content_parts is None or name == "content_parts"
        check_masks(name, each, style if name == "style_masks" else content, sums=sums)
    check_regions(**masks)
    return content, style, masks["content_masks"], masks["style_masks"], masks.get("content_parts")


def array(name: str, given: Any) -> jax.Array:
    """An argument as a float32 array."""
    try:
        return jnp.asarray(given, jnp.float32)
    except (TypeError, ValueError) as error:
        raise JpstError(f"{name} is a {type(given).__name__}: expected an array of numbers ({error}).") from error


def check_photograph(name: str, photograph: jax.Array) -> None:
    """Raises JpstError unless it is [H, W, 3] and, where there are values, sRGB in [0, 1] or little beyond."""
    if photograph.ndim != 3 or photograph.shape[2] != 3 or not photograph.size:
        raise JpstError(f"{name} has the shape {photograph.shape}: expected [height, width, 3], red, green and blue.")
    if isinstance(photograph, Tracer):
        return
    _check_finite(name, values := np.asarray(photograph))
    least, most = values.min(), values.max()
    if least < LEVELS[0] or most > LEVELS[1]:
        raise JpstError(
            f"{name} has values from {least:g} to {most:g}: expected sRGB from 0 to 1 (8-bit levels divided by 255)."
        )


def check_masks(name: str, masks: jax.Array, photograph: jax.Array, *, sums: bool) -> None:
    """Raises JpstError unless they are [R, H, W] of a photograph's size and, where there are values, shares of pixels.

    `sums`: whether those of a pixel may sum to 1 at most.
    """
    size = photograph.shape[:2]
    if masks.ndim != 3 or masks.shape[1:] != size or not len(masks):
        raise JpstError(
            f"{name} has the shape {masks.shape}: expected [regions, {size[0]}, {size[1]}], a mask of the photograph's "
            "height and width for each region."
        )
    if isinstance(masks, Tracer):
        return
    _check_finite(name, values := np.asarray(masks))
    if (least := values.min()) < -ROUNDING:
        raise JpstError(f"{name} has values down to {least:g}: expected shares of pixels, none below 0.")
    if sums and (most := values.sum(0).max()) > COVERED:
        raise JpstError(
            f"{name}: the masks of a pixel sum to as much as {most:g}; expected is 1 at most, as each says what share "
            "of the pixel is its region's. Divide them by their sum."
        )


def check_regions(**masks: jax.Array) -> None:
    """Raises JpstError unless all of them have the same number of regions."""
    if len({len(each) for each in masks.values()}) > 1:
        counts = ", ".join(f"{name} {len(each)}" for name, each in masks.items())
        raise JpstError(f"The masks differ in their number of regions: {counts}. Region r of one is region r of all.")


def check_one_each(hyper: Hyperparameters) -> None:
    """Raises JpstError unless each is one number of its range."""
    if not isinstance(hyper, Hyperparameters):
        raise JpstError(f"hyper is a {type(hyper).__name__}: expected Hyperparameters.")
    for name, number in zip(hyper._fields, hyper, strict=True):
        if shape := getattr(number, "shape", ()):
            raise JpstError(f"{name} has the shape {shape}: expected one number. For several, use jax.vmap.")
    check_ranges(hyper)


def check_ranges(hyper: Hyperparameters) -> None:
    """Raises JpstError where a number, or one of a sweep, is out of its range (`recipe.NUMBERS`).

    Traced numbers have no value to look at.
    """
    for name, allowed in NUMBERS.items():
        if not isinstance(numbers := getattr(hyper, name), Tracer):
            for number in np.ravel(numbers).tolist():
                ranges.check(name, number, allowed)


def check_like(name: str, given: jax.Array, like: str, expected: jax.Array) -> None:
    """Raises JpstError unless the two have one shape."""
    if given.shape != expected.shape:
        raise JpstError(
            f"{name} has the shape {given.shape}, and {like} {expected.shape}: expected is one shape. Make both of one "
            "pair; several pairs, or states, go through jax.vmap."
        )


def _check_finite(name: str, values: np.ndarray) -> None:
    if broken := values.size - np.count_nonzero(np.isfinite(values)):
        raise JpstError(f"{name} has {broken} values that are infinite or not a number: expected none.")
