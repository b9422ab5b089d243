"""Reads image files into host arrays and writes them.

With its modules (`opening`, `decoding`, `encoding`, `writable`, `tiff_pages`, `tiff_decoding`, `png_chunks`,
`metadata`, `exif`, `xmp`, `embedding`, `icc`, `profiles`), the only place that handles metadata, EXIF orientation,
colour profiles, alpha, palettes, bit depths and atomic writing. Everything else in jpst uses float32 [H, W, 3],
sRGB-encoded RGB in [0, 1].
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from PIL import Image

from jpst.image import decoding, embedding, encoding, icc, opening
from jpst.image import metadata as image_metadata
from jpst.image.errors import ImageError, Refused
from jpst.image.metadata import Metadata
from jpst.image.opening import READABLE
from jpst.image.writable import WRITABLE, check_folder, check_writable, suffix_for

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "WRITABLE",
    "ImageError",
    "Photograph",
    "Source",
    "check_folder",
    "check_writable",
    "left_out",
    "on_white",
    "quantised",
    "read",
    "read_colours",
    "read_indices",
    "read_labels",
    "seen",
    "size",
    "suffix_for",
    "write",
    "write_labels",
]

MAX_PIXELS = 300_000_000
"""Images that declare more pixels than this are refused before decoding."""

MOST_LABELS = 24
"""An image whose grey values are all below this is a label map: as a picture it would look black."""

Source = str | os.PathLike[str] | Image.Image | ArrayLike


class Photograph(NamedTuple):
    """One image, decoded."""

    pixels: np.ndarray
    """float32 [H, W, 3], sRGB-encoded RGB in [0, 1]."""
    alpha: np.ndarray | None
    """float32 [H, W] in [0, 1], 1 is opaque, not multiplied into `pixels`; None if the image has none."""
    bit_depth: int
    """8 or 16: the depth needed to write a result without losing precision of the source."""
    notes: tuple[str, ...] = ()
    """a sentence for each thing that was lost, or that may not be read as the file means it"""
    metadata: Metadata | None = None
    """date, camera, place, author, rights, as `write` takes them; None without any, or if they were not asked for"""


def read(source: Source, *, metadata: bool = False) -> Photograph:
    """Reads an image, upright and in sRGB.

    `source` is a path, a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16 or floats in
    [0, 1]. Of a file with several frames the first is read (of a TIFF, the first page that is not a reduced copy). The
    EXIF orientation is applied. An ICC profile, PNG's cICP, gAMA and cHRM, or EXIF's Adobe RGB are converted to sRGB; a
    damaged profile counts as sRGB. PNG and TIFF of more than 8 bits are read at 16 (TIFF of floats in [0, 1] too); the
    rest (16-bit CMYK, JPEG 2000, HEIC, PIL images of mode RGB) at 8. Colours of fully transparent pixels are unchanged.
    With `metadata`, EXIF, XMP and IPTC (date, camera, place, rights) are read too, for `write`; a note names what
    cannot be kept, such as maker notes, a gain map or a video. Raises `ImageError`.
    """
    with _decoded(source, managed=True) as (found, file):
        carried, lost = image_metadata.of(file.image, file.page) if file and metadata else (None, [])
    samples, alpha = found.samples, None
    if samples.shape[-1] in (2, 4):
        alpha = icc.unit(samples[..., -1:], 1)[..., 0]
        samples = samples[..., :-1]
    pixels, clipped = icc.to_srgb(samples, found.profile)
    left = [f"It also has {', '.join(lost)}, which the result does not keep."] if lost else []
    depth = 8 if samples.dtype == np.uint8 else 16
    return Photograph(pixels, alpha, depth, (*found.notes, *clipped, *left), carried)


def read_colours(source: Source) -> np.ndarray:
    """Reads the colours of a painted mask, uint8 [H, W, 3] RGB, exactly as stored.

    Like `read`, but without colour management, and alpha is dropped. 16-bit samples are cut to their high byte.
    Raises `ImageError`.
    """
    with _decoded(source, managed=False) as (found, _):
        samples = found.samples
    samples = samples[..., : 1 if samples.shape[-1] < 3 else 3]
    if samples.dtype != np.uint8:
        samples = samples >> 8 if samples.dtype == np.uint16 else np.rint(samples * 255)
    return np.array(np.broadcast_to(samples, (*samples.shape[:2], 3)), np.uint8)


def read_indices(source: Source) -> tuple[np.ndarray, np.ndarray] | None:
    """Reads the indices, int32 [H, W] upright, and the palette, uint8 [N, 3], of an indexed image without transparency.

    A grey image (but not a JPEG) of values below `MOST_LABELS` counts as indexed, with those greys as its palette.
    Returns None for any other image. Raises `ImageError`.
    """
    if _is_array(source):
        return None
    with opening.opened(source, MAX_PIXELS) as file:
        picture = file.image
        if picture is None or picture.mode not in ("P", "L") or "transparency" in picture.info:
            return None
        indices = decoding.turned(np.asarray(picture), opening.orientation(picture)).astype(np.int32)
        if picture.mode == "L":
            labels = picture.format != "JPEG" and indices.max() < MOST_LABELS
            return (indices, np.arange(MOST_LABELS, dtype=np.uint8).repeat(3).reshape(-1, 3)) if labels else None
        palette = np.frombuffer(bytes(picture.getpalette("RGB") or ()), np.uint8).reshape(-1, 3)
        return indices, np.pad(palette, ((0, max(0, indices.max() + 1 - len(palette))), (0, 0)))


def size(source: Source) -> tuple[int, int]:
    """(height, width) as `read` would return them, from the header of a file only. Raises `ImageError`.

    Wrong for one kind of file: a PNG with EXIF data after the pixels that rotates it by 90 degrees.
    """
    if _is_array(source):
        height, width, _ = _checked("image array", source, (1, 3, 4)).shape
        return height, width
    with opening.opened(source, MAX_PIXELS) as file:
        return file.size()


def write(
    path: str | os.PathLike[str],
    pixels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bit_depth: int = 8,
    quality: int = 95,
    notes: tuple[str, ...] = (),
    metadata: Metadata | None = None,
) -> None:
    """Writes floats [H, W, 3], sRGB-encoded RGB, clipped to [0, 1] and rounded, tagged as sRGB.

    The suffix selects the format: .jpg .jpeg .png .tif .tiff .webp, and .heic .heif with pillow-heif. `bit_depth` 16
    applies to PNG and TIFF; the other formats are written with 8 bits. `alpha`, floats [H, W] in [0, 1], is stored as a
    channel; JPEG has none, and the image is composited on white. `quality`, 1 to 100, applies to the lossy formats;
    JPEG keeps full colour resolution (4:4:4). `notes` are ignored: the parameter allows passing all fields of a
    `Photograph`. `metadata` are written for an upright picture without thumbnails, with jpst as the software; what has
    no room in the format is left out (`left_out` tells). The write is atomic: an existing file is replaced only by a
    complete one. Raises `ImageError`.
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
    check_writable(path, colours.shape[:2])
    if kind == "JPEG" and opacity is not None:
        colours, opacity = on_white(colours, opacity[..., 0]), None
    wide = bit_depth == 16 and kind in ("PNG", "TIFF")
    samples = encoding.rounded(colours, opacity, np.dtype(np.uint16 if wide else np.uint8))
    made = metadata and embedding.of(metadata, kind, colours.shape[:2])
    with encoding.replacing(path) as file:
        encoding.encode(file, kind, samples, quality, made)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composites colours [H, W, 3] in [0, 1] of opacity [H, W] on white: float32 [H, W, 3]."""
    out = np.empty(pixels.shape, np.float32)
    for rows in icc.row_blocks(pixels.shape):
        out[rows] = 1 - np.clip(alpha[rows, :, None], 0, 1) * (1 - np.clip(pixels[rows], 0, 1))
    return out


def seen(photograph: Photograph) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]: a photograph as displayed, composited on white if it has alpha."""
    return photograph.pixels if photograph.alpha is None else on_white(photograph.pixels, photograph.alpha)


def left_out(path: str | os.PathLike[str], photograph: Photograph) -> tuple[str, ...]:
    """A sentence for each thing that is lost when `write` writes this photograph in the format of `path`."""
    kind = WRITABLE[Path(path).suffix.lower()]
    notes = ["JPEG has no transparency: the picture is placed on white."]
    if kind != "JPEG" or photograph.alpha is None or photograph.alpha.min() == 1:
        notes = []
    if photograph.bit_depth == 16 and kind not in ("PNG", "TIFF"):
        notes.append(f"{kind} is written with 8 bits, but the content has 16: use PNG or TIFF to keep them.")
    if photograph.metadata and (lost := embedding.of(photograph.metadata, kind, photograph.pixels.shape[:2]).lost):
        notes.append(f"{kind} has no room for some of the metadata: {', '.join(lost)}.")
    return tuple(notes)


def quantised(pixels: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Rounds floats [H, W, C], clipped to [0, 1], to an unsigned integer type, with small temporaries."""
    return encoding.rounded(pixels, None, np.dtype(dtype))


def write_labels(path: str | os.PathLike[str], labels: ArrayLike, palette: ArrayLike) -> None:
    """Writes integer labels [H, W] as an indexed PNG that shows label i in palette[i] (uint8 [N, 3], N <= 256).

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
    """Reads labels, int32 [H, W], from a file of `write_labels` or any indexed or grey PNG. Raises `ImageError`."""
    with opening.opened(path, MAX_PIXELS) as file:
        mode = file.image.mode if file.image else "of a TIFF"
        if mode not in ("P", "L", "1", "I;16"):
            raise Refused(f"has mode {mode}, not label indices. Save it as an indexed PNG.")
        return np.asarray(file.image).astype(np.int32)


def _is_array(source: Source) -> TypeGuard[ArrayLike]:
    return hasattr(source, "__array__") and not isinstance(source, Image.Image)


def _checked(name: str, array: ArrayLike, channels: tuple[int, ...], stored: bool = True) -> np.ndarray:
    """An array [H, W, C], checked: floats, or if `stored` also uint8 and uint16; stored floats must be in [0, 1]."""
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


@contextmanager
def _decoded(source: Source, managed: bool) -> Iterator[tuple[decoding.Decoded, opening.Opened | None]]:
    """The decoded samples; and the opened image, unless `source` is an array."""
    if _is_array(source):
        yield decoding.Decoded(_checked("image array", source, (1, 3, 4)), None, []), None
        return
    with opening.opened(source, MAX_PIXELS) as file:
        yield decoding.decoded(file, managed), file
