"""TIFF headers: finds the page with the image, parses it (TIFF 6.0 and supplements), and selects a decoder."""

from typing import Any, NamedTuple

from jpst.image.errors import Refused

PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
REDUCED, MASK = 1, 4  # bits of NewSubfileType
BELOW = -1  # in place of a page number: a directory below a page

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {
    4: "a transparency mask",
    9: "ICC Lab colours",
    10: "ITU Lab colours",
    32803: "the mosaic of a camera's sensor",
    32844: "LogL luminance",
    32845: "LogLuv colours",
    34892: "linear raw colours",
}
_DEPTHS = {
    PALETTE: ("a palette", {1, 2, 4, 8}),
    CMYK: ("CMYK inks", {8, 16}),
    YCBCR: ("YCbCr colours", {8}),
}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_FORMATS = {4: "undefined", 5: "complex whole", 6: "complex floating-point"}
_JPEG, _FAX = (6, 7), (2, 3, 4)
NONE, _LOSSLESS = 1, (5, 8, 32773, 32946, 34925, 50000)  # LZW, Deflate, PackBits, Deflate, LZMA, Zstandard
_UNPREDICTED = (NONE, 32773)
ASSOCIATED, UNASSOCIATED = 1, 2
_EXPORT = "Export it as TIFF of 8 or 16 bits, RGB, uncompressed or with LZW or Deflate"


class Page(NamedTuple):
    """The header of the first page with a full image."""

    path: str
    number: int
    """from 0, or `BELOW`: not a page, but in a directory below one"""
    pictures: int
    """the number of pages with full images, neither reduced copies nor masks"""
    width: int
    height: int
    orientation: int
    photometric: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    samples: int
    extra: tuple[int, ...] | None
    separate: bool
    compression: int
    compression_name: str
    predictor: int
    fill_order: int
    subsampling: tuple[int, ...]
    byte_order: str
    segment: tuple[int, int]
    """height and width of a tile, or of a strip"""
    tiled: bool
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    profile: bytes | None
    directory: int
    """where the directory begins in the file"""


def first_picture(path: str) -> Page | None:
    """The first page that is neither a reduced copy nor a mask, or else the first page; None if tifffile fails."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = list(enumerate(file.pages))
            full = [each for each in pages if _is_full(each[1])]
            if not full:  # the image may be in a directory below that of its thumbnail
                full = [(BELOW, sub) for _, page in pages for sub in page.pages or () if _is_full(sub)]
            number, page = (full or pages)[0]
            return _header(path, number, len(full), page, file.byteorder)
    except Exception:  # many kinds of errors for damaged headers; Pillow, which is tried next, reports the problem
        return None


def _is_full(page: Any) -> bool:
    """Whether a page is neither a reduced copy nor a mask, by NewSubfileType or else by SubfileType."""
    old = REDUCED if page.tags.valueof(255, 0) == 2 else 0
    return not int(page.tags.valueof(254, old)) & (REDUCED | MASK)


def _header(path: str, number: int, pictures: int, page: Any, byte_order: str) -> Page:
    def tag(code: int, default: Any) -> Any:
        return page.tags.valueof(code, default)

    def numbers(code: int, default: Any) -> tuple[int, ...]:
        value = tag(code, default)
        return tuple(int(each) for each in (value if isinstance(value, tuple) else (value,)))

    width, height, samples = int(tag(256, 0)), int(tag(257, 0)), int(tag(277, 1))
    tiled = page.is_tiled
    compression = int(tag(259, 1))
    return Page(
        path=path,
        number=number,
        pictures=pictures,
        width=width,
        height=height,
        orientation=turn if (turn := int(tag(274, 1))) in range(1, 9) else 1,
        photometric=int(tag(262, WHITE_IS_ZERO)),
        bits=numbers(258, 1),
        formats=numbers(339, 1),
        samples=samples,
        extra=None if tag(338, None) is None else numbers(338, 0),
        separate=int(tag(284, 1)) == 2,
        compression=compression,
        compression_name=getattr(page.compression, "name", str(compression)).replace("_", " "),
        predictor=int(tag(317, 1)),
        fill_order=int(tag(266, 1)),
        subsampling=numbers(530, (2, 2)),
        byte_order=byte_order,
        segment=(int(tag(323, 0)), int(tag(322, 0))) if tiled else (min(int(tag(278, height)), height), width),
        tiled=tiled,
        offsets=tuple(page.dataoffsets),
        lengths=tuple(page.databytecounts),
        profile=page.iccprofile,
        directory=page.offset,
    )


def pillow_reads(page: Page) -> bool:
    """Whether Pillow reads the page correctly.

    Raises `Refused` for pages that neither Pillow nor `tiff_decoding` reads.
    """
    by_libtiff = page.compression in (*_JPEG, *_FAX)
    if not by_libtiff and page.compression not in (NONE, *_LOSSLESS):
        raise Refused(f"is compressed as {page.compression_name}, which is not supported in TIFF. {_EXPORT}.")
    if page.photometric in _COLOURS or page.photometric > 10:
        found = _COLOURS.get(page.photometric, f"colours of an unknown kind ({page.photometric})")
        raise Refused(f"has {found}, which is not supported. {_EXPORT}.")
    if by_libtiff or page.photometric in _DEPTHS:
        _check_for_pillow(page, by_libtiff)
        return True
    plain = set(page.formats) == {UNSIGNED} and not page.separate and page.fill_order == 1 and page.number == 0
    if page.predictor != 1 and page.compression in _UNPREDICTED:  # libtiff would ignore the predictor
        return False
    if page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        known = page.byte_order == "<" or page.photometric == BLACK_IS_ZERO
        return plain and page.samples == 1 and (set(page.bits) <= {1, 2, 4, 8} or (page.bits == (16,) and known))
    return plain and page.photometric == RGB and page.samples in (3, 4) and set(page.bits) in ({8}, {16})


def _check_for_pillow(page: Page, by_libtiff: bool) -> None:
    """Raises `Refused` for storage that only Pillow could read, but does not."""
    kind, depths = _DEPTHS.get(page.photometric, ("its samples", set()))
    fits = set(page.formats) == {UNSIGNED} and not page.separate and depths >= set(page.bits)
    if by_libtiff:
        kind = f"{page.compression_name} data"
        fits = page.compression != _JPEG[1] or set(page.bits) == {8}
    elif page.photometric == YCBCR:
        fits = fits and (page.compression != NONE or set(page.subsampling) == {1})
    if not fits or page.number == BELOW:
        where = ", below its thumbnail" if page.number == BELOW else ""
        raise Refused(f"stores {kind} in an unsupported way ({layout(page)}{where}). {_EXPORT}.")


def layout(page: Page) -> str:
    """The layout of the samples in words, for messages."""
    kind = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "floating-point"}
    formats = " and ".join(kind.get(each, _FORMATS.get(each, "unknown")) for each in sorted(set(page.formats)))
    bits = ", ".join(map(str, page.bits if len(set(page.bits)) > 1 else page.bits[:1]))
    return f"{page.samples} channels of {bits} bits, {formats}{', in separate planes' * page.separate}"


def check_storage(page: Page) -> None:
    """Raises `Refused` for storage that `tiff_decoding` cannot read."""
    lab = page.photometric == CIELAB
    kind = page.formats[0]
    bits = page.bits[0]
    depths = {UNSIGNED: {*range(1, 17), 24, 32, 64}, SIGNED: {8, 16, 32}, FLOAT: {16, 32, 64}}.get(kind, set())
    mixed = len(set(page.bits)) > 1 or (len(set(page.formats)) > 1 and not lab)
    predicted = {1: True, 2: bits in (8, 16, 32, 64), 3: kind == FLOAT}.get(page.predictor, False)
    base = 1 if page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) else 3
    fits = base <= page.samples <= 16 and len(page.bits) in (1, page.samples)
    if mixed or bits not in depths or not fits or (lab and bits not in (8, 16)):
        raise Refused(f"stores its samples in an unsupported way ({layout(page)}). {_EXPORT}.")
    if not predicted:
        raise Refused(f"uses a predictor ({page.predictor}) that is not supported for {layout(page)}. {_EXPORT}.")
