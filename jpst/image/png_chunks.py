"""The chunks of a PNG other than its pixels: damaged or absurd ones must not make the image unreadable."""

import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_TEXT_LIMIT = 2**19  # Pillow refuses the whole file at twice that
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_SHORTEST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4, b"acTL": 8, b"fcTL": 26, b"fdAT": 4}
_PROFILE_LIMIT = 2**26
_PILLOWS_PROFILE_LIMIT = 2**20
_MOST_TEXTS = 100  # of half a megabyte each; Pillow refuses the file at 64 megabytes
_PILLOWS_WORDS = frozenset(  # Pillow stores these in the same dictionary as the texts
    b"aspect bbox blend chromaticity default_image disposal dpi duration gamma icc_profile interlace loop srgb".split()
) | {b"timestamp", b"transparency"}
_BLOCK = 2**20


class Chunk(NamedTuple):
    """One chunk.

    `data` is empty unless it is ancillary and at most `_PROFILE_LIMIT` long; `sound`: the checksum is right.
    """

    name: bytes
    start: int
    length: int
    sound: bool
    data: bytes


class Chunks(NamedTuple):
    """The input for Pillow in place of the file, and what Pillow does not report."""

    file: str | BytesIO
    cicp: bytes | None
    """four bytes: primaries, curve, matrix and range, as in ITU-T H.273"""
    profile: bytes | None
    """the ICC profile; b"" if it cannot be unpacked"""
    notes: list[str]


def checked(path: str) -> Chunks:
    """The PNG at `path`, or a copy in memory without the ancillary chunks for which Pillow would refuse the file.

    These are chunks with a wrong checksum, too short for their kind, or with megabytes of text. The chunks of the
    pixels are left for the decoder to check.
    """
    with open(path, "rb") as file:
        chunks = list(_chunks(file))
        unfit = {chunk.start for chunk in chunks if not _fit(chunk)}
        texts = [chunk.start for chunk in chunks if chunk.name in _TEXT]
        animation = [chunk.start for chunk in chunks if chunk.name in _ANIMATION]
        unfit.update(texts[_MOST_TEXTS:], animation if unfit.intersection(animation) else ())
        used = {chunk.name: chunk.data for chunk in chunks if chunk.sound}
        damaged = sorted({chunk.name.decode("latin-1") for chunk in chunks if not chunk.sound})
        notes = [f"Damaged chunks other than the pixels are ignored ({', '.join(damaged)})."] if damaged else []
        cicp = used.get(b"cICP", b"")[:4]
        found = path if not unfit else _without(file, chunks, unfit)
    return Chunks(found, cicp if len(cicp) == 4 else None, _profile(chunks), notes)


def _chunks(file: BinaryIO) -> Iterator[Chunk]:
    """All chunks up to the end of the image, or of the file."""
    end, at = file.seek(0, os.SEEK_END), len(SIGNATURE)
    while at + 12 <= end:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if at + 12 + length > end:
            return
        passed = name[:1].isupper() or name == b"fdAT"  # pixels, also of later frames, are not examined
        sound, data = (True, b"") if passed else _examined(file, name, length)
        yield Chunk(name, at, length, sound, data)
        if name == b"IEND":
            return
        at += 12 + length


def _examined(file: BinaryIO, name: bytes, length: int) -> tuple[bool, bytes]:
    """Whether the checksum is right, and the data if they are at most `_PROFILE_LIMIT` long."""
    blocks, checksum, left = [], zlib.crc32(name), length
    while left:
        block = file.read(min(_BLOCK, left))
        checksum, left = zlib.crc32(block, checksum), left - len(block)
        if length <= _PROFILE_LIMIT:
            blocks.append(block)
    return checksum == int.from_bytes(file.read(4), "big"), b"".join(blocks)


def _fit(chunk: Chunk) -> bool:
    """Whether Pillow accepts the chunk."""
    if chunk.name[:1].isupper():
        return True
    if not chunk.sound or chunk.length < _SHORTEST.get(chunk.name, 0):
        return False
    if chunk.name == b"iCCP":
        return _unpacked_profile(chunk, _PILLOWS_PROFILE_LIMIT) is not None
    return chunk.name not in _TEXT or _small_text(chunk)


def _small_text(chunk: Chunk) -> bool:
    """Whether a text chunk is small, compressed as the standard says, and does not use a name reserved by Pillow."""
    keyword, _, text = chunk.data.partition(b"\0")
    if not 0 < len(keyword) < 80 or chunk.length > _TEXT_LIMIT or keyword in _PILLOWS_WORDS:
        return False
    if chunk.name == b"tEXt":
        return True
    if chunk.name == b"iTXt":
        packed, method, rest = text[:1], text[1:2], text[2:].split(b"\0", 2)
        return len(rest) == 3 and (packed == b"\0" or (method == b"\0" and _unpacked(rest[2], _TEXT_LIMIT) is not None))
    return text[:1] == b"\0" and _unpacked(text[1:], _TEXT_LIMIT) is not None


def _unpacked(data: bytes, limit: int) -> bytes | None:
    """Decompresses with zlib; None if the data are damaged or give more than `limit` bytes."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, limit)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else found


def _profile(chunks: list[Chunk]) -> bytes | None:
    found = [_unpacked_profile(chunk, _PROFILE_LIMIT) or b"" for chunk in chunks if chunk.name == b"iCCP"]
    return found[0] if found else None


def _unpacked_profile(chunk: Chunk, limit: int) -> bytes | None:
    _, _, packed = chunk.data.partition(b"\0")
    return _unpacked(packed[1:], limit) if chunk.sound and packed[:1] == b"\0" else None


def _without(file: BinaryIO, chunks: list[Chunk], unfit: set[int]) -> BytesIO:
    """A copy of the file in memory without the chunks in `unfit`; bytes after the last complete chunk are copied."""
    copy = BytesIO()
    file.seek(0)
    copy.write(file.read(len(SIGNATURE)))
    for chunk in chunks:
        file.seek(chunk.start)
        if chunk.start not in unfit:
            copy.write(file.read(12 + chunk.length))
    file.seek(chunks[-1].start + 12 + chunks[-1].length)
    copy.write(file.read())
    copy.seek(0)
    return copy
