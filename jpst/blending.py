"""Less of a transfer, or more: the result mixed with the photograph that it was made of.

Up to strength 1 the sRGB-encoded values are mixed, as photo editors do with a layer's opacity: within sRGB, each
channel on a straight line. (In linear light half of a dusk still looks like day: bright values win.) Above 1 brightness
and colour go on from there, each by less the less room there is. At 1.5 on nine ordinary pairs of photographs
(`--segmenter none`), the mean share of pixels with a channel newly at its end, and of those turned by more than a
quarter circle of hue: 3 % and none; of the straight line, clipped, 16 and 1.9 %, in linear light 37 and 3.2 %, in Oklab
17 and 1.6 %. Those lose dark hillsides to black, and skies to plain red.
"""

import os
from typing import overload

import numpy as np
import PIL.Image

from jpst import icc, image, pixels, ranges
from jpst.errors import JpstError
from jpst.image import Photograph, Source
from jpst.recipe import STRENGTH

TINY = np.float32(1e-12)


@overload
def blend(content: Source | Photograph, result: Photograph, strength: float) -> Photograph: ...
@overload
def blend(content: Source | Photograph, result: np.ndarray, strength: float) -> np.ndarray: ...
@overload
def blend(
    content: Source | Photograph, result: str | os.PathLike[str] | PIL.Image.Image, strength: float
) -> PIL.Image.Image: ...
def blend(
    content: Source | Photograph, result: Source | Photograph, strength: float
) -> PIL.Image.Image | np.ndarray | Photograph:
    """A finished transfer at another strength, without transferring again.

    Args:
      content: the photograph that was transferred: a path, a PIL image, an array (as `image.read` takes them) or a
        `Photograph`. Of a black and white result this is the photograph in its colours.
      result: what `stylize` made of it at strength 1, in any of these forms: `Run.image`, `Run.full_strength`, a file.
      strength: 0 gives the content's values, 1 the result's, bit for bit; between, each channel lies on the straight
        line from one to the other (sRGB-encoded); up to 1.5 there is more of the change, which stays in [0, 1], and
        within a quarter turn of the result's hue.

    Returns:
      What `result` is: an array of its dtype [H, W, 3 or 4], a `Photograph`, or of a path or a PIL image a PIL image
      (RGB or RGBA, 8 bits a channel: a `Photograph` keeps 16). Alpha is mixed, too; where one of the two has none it
      counts as opaque.

    Raises:
      JpstError: a strength outside 0 to 1.5, unusable pictures, or two of different sizes.
    """
    ranges.check("strength", strength, STRENGTH)
    photographs = _read(content), _read(result)
    _check_sizes(*(photograph.pixels.shape[:2] for photograph in photographs))
    mixed = _blended(*photographs, float(strength))
    if isinstance(result, Photograph):
        return mixed
    return in_form_of(result, mixed, content if strength == 0 else result)


def mixed(content: np.ndarray, result: np.ndarray, strength: float) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]: `result` at a strength of 0 to 1.5; `content` itself at 0, `result` itself at 1."""
    if strength in (0, 1):
        return result if strength else content
    out, mix = np.empty(result.shape, np.float32), _between if strength < 1 else _beyond
    for rows in icc.row_blocks(out.shape):
        out[rows] = mix(content[rows], result[rows], np.float32(strength))
    return out


def at_strength(original: Photograph, content: Photograph, result: Photograph, strength: float) -> Photograph:
    """A transfer's result with the alpha it has; `content` is `original` but where it is transparent, and stands for it
    where the result has another size."""
    size = result.pixels.shape[:2]
    same = original.pixels.shape[:2] == size
    start = original.pixels if same else np.asarray(pixels.at_size(content.pixels, size))
    return result._replace(pixels=mixed(start, result.pixels, strength))


def in_form_of(
    form: Source, photograph: Photograph, own: Source | Photograph | None = None
) -> PIL.Image.Image | np.ndarray:
    """A photograph in the form of `form`: arrays keep their dtype; of all else a PIL image. Both keep alpha.

    Floats wider than float32 lose nothing where the photograph still is that of `own`, which is `form` unless given.
    """
    values = photograph.pixels if photograph.alpha is None else np.dstack([photograph.pixels, photograph.alpha])
    if isinstance(form, str | os.PathLike | PIL.Image.Image):
        return PIL.Image.fromarray(image.quantised(values, np.uint8))
    dtype = np.asarray(form).dtype
    if np.issubdtype(dtype, np.integer):
        return image.quantised(values, dtype)
    return _unrounded(values, form if own is None else own).astype(dtype)


def _unrounded(values: np.ndarray, own: Source | Photograph) -> np.ndarray:
    """The values, or those of an array of wider floats where they are these, rounded."""
    if isinstance(own, str | os.PathLike | PIL.Image.Image | Photograph):
        return values
    wide = np.asarray(own)
    wide = wide[..., None] if wide.ndim == 2 else wide
    if wide.dtype.kind != "f" or wide.dtype.itemsize <= 4 or wide.shape[-1] not in (1, values.shape[-1]):
        return values
    return np.where(wide.astype(np.float32) == values, wide, values)


def _read(source: Source | Photograph) -> Photograph:
    return source if isinstance(source, Photograph) else image.read(source)


def _check_sizes(content: tuple[int, ...], result: tuple[int, ...]) -> None:
    if content != result:
        sizes = [f"{width} x {height}" for height, width in (content, result)]
        raise JpstError(
            f"The content has {sizes[0]} pixels and the result {sizes[1]}. Give the photograph that the result was "
            "made of, both in one size."
        )


def _blended(content: Photograph, result: Photograph, strength: float) -> Photograph:
    if strength == 1:
        return result
    depth = max(content.bit_depth, result.bit_depth)
    alpha = _alpha(content.alpha, result.alpha, strength) if strength else content.alpha
    return result._replace(pixels=mixed(content.pixels, result.pixels, strength), alpha=alpha, bit_depth=depth)


def _alpha(content: np.ndarray | None, result: np.ndarray | None, strength: float) -> np.ndarray | None:
    if content is None and result is None:
        return None
    start, end = (np.float32(1) if alpha is None else alpha for alpha in (content, result))
    return np.clip(start + np.float32(strength) * (end - start), 0, 1)


def _between(content: np.ndarray, result: np.ndarray, strength: np.float32) -> np.ndarray:
    return np.clip(content + strength * (result - content), 0, 1)


def _beyond(content: np.ndarray, result: np.ndarray, strength: np.float32) -> np.ndarray:
    """Further from the content than the result is, smoothly from there on, and never out of [0, 1].

    Brightness may go towards black or white, colour towards the surface of sRGB, and colour as far as the result's own
    chroma, so that grey stays grey and no hue turns into its opposite. Brightness is the channels' mean: luminance, of
    which blue has 7 %, would make a deep blue sky that was white nearly black.
    """
    content, result = (np.ascontiguousarray(np.moveaxis(each, -1, 0)) for each in (content, result))  # fast sums
    further = strength - 1
    before, light = content.mean(0), result.mean(0)
    change = further * (light - before)
    new_light = light + _eased(change, np.where(change > 0, 1 - light, light))

    colour, move = result - light, further * (result - content - (light - before))
    chroma = _chroma(result)
    new_colour = colour + move * (chroma / np.maximum(chroma + _chroma(move), TINY))

    used, new_used = _gamut_used(light, colour), _gamut_used(new_light, new_colour)
    allowed = used + np.where(new_used > used, _eased(new_used - used, 1 - used), new_used - used)
    new_colour *= allowed / np.maximum(new_used, TINY)
    return np.moveaxis(np.clip(new_light + new_colour, 0, 1), 0, -1)


def _eased(change: np.ndarray, room: np.ndarray) -> np.ndarray:
    """A change as it is where it is small against the room there is, and never larger than that."""
    room = np.maximum(room, 0)
    return change * room / np.maximum(np.abs(change) + room, TINY)


def _chroma(colour: np.ndarray) -> np.ndarray:
    """Distance from grey of colours [3, H, W], 0 exactly where the channels are equal."""
    red, green, blue = colour
    return np.sqrt((red - (green + blue) / 2) ** 2 + np.float32(0.75) * (green - blue) ** 2)


def _gamut_used(light: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """How far colours [3, H, W] are on the way from their greys to the surface of sRGB: 1 at the surface."""
    up = colour.max(0) / np.maximum(1 - light, TINY)
    return np.maximum(up, -colour.min(0) / np.maximum(light, TINY))
