"""Opens image files: checks that they can be read, reads their headers and bounds their size. Decodes nothing."""

import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError

from jpst.image import png_chunks, tiff_pages
from jpst.image.errors import ImageError, Refused
from jpst.shared_context import SharedContext

READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")
CAMERA_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")

_STRIPS, _ORIENTATION, _STRIP_LENGTHS = 273, 274, 279
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_IN_MEMORY = threading.RLock()
"""PIL images are read one at a time: two threads may be given the same one, which is not decoded yet"""


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


@contextmanager
def opened(source: Any, max_pixels: int) -> Iterator[Opened]:
    """Opens an image, reads its header and checks its size. Errors of Pillow become an `ImageError`."""
    in_memory = isinstance(source, Image.Image)
    name, header = ("PIL image", b"") if in_memory else _checked_file(source)
    with hushed, _IN_MEMORY if in_memory else nullcontext(), ExitStack() as stack:
        try:
            file = Opened(source) if in_memory else _parsed(name, header, max_pixels, stack)
            _check_pixels(*file.size(), max_pixels)
            yield file
        except Refused as error:
            raise ImageError(f"{name}: {error}") from error
        except UnidentifiedImageError as error:
            found = f"not an image, damaged, or of an unsupported kind (it begins with {header[:12]!r})"
            raise ImageError(f"{name}: {found}. Convert it to one of {' '.join(READABLE)}.") from error
        except MemoryError:  # no fault of the file
            raise
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
def _silent_and_strict() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("PIL", "tifffile")]
    with warnings.catch_warnings():
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


hushed = SharedContext(_silent_and_strict)
"""makes Pillow and tifffile silent and strict about truncated files, without Pillow's size limit: jpst has its own"""


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


def orientation(image: Image.Image, header_only: bool = False) -> int:
    """The EXIF orientation, 1 to 8. By default not only from the header: PNG may have it after the pixels."""
    value = 1
    with suppress(Exception):  # damaged EXIF must not make the file unreadable
        value = (Image.Image.getexif(image) if header_only else image.getexif()).get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1
