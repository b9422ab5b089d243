"""Puts metadata into files of each format: EXIF, XMP, IPTC, for an upright sRGB picture, with jpst as the software."""

import functools
import struct
from importlib import metadata as packages
from typing import Any, BinaryIO, NamedTuple

from PIL.PngImagePlugin import PngInfo

from jpst.image import exif as exif_blocks
from jpst.image import xmp as xmp_packets
from jpst.image.exif import Exif
from jpst.image.metadata import Metadata

_MARKER = 65533  # most bytes in a segment of a JPEG
_XMP_HEAD, _IPTC_HEAD = 29, b"Photoshop 3.0\0"
_NO_IPTC = ("WEBP", "HEIF")
_BYTE, _UNDEFINED = 1, 7


class Embedded(NamedTuple):
    """What is written, made for one format and size."""

    exif: Exif
    block: bytes
    """EXIF, with its prefix; b"" for none"""
    xmp: bytes
    iptc: bytes
    """in a Photoshop resource; b"" for none"""
    records: bytes
    """the same as bare records"""
    lost: list[str]
    """names of what has no room in the format"""


@functools.cache
def software() -> str:
    """The name that pictures give for the software that made them."""
    return f"jpst {packages.version('jpst')}"


def of(metadata: Metadata, kind: str, size: tuple[int, int]) -> Embedded:
    """The metadata for a picture of a size (height, width) in a format of `image.WRITABLE`."""
    made, lost = exif_blocks.of_result(metadata.exif, size, software()), []
    most = _MARKER if kind == "JPEG" else 2**31
    if kind == "TIFF" or len(exif_blocks.block(made)) > most:
        lost = [] if made.maker_note_at is None else ["MakerNotes"]
        made = exif_blocks.without_maker_note(made)
    block = exif_blocks.block(made)
    packet = xmp_packets.fitted(metadata.xmp, size, software()) if metadata.xmp else b""
    iptc = b"" if kind in _NO_IPTC else _resource(metadata.iptc)
    if len(block) > most:
        block, lost = b"", [*lost, "EXIF"]
    if len(packet) + _XMP_HEAD > most:
        packet, lost = b"", [*lost, "XMP"]
    if len(iptc) + len(_IPTC_HEAD) > most or (metadata.iptc and not iptc):
        iptc, lost = b"", [*lost, "IPTC"]
    return Embedded(made, block, packet, iptc, metadata.iptc if iptc else b"", lost)


def options(kind: str, made: Embedded) -> dict[str, Any]:
    """The arguments of Pillow's `save`."""
    if kind == "PNG":
        return {"exif": made.block, "pnginfo": png_chunks(made, with_exif=False)}
    extra = {}
    if kind == "JPEG" and made.iptc:
        data = _IPTC_HEAD + made.iptc
        extra["extra"] = b"\xff\xed" + struct.pack(">H", 2 + len(data)) + data
    return {"exif": made.block, **extra, **({"xmp": made.xmp} if made.xmp else {})}


def png_chunks(made: Embedded, with_exif: bool = True) -> PngInfo:
    """The chunks of a PNG, which stand before its pixels."""
    info = PngInfo()
    if with_exif and made.block:
        info.add(b"eXIf", made.block.removeprefix(exif_blocks.PREFIX))
    if made.xmp:
        info.add_itxt("XML:com.adobe.xmp", made.xmp.decode())
    if made.iptc:  # in the way of ImageMagick; PNG has no chunk for it
        digits = made.iptc.hex()
        lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
        info.add_text("Raw profile type iptc", "\n".join(["", "iptc", f"{len(made.iptc):8d}", *lines, ""]), zip=True)
    return info


def add_to_tiff(file: BinaryIO, made: Embedded) -> None:
    """Adds metadata to a TIFF file of the same byte order."""
    main = dict(made.exif.main)
    for tag, kind, data in ((exif_blocks.XMP, _BYTE, made.xmp), (exif_blocks.IPTC, _UNDEFINED, made.records)):
        if data:
            main[tag] = exif_blocks.Entry(kind, len(data), data)
    exif_blocks.add_to_tiff(file, made.exif._replace(main=main))


def _resource(records: bytes) -> bytes:
    """IPTC records in a Photoshop resource; b"" without any."""
    if not records:
        return b""
    return b"8BIM\4\4\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
