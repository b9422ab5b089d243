"""EXIF directories, copied entry by entry (TIFF 6.0, sections 2 and 8; EXIF 3.0, sections 4.6.2 to 4.6.6).

Pillow's writer replaces letters outside ASCII by question marks ("(c) Müller") and guesses the types of entries anew,
so entries are copied as they are stored, in the byte order of their source.
"""

import struct
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, NamedTuple

PREFIX = b"Exif\0\0"
SOFTWARE, XMP, IPTC = 0x0131, 700, 33723
_PHOTO, _GPS, _INTEROPERABILITY, _MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
_ORIENTATION, _COLOUR_SPACE, _SRGB, _WIDTH, _HEIGHT = 0x0112, 0xA001, 1, 0xA002, 0xA003
# Name, description, make, model, resolution, date, author, host, rating, copyright, names by Windows.
_MAIN = {0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298}
_MAIN |= {*range(0x9C9B, 0x9CA0)}
RESOLUTION = (0x011A, 0x011B, 0x0128)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BYTE, _ASCII, _SHORT, _LONG = 1, 2, 3, 4
_NUMBERS = {_BYTE: "B", _SHORT: "H", _LONG: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_ENTRIES, _MOST_BYTES = 1000, 2**24
_REACH = 64_000
"""A maker note that ends beyond this cannot stay where it is: an EXIF block in a JPEG has at most 64 KiB."""


class Entry(NamedTuple):
    """One entry of a directory, in the byte order of its source."""

    kind: int
    """type, 1 to 13 as in TIFF 6.0"""
    number: int
    """of values"""
    data: bytes


Directory = dict[int, Entry]


class Exif(NamedTuple):
    """The directories of a photograph that describe it, without those of its pixels and thumbnail."""

    order: str
    """< or >"""
    main: Directory
    photo: Directory
    gps: Directory
    maker_note_at: int | None = None
    """where the maker note begins: many point to places within themselves, so they are not moved"""
    lost: tuple[str, ...] = ()
    """names of what cannot be copied"""


def parsed(block: bytes) -> Exif:
    """The directories of an EXIF block, with or without its prefix. Raises one of many errors if it is damaged."""
    return read(BytesIO(block.removeprefix(PREFIX)))


def read(file: BinaryIO, directory: int | None = None) -> Exif:
    """The directories of a TIFF structure, of the page whose directory begins at a place (default: the first).

    Of a page, entries of XMP and IPTC are among the main ones. Raises one of many errors if it is damaged.
    """
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    big = struct.unpack(f"{order}H", file.read(2))[0] == 43
    (first,) = struct.unpack(f"{order}4xQ" if big else f"{order}I", file.read(12 if big else 4))
    found, _ = _directory(file, first if directory is None else directory, order, big)
    below = {tag: ({}, {}) for tag in (_PHOTO, _GPS)}
    for tag in below.keys() & found.keys():
        with suppress(Exception):  # damage in one directory does not cost the others
            below[tag] = _directory(file, _number(found[tag], order), order, big)
    photo, in_photo = below[_PHOTO]
    note, at, lost = photo.get(_MAKER_NOTE), in_photo.get(_MAKER_NOTE, 0), ()
    if note and (big or at < 8 or at + len(note.data) > _REACH):
        del photo[_MAKER_NOTE]
        note, lost = None, ("MakerNotes",)
    photo.pop(_INTEROPERABILITY, None)  # it names a colour space that the result does not have
    main = {tag: entry for tag, entry in found.items() if tag in (*_MAIN, XMP, IPTC)}
    return Exif(order, main, photo, below[_GPS][0], at if note else None, lost)


def without_maker_note(exif: Exif) -> Exif:
    """The same directories without the maker note, which is counted as lost."""
    if exif.maker_note_at is None:
        return exif
    photo = {tag: entry for tag, entry in exif.photo.items() if tag != _MAKER_NOTE}
    return exif._replace(photo=photo, maker_note_at=None, lost=(*exif.lost, "MakerNotes"))


def text(value: str) -> Entry:
    """An entry of text."""
    data = value.encode() + b"\0"
    return Entry(_ASCII, len(data), data)


def of_result(exif: Exif, size: tuple[int, int], software: str) -> Exif:
    """The directories for an upright sRGB picture of a size (height, width), made by this software."""
    main = {tag: entry for tag, entry in exif.main.items() if tag not in (XMP, IPTC)}
    main |= {_ORIENTATION: _entry(exif.order, _SHORT, 1), SOFTWARE: text(software)}
    new = {_COLOUR_SPACE: _entry(exif.order, _SHORT, _SRGB)}
    new |= {tag: _entry(exif.order, _LONG, side) for tag, side in zip((_HEIGHT, _WIDTH), size, strict=True)}
    replaced = {tag: new.get(tag, entry) for tag, entry in exif.photo.items()}
    return exif._replace(main=main, photo=replaced)


def block(exif: Exif) -> bytes:
    """The EXIF block of these directories, with its prefix; a maker note stays where it was."""
    start, note = 8, b""
    if exif.maker_note_at is not None:
        note = exif.photo[_MAKER_NOTE].data
        start = exif.maker_note_at + len(note) + len(note) % 2
    head = (b"II*\0" if exif.order == "<" else b"MM\0*") + struct.pack(f"{exif.order}I", start)
    before = (head.ljust(exif.maker_note_at or 8, b"\0") + note).ljust(start, b"\0")
    return PREFIX + before + _all_packed(exif, start)


def add_to_tiff(file: BinaryIO, exif: Exif) -> None:
    """Adds the directories to a TIFF file of one page and of their byte order; a new main one is put at its end."""
    file.seek(4)
    (first,) = struct.unpack(f"{exif.order}I", file.read(4))
    old, _ = _directory(file, first, exif.order, big=False)
    end = file.seek(0, 2)
    start = end + end % 2
    file.write(b"\0" * (end % 2) + _all_packed(exif._replace(main=old | exif.main), start))
    file.seek(4)
    file.write(struct.pack(f"{exif.order}I", start))


def _all_packed(exif: Exif, start: int) -> bytes:
    """The main directory, for a place in a file, and those below it."""
    below = {tag: directory for tag, directory in ((_PHOTO, exif.photo), (_GPS, exif.gps)) if directory}
    main = exif.main | dict.fromkeys(below, _entry(exif.order, _LONG, 0))
    data, at = b"", start + len(_packed(main, start, exif.order))
    for tag, directory in below.items():
        main[tag] = _entry(exif.order, _LONG, at + len(data))
        data += _packed(directory, at + len(data), exif.order, exif.maker_note_at)
    return _packed(main, start, exif.order) + data


def _directory(file: BinaryIO, at: int, order: str, big: bool) -> tuple[Directory, dict[int, int]]:
    """The entries of the directory at a place, and where the data of each begin."""
    counted, form, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    file.seek(at)
    (count,) = struct.unpack(order + counted, file.read(struct.calcsize(order + counted)))
    length = struct.calcsize(order + form)
    entries, places, room = {}, {}, _MOST_BYTES
    for place, (tag, kind, number, data) in enumerate(
        struct.iter_unpack(order + form, file.read(min(count, _MOST_ENTRIES) * length))
    ):
        size = _SIZES.get(kind, room + 1) * number
        if size > room:
            continue
        start = at + struct.calcsize(order + counted) + (place + 1) * length - inline
        if size > inline:
            start = int(struct.unpack(order + ("Q" if big else "I"), data)[0])
            file.seek(start)
            data = file.read(size)
        if len(data) >= size:
            entries[tag], places[tag], room = Entry(kind, number, data[:size]), start, room - size
    return entries, places


def _packed(directory: Directory, at: int, order: str, maker_note_at: int | None = None) -> bytes:
    """A directory and its data for a place in a file; the data of the maker note lie elsewhere."""
    head, data = struct.pack(f"{order}H", len(directory)), b""
    data_at = at + 2 + 12 * len(directory) + 4
    for tag, (kind, count, stored) in sorted(directory.items()):
        if len(stored) <= 4:
            value = stored.ljust(4, b"\0")
        elif tag == _MAKER_NOTE and maker_note_at is not None:
            value = struct.pack(f"{order}I", maker_note_at)
        else:
            value = struct.pack(f"{order}I", data_at + len(data))
            data += stored + b"\0" * (len(stored) % 2)
        head += struct.pack(f"{order}HHI", tag, kind, count) + value
    return head + b"\0" * 4 + data  # no further directory: thumbnails are dropped


def _entry(order: str, kind: int, value: int) -> Entry:
    return Entry(kind, 1, struct.pack(order + _NUMBERS[kind], value))


def _number(entry: Entry, order: str) -> int:
    return int(struct.unpack(order + _NUMBERS[entry.kind], entry.data)[0])
