"""Opens image files and decodes them to samples, upright and with alpha; colours are not converted yet."""

import logging
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from struct import error as StructError
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from jpst.image import icc, png_chunks, profiles, tiff_decoding, tiff_pages
from jpst.image import metadata as image_metadata
from jpst.image.errors import ImageError, Refused

READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")
CAMERA_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")

_PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_LENGTHS = 262, 273, 274, 279
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "HEIF")
_PILLOW_LOCK = threading.RLock()


class Opened(NamedTuple):
    """An image with its header read."""

    image: Any
    """a PIL image; None for a TIFF page that Pillow does not read correctly"""
    file: str | BytesIO | None = None
    """what `image` was opened from; None if the source is a PIL image"""
    page: tiff_pages.Page | None = None
    chunks: png_chunks.Chunks | None = None

    def size(self) -> tuple[int, int]:
        """(height, width), upright."""
        if self.image is None:
            assert self.page is not None
            width, height, rotated = self.page.width, self.page.height, self.page.orientation in range(5, 9)
        else:
            width, height = self.image.size
            # Pillow already applies the orientation to the size of a TIFF.
            rotated = self.image.format != "TIFF" and orientation(self.image, header_only=True) >= 5
        return (width, height) if rotated else (height, width)


class Decoded(NamedTuple):
    """The decoded content of an image."""

    samples: np.ndarray
    """upright [H, W, C] (C: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA) of uint8 or uint16"""
    profile: bytes | None
    """the ICC profile, not applied yet; b"" if there is one that cannot be read"""
    notes: list[str]


@contextmanager
def opened(source: Any, max_pixels: int) -> Iterator[Opened]:
    """Opens an image, reads its header and checks its size. Errors of Pillow become an `ImageError`."""
    in_memory = isinstance(source, Image.Image)
    name, header = ("PIL image", b"") if in_memory else _checked_file(source)
    with hushed(), ExitStack() as stack:
        try:
            file = Opened(source) if in_memory else _parsed(name, header, max_pixels, stack)
            _check_pixels(*file.size(), max_pixels)
            yield file
        except Refused as error:
            raise ImageError(f"{name}: {error}") from error
        except UnidentifiedImageError as error:
            found = f"not an image, damaged, or of an unsupported kind (it begins with {header[:12]!r})"
            raise ImageError(f"{name}: {found}. Convert it to one of {' '.join(READABLE)}.") from error
        except Exception as error:  # decoders raise many kinds of errors for damaged data
            raise ImageError(f"{name}: truncated or damaged ({error}). Copy or export it again.") from error


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        found = f"{width} x {height} = {width * height / 1e6:.0f} megapixels"
        raise Refused(f"declares {found}; the limit is {max_pixels / 1e6:g}. Scale it.")


def _parsed(name: str, header: bytes, max_pixels: int, stack: ExitStack) -> Opened:
    """Opens a file and reads its header; the stack closes it."""
    page = tiff_pages.first_picture(name) if header.startswith(tiff_pages.PREFIXES) else None
    if page and page.width and page.height:
        _check_pixels(page.height, page.width, max_pixels)
        if not tiff_pages.pillow_reads(page):
            return Opened(None, page=page)
    chunks = png_chunks.checked(name) if header.startswith(png_chunks.SIGNATURE) else None
    file = chunks.file if chunks else name
    image = stack.enter_context(Image.open(file, formats=_formats()))
    if page and page.number:
        image.seek(page.number)
    _check_strips(image, name)
    return Opened(image, file, page, chunks)


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
    samples, notes, converted = _pillows_samples(file, managed)
    samples = _with_transparent_colour(samples, file.image.info.get("transparency"))
    samples = turned(samples, orientation(file.image))
    profile, remarks = (None, []) if converted or not managed else _profile(file)
    notes += [*remarks, *(file.chunks.notes if file.chunks else ()), *_left_out(file)]
    return Decoded(samples, profile, notes)


def _pillows_samples(file: Opened, managed: bool) -> tuple[np.ndarray, list[str], bool]:
    """Samples [H, W, C], notes, and whether the colours are sRGB already."""
    image = file.image
    layout = _layout_of(image) if file.file is not None else ""
    with tiff_decoding.silent_libtiff() if image.format == "TIFF" else ExitStack():
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


def _checked_file(source: Any) -> tuple[str, bytes]:
    """Checks that a file exists and is not empty; returns its path and its first bytes."""
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"image: got {type(source).__name__}. Give a path, a PIL image or an array.")
    name = os.fsdecode(source)
    if os.path.isdir(name):
        raise ImageError(f"{name}: is a folder. Give the path of one image file.")
    if Path(name).suffix.lower() in CAMERA_RAW:  # Pillow would read the embedded thumbnail
        raise ImageError(f"{name}: is a camera raw file. Develop it to JPEG or 16-bit TIFF first.")
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            found = "expected a regular file, which can be read more than once, got a pipe or a device"
            raise ImageError(f"{name}: {found}. Save it in a file first.")
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


def _check_strips(image: Any, name: str) -> None:
    """Raises OSError if strips are missing at the end of a TIFF, of which libtiff would only print a message."""
    if image.format != "TIFF" or not image.use_load_libtiff:
        return
    tags = image.tag_v2
    ends = [sum(strip) for strip in zip(tags.get(_STRIPS, ()), tags.get(_STRIP_LENGTHS, ()), strict=False)]
    if max(ends, default=0) > os.path.getsize(name):
        raise OSError("its last strips are missing")


@contextmanager
def hushed() -> Iterator[None]:
    """Makes Pillow and tifffile silent and strict about truncated files, without Pillow's size limit.

    jpst checks a limit of its own. All of these settings are global to the process, hence the lock.
    """
    loggers = [logging.getLogger(name) for name in ("PIL", "tifffile")]
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, lenient = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient


def _formats() -> list[str]:
    Image.init()
    return [name for name in READABLE if name in Image.OPEN]


def register_heif(path: str | os.PathLike[str]) -> None:
    """Teaches Pillow to read HEIC; raises `Refused` if pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError as error:
        message = f'{path}: HEIC needs the package pillow-heif. Install it: pip install "jpst[heic]"'
        raise ImageError(message) from error
    pillow_heif.register_heif_opener()


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


def orientation(image: Image.Image, header_only: bool = False) -> int:
    """The EXIF orientation, 1 to 8. By default not only from the header: PNG may have it after the pixels."""
    value = 1
    with suppress(Exception):  # damaged EXIF must not make the file unreadable
        value = (Image.Image.getexif(image) if header_only else image.getexif()).get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `samples` with the EXIF orientation applied."""
    samples = samples.swapaxes(0, 1) if orientation >= 5 else samples
    samples = samples[::-1] if orientation in (3, 4, 7, 8) else samples
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples
