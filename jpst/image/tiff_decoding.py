"""Decodes TIFF pages that Pillow reads wrongly or not at all.

Those are floats, signed, packed and separate samples, grey with alpha, and CIELAB.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image

from jpst.image import icc, tiff_pages
from jpst.image.errors import Refused
from jpst.image.tiff_pages import Page
from jpst.shared_context import SharedContext


def read(page: Page) -> tuple[np.ndarray, list[str]]:
    """Decodes a page to uint8 or uint16 [H, W, C] (C as in `image`), orientation not applied, with notes.

    Floats in [0, 1] and samples of 9 to 64 bits become 16 bits. Negative values of signed samples become 0. Raises
    `Refused`.
    """
    tiff_pages.check_storage(page)
    stored, notes = _stored(page), []
    base = 1 if page.photometric in (tiff_pages.WHITE_IS_ZERO, tiff_pages.BLACK_IS_ZERO) else 3
    alpha = _alpha_channel(page, base)
    if page.photometric == tiff_pages.CIELAB:
        colours, notes = icc.lab_to_srgb(stored[..., :3])
    else:
        colours, notes = _unsigned(stored[..., :base], page)
    if page.photometric == tiff_pages.WHITE_IS_ZERO:
        colours = np.iinfo(colours.dtype).max - colours
    if page.samples > base + (alpha is not None):
        notes.append("Channels other than colours and alpha are ignored.")
    if alpha is None:
        return colours, notes
    opacity, _ = _unsigned(stored[..., alpha : alpha + 1], page)
    samples = np.concatenate([colours, opacity], -1)
    if (page.extra or (tiff_pages.UNASSOCIATED,))[alpha - base] == tiff_pages.ASSOCIATED:
        divide_by_alpha(samples)
    return samples, notes


def divide_by_alpha(samples: np.ndarray) -> None:
    """Divides colours by alpha, the last channel, in place."""
    top = np.iinfo(samples.dtype).max
    for rows in icc.row_blocks(samples.shape):
        colours = samples[rows, :, :-1] / np.maximum(samples[rows, :, -1:], np.float32(1))
        samples[rows, :, :-1] = np.rint(np.minimum(colours, 1) * top)


def _alpha_channel(page: Page, base: int) -> int | None:
    """The index of the alpha channel: as declared, or the fourth of RGB if nothing is declared; None without one."""
    if page.extra is None:
        return 3 if base == 3 and page.samples == 4 else None
    known = (kind in (tiff_pages.ASSOCIATED, tiff_pages.UNASSOCIATED) for kind in page.extra[: page.samples - base])
    return next((base + place for place, is_alpha in enumerate(known) if is_alpha), None)


def _unsigned(stored: np.ndarray, page: Page) -> tuple[np.ndarray, list[str]]:
    """Scales samples to uint8 or uint16 from black to white, with notes."""
    kind, bits = page.formats[0], page.bits[0]
    if kind == tiff_pages.FLOAT:
        return _of_floats(stored)
    if kind == tiff_pages.SIGNED:
        top, white = 255 if bits == 8 else 65535, 2 ** (bits - 1) - 1
        low, high = int(stored.min()), int(stored.max())
        note = f"Its samples are signed: 0 is taken as black, {white} as white; they run from {low} to {high}."
        return _scaled(np.maximum(stored, 0), white, top), [note]
    return _scaled(stored, 2 ** min(bits, 16) - 1, 255 if bits <= 8 else 65535), []


def _scaled(stored: np.ndarray, white: int, top: int) -> np.ndarray:
    dtype = np.uint8 if top == 255 else np.uint16
    if white == top:
        return stored.astype(dtype, copy=False)
    if white > 65535:
        return (stored * (top / white) + 0.5).astype(dtype)
    table = np.rint(np.arange(white + 1) * (top / white)).astype(dtype)
    return table[stored]


def _of_floats(stored: np.ndarray) -> tuple[np.ndarray, list[str]]:
    low, high = float(stored.min()), float(stored.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refused("has floating-point samples that are NaN or infinite. Fix them, or export it as 16-bit TIFF.")
    if high > 1 and _counts(stored):
        found = f"expected floating-point samples in [0, 1], got {low:g} to {high:g}"
        divisor = "255" if high <= 255.5 else "65535" if high <= 65535.5 else "their white"
        raise Refused(f"{found}. Divide them by {divisor}, or export it as 16-bit TIFF.")
    notes = []
    for values, outside in ((f"below 0 (down to {low:.4g})", stored < 0), (f"above 1 (up to {high:.4g})", stored > 1)):
        if share := float(outside.any(-1).mean()):
            notes.append(f"Values {values} were clipped, in {icc.percent(share)} of the pixels.")
    samples = np.empty(stored.shape, np.uint16)
    for rows in icc.row_blocks(stored.shape):
        samples[rows] = np.rint(np.clip(stored[rows], 0, 1) * np.float32(65535))
    return samples, notes


def _counts(stored: np.ndarray) -> bool:
    """Whether samples above 1 are integer levels rather than bright light.

    They are if all are whole numbers, or most are above 1.
    """
    above = np.count_nonzero(stored > 1)
    return bool(above > np.count_nonzero(stored > 0) / 2 or not np.any(stored % 1))


def _stored(page: Page) -> np.ndarray:
    """Reads [H, W, samples] as stored: unsigned (more than 16 bits are cut to the high 16), signed or float32."""
    dtype = _stored_type(page)
    out = np.empty((page.height, page.width, page.samples), dtype)
    high, wide = page.segment
    in_one = 1 if page.separate else page.samples
    with open(page.path, "rb") as file, silent_libtiff, np.errstate(over="ignore"):
        for place, (row, column, channel) in enumerate(_places(page)):
            rows = high if page.tiled else min(high, page.height - row)
            values = _values(_bytes_of(file, page, place, rows, _row_bytes(page)), page, (rows, wide, in_one))
            part = out[row : row + rows, column : column + wide, channel : channel + in_one]
            part[...] = _cut(values, dtype)[: part.shape[0], : part.shape[1]]
    return out


def _stored_type(page: Page) -> np.dtype:
    kind, bits = page.formats[0], page.bits[0]
    if kind == tiff_pages.UNSIGNED or page.photometric == tiff_pages.CIELAB:
        return np.dtype(np.uint8 if bits <= 8 else np.uint16)
    return np.dtype(np.float32 if kind == tiff_pages.FLOAT else f"i{bits // 8}")


def _places(page: Page) -> Iterator[tuple[int, int, int]]:
    """Row, column and first channel of each strip or tile, in file order."""
    high, wide = page.segment
    if not 0 < high * wide <= max(4 * page.width * page.height, 2**24):
        raise OSError(f"strips or tiles of {wide} x {high} pixels")
    for channel in range(page.samples if page.separate else 1):
        for row in range(0, page.height, high):
            for column in range(0, page.width, wide):
                yield row, column, channel


def _row_bytes(page: Page) -> int:
    """Bytes per row of a strip or tile; rows begin at whole bytes."""
    return -(-page.segment[1] * (1 if page.separate else page.samples) * page.bits[0] // 8)


def _bytes_of(file: BinaryIO, page: Page, place: int, rows: int, row_bytes: int) -> np.ndarray:
    """Reads one strip or tile, decompressed: uint8 [rows, row_bytes]."""
    if place >= len(page.offsets) or place >= len(page.lengths):
        raise OSError("strips or tiles are missing")
    file.seek(page.offsets[place])
    data = file.read(page.lengths[place])
    if len(data) < page.lengths[place]:
        raise OSError("its last strips are missing")
    if page.fill_order == 2:
        data = data.translate(_REVERSED)
    if page.compression != tiff_pages.NONE:
        return _decompressed(data, page.compression, rows, row_bytes)
    if len(data) < rows * row_bytes:
        raise OSError("its strips are too short")
    return np.frombuffer(data, np.uint8, rows * row_bytes).reshape(rows, row_bytes)


_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _decompressed(data: bytes, compression: int, rows: int, row_bytes: int) -> np.ndarray:
    """Decompresses with libtiff: Pillow passes it the bytes as an 8-bit grey TIFF of one strip."""
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: rows, 279: len(data)}
    packed = data + b"\0" * (len(data) % 2)
    directory = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags.items())
    made = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + directory + bytes(4)
    with Image.open(BytesIO(made), formats=["TIFF"]) as image:
        return np.asarray(image)


def _values(data: np.ndarray, page: Page, shape: tuple[int, int, int]) -> np.ndarray:
    """Converts bytes [rows, row_bytes] to [rows, columns, channels] of the stored type."""
    bits, rows = page.bits[0], shape[0]
    order = page.byte_order
    if page.predictor == 3:
        summed = np.cumsum(data.reshape(rows, -1, shape[2]), axis=1, dtype=np.uint8)
        planes = summed.reshape(rows, bits // 8, -1)  # the high byte of all samples of a row, then the next byte
        return planes.swapaxes(1, 2).copy().view(f">f{bits // 8}").reshape(shape)
    if bits == 24:
        three = data.reshape(*shape, 3)
        high, low = (2, 1) if order == "<" else (0, 1)
        return three[..., high].astype(np.uint32) << 24 | three[..., low].astype(np.uint32) << 16
    if bits % 8:
        return _unpacked(data, bits, shape)
    values = data.view(f"{order}u{bits // 8}").reshape(shape)
    native = f"=u{bits // 8}"
    summed = np.cumsum(values, axis=1, dtype=native) if page.predictor == 2 else values.astype(native, copy=False)
    kind = page.formats[0] if page.photometric != tiff_pages.CIELAB else tiff_pages.UNSIGNED
    letter = {tiff_pages.UNSIGNED: "u", tiff_pages.SIGNED: "i", tiff_pages.FLOAT: "f"}[kind]
    return summed.view(f"={letter}{bits // 8}")


def _unpacked(data: np.ndarray, bits: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Unpacks integers of any bit width, the high bit first, as TIFF packs them in either byte order."""
    out = np.empty(shape, np.uint16)
    count = shape[1] * shape[2]
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint16)
    for rows in icc.row_blocks((shape[0], count)):
        ones = np.unpackbits(data[rows], axis=1, count=count * bits)
        out[rows] = (ones.reshape(-1, shape[1], shape[2], bits) @ weights).astype(np.uint16)
    return out


def _cut(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cuts wider integers to their high 16 bits; floats are unchanged."""
    excess = 8 * (values.dtype.itemsize - dtype.itemsize)
    if values.dtype.kind == "f" or excess <= 0 or values.dtype.itemsize == 2:
        return values
    return values >> values.dtype.type(excess)


@contextmanager
def _without_standard_error() -> Iterator[None]:
    saved = None
    with suppress(OSError):  # the process may have no standard error
        saved = os.dup(2)
    try:
        if saved is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        yield
    finally:
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)


silent_libtiff = SharedContext(_without_standard_error)
"""redirects standard error to nowhere: libtiff writes its messages there, bypassing Python"""
