"""Photographs changed at random as a transfer, a camera or the night would change them: pure functions for one picture.

`augment` changes colours and leaves every thing where it is, so that a label map stays true; `flip` and `crop` move
things, and do the same to a picture and to its label map under the same key. Batch them with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped

UNTOUCHED = 0.25
"""share of the pictures that `augment` leaves as they are"""
OFTEN, SOMETIMES = 0.4, 0.2
"""probabilities of one change in any other picture"""
REACH = 5
"""pixels that the widest blur reaches"""

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, on encoded values
Picture = Array
"""float [h, w, 3]"""


def augment(key: Array, picture: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """A picture in [0, 1] with other light, colours, contrast, sharpness and noise, in [0, 1]; or the same."""
    keys = iter(random.split(key, 9))
    changed = picture
    for change in (_exposure, _contrast, _cast, _tint, _saturation, _night, _blur, _noise):
        changed = jnp.clip(change(next(keys), changed), 0.0, 1.0)
    return jnp.where(random.bernoulli(next(keys), UNTOUCHED), picture, changed)


def flip(key: Array, picture: Shaped[Array, "h w *c"]) -> Shaped[Array, "h w *c"]:
    """Left and right exchanged, in half of all cases."""
    return jnp.where(random.bernoulli(key), picture[:, ::-1], picture)


def crop(key: Array, picture: Shaped[Array, "H W *c"], height: int, width: int) -> Shaped[Array, "h w *c"]:
    """A part of that size, from anywhere in the picture."""
    spare = jnp.array([picture.shape[0] - height + 1, picture.shape[1] - width + 1])
    top, left = random.randint(key, (2,), 0, spare)
    rest = picture.shape[2:]
    return jax.lax.dynamic_slice(picture, (top, left, *[0] * len(rest)), (height, width, *rest))


def _exposure(key: Array, picture: Picture) -> Picture:
    on, curve, gain = random.split(key, 3)
    stops = _drawn(gain, -0.7, 0.7)
    changed = picture ** (2 ** _drawn(curve, -0.9, 0.8)) * 2**stops
    return _if(on, OFTEN, changed, picture)


def _contrast(key: Array, picture: Picture) -> Picture:
    on, amount = random.split(key)
    mean = jnp.mean(picture, (0, 1), keepdims=True)
    return _if(on, OFTEN, mean + _drawn(amount, 0.4, 1.6) * (picture - mean), picture)


def _cast(key: Array, picture: Picture) -> Picture:
    """Warmer or cooler light, and each channel a little by itself."""
    on, warmth, each = random.split(key, 3)
    warm = _drawn(warmth, -0.3, 0.3)
    gains = jnp.exp(jnp.stack([warm, jnp.zeros(()), -warm]) + 0.08 * random.normal(each, (3,)))
    return _if(on, OFTEN, picture * gains[None, None, :], picture)


def _tint(key: Array, picture: Picture) -> Picture:
    """Shadows and lights drawn to one colour each, as the style of a sunset or of a sheet of ice would."""
    on, shadows, lights, amount = random.split(key, 4)
    dark, light = 0.5 * random.uniform(shadows, (3,)), 0.5 + 0.5 * random.uniform(lights, (3,))
    luma = _luma(picture)
    toned = dark[None, None, :] + luma * (light - dark)[None, None, :]
    return _if(on, SOMETIMES, picture + _drawn(amount, 0.2, 0.8) * (toned - picture), picture)


def _saturation(key: Array, picture: Picture) -> Picture:
    """Paler, stronger, or in a fourth of these cases without any colour."""
    on, amount, grey = random.split(key, 3)
    strength = jnp.where(random.bernoulli(grey, 0.25), 0.0, _drawn(amount, 0.2, 2.0))
    luma = _luma(picture)
    return _if(on, OFTEN, luma + strength * (picture - luma), picture)


def _night(key: Array, picture: Picture) -> Picture:
    """Dark, blue and pale; the brightest lights stay."""
    on, curve, gain, blue = random.split(key, 4)
    luma = _luma(picture)
    pale = luma + 0.5 * (picture - luma)
    cold = jnp.exp(_drawn(blue, 0.1, 0.5) * jnp.array([-1.0, -0.4, 0.4]))
    dark = pale ** _drawn(curve, 1.2, 2.4) * _drawn(gain, 0.3, 0.8) * cold[None, None, :]
    return _if(on, SOMETIMES, jnp.maximum(dark, picture**8), picture)


def _blur(key: Array, picture: Picture) -> Picture:
    on, width = random.split(key)
    taps = jnp.exp(-0.5 * (jnp.arange(-REACH, REACH + 1) / _drawn(width, 0.4, 2.0)) ** 2)
    taps /= jnp.sum(taps)

    def along(axis: int, x: Picture) -> Picture:
        margins = [(REACH, REACH) if side == axis else (0, 0) for side in range(3)]
        padded = jnp.pad(x, margins, mode="edge")
        shifted = (jax.lax.slice_in_dim(padded, i, i + x.shape[axis], axis=axis) for i in range(2 * REACH + 1))
        return jnp.asarray(sum(tap * part for tap, part in zip(taps, shifted, strict=True)))

    return _if(on, SOMETIMES, along(1, along(0, picture)), picture)


def _noise(key: Array, picture: Picture) -> Picture:
    on, amount, each = random.split(key, 3)
    return _if(on, SOMETIMES, picture + _drawn(amount, 0.0, 0.08) * random.normal(each, picture.shape), picture)


def _luma(picture: Picture) -> Array:
    return (picture @ jnp.array(LUMA))[..., None]


def _drawn(key: Array, low: float, high: float) -> Array:
    return random.uniform(key, (), minval=low, maxval=high)


def _if(key: Array, probability: float, changed: ArrayLike, picture: Picture) -> Picture:
    return jnp.where(random.bernoulli(key, probability), changed, picture)
