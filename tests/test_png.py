"""PNG files whose chunks beside the pixels are damaged, absurd, or say what colours the pixels are."""

import struct
import zlib

import numpy as np
import pytest
from pictures import (
    ADOBE,
    P3,
    as_pillow_reads,
    distance,
    fails,
    lcms,
    matrix_profile,
    para,
    png16,
    png_chunk,
    save,
    scene,
    scene16,
)
from PIL import Image, PngImagePlugin

from jpst.image import MAX_PIXELS, read, read_colours, read_labels, size

D65 = (0.3127, 0.3290)
TO_D50 = np.array(  # from D65, by Bradford's method, after Lindbloom
    [[1.0478112, 0.0228866, -0.0501270], [0.0295424, 0.9904844, -0.0170491], [-0.0092345, 0.0150436, 0.7521316]]
)


def with_chunks(path, *chunks, after=(), samples=None):
    """A PNG with chunks before and after its pixels, given as (name, data) or as bytes."""
    save(path, scene() if samples is None else samples)
    whole = path.read_bytes()
    pixels, end = whole.index(b"IDAT") - 4, len(whole) - 12
    made = [
        b"".join(each if isinstance(each, bytes) else png_chunk(*each) for each in part) for part in (chunks, after)
    ]
    path.write_bytes(whole[:pixels] + made[0] + whole[pixels:end] + made[1] + whole[end:])
    return path


def damaged(name, data):
    return png_chunk(name, data)[:-4] + b"\0\1\2\3"


TEXT = {
    "zTXt of megabytes": (b"zTXt", b"Comment\0\0" + zlib.compress(b"text " * 500_000)),
    "iTXt of megabytes": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"text " * 500_000)),
    "plain iTXt of megabytes": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"text " * 500_000),
    "tEXt of megabytes": (b"tEXt", b"Comment\0" + b"text " * 20_000_000),
    "zTXt packed wrongly": (b"zTXt", b"Comment\0\0" + b"no zlib stream"),
    "zTXt of an unknown method": (b"zTXt", b"Comment\0\7" + zlib.compress(b"text")),
    "iTXt cut short": (b"iTXt", b"Comment\0\1"),
    "no keyword": (b"tEXt", b"\0text"),
    "a keyword of Pillow's": (b"tEXt", b"transparency\0text"),
    "gAMA cut short": (b"gAMA", b"\0"),
    "cHRM cut short": (b"cHRM", b"\0" * 30),
    "pHYs cut short": (b"pHYs", b"\0" * 3),
    "acTL cut short": (b"acTL", b"\0" * 3),
    "tIME with a wrong checksum": damaged(b"tIME", bytes(7)),
    "tEXt with a wrong checksum": damaged(b"tEXt", b"Comment\0text"),
    "eXIf with a wrong checksum": damaged(b"eXIf", b"MM\0*rubbish"),
    "gAMA with a wrong checksum": damaged(b"gAMA", struct.pack(">I", 100000)),
    "unknown chunk with a wrong checksum": damaged(b"abCd", bytes(5)),
}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("name", TEXT)
def test_what_lies_beside_the_pixels_does_not_cost_them(tmp_path, name, where):
    chunk = TEXT[name]
    path = with_chunks(tmp_path / "a.png", *([chunk] if where == "before" else []), after=[chunk] * (where == "after"))
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), scene())
    np.testing.assert_array_equal(read_colours(path), scene())
    assert size(path) == (24, 36)
    told = "checksum" in name
    assert [note.startswith("Damaged chunks other than the pixels") for note in read(path).notes] == [True] * told


def test_many_texts_do_not_cost_the_pixels(tmp_path):
    """Pillow refuses what is more than 64 megabytes together."""
    text = (b"zTXt", b"Comment\0\0" + zlib.compress(b"t" * 500_000))
    path = with_chunks(tmp_path / "a.png", *[text] * 200)
    with pytest.raises(ValueError, match="Too much memory"):
        Image.open(path)
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), scene())


def test_16_bits_survive_a_chunk_that_is_left_out(tmp_path):
    whole = png16(tmp_path / "a.png", scene16()).read_bytes()
    place = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:place] + damaged(b"tIME", bytes(7)) + whole[place:])
    np.testing.assert_array_equal(np.rint(read(tmp_path / "a.png").pixels * 65535), scene16())


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"PLTE"])
def test_damage_of_the_picture_itself_is_refused(tmp_path, name):
    path = save(tmp_path / "a.png", Image.fromarray(scene()).quantize(16))
    whole = bytearray(path.read_bytes())
    whole[whole.index(name) + 4 + (0 if name == b"IHDR" else 5)] ^= 1
    path.write_bytes(whole)
    fails("damaged", read, path)


def test_sizes_are_limited_where_chunks_are_left_out(tmp_path):
    path = with_chunks(tmp_path / "a.png", TEXT["tEXt with a wrong checksum"])
    whole = path.read_bytes()
    header = png_chunk(b"IHDR", struct.pack(">2I", 40_000, 40_000) + whole[24:29])
    path.write_bytes(whole[:8] + header + whole[33:])
    for call in (read, read_colours, size, read_labels):
        fails(f"the limit is {MAX_PIXELS / 1e6:g}", call, path)


def test_the_first_frame_survives_damage_of_the_animation(tmp_path):
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert read(tmp_path / "a.png").notes == ("The first of its 3 frames is used; the others are ignored.",)
    whole = bytearray((tmp_path / "a.png").read_bytes())
    whole[whole.index(b"fcTL", whole.index(b"IDAT")) + 8] ^= 1
    (tmp_path / "a.png").write_bytes(whole)
    photo = read(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), scene())
    assert photo.notes == ("Damaged chunks other than the pixels are ignored (fcTL).",)


def icc_chunk(profile, packed=None):
    return b"iCCP", b"x\0\0" + (zlib.compress(profile) if packed is None else packed)


@pytest.mark.parametrize("size_of_profile", [0, 3 * 2**20])
def test_a_profile_of_megabytes_is_applied(tmp_path, size_of_profile):
    profile = matrix_profile().ljust(size_of_profile, b"\0")
    path = with_chunks(tmp_path / "a.png", icc_chunk(profile))
    assert distance(read(path).pixels, lcms(scene(), matrix_profile())) < 4e-3


@pytest.mark.parametrize("chunk", [icc_chunk(b"", b"no zlib stream"), (b"iCCP", b"x"), damaged(*icc_chunk(b"x"))])
def test_a_profile_that_cannot_be_unpacked_is_told(tmp_path, chunk):
    photo = read(with_chunks(tmp_path / "a.png", chunk))
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), scene())
    assert "sRGB is assumed" in photo.notes[-1]


SRGB_CURVE = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE = para(3, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
PRIMARIES = {
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "Adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
}


def primaries(name):
    """XYZ (D50) of each primary of a space with the white D65."""
    xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*PRIMARIES[name], D65)]).T
    return tuple(map(tuple, (TO_D50 @ (xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3]))).T))


def chromaticities(name):
    values = [value for pair in (D65, *PRIMARIES[name]) for value in pair]
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


def gamma(value):
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def test_the_primaries_of_these_tests_are_those_of_known_profiles():
    assert distance(primaries("P3"), P3) < 2e-3
    assert distance(primaries("Adobe"), ADOBE) < 2e-3


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("chunks", "name", "curve"),
    [
        ([(b"cICP", bytes([12, 13, 0, 1]))], "P3", SRGB_CURVE),
        ([(b"cICP", bytes([9, 1, 0, 1]))], "BT.2020", BT709_CURVE),
        ([(b"cICP", bytes([9, 14, 0, 1]))], "BT.2020", BT709_CURVE),
        ([(b"cICP", bytes([1, 5, 0, 1]))], "sRGB", para(0, 2.8)),
        ([(b"cICP", bytes([1, 8, 0, 1]))], "sRGB", para(0, 1.0)),
        ([(b"cICP", bytes([12, 13, 0, 1])), icc_chunk(matrix_profile())], "P3", SRGB_CURVE),
        ([(b"cICP", bytes([2, 13, 0, 1])), icc_chunk(matrix_profile())], "Adobe", para(0, 563 / 256)),
        ([gamma(1.0)], "sRGB", para(0, 1.0)),
        ([gamma(1 / 1.8)], "sRGB", para(0, 1.8)),
        ([gamma(1 / 2.2), chromaticities("P3")], "P3", SRGB_CURVE),
        ([gamma(1.0), chromaticities("Adobe")], "Adobe", para(0, 1.0)),
        ([chromaticities("Adobe")], "Adobe", SRGB_CURVE),
    ],
)
def test_declared_colours_are_converted_as_lcms_does(tmp_path, chunks, name, curve, depth):
    samples = scene() // 2 + 64  # muted, so that nothing is cut
    path = with_chunks(tmp_path / "a.png", *chunks, samples=samples)
    if depth == 16:
        whole = png16(path, samples.astype(np.uint16) * 257).read_bytes()
        place = whole.index(b"IDAT") - 4
        path.write_bytes(whole[:place] + b"".join(png_chunk(*each) for each in chunks) + whole[place:])
    photo = read(path)
    assert photo.bit_depth == depth
    expected = lcms(samples, matrix_profile(primaries(name), curve))
    assert distance(expected, samples / 255) > 0.02, "the chunks matter"
    assert distance(photo.pixels, expected) < 6e-3
    np.testing.assert_array_equal(read_colours(path), samples)


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(1 / 2.2)],
        [gamma(1 / 2.2), chromaticities("sRGB")],
        [gamma(1.0), chromaticities("P3"), (b"sRGB", b"\0")],
        [(b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)],
    ],
)
def test_what_declares_srgb_changes_nothing(tmp_path, chunks):
    photo = read(with_chunks(tmp_path / "a.png", *chunks))
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), scene())
    assert photo.notes == ()


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([(b"cICP", bytes([12, 13, 1, 1]))], "cICP"),
        ([(b"cICP", bytes([12, 13, 0, 0]))], "cICP"),
        ([(b"cICP", bytes([77, 13, 0, 1]))], "cICP"),
        ([gamma(0)], "sRGB is assumed"),
        ([(b"cHRM", bytes(32))], "sRGB is assumed"),
        ([(b"cHRM", struct.pack(">8I", *[30_000] * 8))], "sRGB is assumed"),
    ],
)
def test_numbers_that_are_no_colours_are_told(tmp_path, chunks, words):
    photo = read(with_chunks(tmp_path / "a.png", *chunks))
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), scene())
    assert words in photo.notes[0]


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path, curve, name):
    path = with_chunks(tmp_path / "a.png", (b"cICP", bytes([9, curve, 0, 1])))
    fails(f"HDR colours .{name}.*Export it as SDR", read, path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_few_bits_is_transparent(tmp_path, bits):
    white = 2**bits - 1
    header = png_chunk(b"IHDR", struct.pack(">2I5B", 2, 1, bits, 0, 0, 0, 0))
    greys = bytes([white, 0]) if bits == 8 else bytes([white << 8 - bits])  # white, black
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" + greys))
    parts = [header, png_chunk(b"tRNS", struct.pack(">H", white)), pixels, png_chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    photo = read(tmp_path / "a.png")
    assert photo.alpha is not None and photo.alpha.tolist() == [[0, 1]]
    assert photo.pixels[0, :, 0].tolist() == [1, 0]


def test_small_sound_texts_stay_with_pillow(tmp_path):
    """Some carry the EXIF turn."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "nobody")
    save(tmp_path / "a.png", scene(), pnginfo=info)
    assert read(tmp_path / "a.png", metadata=True).metadata.exif.main[0x013B].data == b"nobody\0"
    np.testing.assert_array_equal(np.rint(read(tmp_path / "a.png").pixels * 255), as_pillow_reads(tmp_path / "a.png"))
