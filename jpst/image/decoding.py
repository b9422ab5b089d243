"""Decodes opened image files to samples, upright and with alpha; colours are not converted yet."""

import sys
from contextlib import nullcontext, suppress
from io import BytesIO
from struct import error as StructError
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops

from jpst.image import icc, profiles, tiff_decoding, tiff_pages
from jpst.image import metadata as image_metadata
from jpst.image.errors import Refused
from jpst.image.opening import Opened, orientation

_PHOTOMETRIC = 262
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
_GREY_WHITE = {"L;2": 3, "L;4": 15}
"""white as a PNG of few bits stores it: Pillow scales its samples to 8 bits, but not its transparent colour"""
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "HEIF")


class Decoded(NamedTuple):
    """The decoded content of an image."""

    samples: np.ndarray
    """upright [H, W, C] (C: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA) of uint8 or uint16"""
    profile: bytes | None
    """the ICC profile, not applied yet; b"" if there is one that cannot be read"""
    notes: list[str]


def decoded(file: Opened, managed: bool) -> Decoded:
    """Decodes the samples, upright. If `managed`, also finds the profile of their colours.

    Raises `Refused` and many others.
    """
    if file.image is None:
        assert file.page is not None
        samples, notes = tiff_decoding.read(file.page)
        # CIELAB needs no profile and was converted to sRGB
        profile = None if file.page.photometric == tiff_pages.CIELAB else file.page.profile
        return Decoded(turned(samples, file.page.orientation), profile, notes + _left_out(file))
    white = _GREY_WHITE.get(_layout_of(file.image))  # before decoding, which forgets the layout
    samples, notes, converted = _pillows_samples(file, managed)
    colour = file.image.info.get("transparency")
    samples = _with_transparent_colour(samples, colour * 255 // white if white and isinstance(colour, int) else colour)
    samples = turned(samples, orientation(file.image))
    profile, remarks = (None, []) if converted or not managed else _profile(file)
    notes += [*remarks, *(file.chunks.notes if file.chunks else ()), *_left_out(file)]
    return Decoded(samples, profile, notes)


def _pillows_samples(file: Opened, managed: bool) -> tuple[np.ndarray, list[str], bool]:
    """Samples [H, W, C], notes, and whether the colours are sRGB already."""
    image = file.image
    layout = _layout_of(image) if file.file is not None else ""
    with tiff_decoding.silent_libtiff if image.format == "TIFF" else nullcontext():
        if ";16" in layout and image.mode in ("RGB", "RGBA"):
            return _wide_samples(file, layout), [], False
        if image.mode == "CMYK":
            converted, notes = icc.cmyk_to_srgb(_inks(image), _icc_profile(file) if managed else None)
            return np.asarray(converted), notes, True
        if image.mode == "LAB":
            return *icc.lab_to_srgb(np.asarray(image)), True
        return _plain_samples(image), [], False


def _left_out(file: Opened) -> list[str]:
    """A note if the file has more than one page or frame."""
    if file.page:
        count, kind = file.page.pictures, "page"
    elif file.file is not None and file.image.format in _ANIMATED:
        count, kind = 2, "frame"
        with suppress(Exception):  # damage in frames that are not used must not make the file unreadable
            count = int(getattr(file.image, "n_frames", 1))
    else:
        return []
    return [f"The first of its {count} {kind}s is used; the others are ignored."] if count > 1 else []


def _icc_profile(file: Opened) -> bytes | None:
    """The ICC profile of the file; b"" if it is incomplete; None without one."""
    if file.chunks and file.chunks.profile is not None:
        return file.chunks.profile
    if file.page:
        return file.page.profile
    return file.image.info["icc_profile"] or b"" if "icc_profile" in file.image.info else None


def _profile(file: Opened) -> tuple[bytes | None, list[str]]:
    """The ICC profile of the file, or one made from its other colour declarations (PNG third edition, 4.3)."""
    info, notes = file.image.info, []
    if file.chunks and (cicp := file.chunks.cicp):
        if hdr := profiles.HDR.get(cicp[1]):
            raise Refused(f"has HDR colours ({hdr}), which sRGB cannot represent. Export it as SDR, in sRGB.")
        if found := profiles.of_code_points(cicp):
            return found, []
        notes = ["Its cICP chunk has unknown values and is ignored."]
    if (found := _icc_profile(file)) is not None:
        return found, notes
    if "srgb" not in info and not {"gamma", "chromaticity"}.isdisjoint(info):
        white_first = info.get("chromaticity")
        pairs = tuple(zip(white_first[::2], white_first[1::2], strict=True)) if white_first else None
        with suppress(ValueError, ArithmeticError, StructError):
            return profiles.of_gamma(info.get("gamma"), pairs and (*pairs[1:], pairs[0])), notes
        return b"", notes
    return profiles.adobe_rgb() if image_metadata.says_adobe_rgb(file.image) else None, notes


def _inks(image: Image.Image) -> Image.Image:
    """CMYK with 255 as full ink. Pillow assumes that every JPEG is one of Adobe's, which store the inverse."""
    inverted = image.format == "JPEG" and "adobe" not in image.info
    return ImageChops.invert(image) if inverted else image


def _layout_of(image: Any) -> str:
    """Pillow's name for the layout of the samples in a file not yet decoded, such as "RGB;16B"."""
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _decoded_as(image: Any, layout: str) -> np.ndarray:
    for index, tile in enumerate(image.tile):
        args = (layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout
        image.tile[index] = tile._replace(args=args)
    return np.asarray(image)


def _wide_samples(file: Opened, layout: str) -> np.ndarray:
    """uint16 [H, W, C] of a 16-bit file, of which Pillow returns only the high byte of each sample.

    Pillow's 16-bit layouts differ in byte order only, and each returns the high byte. Decoding a second time with the
    order swapped returns exactly the low bytes, for every compression that Pillow supports.
    """
    image = file.image
    if layout == "LA;16B":  # there is no swapped layout, but its four bytes per pixel can be read as 8-bit RGBA
        return _decoded_as(image, "RGBA").view(">u2").astype(np.uint16)
    straight = layout.replace("RGBa", "RGBA")
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[layout[-1]]
    again = BytesIO(file.file.getvalue()) if isinstance(file.file, BytesIO) else image.filename
    with Image.open(again, formats=[image.format]) as second:
        if image.tell():
            second.seek(image.tell())
        low = _decoded_as(second, straight[:-1] + swapped)
    samples = _decoded_as(image, straight).astype(np.uint16)
    samples <<= 8
    samples |= low
    if straight != layout:  # the colours are multiplied by alpha
        tiff_decoding.divide_by_alpha(samples)
    return samples


def _plain_samples(image: Any) -> np.ndarray:
    """uint8 [H, W, C], or uint16 [H, W, 1] of 16-bit grey."""
    plain = _PLAIN.get(image.mode, image.mode)
    plain = "RGBA" if image.mode == "P" and "transparency" in image.info else plain
    samples = np.asarray(image if plain == image.mode else image.convert(plain))
    if image.mode == "I" and samples.size and samples.min() >= 0 and samples.max() <= 65535:
        samples = samples.astype(np.uint16)
    if samples.dtype.kind != "u" or samples.size == 0:
        found = f"has {image.width} x {image.height} pixels of mode {image.mode}"
        raise Refused(f"{found}, expected 8- or 16-bit samples. Save it as PNG or TIFF.")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.uint16 and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        samples = 65535 - samples  # white is zero, which Pillow inverts at 8 bits only
    return samples if samples.ndim == 3 else samples[..., None]


def _with_transparent_colour(samples: np.ndarray, colour: Any) -> np.ndarray:
    """Adds alpha for the one colour that a PNG without alpha may declare transparent."""
    if not isinstance(colour, int | tuple) or samples.shape[-1] not in (1, 3):
        return samples
    opaque = (samples != np.array(colour)).any(-1, keepdims=True).astype(samples.dtype)
    return np.concatenate([samples, opaque * np.iinfo(samples.dtype).max], -1, dtype=samples.dtype)


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `samples` with the EXIF orientation applied."""
    samples = samples.swapaxes(0, 1) if orientation >= 5 else samples
    samples = samples[::-1] if orientation in (3, 4, 7, 8) else samples
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples
