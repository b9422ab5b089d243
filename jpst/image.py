"""Image files to host arrays and back.

With the modules that only it uses (`image_decoding`, `image_encoding`, `tiff_decoding`, `png_chunks`, `image_metadata`,
`icc`, `profiles`), the one place that knows about EXIF turns, colour profiles, alpha, palettes, bit depths and safe
saving. Everything else in jpst sees float32 [H, W, 3], sRGB-encoded RGB
in [0, 1].
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from PIL import Image

from jpst import icc, image_metadata
from jpst import image_decoding as decoding
from jpst import image_encoding as encoding
from jpst.image_decoding import READABLE
from jpst.image_errors import ImageError, Refused

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "WRITABLE",
    "ImageError",
    "Photograph",
    "Source",
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
    "write",
    "write_labels",
]

MAX_PIXELS = 300_000_000
"""Images that declare more pixels than this are refused before anything is decoded."""

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
WRITABLE |= {".webp": "WEBP", ".heic": "HEIF", ".heif": "HEIF"}

MOST_LABELS = 24
"""Grey values below this make a label map: the eye sees them all as black."""

SIDE_LIMITS = {"JPEG": 65500, "WEBP": 16383}
"""The most pixels that these formats hold on a side."""

Source = str | os.PathLike[str] | Image.Image | ArrayLike


class Photograph(NamedTuple):
    """One image as jpst works on it."""

    pixels: np.ndarray
    """float32 [H, W, 3], sRGB-encoded RGB in [0, 1]."""
    alpha: np.ndarray | None
    """float32 [H, W] in [0, 1], 1 is opaque, not multiplied into `pixels`; None if the image has none."""
    bit_depth: int
    """8 or 16: the depth at which writing the result loses nothing that the source had."""
    notes: tuple[str, ...] = ()
    """a sentence for each thing that is not taken over, or not as the file may have meant it"""


def read(source: Source, *, metadata: bool = False) -> Photograph:
    """Read an image, upright and in sRGB.

    `source` is a path, a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16 or
    floats in [0, 1]. From a file the first frame (of a TIFF, the first page that is no reduced copy) is taken, the
    EXIF orientation applied, and an ICC profile, PNG's cICP, gAMA and cHRM or EXIF's Adobe RGB converted to sRGB;
    a broken profile counts as sRGB. PNG and TIFF of more than 8 bits keep 16 (TIFF of floats in [0, 1] too); the
    rest (16-bit CMYK, JPEG 2000, HEIC, PIL images of mode RGB) has 8. Colours under alpha 0 stay as they are.
    With `metadata`, a note names what the file says of date, camera and place, none of which pixels keep.
    Raises `ImageError`.
    """
    with _decoded(source, managed=True) as (found, file):
        left = image_metadata.kinds(file.image, file.page.tags if file.page else ()) if file and metadata else []
    samples, alpha = found.samples, None
    if samples.shape[-1] in (2, 4):
        alpha = icc.unit(samples[..., -1:], 1)[..., 0]
        samples = samples[..., :-1]
    pixels, lost = icc.to_srgb(samples, found.profile)
    told = [f"Its metadata ({', '.join(left)}) is not kept in the result yet."] if left else []
    return Photograph(pixels, alpha, 8 if samples.dtype == np.uint8 else 16, (*found.notes, *lost, *told))


def read_colours(source: Source) -> np.ndarray:
    """A painted mask's colours, uint8 [H, W, 3] RGB, exactly as painted.

    Like `read`, but without colour management, and alpha is dropped. 16-bit samples lose their low byte.
    Raises `ImageError`.
    """
    with _decoded(source, managed=False) as (found, _):
        samples = found.samples
    samples = samples[..., : 1 if samples.shape[-1] < 3 else 3]
    if samples.dtype != np.uint8:
        samples = samples >> 8 if samples.dtype == np.uint16 else np.rint(samples * 255)
    return np.array(np.broadcast_to(samples, (*samples.shape[:2], 3)), np.uint8)


def read_indices(source: Source) -> tuple[np.ndarray, np.ndarray] | None:
    """Of an indexed picture without transparency its indices, int32 [H, W] upright, and its palette, uint8 [N, 3].

    A grey picture (but JPEG) of values below `MOST_LABELS` counts as indexed, its palette being those greys. None of
    any other picture. Raises `ImageError`.
    """
    if _is_array(source):
        return None
    with decoding.opened(source, MAX_PIXELS) as file:
        picture = file.image
        if picture is None or picture.mode not in ("P", "L") or "transparency" in picture.info:
            return None
        indices = decoding.turned(np.asarray(picture), decoding.orientation(picture)).astype(np.int32)
        if picture.mode == "L":
            labels = picture.format != "JPEG" and indices.max() < MOST_LABELS
            return (indices, np.arange(MOST_LABELS, dtype=np.uint8).repeat(3).reshape(-1, 3)) if labels else None
        palette = np.frombuffer(bytes(picture.getpalette("RGB") or ()), np.uint8).reshape(-1, 3)
        return indices, np.pad(palette, ((0, max(0, indices.max() + 1 - len(palette))), (0, 0)))


def size(source: Source) -> tuple[int, int]:
    """(height, width) as `read` would give them; of a file only the header is read. Raises `ImageError`.

    The one exception is a PNG whose EXIF data, with a quarter turn in it, follows the pixels.
    """
    if _is_array(source):
        height, width, _ = _checked("image array", source, (1, 3, 4)).shape
        return height, width
    with decoding.opened(source, MAX_PIXELS) as file:
        return file.size()


def write(
    path: str | os.PathLike[str],
    pixels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bit_depth: int = 8,
    quality: int = 95,
    notes: tuple[str, ...] = (),
) -> None:
    """Write floats [H, W, 3], sRGB-encoded RGB, clipped to [0, 1] and rounded, tagged as sRGB.

    The suffix names the format: .jpg .jpeg .png .tif .tiff .webp, and .heic .heif with pillow-heif.
    `bit_depth` 16 is for PNG and TIFF; the others have 8 bits at most and get 8. `alpha`, floats [H, W] in
    [0, 1], is stored beside the colours; JPEG has no place for it, and there the colours are laid on white, so that
    those under alpha 0 do not show. `quality`, 1 to 100, is for the lossy formats; JPEG keeps full colour resolution
    (4:4:4). `notes` let a `Photograph`'s fields be given as they are; they are not written. The file appears whole or
    not at all; one that was there stays until then. Raises `ImageError`.
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
    with encoding.replacing(path) as file:
        encoding.encode(file, kind, samples, quality)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """float32 [H, W, 3]: colours [H, W, 3] in [0, 1] of opacity [H, W] laid on white, for pictures without alpha."""
    out = np.empty(pixels.shape, np.float32)
    for rows in icc.row_blocks(pixels.shape):
        out[rows] = 1 - np.clip(alpha[rows, :, None], 0, 1) * (1 - np.clip(pixels[rows], 0, 1))
    return out


def seen(photograph: Photograph) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]: a photograph as it is shown, on white where it is transparent."""
    return photograph.pixels if photograph.alpha is None else on_white(photograph.pixels, photograph.alpha)


def left_out(path: str | os.PathLike[str], photograph: Photograph) -> tuple[str, ...]:
    """A sentence for each thing that the format of `path` cannot hold of a photograph that `write` puts there."""
    kind = WRITABLE[Path(path).suffix.lower()]
    notes = ["JPEG holds no transparency: the picture is laid on white."]
    if kind != "JPEG" or photograph.alpha is None or photograph.alpha.min() == 1:
        notes = []
    if photograph.bit_depth == 16 and kind not in ("PNG", "TIFF"):
        notes.append(f"{kind} is written with 8 bits, and the content has 16: PNG and TIFF keep them.")
    return tuple(notes)


def quantised(pixels: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats [H, W, C], clipped to [0, 1], as the nearest values of an unsigned integer type; little memory beside."""
    return encoding.rounded(pixels, None, np.dtype(dtype))


def check_writable(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> None:
    """Raise now the `ImageError` that `write` would raise for this path, and a picture of this size (height, width),
    after the work."""
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
    limit = SIDE_LIMITS.get(WRITABLE[suffix])
    if size and limit and max(size) > limit:
        found = f"the picture is {size[1]} x {size[0]} pixels, and {WRITABLE[suffix]} holds {limit} on a side"
        raise ImageError(f"{path}: {found}. Write PNG or TIFF, or a smaller picture.")


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
    with decoding.opened(path, MAX_PIXELS) as file:
        mode = file.image.mode if file.image else "of a TIFF"
        if mode not in ("P", "L", "1", "I;16"):
            raise Refused(f"has mode {mode}, not label indices. Save it as an indexed PNG.")
        return np.asarray(file.image).astype(np.int32)


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


@contextmanager
def _decoded(source: Source, managed: bool) -> Iterator[tuple[decoding.Decoded, decoding.Opened | None]]:
    """What an image stores; and the image itself, if it is no array."""
    if _is_array(source):
        yield decoding.Decoded(_checked("image array", source, (1, 3, 4)), None, []), None
        return
    with decoding.opened(source, MAX_PIXELS) as file:
        yield decoding.decoded(file, managed), file
