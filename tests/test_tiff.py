"""TIFF by what it declares, against tifffile's values, lcms, and files packed here by the specification."""

import os
import struct
import threading
import zlib

import numpy as np
import pytest
import tifffile
from pictures import TURN, XYZ_TO_SRGB, distance, fails, matrix_profile, save, scene, scene16
from PIL import Image, ImageCms

from jpst import image
from jpst.image import read, read_colours, read_labels, size, tiff_decoding

ORDERS = {"<": b"II*\0", ">": b"MM\0*"}


def tiff(path, strips, width, height, bits, *, order="<", compression=1, photometric=2, samples=3, tags=()):
    """A TIFF of given strips (of one plane or, with the tag 284, of several), byte by byte (TIFF 6.0, section 2)."""
    starts, body = [], b""
    for strip in strips:
        starts.append(8 + len(body))
        body += strip + bytes(len(strip) % 2)
    entries = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [compression])}
    entries |= {
        262: (3, [photometric]),
        273: (4, starts),
        277: (3, [samples]),
        279: (4, [len(each) for each in strips]),
    }
    entries |= {code: (3, values) for code, values in tags}
    directory, beyond = struct.pack(order + "H", len(entries)), b""
    after = 8 + len(body) + 2 + 12 * len(entries) + 4
    for code, (kind, values) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", after + len(beyond))
        beyond += data if len(data) > 4 else b""
        directory += struct.pack(order + "HHI", code, kind, len(values)) + place
    path.write_bytes(ORDERS[order] + struct.pack(order + "I", 8 + len(body)) + body + directory + bytes(4) + beyond)
    return path


def packed(values, bits):
    """Whole numbers [H, N], the high bit first, each row filled up to whole bytes."""
    places = np.arange(bits - 1, -1, -1)
    ones = (values[..., None].astype(np.int64) >> places) & 1
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def predicted(samples, kind):
    """Floats [H, W, C] as predictor 3 stores them (Adobe's TIFF Technical Note 3)."""
    width = np.dtype(kind).itemsize
    planes = samples.astype(f">f{width}").view(np.uint8).reshape(*samples.shape[:2], -1, width)
    rows = planes.transpose(0, 3, 1, 2).reshape(len(samples), -1)
    channels = samples.shape[-1]
    differences = rows.copy()
    differences[:, channels:] -= rows[:, :-channels]
    return differences.tobytes()


def assert_reads(path, expected, tolerance=0.6 / 65535, depth=16):
    photo = read(path)
    expected = np.asarray(expected, np.float64)
    grey = expected.shape[-1] < 3
    assert photo.bit_depth == depth
    assert distance(photo.pixels, expected[..., :1] if grey else expected[..., :3]) <= tolerance
    assert size(path) == expected.shape[:2]
    if expected.shape[-1] in (2, 4):
        assert photo.alpha is not None and distance(photo.alpha, expected[..., -1]) <= tolerance
    else:
        assert photo.alpha is None
    return photo


LAYOUTS = {
    "plain": {},
    "big": {"byteorder": ">"},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "predicted tiles": {"compression": "zlib", "predictor": True, "tile": (16, 32), "byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_every_layout_of_whole_numbers(tmp_path, dtype, layout, separate, channels):
    top = np.iinfo(dtype).max
    samples = np.random.default_rng(0).integers(0, top, (24, 36, channels), dtype, endpoint=True)
    form = {"photometric": "rgb" if channels > 2 else "minisblack", "metadata": None, **LAYOUTS[layout]}
    form |= {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    stored = samples[..., 0] if channels == 1 else samples.transpose(2, 0, 1) if separate else samples
    if channels > 1:
        form["planarconfig"] = "separate" if separate else "contig"
    tifffile.imwrite(tmp_path / "a.tif", stored, **form)
    depth = 8 if dtype == "uint8" else 16
    assert_reads(tmp_path / "a.tif", samples / top, 1 / 65535 if dtype == "uint32" else 1e-7, depth)
    colours = samples[..., :3] if channels > 2 else samples[..., :1].repeat(3, -1)
    np.testing.assert_array_equal(read_colours(tmp_path / "a.tif"), colours >> (8 * np.dtype(dtype).itemsize - 8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("layout", ["plain", "big", "strips", "tiles", "deflate"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_from_0_to_1_are_16_bits(tmp_path, dtype, layout, channels):
    samples = np.random.default_rng(0).random((24, 36, channels)).astype(dtype)
    form = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    form |= {"photometric": "rgb" if channels > 2 else "minisblack", **LAYOUTS[layout]}
    tifffile.imwrite(tmp_path / "a.tif", samples[..., 0] if channels == 1 else samples, planarconfig="contig", **form)
    assert assert_reads(tmp_path / "a.tif", samples).notes == ()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_predictor_of_floats(tmp_path, dtype, channels, order):
    """In two strips; the bytes are arranged alike in either byte order."""
    samples = np.random.default_rng(0).random((10, 7, channels)).astype(dtype)
    strips = [zlib.compress(predicted(part, dtype)) for part in (samples[:6], samples[6:])]
    tags = [(278, [6]), (317, [3]), (339, [3] * channels)]
    form = {"photometric": 2 if channels == 3 else 1, "samples": channels, "tags": tags, "order": order}
    tiff(tmp_path / "a.tif", strips, 7, 10, 8 * np.dtype(dtype).itemsize, compression=8, **form)
    assert_reads(tmp_path / "a.tif", samples)


def test_lzw_floats(tmp_path):
    """Pillow packs the bytes, as a grey picture as wide as a row has bytes."""
    samples = np.random.default_rng(0).random((10, 7, 3)).astype("<f4")
    rows = np.frombuffer(predicted(samples, "f4"), np.uint8).reshape(10, -1)
    save(tmp_path / "bytes.tif", rows, compression="tiff_lzw")
    with tifffile.TiffFile(tmp_path / "bytes.tif") as file:
        (start,), (length,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    strip = (tmp_path / "bytes.tif").read_bytes()[start : start + length]
    tiff(tmp_path / "a.tif", [strip], 7, 10, 32, compression=5, tags=[(317, [3]), (339, [3] * 3)])
    assert_reads(tmp_path / "a.tif", samples)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [3, 5, 6, 7, 9, 10, 12, 14, 15])
def test_packed_samples_of_odd_depths(tmp_path, bits, channels, order):
    samples = np.random.default_rng(0).integers(0, 2**bits, (9, 13, channels))
    strips = [packed(part.reshape(len(part), -1), bits) for part in (samples[:4], samples[4:8], samples[8:])]
    form = {"photometric": 2 if channels == 3 else 1, "samples": channels, "tags": [(278, [4])], "order": order}
    tiff(tmp_path / "a.tif", strips, 13, 9, bits, **form)
    depth = 8 if bits <= 8 else 16
    assert_reads(tmp_path / "a.tif", samples / (2**bits - 1), 0.51 / (2**depth - 1), depth)


def test_packed_samples_in_planes_with_the_low_bit_first(tmp_path):
    samples = np.random.default_rng(0).integers(0, 4096, (9, 13, 3))
    turned = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
    strips = [packed(samples[..., channel], 12).translate(turned) for channel in range(3)]
    tiff(tmp_path / "a.tif", strips, 13, 9, 12, tags=[(266, [2]), (284, [2])])
    assert_reads(tmp_path / "a.tif", samples / 4095)


@pytest.mark.parametrize("order", "<>")
def test_24_bits_a_sample_keep_the_high_16(tmp_path, order):
    samples = np.random.default_rng(0).integers(0, 2**24, (9, 13, 3))
    wide = samples.astype(order + "u4").view(np.uint8).reshape(9, 13, 3, 4)
    strip = (wide[..., :3] if order == "<" else wide[..., 1:]).tobytes()
    assert_reads(tiff(tmp_path / "a.tif", [strip], 13, 9, 24, order=order), (samples >> 8) / 65535)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_signed_samples_are_black_at_0_and_white_at_their_top(tmp_path, dtype):
    """As scikit-image has it."""
    from skimage import img_as_float

    top = np.iinfo(dtype).max
    samples = np.random.default_rng(0).integers(-top // 9, top, (24, 36), dtype)
    tifffile.imwrite(tmp_path / "a.tif", samples)
    depth = 8 if dtype == "int8" else 16
    expected = np.maximum(img_as_float(samples), 0)[..., None]
    photo = assert_reads(tmp_path / "a.tif", expected, 0.51 / (2**depth - 1), depth)
    assert f"signed: 0 is taken as black, {top} as white; they run from {samples.min()}" in photo.notes[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("order", "<>")
def test_white_is_zero(tmp_path, dtype, order):
    samples = scene16(channels=2)
    stored = samples / np.float32(65535) if dtype == "float32" else (samples >> (8 if dtype == "uint8" else 0))
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    form = {"photometric": "miniswhite", "byteorder": order, "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(dtype), extrasamples=["unassalpha"], **form)
    expected = np.stack([1 - stored[..., 0] / top, stored[..., 1] / top], -1)
    assert_reads(tmp_path / "a.tif", expected, depth=8 if dtype == "uint8" else 16)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_multiplied_by_alpha_are_divided(tmp_path, dtype, separate):
    top = np.iinfo(dtype).max
    alpha = np.full((8, 9, 1), top // 2)
    straight = np.random.default_rng(0).integers(0, top, (8, 9, 3))
    samples = np.concatenate([np.rint(straight * (alpha / top)), alpha], -1).astype(dtype)
    form = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    form["planarconfig"] = "separate" if separate else "contig"
    tifffile.imwrite(tmp_path / "a.tif", samples.transpose(2, 0, 1) if separate else samples, **form)
    assert distance(read(tmp_path / "a.tif").pixels, straight / top) < 2 / top


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_channels_that_are_not_alpha_are_left_out(tmp_path, dtype):
    samples = scene16(channels=4).astype(dtype)
    samples = np.concatenate([samples, samples[..., :1]], -1)
    form = {"photometric": "rgb", "planarconfig": "contig", "extrasamples": ["unspecified", "unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", samples, **form)
    photo = read(tmp_path / "a.tif")
    top = np.iinfo(dtype).max
    np.testing.assert_array_equal(np.rint(photo.pixels * top), samples[..., :3])
    np.testing.assert_array_equal(np.rint(photo.alpha * top), samples[..., 4])
    assert photo.notes == ("Channels other than colours and alpha are ignored.",)


def as_lab(samples):
    """uint8 CIELAB (D50; a* and b* signed) by lcms."""
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(samples), *spaces, outputMode="LAB"))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("order", "<>")
def test_cielab_agrees_with_scikit_image(tmp_path, depth, order):
    """Up to XYZ (D50), from where Lindbloom's matrix leads to sRGB; lcms is coarse at 8 bits."""
    from skimage.color import lab2xyz

    lab = as_lab(scene(40, 60))
    chroma = lab[..., 1:].view(np.int8).astype(np.int16)
    xyz = lab2xyz(np.dstack([lab[..., :1] / 2.55, chroma]), illuminant="D50")
    linear = np.clip(xyz @ np.array(XYZ_TO_SRGB).T, 0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    wide = np.dstack([lab[..., :1].astype(np.uint16) * 257, (chroma * 256).view(np.uint16)])
    tifffile.imwrite(tmp_path / "a.tif", lab if depth == 8 else wide, photometric="cielab", byteorder=order)
    assert_reads(tmp_path / "a.tif", expected, 1 / 255 if depth == 8 else 2e-3, depth)
    assert np.abs(read(tmp_path / "a.tif").pixels - scene(40, 60) / 255).mean() < 1 / 255


def test_cielab_and_hsv_of_pil_images_are_converted():
    pillow = Image.fromarray(scene(40, 60))
    lab = Image.frombytes("LAB", pillow.size, as_lab(scene(40, 60)).tobytes())
    assert np.abs(read(lab).pixels - scene(40, 60) / 255).mean() < 1 / 255
    np.testing.assert_array_equal(read(pillow.convert("HSV")).pixels * 255, pillow.convert("HSV").convert("RGB"))


def test_cielab_beyond_srgb_is_told(tmp_path):
    lab = np.zeros((8, 8, 3), np.int8)
    lab[..., 0], lab[:4, :, 1] = 90, 127
    tifffile.imwrite(tmp_path / "a.tif", lab.view(np.uint8), photometric="cielab")
    assert read(tmp_path / "a.tif").notes == ("Colours outside sRGB were clipped, in 50% of the pixels.",)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_profiles_hold_for_what_tifffile_reads(tmp_path, dtype):
    samples, profile = scene16(), matrix_profile()
    stored = samples / np.float32(65535) if dtype == "float32" else samples.transpose(2, 0, 1)
    form = {"planarconfig": "contig" if dtype == "float32" else "separate", "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", stored, iccprofile=profile, **form)
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="rgb", iccprofile=profile)
    assert distance(read(tmp_path / "a.tif").pixels, read(tmp_path / "b.tif").pixels) < 1e-6


def test_values_beyond_the_range_are_clipped_and_told(tmp_path):
    samples = np.full((10, 10, 3), 0.25, np.float32)
    samples[0, :3, 1], samples[1, 0, 0] = 3.5, -0.5
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb")
    photo = assert_reads(tmp_path / "a.tif", np.clip(samples, 0, 1))
    assert photo.notes == (
        "Values below 0 (down to -0.5) were clipped, in 1.00% of the pixels.",
        "Values above 1 (up to 3.5) were clipped, in 3.00% of the pixels.",
    )


@pytest.mark.parametrize(
    ("words", "scale", "offset"),
    [("got .* to 2.*Divide them by 255", 255, 0.3), ("Divide them by 65535", 65535, 0.3), ("white", 1e6, 0.3)],
)
def test_floats_that_count_levels_are_refused(tmp_path, words, scale, offset):
    tifffile.imwrite(tmp_path / "a.tif", (scene() / 255 * scale + offset).astype(np.float32), photometric="rgb")
    fails(words, read, tmp_path / "a.tif")
    few = np.zeros((20, 20), np.float32)
    few[:2] = scale  # whole numbers, most of them black
    tifffile.imwrite(tmp_path / "a.tif", few)
    fails(words.split(".*")[-1], read, tmp_path / "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(tmp_path, value):
    samples = np.full((10, 10, 3), 0.25, np.float64)
    samples[3, 4, 1] = value
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb")
    fails("NaN or infinite.*16-bit TIFF", read, tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_what_tifffile_reads(tmp_path, orientation):
    samples = scene16(6, 10)
    tags = [(TURN, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extratags=tags)
    tifffile.imwrite(tmp_path / "b.tif", samples / np.float32(65535), photometric="rgb", extratags=tags)
    assert distance(read(tmp_path / "a.tif").pixels, read(tmp_path / "b.tif").pixels) < 1e-6
    assert size(tmp_path / "b.tif") == size(tmp_path / "a.tif") == read(tmp_path / "a.tif").pixels.shape[:2]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("thumbnail", ["uint8", "float32"])
@pytest.mark.parametrize("below", [False, True])
def test_the_picture_is_taken_and_not_the_thumbnail_before_it(tmp_path, dtype, thumbnail, below):
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    samples = (scene() / 255 * top).astype(dtype)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        small = {"photometric": "rgb", "subfiletype": 1, "subifds": 1 if below else 0}
        file.write(np.zeros((6, 9, 3), thumbnail), **small)
        file.write(samples, photometric="rgb", extratags=[(TURN, 3, 1, 3, True)])
    photo = assert_reads(tmp_path / "a.tif", samples[::-1, ::-1] / top, depth=8 if dtype == "uint8" else 16)
    assert photo.notes == ()


def test_the_first_of_several_pages_is_taken_and_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for seed, kind in enumerate((1, 0, 0, 1)):
            file.write(scene(seed=seed), photometric="rgb", subfiletype=kind)
    photo = assert_reads(tmp_path / "a.tif", scene(seed=1) / 255, depth=8)
    assert photo.notes == ("The first of its 2 pages is used; the others are ignored.",)


def test_a_file_of_thumbnails_only_gives_the_first(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for seed in range(2):
            file.write(scene(seed=seed), photometric="rgb", subfiletype=1)
    assert assert_reads(tmp_path / "a.tif", scene() / 255, depth=8).notes == ()


@pytest.mark.parametrize(
    ("words", "bits", "options"),
    [
        ("compressed as WEBP", 8, {"compression": 50001}),
        ("compressed as JPEG2000", 8, {"compression": 34712}),
        ("compressed as 12345", 8, {"compression": 12345}),
        ("ICC Lab", 8, {"photometric": 9}),
        ("mosaic of a camera", 8, {"photometric": 32803}),
        ("unknown kind .99.", 8, {"photometric": 99}),
        ("palette.*16 bits", 16, {"photometric": 3, "samples": 1}),
        ("CMYK.*separate planes", 8, {"photometric": 5, "samples": 4, "tags": [(284, [2])]}),
        ("YCbCr", 8, {"photometric": 6}),
        ("JPEG.*12 bits", 12, {"compression": 7}),
        ("128 bits", 128, {}),
        ("complex", 64, {"tags": [(339, [6] * 3)]}),
        ("predictor .2.*12 bits", 12, {"tags": [(317, [2])]}),
        ("20 channels", 8, {"samples": 20}),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, capfd, words, bits, options):
    path = tiff(tmp_path / "a.tif", [bytes(4000)], 4, 3, bits, **options)
    assert "Export it as TIFF" in fails(words, read, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_damaged_strips_are_refused_without_a_word_of_libtiff(tmp_path, capfd, dtype):
    samples = np.random.default_rng(0).random((40, 40, 3))
    stored = samples.astype(dtype) if dtype == "float32" else (samples * np.iinfo(dtype).max).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[0].dataoffsets[0]
    whole = (tmp_path / "a.tif").read_bytes()
    for broken in (whole[: start + 100] + b"x" * 50 + whole[start + 150 :], whole[: start + 200]):
        (tmp_path / "a.tif").write_bytes(broken)
        fails("truncated or damaged", read, tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_standard_error_survives_two_reads_that_overlap(tmp_path, monkeypatch):
    """Each silences libtiff; the second begins before the first ends, and ends after it."""
    tifffile.imwrite(tmp_path / "a.tif", scene() / np.float32(255), photometric="rgb")
    second_is_in, first_is_out = threading.Event(), threading.Event()
    places = tiff_decoding._places

    def overlapping(page):
        if threading.current_thread() is second:
            second_is_in.set()
            assert first_is_out.wait(60)
        else:
            second.start()
            assert second_is_in.wait(60)
        return places(page)

    monkeypatch.setattr(tiff_decoding, "_places", overlapping)
    second = threading.Thread(target=read, args=[tmp_path / "a.tif"])
    before = os.fstat(2)
    read(tmp_path / "a.tif")
    first_is_out.set()
    second.join()
    assert os.path.samestat(os.fstat(2), before)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_strips_that_are_too_short(tmp_path, bits):
    """For Pillow, which reads the 8 bits, the file ends too early; for us the strip does."""
    strip = bytes(9 * 13 * 3 * bits // 8 - 20)
    fails("truncated or damaged", read, tiff(tmp_path / "a.tif", [strip], 13, 9, bits, tags=[(284, [2])]))


@pytest.mark.parametrize("bits", [12, 32])
def test_absurd_sizes_are_refused_from_the_header(tmp_path, bits):
    path = tiff(tmp_path / "a.tif", [bytes(100)], 40_000, 40_000, bits)
    for call in (read, read_colours, size, read_labels):
        fails("1600 megapixels; the limit is 300", call, path)


def test_absurd_tiles_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", scene() / np.float32(255), photometric="rgb", tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["TileWidth"].overwrite(60_000)
        file.pages[0].tags["TileLength"].overwrite(60_000)
    fails("damaged .*60000 x 60000", read, tmp_path / "a.tif")


def test_label_maps_are_no_tiff_of_floats(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.float32))
    fails("not label indices", read_labels, tmp_path / "a.tif")
    assert image.read_indices(tmp_path / "a.tif") is None


@pytest.mark.parametrize(
    ("name", "depth"),
    [("float32_predictor3.tif", 16), ("planar16.tif", 16), ("twelve_bit.tif", 16), ("reports/lab8.tif", 8)],
)
def test_files_that_failed_once(shared, name, depth):
    with Image.open(shared / "faults" / "reports" / "A.jpg") as opened:
        expected = np.asarray(opened.resize((180, 120))) / 255
    photo = read(shared / "faults" / name)
    assert photo.bit_depth == depth
    assert np.abs(photo.pixels - expected).mean() < 1 / 255
