"""Encodes image files and writes them atomically."""

import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from jpst.image import embedding, icc
from jpst.image.embedding import Embedded
from jpst.image.errors import ImageError
from jpst.image.opening import hushed


def rounded(pixels: np.ndarray, alpha: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """Rounds to integers [H, W, C], with alpha, if given, as the last channel."""
    parts = [pixels] if alpha is None else [pixels, alpha]
    samples = np.empty((*pixels.shape[:2], sum(part.shape[-1] for part in parts)), dtype)
    for rows in icc.row_blocks(samples.shape):
        block = np.concatenate([part[rows] for part in parts], -1, dtype=np.float32)
        samples[rows] = np.rint(np.clip(block, 0, 1, out=block) * np.iinfo(dtype).max)
    return samples


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A temporary file that replaces `path` if the block succeeds and is removed otherwise."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".jpst-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x+b") as file:  # not mkstemp: the result would keep its private permissions
            yield file
        os.replace(temporary, target)
    except MemoryError:  # no fault of the disk
        raise
    except Exception as error:  # encoders raise many kinds of errors, for a full disk too
        raise ImageError(f"{path}: could not be written ({error}). Check the free space.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def encode(file: BinaryIO, kind: str, samples: np.ndarray, quality: int, made: Embedded | None = None) -> None:
    """Writes samples [H, W, C] as an image of a kind of `WRITABLE` to an open file, with metadata if they are given."""
    if kind == "TIFF":
        _encode_tiff(file, samples, made)
    elif samples.dtype == np.uint16:
        _encode_wide_png(file, samples, made)
    else:
        _encode_plain(file, kind, samples, quality, made)
    if kind == "HEIF":
        with hushed:  # the encoder can write files that the decoder refuses: seen at 12 megapixels in 18 MB
            Image.open(file).load()


def _encode_tiff(file: BinaryIO, samples: np.ndarray, made: Embedded | None) -> None:
    import tifffile

    form = {"photometric": "rgb", "extrasamples": ["unassalpha"] if samples.shape[-1] == 4 else None, "metadata": None}
    order: Any = made.exif.order if made else None
    tifffile.imwrite(file, samples, **form, iccprofile=icc.srgb_profile(), software="jpst", byteorder=order)
    if made:
        embedding.add_to_tiff(file, made)


def _encode_plain(file: BinaryIO, kind: str, samples: np.ndarray, quality: int, made: Embedded | None) -> None:
    """Writes 8-bit samples by Pillow."""
    options: dict[str, dict[str, Any]] = {
        # Run-length matching gives the smallest files for photographs, in a fifth of the default's time.
        "PNG": {"compress_level": 1, "compress_type": zlib.Z_RLE},
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "exact": True},
        "HEIF": {"quality": quality},  # not 4:4:4, which few devices can display
    }
    tags = embedding.options(kind, made) if made else {}
    Image.fromarray(samples).save(file, format=kind, icc_profile=icc.srgb_profile(), **options[kind], **tags)


def _encode_wide_png(file: BinaryIO, samples: np.ndarray, made: Embedded | None) -> None:
    """Writes 16-bit RGB(A), which Pillow cannot: filter Sub on every row, and zlib tuned for noisy data."""

    def chunk(name: bytes, data: bytes) -> None:
        check = zlib.crc32(data, zlib.crc32(name))
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", check))

    height, width, channels = samples.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0))
    chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc.srgb_profile()))
    for name, data, *_ in embedding.png_chunks(made).chunks if made else ():
        chunk(name, data)
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    for rows in icc.row_blocks(samples.shape):
        data = samples[rows].astype(">u2").view(np.uint8).reshape(-1, width * channels * 2)
        filtered = np.insert(data, 0, 1, axis=1)  # 1 is Sub: each byte minus that of the previous pixel
        filtered[:, 1 + 2 * channels :] -= data[:, : -2 * channels]
        chunk(b"IDAT", deflate.compress(filtered.tobytes()))
    chunk(b"IDAT", deflate.flush())
    chunk(b"IEND", b"")
