"""Image files opened and decoded to the samples that they store, upright and with their alpha; colours as they come."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from jpst import icc
from jpst.errors import JpstError

READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")
CAMERA_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")

_BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_LENGTHS, _PLANES = 258, 262, 273, 274, 279, 284
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
_PILLOW_LOCK = threading.RLock()


class ImageError(JpstError):
    """An image that cannot be read or written; the text names it and says what to do."""


class Refused(Exception):
    """Why an opened image is not taken, and what to do: `opened` makes it an `ImageError` that names the image."""


@contextmanager
def opened(source: Any, max_pixels: int) -> Iterator[Image.Image]:
    """The image with its header read and its size checked; what Pillow raises becomes an ImageError."""
    in_memory = isinstance(source, Image.Image)
    name, header = ("PIL image", b"") if in_memory else _checked_file(source)
    with hushed(), ExitStack() as stack:
        try:
            image = source if in_memory else stack.enter_context(Image.open(name, formats=_formats()))
            if image.width * image.height > max_pixels:
                found = f"{image.width} x {image.height} = {image.width * image.height / 1e6:.0f} megapixels"
                raise Refused(f"declares {found}; the limit is {max_pixels / 1e6:g}. Scale it.")
            if not in_memory:
                _check_tiff(image, name)
            yield image
        except Refused as error:
            raise ImageError(f"{name}: {error}") from error
        except UnidentifiedImageError as error:
            found = f"not an image, damaged, or of a kind that is not read (it begins with {header[:12]!r})"
            raise ImageError(f"{name}: {found}. Convert it to one of {' '.join(READABLE)}.") from error
        except Exception as error:  # decoders raise nearly anything at damaged data
            raise ImageError(f"{name}: cut short or damaged ({error}). Copy or export it again.") from error


def _checked_file(source: Any) -> tuple[str, bytes]:
    """The path and the first bytes of a file that is there and not empty."""
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"image: got {type(source).__name__}. Give a path, a PIL image or an array.")
    name = os.fsdecode(source)
    if os.path.isdir(name):
        raise ImageError(f"{name}: is a folder. Give the path of one image file.")
    if Path(name).suffix.lower() in CAMERA_RAW:  # Pillow would read the thumbnail in it
        raise ImageError(f"{name}: is a camera raw file. Develop it to JPEG or 16-bit TIFF first.")
    try:
        with open(name, "rb") as file:
            header = file.read(64)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file. Check the path.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened ({error}). Make it readable, or copy it.") from error
    if not header:
        raise ImageError(f"{name}: the file is empty (0 bytes). Copy or export it again.")
    if header[4:8] == b"ftyp" and header[8:12] in _HEIF_BRANDS and b"avif" not in header:
        register_heif(name)
    return name, header


def _check_tiff(image: Any, name: str) -> None:
    """Pillow decodes noise from 16-bit planes, and lets libtiff print where the end is missing."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2
    if tags.get(_PLANES) == 2 and 16 in tags.get(_BITS, ()):
        raise Refused("stores 16-bit colours in separate planes. Save it interleaved.")
    ends = [sum(strip) for strip in zip(tags.get(_STRIPS, ()), tags.get(_STRIP_LENGTHS, ()), strict=False)]
    if image.use_load_libtiff and max(ends, default=0) > os.path.getsize(name):
        raise OSError("its last strips are missing")


@contextmanager
def hushed() -> Iterator[None]:
    """Pillow silent, strict about truncated files, and without its own size limit, ours being checked.

    All of these are global to the process, hence the lock.
    """
    logger = logging.getLogger("PIL")
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level, limit, lenient = logger.level, Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        logger.setLevel(logging.CRITICAL + 1)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            logger.setLevel(level)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient


def _formats() -> list[str]:
    Image.init()
    return [name for name in READABLE if name in Image.OPEN]


def register_heif(path: str | os.PathLike[str]) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        message = f'{path}: HEIC needs the package pillow-heif. Install it: pip install "jpst[heic]"'
        raise ImageError(message) from error
    pillow_heif.register_heif_opener()


def layout_of(image: Any) -> str:
    """Pillow's name for the layout of the samples in a file not yet decoded, such as "RGB;16B"."""
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _decoded_as(image: Any, layout: str) -> np.ndarray:
    for index, tile in enumerate(image.tile):
        args = (layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout
        image.tile[index] = tile._replace(args=args)
    return np.asarray(image)


def wide_samples(image: Any, layout: str) -> np.ndarray:
    """uint16 [H, W, C] of a 16-bit file, of which Pillow keeps the high byte of each sample.

    Pillow's 16-bit layouts differ in byte order only, and each takes the high byte. Decoding a second time
    with the order swapped yields exactly the low bytes, under every compression that Pillow knows.
    """
    if layout == "LA;16B":  # has no twin, but its four bytes a pixel pass for 8-bit RGBA
        return _decoded_as(image, "RGBA").view(">u2").astype(np.uint16)
    straight = layout.replace("RGBa", "RGBA")
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[layout[-1]]
    with Image.open(image.filename, formats=[image.format]) as second:
        low = _decoded_as(second, straight[:-1] + swapped)
    samples = _decoded_as(image, straight).astype(np.uint16)
    samples <<= 8
    samples |= low
    if straight != layout:  # the colours came multiplied by alpha
        for rows in icc.row_blocks(samples.shape):
            colours = samples[rows, :, :3] / np.maximum(samples[rows, :, 3:], np.float32(1))
            samples[rows, :, :3] = np.rint(np.minimum(colours, 1) * 65535)
    return samples


def plain_samples(image: Any) -> np.ndarray:
    """uint8 [H, W, C], or uint16 [H, W, 1] of 16-bit grey."""
    plain = _PLAIN.get(image.mode, image.mode)
    plain = "RGBA" if image.mode == "P" and "transparency" in image.info else plain
    samples = np.asarray(image if plain == image.mode else image.convert(plain))
    if image.mode == "I" and samples.size and samples.min() >= 0 and samples.max() <= 65535:
        samples = samples.astype(np.uint16)
    if samples.dtype.kind != "u" or samples.size == 0:
        found = f"has {image.width} x {image.height} pixels of mode {image.mode}"
        raise Refused(f"{found}. Needed are 8- or 16-bit samples: save it as PNG or TIFF.")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.uint16 and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        samples = 65535 - samples  # white is zero, which Pillow undoes at 8 bits only
    return samples if samples.ndim == 3 else samples[..., None]


def with_transparent_colour(samples: np.ndarray, colour: Any) -> np.ndarray:
    """Alpha in place of the one colour that a PNG without alpha may declare transparent."""
    if not isinstance(colour, int | tuple) or samples.shape[-1] not in (1, 3):
        return samples
    opaque = (samples != np.array(colour)).any(-1, keepdims=True).astype(samples.dtype)
    return np.concatenate([samples, opaque * np.iinfo(samples.dtype).max], -1, dtype=samples.dtype)


def orientation(image: Image.Image, header_only: bool = False) -> int:
    """The EXIF orientation, 1 to 8. Not only from the header, because PNG may have it after the pixels."""
    value = 1
    with suppress(Exception):  # broken EXIF must not cost the photograph
        value = (Image.Image.getexif(image) if header_only else image.getexif()).get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `samples` as they should be seen."""
    samples = samples.swapaxes(0, 1) if orientation >= 5 else samples
    samples = samples[::-1] if orientation in (3, 4, 7, 8) else samples
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples
