"""Image files to host arrays and back.

The one place that knows about EXIF turns, ICC profiles, alpha, palettes, bit depths and safe saving.
Everything else in jpst sees float32 [H, W, 3], sRGB-encoded RGB in [0, 1].
"""

import logging
import os
import struct
import sys
import threading
import uuid
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageFile, UnidentifiedImageError

from jpst import icc
from jpst.errors import JpstError

MAX_PIXELS = 300_000_000
"""Images that declare more pixels than this are refused before anything is decoded."""

READABLE = ("JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "BMP", "GIF", "JPEG2000", "PPM")
WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
WRITABLE |= {".webp": "WEBP", ".heic": "HEIF", ".heif": "HEIF"}
CAMERA_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")

Source = str | os.PathLike[str] | Image.Image | ArrayLike

_BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _STRIP_LENGTHS, _PLANES = 258, 262, 273, 274, 279, 284
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
_PILLOW_LOCK = threading.RLock()


class ImageError(JpstError):
    """An image that cannot be read or written; the text names it and says what to do."""


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
    with _opened(source) as image:
        # Pillow has turned the size of a TIFF itself.
        lies = image.format != "TIFF" and _orientation(image, header_only=True) >= 5
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
    wide = bit_depth == 16 and kind in ("PNG", "TIFF")
    samples = _rounded(colours, None if kind == "JPEG" else opacity, np.uint16 if wide else np.uint8)
    with _replacing(path) as file:
        _encode(file, kind, samples, quality)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now the `ImageError` that `write` would raise for this path after the work."""
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
        _register_heif(path)


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
    with _replacing(path) as file:
        image.save(file, format="PNG")


def read_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """Labels int32 [H, W] from a file of `write_labels` or any indexed or grey PNG. Raises `ImageError`."""
    with _opened(path) as image:
        if image.mode not in ("P", "L", "1", "I;16"):
            raise NotImplementedError(f"has mode {image.mode}, not label indices. Save it as an indexed PNG.")
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
    with _opened(source) as image:
        profile = image.info.get("icc_profile") if managed else None
        layout = _layout(image) if image is not source else ""
        if ";16" in layout and image.mode in ("RGB", "RGBA"):
            samples = _wide_samples(image, layout)
        elif image.mode == "CMYK":
            samples, profile = np.asarray(icc.cmyk_to_srgb(image, profile)), None
        else:
            samples = _plain_samples(image)
        samples = _with_transparent_colour(samples, image.info.get("transparency"))
        return _turned(samples, _orientation(image)), profile


@contextmanager
def _opened(source: Any) -> Iterator[Image.Image]:
    """The image with its header read and its size checked; what Pillow raises becomes an ImageError."""
    in_memory = isinstance(source, Image.Image)
    name, header = ("PIL image", b"") if in_memory else _checked_file(source)
    with _hushed(), ExitStack() as stack:
        try:
            image = source if in_memory else stack.enter_context(Image.open(name, formats=_formats()))
            if image.width * image.height > MAX_PIXELS:
                found = f"{image.width} x {image.height} = {image.width * image.height / 1e6:.0f} megapixels"
                raise NotImplementedError(f"declares {found}; the limit is {MAX_PIXELS / 1e6:g}. Scale it.")
            if not in_memory:
                _check_tiff(image, name)
            yield image
        except NotImplementedError as error:
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
        _register_heif(name)
    return name, header


def _check_tiff(image: Any, name: str) -> None:
    """Pillow decodes noise from 16-bit planes, and lets libtiff print where the end is missing."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2
    if tags.get(_PLANES) == 2 and 16 in tags.get(_BITS, ()):
        raise NotImplementedError("stores 16-bit colours in separate planes. Save it interleaved.")
    ends = [sum(strip) for strip in zip(tags.get(_STRIPS, ()), tags.get(_STRIP_LENGTHS, ()), strict=False)]
    if image.use_load_libtiff and max(ends, default=0) > os.path.getsize(name):
        raise OSError("its last strips are missing")


@contextmanager
def _hushed() -> Iterator[None]:
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


def _register_heif(path: str | os.PathLike[str]) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        message = f'{path}: HEIC needs the package pillow-heif. Install it: pip install "jpst[heic]"'
        raise ImageError(message) from error
    pillow_heif.register_heif_opener()


def _layout(image: Any) -> str:
    """Pillow's name for the layout of the samples in a file not yet decoded, such as "RGB;16B"."""
    args = image.tile[0].args if getattr(image, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _decoded_as(image: Any, layout: str) -> np.ndarray:
    for index, tile in enumerate(image.tile):
        args = (layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout
        image.tile[index] = tile._replace(args=args)
    return np.asarray(image)


def _wide_samples(image: Any, layout: str) -> np.ndarray:
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


def _plain_samples(image: Any) -> np.ndarray:
    """uint8 [H, W, C], or uint16 [H, W, 1] of 16-bit grey."""
    plain = _PLAIN.get(image.mode, image.mode)
    plain = "RGBA" if image.mode == "P" and "transparency" in image.info else plain
    samples = np.asarray(image if plain == image.mode else image.convert(plain))
    if image.mode == "I" and samples.size and samples.min() >= 0 and samples.max() <= 65535:
        samples = samples.astype(np.uint16)
    if samples.dtype.kind != "u" or samples.size == 0:
        found = f"has {image.width} x {image.height} pixels of mode {image.mode}"
        raise NotImplementedError(f"{found}. Needed are 8- or 16-bit samples: save it as PNG or TIFF.")
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if samples.dtype == np.uint16 and image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:
        samples = 65535 - samples  # white is zero, which Pillow undoes at 8 bits only
    return samples if samples.ndim == 3 else samples[..., None]


def _with_transparent_colour(samples: np.ndarray, colour: Any) -> np.ndarray:
    """Alpha in place of the one colour that a PNG without alpha may declare transparent."""
    if not isinstance(colour, int | tuple) or samples.shape[-1] not in (1, 3):
        return samples
    opaque = (samples != np.array(colour)).any(-1, keepdims=True).astype(samples.dtype)
    return np.concatenate([samples, opaque * np.iinfo(samples.dtype).max], -1, dtype=samples.dtype)


def _orientation(image: Image.Image, header_only: bool = False) -> int:
    """The EXIF orientation, 1 to 8. Not only from the header, because PNG may have it after the pixels."""
    value = 1
    with suppress(Exception):  # broken EXIF must not cost the photograph
        value = (Image.Image.getexif(image) if header_only else image.getexif()).get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def _turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """A view of `samples` as they should be seen."""
    samples = samples.swapaxes(0, 1) if orientation >= 5 else samples
    samples = samples[::-1] if orientation in (3, 4, 7, 8) else samples
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples


def _rounded(pixels: np.ndarray, alpha: np.ndarray | None, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """The nearest integers [H, W, 3] or, with alpha, [H, W, 4]."""
    parts = [pixels] if alpha is None else [pixels, alpha]
    samples = np.empty((*pixels.shape[:2], 3 if alpha is None else 4), dtype)
    for rows in icc.row_blocks(samples.shape):
        block = np.concatenate([part[rows] for part in parts], -1, dtype=np.float32)
        samples[rows] = np.rint(np.clip(block, 0, 1, out=block) * np.iinfo(dtype).max)
    return samples


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block ends well, and otherwise goes."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".jpst-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x+b") as file:  # not mkstemp: its private permissions would stay on the result
            yield file
        os.replace(temporary, target)
    except Exception as error:  # encoders raise nearly anything, a full disk included
        advice = "Check the free space, and the format: JPEG holds 65500 pixels a side, WebP 16383"
        raise ImageError(f"{path}: could not be written ({error}). {advice}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _encode(file: BinaryIO, kind: str, samples: np.ndarray, quality: int) -> None:
    if kind == "TIFF":
        import tifffile

        layout = {"photometric": "rgb", "extrasamples": ["unassalpha"] if samples.shape[-1] == 4 else None}
        tifffile.imwrite(file, samples, **layout, iccprofile=icc.srgb_profile(), software="jpst", metadata=None)
    elif samples.dtype == np.uint16:
        _encode_wide_png(file, samples)
    else:
        options: dict[str, dict[str, Any]] = {
            # Run lengths give the smallest files of photographs, in a fifth of the time of the default.
            "PNG": {"compress_level": 1, "compress_type": zlib.Z_RLE},
            "JPEG": {"quality": quality, "subsampling": 0},
            "WEBP": {"quality": quality, "exact": True},
            "HEIF": {"quality": quality},  # not 4:4:4, which few devices show
        }
        Image.fromarray(samples).save(file, format=kind, icc_profile=icc.srgb_profile(), **options[kind])
    if kind == "HEIF":
        with _hushed():  # the encoder can write what the decoder refuses: seen at 12 megapixels in 18 MB
            Image.open(file).load()


def _encode_wide_png(file: BinaryIO, samples: np.ndarray) -> None:
    """16-bit RGB(A), which Pillow cannot write: the filter Sub on every row, and zlib set for noisy data."""

    def chunk(name: bytes, data: bytes) -> None:
        check = zlib.crc32(data, zlib.crc32(name))
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", check))

    height, width, channels = samples.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0))
    chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc.srgb_profile()))
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    for rows in icc.row_blocks(samples.shape):
        data = samples[rows].astype(">u2").view(np.uint8).reshape(-1, width * channels * 2)
        filtered = np.insert(data, 0, 1, axis=1)  # 1 is Sub: each byte less the one a pixel before
        filtered[:, 1 + 2 * channels :] -= data[:, : -2 * channels]
        chunk(b"IDAT", deflate.compress(filtered.tobytes()))
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")
