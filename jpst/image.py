"""Image files to host arrays and back.

With `image_decoding`, `image_encoding` and `icc`, which only it uses, the one place that knows about EXIF turns, ICC
profiles, alpha, palettes, bit depths and safe saving. Everything else in jpst sees float32 [H, W, 3], sRGB-encoded RGB
in [0, 1].
"""

import os
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from PIL import Image

from jpst import icc
from jpst import image_decoding as decoding
from jpst import image_encoding as encoding
from jpst.image_decoding import READABLE, ImageError

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "WRITABLE",
    "ImageError",
    "Photograph",
    "Source",
    "check_writable",
    "quantised",
    "read",
    "read_colours",
    "read_labels",
    "size",
    "write",
    "write_labels",
]

MAX_PIXELS = 300_000_000
"""Images that declare more pixels than this are refused before anything is decoded."""

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
WRITABLE |= {".webp": "WEBP", ".heic": "HEIF", ".heif": "HEIF"}
LONGEST_SIDES = {"JPEG": 65500, "WEBP": 16383}
"""Pixels a side that a format can hold at most."""

Source = str | os.PathLike[str] | Image.Image | ArrayLike


class Photograph(NamedTuple):
    """One image as jpst works on it."""

    pixels: np.ndarray
    """float32 [H, W, 3], sRGB-encoded RGB in [0, 1]."""
    alpha: np.ndarray | None
    """float32 [H, W] in [0, 1], 1 is opaque, not multiplied into `pixels`; None if the image has none."""
    bit_depth: int
    """8 or 16: the depth at which writing the result loses nothing that the source had."""


def read(source: Source) -> Photograph:
    """Read an image, upright and in sRGB.

    `source` is a path, a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16 or
    floats in [0, 1]. From a file the first frame is taken, the EXIF orientation applied and an ICC profile
    converted to sRGB; a broken profile counts as sRGB. 16-bit grey, RGB and RGBA in PNG and TIFF files keep
    their precision; the rest (16-bit CMYK, JPEG 2000, HEIC, PIL images of mode RGB) has 8 bits. Raises
    `ImageError`.
    """
    samples, profile = _samples(source, managed=True)
    alpha = None
    if samples.shape[-1] in (2, 4):
        alpha = icc.unit(samples[..., -1:], 1)[..., 0]
        samples = samples[..., :-1]
    return Photograph(icc.to_srgb(samples, profile), alpha, 8 if samples.dtype == np.uint8 else 16)


def read_colours(source: Source) -> np.ndarray:
    """A painted mask's colours, uint8 [H, W, 3] RGB, exactly as painted.

    Like `read`, but without colour management, and alpha is dropped. 16-bit samples lose their low byte.
    Raises `ImageError`.
    """
    samples, _ = _samples(source, managed=False)
    samples = samples[..., : 1 if samples.shape[-1] < 3 else 3]
    if samples.dtype != np.uint8:
        samples = samples >> 8 if samples.dtype == np.uint16 else np.rint(samples * 255)
    return np.array(np.broadcast_to(samples, (*samples.shape[:2], 3)), np.uint8)


def size(source: Source) -> tuple[int, int]:
    """(height, width) as `read` would give them; of a file only the header is read. Raises `ImageError`.

    The one exception is a PNG whose EXIF data, with a quarter turn in it, follows the pixels.
    """
    if _is_array(source):
        height, width, _ = _checked("image array", source, (1, 3, 4)).shape
        return height, width
    with decoding.opened(source, MAX_PIXELS) as image:
        # Pillow has turned the size of a TIFF itself.
        lies = image.format != "TIFF" and decoding.orientation(image, header_only=True) >= 5
        return (image.width, image.height) if lies else (image.height, image.width)


def write(
    path: str | os.PathLike[str],
    pixels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bit_depth: int = 8,
    quality: int = 95,
) -> None:
    """Write floats [H, W, 3], sRGB-encoded RGB, clipped to [0, 1] and rounded, tagged as sRGB.

    The suffix names the format: .jpg .jpeg .png .tif .tiff .webp, and .heic .heif with pillow-heif.
    `bit_depth` 16 is for PNG and TIFF; the others have 8 bits at most and get 8. `alpha`, floats [H, W] in
    [0, 1], is stored beside the colours; JPEG has no place for it and drops it (nothing is composited).
    `quality`, 1 to 100, is for the lossy formats; JPEG keeps full colour resolution (4:4:4). The file appears
    whole or not at all; one that was there stays until then. Raises `ImageError`.
    """
    check_writable(path)
    kind = WRITABLE[Path(path).suffix.lower()]
    colours = _checked(f"{path}: pixels", pixels, (3,), stored=False)
    opacity = None if alpha is None else _checked(f"{path}: alpha", alpha, (1,), stored=False)
    if opacity is not None and opacity.shape[:2] != colours.shape[:2]:
        raise ImageError(f"{path}: alpha is {opacity.shape[:2]}, pixels are {colours.shape}. Give one size.")
    if bit_depth not in (8, 16):
        raise ImageError(f"{path}: bit_depth is {bit_depth}. Give 8 or 16.")
    if not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality is {quality}. Give 1 to 100.")
    wide = bit_depth == 16 and kind in ("PNG", "TIFF")
    samples = encoding.rounded(colours, None if kind == "JPEG" else opacity, np.dtype(np.uint16 if wide else np.uint8))
    with encoding.replacing(path) as file:
        encoding.encode(file, kind, samples, quality)


def quantised(pixels: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats [H, W, 3], clipped to [0, 1], as the nearest values of an unsigned integer type; little memory beside."""
    return encoding.rounded(pixels, None, np.dtype(dtype))


def check_writable(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> None:
    """Raise now the `ImageError` that `write` would raise for this path, and a picture of this (height, width)."""
    target, suffix = Path(os.path.realpath(path)), Path(path).suffix.lower()
    if suffix not in WRITABLE:
        found = f"the suffix {suffix} is not a format jpst writes" if suffix else "the name has no suffix"
        raise ImageError(f"{path}: {found}. Use one of {' '.join(WRITABLE)}.")
    if target.is_dir():
        raise ImageError(f"{path}: is a folder, and a file is to be written there. Give a file name.")
    if not target.parent.is_dir():
        raise ImageError(f"{path}: the folder {target.parent} does not exist. Create it or choose another.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ImageError(f"{path}: the folder {target.parent} may not be written to. Choose another.")
    if WRITABLE[suffix] == "HEIF":
        decoding.register_heif(path)
    most = LONGEST_SIDES.get(WRITABLE[suffix])
    if size and most and max(size) > most:
        found = f"{WRITABLE[suffix]} holds {most} pixels a side, and the picture has {size[1]} x {size[0]}"
        raise ImageError(f"{path}: {found}. Use .png or .tif.")


def write_labels(path: str | os.PathLike[str], labels: ArrayLike, palette: ArrayLike) -> None:
    """Write integer labels [H, W] as an indexed PNG showing label i in palette[i] (uint8 [N, 3], N <= 256).

    Atomic like `write`. Raises `ImageError`.
    """
    check_writable(path)
    labels, palette = np.asarray(labels), np.asarray(palette)
    if Path(path).suffix.lower() != ".png":
        raise ImageError(f"{path}: label maps are indexed PNG files. Use the suffix .png.")
    if palette.dtype != np.uint8 or palette.shape[1:] != (3,) or not 1 <= len(palette) <= 256:
        raise ImageError(f"{path}: palette is {palette.dtype} {palette.shape}. Give uint8 [N, 3], N <= 256.")
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ImageError(f"{path}: labels are {labels.dtype} {labels.shape}. Give integers [H, W].")
    if labels.min() < 0 or labels.max() >= len(palette):
        found = f"labels run from {labels.min()} to {labels.max()}, the palette has {len(palette)} colours"
        raise ImageError(f"{path}: {found}. Give a colour for each label from 0.")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette.tobytes())
    with encoding.replacing(path) as file:
        image.save(file, format="PNG")


def read_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """Labels int32 [H, W] from a file of `write_labels` or any indexed or grey PNG. Raises `ImageError`."""
    with decoding.opened(path, MAX_PIXELS) as image:
        if image.mode not in ("P", "L", "1", "I;16"):
            raise decoding.Refused(f"has mode {image.mode}, not label indices. Save it as an indexed PNG.")
        return np.asarray(image).astype(np.int32)


def _is_array(source: Source) -> TypeGuard[ArrayLike]:
    return hasattr(source, "__array__") and not isinstance(source, Image.Image)


def _checked(name: str, array: ArrayLike, channels: tuple[int, ...], stored: bool = True) -> np.ndarray:
    """[H, W, C]: floats, or where `stored` also uint8 and uint16; stored floats must keep to [0, 1]."""
    array = np.asarray(array)
    array = array[..., None] if array.ndim == 2 and 1 in channels else array
    needed = "uint8, uint16, or floats" if stored else "floats"
    if array.ndim != 3 or array.shape[-1] not in channels or array.size == 0:
        shapes = " or ".join(["[H, W]"] * (1 in channels) + [f"[H, W, {count}]" for count in channels])
        raise ImageError(f"{name}: the shape is {array.shape}. Give {needed} {shapes}.")
    if stored and array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind != "f":
        raise ImageError(f"{name}: the type is {array.dtype}. Give {needed} in [0, 1].")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: there are NaN or infinite values. Give finite floats in [0, 1].")
    if stored and (low < -1e-6 or high > 1 + 1e-6):
        raise ImageError(f"{name}: values run from {low:g} to {high:g}. Give floats in [0, 1], or uint8.")
    return array


def _samples(source: Source, managed: bool) -> tuple[np.ndarray, bytes | None]:
    """Upright [H, W, C] (C: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA) and the ICC profile not yet applied."""
    if _is_array(source):
        return _checked("image array", source, (1, 3, 4)), None
    with decoding.opened(source, MAX_PIXELS) as image:
        profile = image.info.get("icc_profile") if managed else None
        layout = decoding.layout_of(image) if image is not source else ""
        if ";16" in layout and image.mode in ("RGB", "RGBA"):
            samples = decoding.wide_samples(image, layout)
        elif image.mode == "CMYK":
            samples, profile = np.asarray(icc.cmyk_to_srgb(image, profile)), None
        else:
            samples = decoding.plain_samples(image)
        samples = decoding.with_transparent_colour(samples, image.info.get("transparency"))
        return decoding.turned(samples, decoding.orientation(image)), profile
