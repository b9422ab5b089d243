"""Metadata of image files that describes the photograph: date, camera, lens, place, author, rights."""

from contextlib import suppress
from typing import Any, NamedTuple

from PIL import Image

from jpst.image import exif as exif_blocks
from jpst.image import xmp as xmp_packets
from jpst.image.exif import Exif
from jpst.image.tiff_pages import Page

_EXIF, _GPS, _INTEROPERABILITY, _COLOUR_SPACE = 0x8769, 0x8825, 0xA005, 0xA001
_NAMED = {
    "date": {0x0132, 0x9003, 0x9004},
    "camera": {0x010F, 0x0110, 0x829A, 0x829D, 0x8827},
    "lens": {0xA432, 0xA433, 0xA434},
    "author": {0x013B},
    "copyright": {0x8298},
}
_DESCRIPTION = 0x010E
_OF_PROGRAMS = (b'{"shape"', b"ImageJ=")  # descriptions of how the samples lie in a TIFF, which would no longer be true
# Of two texts for one entry the last is kept.
_TEXTS_OF_PNG = {"Copyright": 0x8298, "Author": 0x013B, "Title": _DESCRIPTION, "Description": _DESCRIPTION}
_OTHER_TEXTS_OF_PNG = {"Creation Time", "Comment", "parameters"}
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1"
_IPTC_RESOURCE, _IPTC_MARK = 0x0404, b"\x1c"


class Metadata(NamedTuple):
    """The metadata of a photograph that go to its result."""

    exif: Exif
    xmp: bytes = b""
    """a packet, without entities"""
    iptc: bytes = b""
    """records of IPTC-IIM"""

    def kinds(self) -> list[str]:
        """The kinds of metadata by name."""
        found = self.exif.main.keys() | self.exif.photo.keys()
        named = [f"EXIF {name}" for name, numbers in _NAMED.items() if found & numbers]
        others = {"EXIF GPS position": self.exif.gps, "XMP": self.xmp, "IPTC": self.iptc}
        return [*named, *(name for name, there in others.items() if there)]


def says_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF declares Adobe RGB: "uncalibrated" with interoperability R03 (DCF 2.0), or the unofficial 2."""
    with suppress(Exception):  # damaged EXIF must not make the file unreadable
        exif = image.getexif()
        space = exif.get_ifd(_EXIF).get(_COLOUR_SPACE)
        index = exif.get_ifd(_INTEROPERABILITY).get(1, "") if space == 0xFFFF else ""
        index = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
        return space == 2 or index.startswith("R03")
    return False


def of(image: Any, page: Page | None = None) -> tuple[Metadata | None, list[str]]:
    """The metadata of an image, None without any, and the names of what else the file has and a result cannot keep.

    Args:
      image: a PIL image; None if Pillow does not read the page.
      page: of a TIFF file.
    """
    info = {} if image is None else image.info
    exif, lost = _exif(image, page)
    exif, rest = _with_texts(exif, info)
    packet, more = _xmp(exif, info)
    found = Metadata(exif, packet, _iptc(exif, info))
    lost += [*exif.lost, *more, *_other_parts(image, packet), *["comments"] * rest]
    described = set(exif.main) - {exif_blocks.XMP, exif_blocks.IPTC, *exif_blocks.RESOLUTION}
    is_any = described or exif.photo or exif.gps or found.xmp or found.iptc
    return found if is_any else None, list(dict.fromkeys(lost))


def _exif(image: Any, page: Page | None) -> tuple[Exif, list[str]]:
    """The EXIF directories, empty without any; and names of what is damaged."""
    try:
        if page:
            with open(page.path, "rb") as file:
                found = exif_blocks.read(file, page.directory)
        elif block := _exif_block(image):
            found = exif_blocks.parsed(block)
        else:
            return Exif("<", {}, {}, {}), []
    except Exception:  # damaged EXIF must not make the file unreadable
        return Exif("<", {}, {}, {}), ["EXIF (damaged)"]
    description = found.main.get(_DESCRIPTION)
    if description and description.data.startswith(_OF_PROGRAMS):
        del found.main[_DESCRIPTION]
    return found, []


def _exif_block(image: Any) -> bytes:
    block = image.info.get("exif") or _raw_profile(image.info, "exif")
    if not block and image.format == "TIFF":  # in memory: Pillow does not keep the block
        block = image.getexif().tobytes()
    return bytes(block or b"")


def _raw_profile(info: dict, kind: str) -> bytes:
    """A profile in a text of a PNG, as ImageMagick writes it: name, length and hexadecimal digits, a line each."""
    with suppress(Exception):
        return bytes.fromhex("".join(str(info[f"Raw profile type {kind}"]).split("\n")[3:]))
    return b""


def _with_texts(exif: Exif, info: dict) -> tuple[Exif, bool]:
    """Adds the texts of a PNG that EXIF has entries for; also tells whether there are other comments."""
    texts = {tag: info[name] for name, tag in _TEXTS_OF_PNG.items() if isinstance(info.get(name), str)}
    missing = {tag: exif_blocks.text(value) for tag, value in texts.items() if tag not in exif.main}
    other = bool(info.get("comment") or _OTHER_TEXTS_OF_PNG & info.keys())
    return exif._replace(main=exif.main | missing), other


def _xmp(exif: Exif, info: dict) -> tuple[bytes, list[str]]:
    """The XMP packet, b"" without one; and names of what is damaged."""
    stored = exif.main[exif_blocks.XMP].data if exif_blocks.XMP in exif.main else info.get("xmp") or b""
    packet = stored.encode() if isinstance(stored, str) else bytes(stored)
    if not packet.strip(b"\0"):
        return b"", []
    try:
        xmp_packets.fitted(packet, (1, 1), "")
    except Exception:  # parsers raise many kinds of errors
        return b"", ["XMP (damaged)"]
    return packet, []


def _iptc(exif: Exif, info: dict) -> bytes:
    """The records of IPTC-IIM; b"" without any."""
    found = b""
    if entry := exif.main.get(exif_blocks.IPTC):
        found = entry.data
        if entry.kind == 4 and not found.startswith(_IPTC_MARK):  # whole words, which a program has turned around
            found = b"".join(found[at : at + 4][::-1] for at in range(0, len(found), 4))
    elif isinstance(resources := info.get("photoshop"), dict):
        found = resources.get(_IPTC_RESOURCE, b"")
    else:
        found = _raw_profile(info, "iptc")
        if found.startswith(b"8BIM\4\4\0\0"):
            found = found[12 : 12 + int.from_bytes(found[8:12], "big")]
    return bytes(found).rstrip(b"\0") if found.startswith(_IPTC_MARK) else b""


def _other_parts(image: Any, packet: bytes) -> list[str]:
    """Names of the pictures and videos beside the one that is read."""
    found = xmp_packets.other_parts(packet)
    if image is None:
        return found
    if any(content.startswith(_ISO_GAIN_MAP) for _, content in getattr(image, "applist", ())):
        found.append("gain map")
    if image.format == "MPO" and "gain map" not in found:
        found.append("further pictures")
    for name in image.info.get("aux") or ():
        if "gainmap" in name.lower() or "21496" in name:
            found.append("gain map")
        elif not name.endswith(("auxid:1", "alpha", "auxid:2", "depth")):
            found.append("mattes")
    return [*found, *["depth map"] * bool(image.info.get("depth_images"))]
