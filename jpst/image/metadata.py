"""Metadata of image files: date, camera, place, rights, colour space."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from PIL import Image

_EXIF, _GPS, _INTEROPERABILITY, _COLOUR_SPACE = 0x8769, 0x8825, 0xA005, 0xA001
_NAMED = {
    "date": {0x0132, 0x9003, 0x9004},
    "camera": {0x010F, 0x0110, 0x829A, 0x829D, 0x8827, 0xA434},
    "GPS position": {_GPS},
    "author": {0x013B},
    "copyright": {0x8298},
}
_XMP, _IPTC = 700, 33723
_TEXT_OF_PNG = {"Author", "Description", "Copyright", "Creation Time", "Comment", "Title", "parameters"}


def says_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF declares Adobe RGB: "uncalibrated" with interoperability R03 (DCF 2.0), or the unofficial 2."""
    with suppress(Exception):  # damaged EXIF must not make the file unreadable
        exif = image.getexif()
        space = exif.get_ifd(_EXIF).get(_COLOUR_SPACE)
        index = exif.get_ifd(_INTEROPERABILITY).get(1, "") if space == 0xFFFF else ""
        index = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
        return space == 2 or index.startswith("R03")
    return False


def kinds(image: Any, tags: Collection[int]) -> list[str]:
    """The kinds of metadata in a file, by name. `tags` are those of a TIFF, whose `image` may be None."""
    found, info = set(tags), {} if image is None else image.info
    with suppress(Exception):
        exif = Image.Exif() if image is None else image.getexif()
        found |= {*exif, *exif.get_ifd(_EXIF)}
    named = [f"EXIF {name}" for name, numbers in _NAMED.items() if found & numbers]
    xmp = _XMP in found or info.get("xmp") or info.get("XML:com.adobe.xmp")
    iptc = _IPTC in found or info.get("photoshop")
    text = info.get("comment") or _TEXT_OF_PNG & info.keys()
    return named + ["XMP"] * bool(xmp) + ["IPTC"] * bool(iptc) + ["comments"] * bool(text)
