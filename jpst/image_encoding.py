"""Image files encoded, and put in place whole or not at all."""

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

from jpst import icc
from jpst.image_decoding import hushed
from jpst.image_errors import ImageError


def rounded(pixels: np.ndarray, alpha: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """The nearest integers [H, W, C], alpha the last channel if it is given."""
    parts = [pixels] if alpha is None else [pixels, alpha]
    samples = np.empty((*pixels.shape[:2], sum(part.shape[-1] for part in parts)), dtype)
    for rows in icc.row_blocks(samples.shape):
        block = np.concatenate([part[rows] for part in parts], -1, dtype=np.float32)
        samples[rows] = np.rint(np.clip(block, 0, 1, out=block) * np.iinfo(dtype).max)
    return samples


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block ends well, and otherwise goes."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".jpst-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x+b") as file:  # not mkstemp: its private permissions would stay on the result
            yield file
        os.replace(temporary, target)
    except Exception as error:  # encoders raise nearly anything, a full disk included
        raise ImageError(f"{path}: could not be written ({error}). Check the free space.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def encode(file: BinaryIO, kind: str, samples: np.ndarray, quality: int) -> None:
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
        with hushed():  # the encoder can write what the decoder refuses: seen at 12 megapixels in 18 MB
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
