"""Date, camera, lens, place, author and rights go from the content's file to the result's: read by other readers."""

import io
import json
import shutil
import struct
import subprocess

import exifread
import numpy as np
import piexif
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tifffile
from PIL import IptcImagePlugin

from jpst import image, pipeline
from jpst.image import exif as exif_blocks
from jpst.image import metadata as image_metadata

FORMATS = ("jpg", "png", "tif", "webp", "heic")
KEEP_IPTC = ("jpg", "png", "tif")
COPYRIGHT = "© 2020 Müller"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" {declared} tiff:Orientation="6" xmp:CreatorTool="Camera 1.0">'
    "<dc:rights><rdf:Alt><rdf:li xml:lang='x-default'>© Müller</rdf:li></rdf:Alt></dc:rights>"
    "<xmp:Thumbnails>AAAA</xmp:Thumbnails>{more}</rdf:Description></rdf:RDF></x:xmpmeta>"
)
PLAIN_XMP = XMP.format(declared="", more="").encode()
IPTC = b"".join(b"\x1c\2" + bytes([kind, 0, len(text)]) + text for kind, text in ((80, b"Jane"), (116, b"Notice")))
TAKEN = {
    "0th": {
        piexif.ImageIFD.Make: b"Maker",
        piexif.ImageIFD.Model: b"Model 1",
        piexif.ImageIFD.Orientation: 6,
        piexif.ImageIFD.Software: b"Firmware 7",
        piexif.ImageIFD.DateTime: b"2020:01:01 10:00:00",
        piexif.ImageIFD.Artist: b"Jane",
        piexif.ImageIFD.Copyright: COPYRIGHT.encode(),
        piexif.ImageIFD.XResolution: (300, 1),
    },
    "Exif": {
        piexif.ExifIFD.DateTimeOriginal: b"2020:01:01 09:00:00",
        piexif.ExifIFD.ExposureTime: (10, 1250),
        piexif.ExifIFD.ExposureBiasValue: (-1, 3),
        piexif.ExifIFD.LensModel: b"50 mm f/1.8",
        piexif.ExifIFD.ColorSpace: 65535,
        piexif.ExifIFD.PixelXDimension: 24,
        piexif.ExifIFD.PixelYDimension: 16,
    },
    "GPS": {
        piexif.GPSIFD.GPSLatitudeRef: b"N",
        piexif.GPSIFD.GPSLatitude: ((48, 1), (51, 1), (2952, 100)),
        piexif.GPSIFD.GPSAltitude: (351, 10),
    },
}


def samples(height=16, width=24):
    return np.random.default_rng(0).integers(60, 200, (height, width, 3)).astype(np.uint8)


def thumbnail():
    file = io.BytesIO()
    PIL.Image.fromarray(samples(8, 12)).save(file, "JPEG")
    return file.getvalue()


def exif(**changes):
    """An EXIF block with a thumbnail, made by piexif."""
    return piexif.dump({**TAKEN, "1st": {piexif.ImageIFD.Compression: 6}, "thumbnail": thumbnail(), **changes})


def app13(records):
    resource = b"8BIM\4\4\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) % 2)
    data = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", 2 + len(data)) + data


def taken(path, block=None, xmp=PLAIN_XMP, iptc=IPTC):
    """A photograph as a camera writes it, turned by 90 degrees, in the format of its suffix; written without jpst."""
    picture, block = PIL.Image.fromarray(samples()), exif() if block is None else block
    if path.suffix == ".jpg":
        picture.save(path, exif=block, xmp=xmp, extra=app13(iptc))
    elif path.suffix == ".png":
        info = PIL.PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        picture.save(path, exif=block, pnginfo=info)
    elif path.suffix == ".webp":
        picture.save(path, exif=block, xmp=xmp)
    elif path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        picture.save(path, exif=block, xmp=xmp)
    else:
        tags = PIL.Image.Exif()
        tags.load(block)
        tags[700], tags[33723] = xmp, iptc
        tags[piexif.ImageIFD.Copyright] = COPYRIGHT.encode()
        picture.save(path, exif=tags)
    return path


def result(source, path, **changes):
    """What a result gets from a content: the content's own picture, read and written."""
    photograph = image.read(source, metadata=True)._replace(**changes)
    image.write(path, **photograph._asdict())
    return photograph


def block_of(path):
    """The EXIF block of a file, by Pillow and its plugins; of a TIFF the whole file, which has the same structure."""
    if path.suffix == ".tif":
        return path.read_bytes()
    with PIL.Image.open(path) as opened:
        opened.load()
        return opened.info.get("exif", b"").removeprefix(b"Exif\0\0")


def by_piexif(path):
    return piexif.load(b"Exif\0\0" + block_of(path))


def xmp_of(path):
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as opened:
            return opened.pages.first.tags.valueof(700)
    with PIL.Image.open(path) as opened:
        return opened.info["xmp"]


@pytest.fixture(params=FORMATS)
def suffix(request):
    if request.param == "heic":
        pytest.importorskip("pillow_heif")
    return request.param


def test_exif_of_a_camera_is_copied_value_by_value_into_every_format(tmp_path, suffix):
    result(taken(tmp_path / "in.jpg"), tmp_path / f"out.{suffix}")
    found = by_piexif(tmp_path / f"out.{suffix}")
    unchanged = {tag: value for tag, value in TAKEN["0th"].items() if tag not in (274, 305)}
    assert {tag: found["0th"][tag] for tag in unchanged} == unchanged
    assert found["GPS"] == TAKEN["GPS"]
    changed = {piexif.ExifIFD.ColorSpace: 1, piexif.ExifIFD.PixelXDimension: 16, piexif.ExifIFD.PixelYDimension: 24}
    assert found["Exif"] == TAKEN["Exif"] | changed, "sRGB, and upright: 16 wide"
    assert found["0th"][piexif.ImageIFD.Orientation] == 1
    assert found["0th"][piexif.ImageIFD.Software].startswith(b"jpst ")
    assert found["thumbnail"] is None and not found["1st"]
    assert thumbnail() not in (tmp_path / f"out.{suffix}").read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
def test_exif_is_copied_in_both_byte_orders_and_depths(tmp_path, suffix, order, depth):
    block = exif()
    if order == "<":
        tags = PIL.Image.Exif()
        tags.load(block)
        tags.endian = order
        block = tags.tobytes()
    assert block[6:8] == (b"II" if order == "<" else b"MM")
    photograph = result(taken(tmp_path / "in.jpg", block), tmp_path / f"out.{suffix}", bit_depth=depth)
    tags = exifread.process_file(io.BytesIO(block_of(tmp_path / f"out.{suffix}")), details=False)
    assert str(tags["EXIF LensModel"]) == "50 mm f/1.8" and str(tags["EXIF DateTimeOriginal"]) == "2020:01:01 09:00:00"
    assert [float(each) for each in tags["GPS GPSLatitude"].values] == [48, 51, 29.52]
    again = image.read(tmp_path / f"out.{suffix}", metadata=True)
    assert again.metadata.kinds()[:5] == photograph.metadata.kinds()[:5]
    if suffix in ("png", "tif"):
        np.testing.assert_array_equal(again.pixels, photograph.pixels)
        assert again.bit_depth == depth


@pytest.mark.parametrize("source", FORMATS)
def test_metadata_are_read_from_every_format(tmp_path, source):
    photograph = result(taken(tmp_path / f"in.{source}"), tmp_path / "out.jpg")
    assert photograph.pixels.shape == (24, 16, 3) or source == "heic", "HEIC is turned by a box of its own"
    assert photograph.notes == ()
    named = [f"EXIF {name}" for name in ("date", "camera", "lens", "author", "copyright", "GPS position")]
    assert photograph.metadata.kinds() == [*named, "XMP", *["IPTC"] * (source in ("jpg", "tif"))]
    found = by_piexif(tmp_path / "out.jpg")
    assert found["0th"][piexif.ImageIFD.Copyright] == COPYRIGHT.encode()
    assert found["GPS"][piexif.GPSIFD.GPSLatitudeRef] == b"N"
    assert found["0th"][piexif.ImageIFD.Orientation] == 1


def test_xmp_is_copied_upright_and_without_its_thumbnail(tmp_path, suffix):
    result(taken(tmp_path / "in.jpg"), tmp_path / f"out.{suffix}")
    packet = xmp_of(tmp_path / f"out.{suffix}").decode()
    assert 'tiff:Orientation="1"' in packet and "© Müller" in packet
    assert "Thumbnails" not in packet and "Camera 1.0" not in packet and 'CreatorTool="jpst ' in packet


@pytest.mark.parametrize("suffix", KEEP_IPTC)
def test_iptc_is_copied_where_the_format_has_a_place(tmp_path, suffix):
    photograph = result(taken(tmp_path / "in.jpg"), tmp_path / f"out.{suffix}")
    assert image.left_out(f"out.{suffix}", photograph) == ()
    assert image.read(tmp_path / f"out.{suffix}", metadata=True).metadata.iptc == IPTC
    if suffix != "png":  # where Pillow does not look for it
        with PIL.Image.open(tmp_path / f"out.{suffix}") as opened:
            assert IptcImagePlugin.getiptcinfo(opened) == {(2, 80): b"Jane", (2, 116): b"Notice"}


@pytest.mark.parametrize("suffix", ["webp", "heic"])
def test_iptc_is_told_where_it_has_no_place(tmp_path, suffix):
    photograph = image.read(taken(tmp_path / "in.jpg"), metadata=True)
    (told,) = image.left_out(f"out.{suffix}", photograph)
    assert told.endswith("has no room for some of the metadata: IPTC.")


@pytest.mark.parametrize("suffix", FORMATS)
def test_exiftool_finds_the_same(tmp_path, suffix):
    if not shutil.which("exiftool"):
        pytest.skip("exiftool is not on this machine")
    result(taken(tmp_path / "in.jpg"), tmp_path / f"out.{suffix}")
    names = [
        "DateTimeOriginal",
        "Model",
        "LensModel",
        "GPSLatitude",
        "GPSAltitude",
        "ExposureTime",
        "Artist",
        "Copyright",
        "Rights",
    ]
    names += ["By-line", "CopyrightNotice"] if suffix in KEEP_IPTC else []
    found = [_by_exiftool(tmp_path / name, names) for name in ("in.jpg", f"out.{suffix}")]
    assert found[0] == found[1] and found[1].keys() >= {*names}
    new = _by_exiftool(tmp_path / f"out.{suffix}", ["IFD0:Orientation", "ThumbnailImage", "Software", "Warning"])
    assert new["Orientation"] == 1 and new["Software"].startswith("jpst ")
    assert not new.keys() & {"ThumbnailImage", "Warning"}


def _by_exiftool(path, names):
    asked = ["exiftool", "-json", "-n", *(f"-{name}" for name in names), str(path)]
    (found,) = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    return {name: value for name, value in found.items() if name != "SourceFile"}


# ---- What is not kept


def test_a_maker_note_stays_where_it_was_because_it_points_into_itself(tmp_path):
    note = b"NOTE" + bytes(range(256))
    source = taken(tmp_path / "in.jpg", exif(Exif={**TAKEN["Exif"], piexif.ExifIFD.MakerNote: note}))
    place = block_of(source).index(note)
    for suffix in ("jpg", "png", "webp"):
        photograph = result(source, tmp_path / f"out.{suffix}")
        assert "MakerNotes" not in " ".join(image.left_out(f"out.{suffix}", photograph))
        assert block_of(tmp_path / f"out.{suffix}").index(note) == place
        assert by_piexif(tmp_path / f"out.{suffix}")["Exif"][piexif.ExifIFD.MakerNote] == note
    photograph = result(source, tmp_path / "out.tif")
    assert image.left_out("out.tif", photograph) == ("TIFF has no room for some of the metadata: MakerNotes.",)
    assert note not in (tmp_path / "out.tif").read_bytes()


def test_what_is_too_long_for_a_jpeg_is_told_and_left_out(tmp_path):
    records = IPTC + b"\x1c\2\x78" + struct.pack(">HI", 0x8004, 70_000) + b"a" * 70_000
    taken(tmp_path / "in.tif", xmp=PLAIN_XMP.replace(b"\xc2\xa9", b"c" * 70_000), iptc=records)
    photograph = result(tmp_path / "in.tif", tmp_path / "out.jpg")
    assert image.left_out("out.jpg", photograph) == ("JPEG has no room for some of the metadata: XMP, IPTC.",)
    assert image.read(tmp_path / "out.jpg", metadata=True).metadata.kinds()[-1] == "EXIF GPS position"
    assert image.left_out("out.tif", photograph) == ()


def told(path):
    return image.read(path, metadata=True).notes


def test_a_gain_map_and_a_video_are_told_and_forgotten(tmp_path):
    declared = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
    declared += 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"'
    source = taken(tmp_path / "in.jpg", xmp=XMP.format(declared=declared, more="").encode())
    source.write_bytes(source.read_bytes() + thumbnail())
    assert told(source) == ("It also has gain map, video, which the result does not keep.",)
    result(source, tmp_path / "out.jpg")
    assert told(tmp_path / "out.jpg") == ()
    assert b"hdrgm" not in (tmp_path / "out.jpg").read_bytes()
    taken(tmp_path / "iso.jpg")
    data = b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"
    marked = b"\xff\xd8\xff\xe2" + struct.pack(">H", 2 + len(data)) + data
    (tmp_path / "iso.jpg").write_bytes(marked + (tmp_path / "iso.jpg").read_bytes()[2:])
    assert told(tmp_path / "iso.jpg") == ("It also has gain map, which the result does not keep.",)


def test_a_second_picture_in_a_jpeg_is_told(tmp_path):
    first, second = (PIL.Image.fromarray(samples()) for _ in range(2))
    first.save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=[second])
    assert told(tmp_path / "in.jpg") == ("It also has further pictures, which the result does not keep.",)


def test_comments_are_told_and_rights_in_a_png_are_kept(tmp_path):
    PIL.Image.fromarray(samples()).save(tmp_path / "in.jpg", comment=b"hello")
    assert told(tmp_path / "in.jpg") == ("It also has comments, which the result does not keep.",)
    info = PIL.PngImagePlugin.PngInfo()
    for name, value in (("Copyright", "© Müller"), ("Author", "Jane"), ("parameters", "x")):
        info.add_itxt(name, value)
    PIL.Image.fromarray(samples()).save(tmp_path / "in.png", pnginfo=info)
    photograph = result(tmp_path / "in.png", tmp_path / "out.jpg")
    assert photograph.notes == ("It also has comments, which the result does not keep.",)
    main = by_piexif(tmp_path / "out.jpg")["0th"]
    assert (main[piexif.ImageIFD.Copyright], main[piexif.ImageIFD.Artist]) == ("© Müller".encode(), b"Jane")


@pytest.mark.parametrize("names", [("Title", "Description"), ("Description", "Title")])
def test_the_description_of_a_png_comes_before_its_title(tmp_path, names):
    info = PIL.PngImagePlugin.PngInfo()
    for name in names:
        info.add_text(name, f"the {name}")
    PIL.Image.fromarray(samples()).save(tmp_path / "in.png", pnginfo=info)
    result(tmp_path / "in.png", tmp_path / "out.jpg")
    assert by_piexif(tmp_path / "out.jpg")["0th"][piexif.ImageIFD.ImageDescription] == b"the Description"


def test_without_metadata_there_are_none(tmp_path):
    turned = PIL.Image.Exif()
    turned[274] = 6
    PIL.Image.fromarray(samples()).save(tmp_path / "in.jpg", exif=turned)
    assert image.read(tmp_path / "in.jpg", metadata=True)[3:] == ((), None)
    assert image.read(taken(tmp_path / "full.jpg")).metadata is None, "only where asked"


# ---- Damaged and hostile files


@pytest.mark.parametrize("seed", range(40))
def test_damaged_exif_never_costs_the_photograph(tmp_path, seed):
    block, random = bytearray(exif()), np.random.default_rng(seed)
    for place in random.integers(6, len(block), 12):
        block[place] = random.integers(256)
    taken(tmp_path / "in.png", bytes(block[: random.integers(20, len(block))]))
    for suffix in ("jpg", "tif", "png"):
        result(tmp_path / "in.png", tmp_path / f"out.{suffix}")
        assert image.read(tmp_path / f"out.{suffix}", metadata=True).pixels.ndim == 3


def test_a_directory_that_claims_gigabytes_is_cut_short():
    entry = struct.pack("<HHII", 0x013B, 2, 2**31, 8)
    found = exif_blocks.parsed(b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry * 2)
    assert found.main == {}


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        b"<a>" * 5000 + b"</a>" * 5000,
        "<?xml version='1.0' encoding='utf-16'?><x/>".encode("utf-16"),
    ],
)
def test_xmp_that_is_none_is_told_and_left_out(tmp_path, packet):
    PIL.Image.fromarray(samples()).save(tmp_path / "in.jpg", xmp=packet)
    photograph = image.read(tmp_path / "in.jpg", metadata=True)
    if photograph.metadata is None:
        assert photograph.notes == ("It also has XMP (damaged), which the result does not keep.",)
    else:
        result(tmp_path / "in.jpg", tmp_path / "out.jpg")


def test_iptc_words_turned_around_in_a_tiff_are_turned_back():
    padded = IPTC + b"\0" * (-len(IPTC) % 4)
    words = b"".join(padded[at : at + 4][::-1] for at in range(0, len(padded), 4))
    main = {exif_blocks.IPTC: exif_blocks.Entry(4, len(words) // 4, words)}
    assert image_metadata._iptc(exif_blocks.Exif("<", main, {}, {}), {}) == IPTC


# ---- From the commands


SMALL = ["--preset", "preview", "--size", "32", "--size-multiple", "8", "--segmenter", "none"]


def test_a_transfer_keeps_metadata_and_says_so(jpst, folder):
    taken(folder / "taken.jpg")
    status, text, _ = jpst("transfer", "taken.jpg", "style.jpg", "-o", "out.webp", *SMALL)
    assert status == 0, text
    assert "Metadata of the content are kept (EXIF date, EXIF camera" in text and "GPS position" in text
    assert by_piexif(folder / "out.webp")["GPS"] == TAKEN["GPS"]
    record = json.loads((folder / "out.json").read_text())
    assert "EXIF copyright" in record["metadata"]
    assert record["left_out"] == ["WEBP has no room for some of the metadata: IPTC."]


def test_strip_leaves_all_of_it_out(jpst, folder):
    taken(folder / "taken.jpg")
    status, text, _ = jpst("transfer", "taken.jpg", "style.jpg", "-o", "out.jpg", "--strip", *SMALL)
    assert status == 0 and "Metadata" not in text
    assert block_of(folder / "out.jpg") == b""
    data = (folder / "out.jpg").read_bytes()
    assert not [word for word in (b"ller", b"Jane", b"Notice", b"xmpmeta") if word in data]
    assert json.loads((folder / "out.json").read_text())["metadata"] == []


def test_a_run_is_saved_with_metadata_or_without(tmp_path, folder, narrow_network):
    recipe, hyper = pipeline.Recipe(), None
    from jpst import preset

    recipe, hyper = preset("preview", size=32, size_multiple=8, segmenter="none")
    run = pipeline.stylize(taken(tmp_path / "in.jpg"), folder / "style.jpg", recipe=recipe, hyper=hyper)
    run.save(tmp_path / "with.jpg")
    run.save(tmp_path / "without.jpg", strip=True)
    assert by_piexif(tmp_path / "with.jpg")["0th"][piexif.ImageIFD.Artist] == b"Jane"
    assert block_of(tmp_path / "without.jpg") == b""


def test_colours_of_a_wide_gamut_that_are_lost_are_told(tmp_path):
    """Display P3's red, which sRGB does not have; and P3 colours that sRGB has."""
    profile = image.icc.profiles_of_tests if False else _display_p3()
    picture = np.full((8, 8, 3), 120, np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "inside.png", icc_profile=profile)
    picture[:4] = (255, 0, 0)
    PIL.Image.fromarray(picture).save(tmp_path / "outside.png", icc_profile=profile)
    assert image.read(tmp_path / "inside.png").notes == ()
    assert image.read(tmp_path / "outside.png").notes == ("Colours outside sRGB were clipped, in 50% of the pixels.",)


def _display_p3():
    from jpst.image import profiles

    return profiles.of_code_points(bytes([12, 13, 0, 1]))
