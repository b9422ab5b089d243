"""Skin stays skin: no look turns it green, blue or mauve. Pure functions on images [H, W, 3], NumPy arrays.

Skin of every complexion has red above green above blue: in the plane of the two chromas it lies in a narrow cone of
hues. What a transfer moved out of the cone is moved back to its border, which is the nearest healthy colour.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from jpst.colours import AXES

HUES = np.deg2rad([30, 66])
"""of skin, from pink to golden, as angles between the two chromas of `AXES`"""
LIGHT = np.array([np.cos(np.deg2rad(63)), np.sin(np.deg2rad(63))])
"""direction of the chromas of daylight and lamps, from the blue of dusk to the orange of a candle"""
WARMTH = 0.35, 0.05
"""of the content's chroma, and at most: how far skin stays from grey"""
SEEN = np.deg2rad([0, 90])
"""hues that are taken for skin in the content, where light may be coloured"""
STRAY = 0.03  # distance of chromas from those hues at which nothing is taken for skin
CHROMA = 0.03, 0.1  # from nothing to everything taken for skin: grey hair and white shirts are none
LUMINANCE = 0.06, 0.16  # likewise
BLUR = 1 / 200  # of the longest side: standard deviation for the border of people
LEAST = 1e-4  # share of a photograph, for skin to be there at all


def kept(
    content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h w 3"], people: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """A result whose skin has hues of skin, and some of its warmth, as far as the content's has.

    Hues are those under white light, or under that daylight or lamp which is nearest to the mean colour around,
    whichever needs less change: a face at dusk may be blue. Luminance stays. A pixel moves by its distance to a convex
    cone, which changes no faster than the colours themselves: that makes no edges.

    Args:
      content, result: sRGB-encoded RGB.
      people: how likely there is a person, in [0, 1].
    """
    ours, theirs = (picture.astype(np.float64) @ AXES.T for picture in (content, result))
    weight = ndimage.gaussian_filter(people.astype(np.float64), BLUR * max(people.shape)) * likeness(ours)
    if weight.mean() < LEAST:
        return result
    chroma = np.maximum(np.linalg.norm(ours[..., 1:], axis=-1, keepdims=True), 1e-6)
    least = ours[..., 1:] * np.minimum(WARMTH[0], WARMTH[1] / chroma)
    hue = np.clip(np.arctan2(ours[..., 2], ours[..., 1]), -np.pi / 4, 3 * np.pi / 4)  # skin is well inside
    low, high = np.minimum(HUES[0], hue), np.maximum(HUES[1], hue)
    shifts = []
    around = np.average(theirs[..., 1:].reshape(-1, 2), axis=0, weights=1.01 - np.minimum(weight.ravel(), 1))
    for light in (np.zeros(2), LIGHT * (around @ LIGHT)):
        apart = theirs[..., 1:] - light - least
        shifts.append(weight[..., None] * (nearest(apart, low, high) - apart))
    theirs[..., 1:] += min(shifts, key=lambda shift: float(np.linalg.norm(shift, axis=-1).sum()))
    return (theirs @ np.linalg.inv(AXES).T).astype(np.float32)


def likeness(axes: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """How much a colour may be that of skin, in [0, 1]: 0 for what is neutral, dark, green, blue or mauve."""
    luminance, chromas = axes[..., 0], axes[..., 1:]
    stray = np.linalg.norm(nearest(chromas, SEEN[:1], SEEN[1:]) - chromas, axis=-1)
    found = np.clip(1 - stray / STRAY, 0, 1)
    for value, (none, whole) in ((np.linalg.norm(chromas, axis=-1), CHROMA), (luminance, LUMINANCE)):
        found = found * np.clip((value - none) / (whole - none), 0, 1)
    return found


def nearest(
    chromas: Float[np.ndarray, "h w 2"], low: Float[np.ndarray, "..."], high: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "h w 2"]:
    """The nearest chromas with a hue between `low` and `high`, of each pixel or of all; less than pi apart."""
    rays = [np.stack([np.cos(angle), np.sin(angle)], -1) for angle in (low, high)]
    sides = [ray[..., 0] * chromas[..., 1] - ray[..., 1] * chromas[..., 0] for ray in rays]
    inside = (sides[0] >= 0) & (sides[1] <= 0)
    on_rays = [ray * np.maximum((ray * chromas).sum(-1, keepdims=True), 0) for ray in rays]
    distances = [np.linalg.norm(each - chromas, axis=-1) for each in on_rays]
    border = np.where((distances[0] <= distances[1])[..., None], *on_rays)
    return np.where(inside[..., None], chromas, border)
