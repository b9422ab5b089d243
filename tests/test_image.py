"""Files to arrays and back, against Pillow, lcms, tifffile and the formats' specifications."""

import io
import logging
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import tifffile
from pictures import (
    ADOBE,
    P3,
    SRGB,
    TURN,
    XYZ_TO_SRGB,
    as_pillow_reads,
    cmyk_profile,
    curv,
    distance,
    exif_turn,
    fails,
    gradient16,
    icc,
    lcms,
    matrix_profile,
    para,
    png16,
    save,
    scene,
    scene16,
    table_profile,
)
from PIL import Image, ImageChops, ImageCms, ImageFile, ImageOps, features

import jpst.image as image
import jpst.image.icc as profiles
from jpst.image import Photograph, check_writable, read, read_colours, read_labels, size, write


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.ppm", "a.webp", "a.jp2", "a.jpg"])
def test_each_format_reads_as_pillow_decodes_it(tmp_path, name):
    path = save(tmp_path / name, scene())
    photo = read(path)
    assert isinstance(photo, Photograph)
    assert photo.pixels.dtype == np.float32 and photo.pixels.flags.c_contiguous
    assert photo.alpha is None and photo.bit_depth == 8
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), as_pillow_reads(path, "RGB"))
    np.testing.assert_array_equal(read(str(path)).pixels, photo.pixels)
    np.testing.assert_array_equal(read_colours(path), as_pillow_reads(path, "RGB"))
    assert size(path) == (24, 36)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "raw.tif", "lzw.tif", "a.avif"])
def test_exif_orientation_is_applied(tmp_path, name, orientation):
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[TURN] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    options |= {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    path = save(tmp_path / name, scene(6, 10), exif=exif, **options)
    expected = as_pillow_reads(path)
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), expected)
    np.testing.assert_array_equal(read_colours(path), expected)
    assert size(path) == expected.shape[:2]
    with Image.open(path) as opened:
        assert size(opened) == expected.shape[:2]
        np.testing.assert_array_equal(read_colours(opened), expected)
        assert size(opened) == expected.shape[:2], "and after it is loaded"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bit_files(tmp_path, orientation):
    samples = scene16(6, 10)
    turned = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10))
    turned.getexif()[TURN] = orientation
    places = np.asarray(ImageOps.exif_transpose(turned))  # which pixel comes where
    expected = samples.reshape(60, 3)[places]
    png16(tmp_path / "a.png", samples, exif=exif_turn(orientation))
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extratags=[(TURN, 3, 1, orientation, True)])
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(np.rint(read(tmp_path / name).pixels * 65535), expected)
        assert size(tmp_path / name) == expected.shape[:2]


def test_broken_exif_does_not_cost_the_photograph(tmp_path):
    path = save(tmp_path / "a.jpg", scene(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    assert read(path).pixels.shape == (24, 36, 3)
    assert size(path) == (24, 36)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "PA", "La", "RGBa", "RGBX", "YCbCr", "CMYK"])
def test_every_pillow_mode(mode):
    pillow = Image.fromarray(scene(channels=4)).convert("LA" if mode in ("La", "PA") else "RGBA")
    pillow = pillow.convert("RGB").convert(mode) if mode in ("YCbCr", "CMYK", "P") else pillow.convert(mode)
    before = pillow.tobytes()
    photo = read(pillow)
    expected = np.asarray(pillow.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert("RGBA"))
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), expected[..., :3])
    np.testing.assert_array_equal(read_colours(pillow), expected[..., :3])
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        np.testing.assert_array_equal(np.rint(photo.alpha * 255), expected[..., 3])
    else:
        assert photo.alpha is None
    assert pillow.tobytes() == before and pillow.mode == mode, "the caller's image is left alone"


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 2))])
def test_palette_with_transparency(tmp_path, transparency):
    path = save(tmp_path / "a.png", Image.fromarray(scene()).quantize(64), transparency=transparency)
    expected = as_pillow_reads(path, "RGBA")
    photo = read(path)
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), expected[..., :3])
    np.testing.assert_array_equal(np.rint(photo.alpha * 255), expected[..., 3])
    np.testing.assert_array_equal(read_colours(path), expected[..., :3])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_png_with_one_transparent_colour(tmp_path, mode):
    samples = scene(channels=1)[..., 0] if mode == "L" else scene()
    colour = samples[3, 4].tolist()
    path = save(tmp_path / "a.png", samples, transparency=colour if mode == "L" else tuple(colour))
    alpha = as_pillow_reads(path, "RGBA")[..., 3]
    assert 0 < (alpha == 0).sum() < alpha.size
    np.testing.assert_array_equal(np.rint(read(path).alpha * 255), alpha)


def test_first_frame_of_many(tmp_path):
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    for name in ("a.tif", "a.webp", "a.gif", "a.png"):
        frames[0].save(
            tmp_path / name,
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if name == "a.webp" else {}),
        )
        expected = as_pillow_reads(tmp_path / name, "RGB")
        np.testing.assert_array_equal(read_colours(tmp_path / name), expected)
        np.testing.assert_array_equal(np.rint(read(tmp_path / name).pixels * 255), expected)
        kind = "page" if name == "a.tif" else "frame"
        assert read(tmp_path / name).notes == (f"The first of its 3 {kind}s is used; the others are ignored.",)
    np.testing.assert_array_equal(read_colours(tmp_path / "a.tif"), scene(seed=0))


def test_damaged_later_frames_do_not_cost_the_first(tmp_path):
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    whole = (tmp_path / "a.gif").read_bytes()
    expected = as_pillow_reads(tmp_path / "a.gif", "RGB")
    (tmp_path / "a.gif").write_bytes(whole[: len(whole) // 2])
    photo = read(tmp_path / "a.gif")
    np.testing.assert_array_equal(np.rint(photo.pixels * 255), expected)
    assert "others are ignored" in photo.notes[0]


def test_camera_jpeg_with_a_second_picture_gives_the_first(tmp_path):
    first, second = Image.fromarray(scene()), Image.fromarray(scene(12, 18))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read(tmp_path / "a.jpg").pixels.shape == (24, 36, 3)


def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the optional pillow-heif is not installed")
    exif = Image.Exif()
    exif[TURN] = 6
    pillow = Image.fromarray(scene(32, 64))
    heif = pillow_heif.from_pillow(pillow)
    heif.save(tmp_path / "a.heic", quality=-1, chroma=444, exif=exif.tobytes())
    expected = np.asarray(ImageOps.exif_transpose(pillow_heif.open_heif(tmp_path / "a.heic").to_pillow()))
    assert size(tmp_path / "a.heic") == expected.shape[:2] in ((64, 32), (32, 64))
    assert distance(read(tmp_path / "a.heic").pixels * 255, expected) < 1
    smooth = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32)[None, :, None], (32, 1, 3))
    write(tmp_path / "b.heic", smooth)
    photo = read(tmp_path / "b.heic")
    assert distance(photo.pixels, smooth) < 4 / 255
    with Image.open(tmp_path / "b.heic") as opened:
        assert "sRGB" in profile_name(opened)
    raw = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "cut.heic").write_bytes(raw[: len(raw) * 2 // 3])
    fails(r"cut\.heic", read, tmp_path / "cut.heic")


def test_heic_that_its_own_decoder_refuses_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif", reason="the optional pillow-heif is not installed")
    monkeypatch.setattr("PIL.Image.Image.save", lambda self, file, **options: file.write(b"unreadable"))
    fails("could not be written", write, tmp_path / "a.heic", scene() / 255)
    assert os.listdir(tmp_path) == []


def test_heic_without_its_package_names_the_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    for call in (read, read_colours, size, check_writable):
        assert 'pip install "jpst[heic]"' in fails("pillow-heif", call, path)
    fails("pillow-heif", write, path, np.zeros((2, 2, 3)))


LAYOUTS = {
    "little": {"byteorder": "<"},
    "big": {"byteorder": ">"},
    "deflate": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "big deflate": {"compression": "zlib", "byteorder": ">"},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "deflated tiles": {"tile": (16, 16), "compression": "zlib"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bit_tiff_is_exact(tmp_path, layout, channels):
    samples = scene16(channels=channels)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", **extra, **LAYOUTS[layout])
    photo = read(tmp_path / "a.tif")
    assert photo.bit_depth == 16
    np.testing.assert_array_equal(np.rint(photo.pixels * 65535), samples[..., :3])
    if channels == 4:
        np.testing.assert_array_equal(np.rint(photo.alpha * 65535), samples[..., 3])
    np.testing.assert_array_equal(read_colours(tmp_path / "a.tif"), samples[..., :3] >> 8)


def test_16_bit_tiff_with_lzw(tmp_path):
    """tifffile cannot write LZW by itself: Pillow packs the bytes as an 8-bit image, and they are moved."""
    samples = scene16()
    data = samples.astype("<u2").tobytes()
    Image.frombytes("L", (len(data) // 24, 24), data).save(tmp_path / "bytes.tif", compression="tiff_lzw")
    with tifffile.TiffFile(tmp_path / "bytes.tif") as file:
        (start,), (length,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    packed = (tmp_path / "bytes.tif").read_bytes()[start : start + length]
    form = {"shape": samples.shape, "dtype": "uint16", "photometric": "rgb", "rowsperstrip": 24}
    tifffile.imwrite(tmp_path / "a.tif", iter([packed]), compression="zlib", **form)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(5)
    np.testing.assert_array_equal(np.rint(read(tmp_path / "a.tif").pixels * 65535), samples)


def test_16_bit_tiff_with_premultiplied_alpha(tmp_path):
    samples = scene16(channels=4)
    samples[0, 0, 3] = 0
    multiplied = samples.copy()
    multiplied[..., :3] = np.rint(samples[..., :3] * (samples[..., 3:] / 65535))
    tifffile.imwrite(tmp_path / "a.tif", multiplied, photometric="rgb", extrasamples=["assocalpha"])
    photo = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(photo.alpha * 65535), samples[..., 3])
    error = np.abs(photo.pixels - samples[..., :3] / 65535)
    assert (error <= 1 / np.maximum(samples[..., 3:], 1) + 1e-5)[samples[..., 3] > 0].all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_exact(tmp_path, channels):
    samples = scene16(channels=channels)
    photo = read(png16(tmp_path / "a.png", samples))
    assert photo.bit_depth == 16
    colours = samples[..., :3] if channels > 2 else np.repeat(samples[..., :1], 3, -1)
    np.testing.assert_array_equal(np.rint(photo.pixels * 65535), colours)
    if channels in (2, 4):
        np.testing.assert_array_equal(np.rint(photo.alpha * 65535), samples[..., -1])
    np.testing.assert_array_equal(read_colours(tmp_path / "a.png"), colours >> 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_with_one_transparent_colour(tmp_path, channels):
    samples = scene16(channels=channels)
    samples[5, 6] = samples[1, 2]
    samples[5, 7] = samples[1, 2] ^ 1  # differs in the lowest bit only
    photo = read(png16(tmp_path / "a.png", samples, transparent=samples[1, 2].tolist()))
    np.testing.assert_array_equal(photo.alpha == 0, (samples == samples[1, 2]).all(-1))
    assert photo.alpha[5, 7] == 1


@pytest.mark.parametrize(("photometric", "order"), [("minisblack", "<"), ("minisblack", ">"), ("miniswhite", "<")])
def test_16_bit_grey_tiff(tmp_path, photometric, order):
    samples = scene16(channels=1)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric=photometric, byteorder=order)
    photo = read(tmp_path / "a.tif")
    expected = samples if photometric == "minisblack" else 65535 - samples
    np.testing.assert_array_equal(np.rint(photo.pixels * 65535), np.repeat(expected[..., None], 3, -1))
    assert photo.bit_depth == 16


def test_16_bit_grey_as_pillow_integers(tmp_path):
    samples = scene16(channels=1)[..., 0]
    pillow = Image.fromarray(samples.astype(np.int32))
    assert pillow.mode == "I"
    np.testing.assert_array_equal(np.rint(read(pillow).pixels[..., 1] * 65535), samples)
    fails("mode I.*16-bit", read, Image.fromarray(samples.astype(np.int32) * 3))
    fails("mode F", read, Image.fromarray(samples.astype(np.float32)))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff"])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_16_bit_round_trip(tmp_path, name, with_alpha):
    samples = scene16(channels=4) / 65535
    pixels, alpha = (
        samples[..., :3].astype(np.float32),
        samples[..., 3].astype(np.float32) if with_alpha else None,
    )
    write(tmp_path / name, pixels, alpha=alpha, bit_depth=16)
    photo = read(tmp_path / name)
    assert photo.bit_depth == 16
    assert distance(photo.pixels, pixels) < 0.1 / 65535
    if with_alpha:
        assert distance(photo.alpha, alpha) < 0.1 / 65535
    write(tmp_path / f"again_{name}", *photo[:1], alpha=photo.alpha, bit_depth=photo.bit_depth)
    assert (tmp_path / f"again_{name}").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_png_obeys_the_specification(tmp_path, channels, monkeypatch):
    """Decoded here by hand: chunk order, checksums, filter Sub (PNG 9.2), several blocks."""
    monkeypatch.setattr(profiles, "row_blocks", lambda shape: (slice(i, i + 5) for i in range(0, shape[0], 5)))
    samples = scene16(channels=channels)
    alpha = samples[..., 3] / 65535 if channels == 4 else None
    write(tmp_path / "a.png", samples[..., :3] / 65535, alpha=alpha, bit_depth=16)
    raw, at, chunks = (tmp_path / "a.png").read_bytes(), 8, []
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        name, data = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        assert zlib.crc32(name + data) == int.from_bytes(raw[at + 8 + length : at + 12 + length], "big")
        chunks.append((name, data))
        at += 12 + length
    names = [name for name, _ in chunks]
    assert names[:2] == [b"IHDR", b"iCCP"] and names[-1] == b"IEND" and set(names[2:-1]) == {b"IDAT"}
    stream = zlib.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
    rows = np.frombuffer(stream, np.uint8).reshape(24, -1)
    assert (rows[:, 0] == 1).all()
    unfiltered = np.cumsum(rows[:, 1:].reshape(24, 36, -1), axis=1, dtype=np.uint8)
    np.testing.assert_array_equal(np.ascontiguousarray(unfiltered).view(">u2"), samples)
    with Image.open(tmp_path / "a.png") as opened:
        opened.verify()


def test_16_bit_tiff_as_tifffile_reads_it(tmp_path):
    samples = scene16(channels=4)
    write(tmp_path / "a.tif", samples[..., :3] / 65535, alpha=samples[..., 3] / 65535, bit_depth=16)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), samples)
        assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert file.pages[0].iccprofile


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_8_bit_formats_get_8_bits_when_asked_for_16(tmp_path, name):
    write(tmp_path / name, np.full((8, 8, 3), 0.5, np.float32), bit_depth=16)
    photo = read(tmp_path / name)
    assert photo.bit_depth == 8
    assert distance(photo.pixels, 0.5) < 2 / 255


CURVES = {
    "gamma": curv(563),
    "straight": curv(),
    "table": curv(*(round(65535 * (i / 99) ** 1.8) for i in range(100))),
    "para0": para(0, 2.4),
    "para1": para(1, 2.2, 1 / 1.05, 0.05 / 1.05),
    "para2": para(2, 2.2, 0.9, 0.08, 0.01),
    "para3": para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "para4": para(4, 2.4, 0.94, 0.05, 0.08, 0.04, 0.01, 0.002),
}


def save_with_profile(path, samples, profile):
    if samples.dtype == np.uint16 and path.suffix == ".png":
        return png16(path, samples, profile=profile)
    if path.suffix == ".tif":
        tifffile.imwrite(path, samples, photometric="rgb", iccprofile=profile)
        return path
    return save(path, samples, icc_profile=profile, **({"lossless": True} if path.suffix == ".webp" else {}))


@pytest.mark.parametrize("primaries", [ADOBE, P3])
@pytest.mark.parametrize("curve", CURVES)
def test_matrix_profiles_agree_with_lcms(tmp_path, primaries, curve):
    profile, samples = matrix_profile(primaries, CURVES[curve]), scene(40, 60)
    path = save_with_profile(tmp_path / "a.png", samples, profile)
    assert distance(read(path).pixels, samples / 255) > 0.01, "the profile matters"
    assert distance(read(path).pixels, lcms(samples, profile)) < 4e-3
    np.testing.assert_array_equal(read_colours(path), samples)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.webp"])
def test_profiles_are_found_in_every_format(tmp_path, name):
    profile = matrix_profile()
    path = save_with_profile(tmp_path / name, scene(), profile)
    decoded = as_pillow_reads(path)
    assert distance(read(path).pixels, lcms(decoded, profile)) < 4e-3
    np.testing.assert_array_equal(read_colours(path), decoded)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read(opened).pixels, read(path).pixels)


def test_a_rounded_srgb_profile_changes_nothing_and_a_near_one_does(tmp_path):
    x = np.linspace(0, 1, 1024)
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    profile = matrix_profile(SRGB, curv(*np.rint(light * 65535).astype(int)))  # as Hewlett-Packard's well-known one
    path = save_with_profile(tmp_path / "a.png", scene16(), profile)
    np.testing.assert_array_equal(np.rint(read(path).pixels * 65535), scene16())
    profile = matrix_profile(SRGB, para(3, 2.44, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    path = save_with_profile(tmp_path / "b.png", scene(), profile)
    assert 2e-3 < distance(read(path).pixels, scene() / 255) < 12e-3
    assert distance(read(path).pixels, lcms(scene(), profile)) < 4e-3


def test_swapped_primaries(tmp_path):
    profile = matrix_profile(SRGB[::-1], CURVES["para3"])  # sRGB with red and blue exchanged
    path = save_with_profile(tmp_path / "a.png", scene(), profile)
    assert distance(read(path).pixels, scene()[..., ::-1] / 255) < 2e-3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("make", [matrix_profile, table_profile])
def test_16_bit_profile_conversion_is_smooth_and_agrees_with_lcms(tmp_path, name, make):
    samples, profile = gradient16(), make()
    photo = read(save_with_profile(tmp_path / name, samples, profile))
    assert photo.bit_depth == 16
    coarse = np.rint(samples / 257).astype(np.uint8)
    assert distance(photo.pixels, lcms(coarse, profile)) < 1.5 / 255  # the reference rounds on both sides
    steps = np.abs(np.diff(photo.pixels[0].astype(np.float64), axis=0))
    assert steps.max() < 0.15 / 255, "no 8-bit step"
    assert (steps > 0).mean() > 0.99, "and no plateau"


def test_16_bit_matrix_conversion_is_exact_to_16_bits(tmp_path):
    samples = gradient16()
    linear = (samples / 65535) ** (563 / 256) @ np.array(ADOBE)
    linear = np.clip(linear @ np.array(XYZ_TO_SRGB).T, 0, 1)  # XYZ (D50) to sRGB after Lindbloom
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    path = png16(tmp_path / "a.png", samples, profile=matrix_profile())
    assert distance(read(path).pixels, expected) < 2e-4  # Lindbloom and lcms adapt D65 to D50 a little differently


def test_table_profile_agrees_with_lcms(tmp_path):
    profile, samples = table_profile(), scene(40, 60)
    path = save_with_profile(tmp_path / "a.png", samples, profile)
    assert distance(read(path).pixels, lcms(samples, profile)) < 6e-3
    assert distance(read(path).pixels, samples / 255) > 0.1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("curve", ["gamma", "table", "para3"])
def test_grey_profiles_agree_with_lcms(tmp_path, depth, curve):
    profile = icc(b"GRAY", {b"kTRC": CURVES[curve]})
    samples = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    if depth == 8:
        path = save(tmp_path / "a.png", samples, icc_profile=profile)
    else:
        path = png16(tmp_path / "a.png", samples[..., None].astype(np.uint16) * 257, profile=profile)
    assert distance(read(path).pixels, lcms(samples, profile)) < 6e-3  # lcms is coarse in the shadows at 8 bits
    np.testing.assert_array_equal(read_colours(path)[..., 0], samples)


def test_grey_image_with_an_rgb_profile(tmp_path):
    profile, samples = matrix_profile(), scene(channels=1)[..., 0]
    path = save(tmp_path / "a.png", samples, icc_profile=profile)
    expected = lcms(np.repeat(samples[..., None], 3, -1), profile)
    assert distance(read(path).pixels, expected) < 4e-3


def test_alpha_is_not_colour_managed(tmp_path):
    samples = scene(channels=4)
    path = save(tmp_path / "a.png", samples, icc_profile=matrix_profile())
    photo = read(path)
    np.testing.assert_array_equal(np.rint(photo.alpha * 255), samples[..., 3])
    assert distance(photo.pixels, lcms(samples[..., :3], matrix_profile())) < 4e-3


def test_cmyk_jpeg_with_a_profile(tmp_path):
    profile, pillow = cmyk_profile(), Image.fromarray(scene()).convert("CMYK")
    path = save(tmp_path / "a.jpg", pillow, icc_profile=profile, quality=95)
    with Image.open(path) as decoded:
        decoded.load()
    assert decoded.mode == "CMYK"
    photo = read(path)
    assert distance(photo.pixels, lcms(decoded, profile, ImageCms.Intent.PERCEPTUAL)) < 1.01 / 255
    assert distance(photo.pixels * 255, np.asarray(decoded.convert("RGB"))) > 10, "the profile matters"
    np.testing.assert_array_equal(read_colours(path), np.asarray(decoded.convert("RGB")))


@pytest.mark.parametrize("profile", [None, b"rubbish", matrix_profile()])
def test_cmyk_without_a_usable_profile(tmp_path, profile):
    """Pillow writes CMYK JPEGs as Adobe does, inverted and marked so."""
    path = save(tmp_path / "a.jpg", Image.fromarray(scene()).convert("CMYK"), icc_profile=profile, quality=95)
    assert b"Adobe" in path.read_bytes()[:200]
    assert np.abs(read(path).pixels * 255 - scene()).mean() < 6
    assert [("profile is damaged" in note) for note in read(path).notes] == [True] * (profile is not None)


@pytest.mark.parametrize("profile", [None, cmyk_profile()])
def test_cmyk_jpeg_without_adobes_marker_stores_ink_as_it_is(tmp_path, profile):
    """Pillow inverts what it writes, as Adobe does; here that is undone before, and the marker left out."""
    inks = Image.fromarray(scene()).convert("CMYK")
    file = io.BytesIO()
    ImageChops.invert(inks).save(file, "JPEG", quality=95)
    whole = file.getvalue()
    start = whole.index(b"\xff\xee")
    (tmp_path / "a.jpg").write_bytes(whole[:start] + whole[start + 16 :])
    assert whole[start + 4 : start + 9] == b"Adobe" and b"Adobe" not in (tmp_path / "a.jpg").read_bytes()
    save(tmp_path / "b.jpg", inks, quality=95)
    assert distance(read(tmp_path / "a.jpg").pixels, read(tmp_path / "b.jpg").pixels) < 4 / 255
    assert distance(read_colours(tmp_path / "a.jpg"), read_colours(tmp_path / "b.jpg")) < 4
    with Image.open(tmp_path / "a.jpg") as opened:
        np.testing.assert_array_equal(read(opened).pixels, read(tmp_path / "a.jpg").pixels)


def with_colour_space(path, space, index, **options):
    exif = Image.Exif()
    exif[0x010F] = "Camera"  # Pillow leaves EXIF out of PNG if its first directory is empty
    exif.get_ifd(0x8769)[0xA001] = space
    if index:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    return save(path, scene() // 2 + 64, exif=exif, **options)


@pytest.mark.parametrize(("space", "index"), [(0xFFFF, "R03"), (2, None)])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_adobe_rgb_by_exif_is_converted(tmp_path, name, space, index):
    path = with_colour_space(tmp_path / name, space, index, **({"quality": 95} if name != "a.png" else {}))
    decoded = as_pillow_reads(path, "RGB")
    assert distance(read(path).pixels, decoded / 255) > 0.02
    assert distance(read(path).pixels, lcms(decoded, matrix_profile())) < 4e-3
    with_colour_space(path, space, index, icc_profile=matrix_profile(SRGB, CURVES["para3"]))
    assert distance(read(path).pixels, as_pillow_reads(path, "RGB") / 255) < 2e-3, "a profile comes first"


@pytest.mark.parametrize(("space", "index"), [(0xFFFF, "R98"), (0xFFFF, None), (1, "R98"), (1, "R03")])
def test_other_colour_spaces_by_exif_change_nothing(tmp_path, space, index):
    path = with_colour_space(tmp_path / "a.png", space, index)
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), as_pillow_reads(path))


def test_colours_outside_srgb_are_told(tmp_path):
    samples = np.full((10, 10, 3), 128, np.uint8)
    samples[:3] = (0, 255, 0)
    photo = read(save(tmp_path / "a.png", samples, icc_profile=matrix_profile()))
    assert photo.notes == ("Colours outside sRGB were clipped, in 30% of the pixels.",)
    samples[:3] = (120, 140, 120)
    assert read(save(tmp_path / "a.png", samples, icc_profile=matrix_profile())).notes == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_refused_as_such(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    reading, writing = os.pipe()
    for path in (tmp_path / "a.jpg", f"/dev/fd/{reading}", "/dev/null"):
        for call in (read, read_colours, size, read_labels):
            fails("got a pipe or a device.*Save it in a file", call, path)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "profile",
    [
        b"rubbish",
        matrix_profile()[:140],
        matrix_profile()[:-60],
        matrix_profile(curve=b"nope" + bytes(20)),
        matrix_profile(curve=curv(*range(9))[:20]),
        matrix_profile(curve=para(1, 2.2, 0, 0)),
        matrix_profile(curve=para(0, -2)),
        icc(b"GRAY", {b"kTRC": curv(563)}),
        icc(b"RGB ", {}),
        icc(b"RGB ", {b"A2B0": b"mft1"}),
        cmyk_profile(),
    ],
)
def test_a_broken_or_foreign_profile_counts_as_srgb(tmp_path, profile):
    path = save(tmp_path / "a.png", scene(), icc_profile=profile)
    np.testing.assert_array_equal(np.rint(read(path).pixels * 255), scene())
    assert read(path).notes == ("Its colour profile is damaged, or for another kind of image; sRGB is assumed.",)


def profile_name(opened):
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"])))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png", "a.tif", "a.tiff", "a.webp"])
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_every_format_is_tagged_srgb(tmp_path, name, bit_depth):
    write(tmp_path / name, scene() / 255, bit_depth=bit_depth)
    with Image.open(tmp_path / name) as opened:
        assert "sRGB" in profile_name(opened)
        assert opened.size == (36, 24)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_8_bit_round_trip_is_exact(tmp_path, name):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    write(tmp_path / name, pixels / 255)
    np.testing.assert_array_equal(as_pillow_reads(tmp_path / name), pixels)
    np.testing.assert_array_equal(np.rint(read(tmp_path / name).pixels * 255), pixels)


@pytest.mark.parametrize(("name", "depth"), [("a.png", 8), ("a.tif", 8), ("a.png", 16), ("a.tif", 16)])
def test_values_are_rounded_and_clipped(tmp_path, name, depth):
    top = 2**depth - 1
    levels = np.array([-5, -0.4, 0.4, 0.6, 99.4, 99.6, 128.49, 128.51, top - 0.6, top - 0.4, top + 0.4, top * 2])
    pixels = (levels / top)[None, :, None].repeat(3, -1)
    write(tmp_path / name, pixels, bit_depth=depth)
    expected = np.array([0, 0, 0, 1, 99, 100, 128, 129, top - 1, top, top, top])
    np.testing.assert_array_equal(np.rint(read(tmp_path / name).pixels[0, :, 0] * top), expected)


def test_jpeg_quality_and_full_colour_resolution(tmp_path):
    pixels = np.zeros((32, 32, 3), np.float32)
    pixels[:, ::2, 0] = 1  # red lines one pixel wide, which subsampled colour would smear
    write(tmp_path / "a.jpg", pixels)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3
    assert np.abs(read(tmp_path / "a.jpg").pixels - pixels).mean() < 0.02
    write(tmp_path / "small.jpg", scene(64, 64) / 255, quality=30)
    write(tmp_path / "large.jpg", scene(64, 64) / 255)
    assert (tmp_path / "small.jpg").stat().st_size * 2 < (tmp_path / "large.jpg").stat().st_size


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_alpha_is_kept_beside_the_colours(tmp_path, name):
    samples = scene(channels=4)
    samples[:8, :8, 3] = 0
    write(tmp_path / name, samples[..., :3] / 255, alpha=samples[..., 3] / 255)
    photo = read(tmp_path / name)
    np.testing.assert_array_equal(np.rint(photo.alpha * 255), samples[..., 3])
    tolerance = 40 if name == "a.webp" else 0  # WebP is lossy, but must not blacken what is transparent
    assert distance(np.rint(photo.pixels * 255), samples[..., :3]) <= tolerance


def test_jpeg_shows_what_is_transparent_on_white(tmp_path):
    """As Pillow composites it; colours under alpha 0 do not show."""
    samples = np.full((16, 48, 4), (255, 0, 255, 0), np.uint8)
    samples[:, 16:32], samples[:, 32:] = (30, 120, 60, 128), (30, 120, 60, 255)
    write(tmp_path / "a.jpg", samples[..., :3] / 255, alpha=samples[..., 3] / 255)
    photo = read(tmp_path / "a.jpg")
    assert photo.alpha is None
    white = Image.new("RGBA", (48, 16), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(samples)).convert("RGB"))
    assert distance(photo.pixels * 255, expected) < 3
    transparent, opaque = Photograph(samples[..., :3] / 255, samples[..., 3] / 255, 8), Photograph(*photo[:3])
    assert image.left_out("a.jpg", transparent) == ("JPEG has no transparency: the picture is placed on white.",)
    assert image.left_out("a.png", transparent) == image.left_out("a.jpg", opaque) == ()
    assert image.left_out("a.jpg", opaque._replace(alpha=np.ones((16, 48)))) == ()
    assert "8 bits" in image.left_out("a.webp", opaque._replace(bit_depth=16))[0]


def test_other_float_types_and_layouts_are_written(tmp_path):
    pixels = scene() / 255
    for number, given in enumerate([pixels.astype(np.float16), pixels.astype(">f4"), pixels[::-1][::-1]]):
        write(tmp_path / f"{number}.png", given, bit_depth=16)
        assert distance(read(tmp_path / f"{number}.png").pixels, pixels) < 5e-4


def test_equal_pixels_give_equal_files(tmp_path):
    write(tmp_path / "a.png", scene() / 255)
    profiles.srgb_profile.cache_clear()
    write(tmp_path / "b.png", scene() / 255)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_files_get_ordinary_permissions(tmp_path, name):
    old = os.umask(0o027)
    try:
        write(tmp_path / name, scene() / 255)
    finally:
        os.umask(old)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("name", "target"), [("a.png", "PIL.Image.Image.save"), ("a.tif", "tifffile.imwrite")])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("odd"), KeyboardInterrupt()])
def test_a_failure_while_encoding_leaves_the_old_file(tmp_path, monkeypatch, name, target, error):
    write(tmp_path / name, scene() / 255)
    before = (tmp_path / name).read_bytes()

    def encode(*args, **kwargs):
        file = next(each for each in args if hasattr(each, "write"))
        file.write(b"half of a pict")
        assert len(os.listdir(tmp_path)) == 2
        raise error

    monkeypatch.setattr(target, encode)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, scene(seed=1) / 255)
    else:
        fails("could not be written", write, tmp_path / name, scene(seed=1) / 255)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_failed_rename_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    fails("could not be written", write, tmp_path / "a.png", scene() / 255)
    assert os.listdir(tmp_path) == []


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a.png").symlink_to(tmp_path / "real" / "b.png")
    write(tmp_path / "a.png", scene() / 255)
    assert (tmp_path / "a.png").is_symlink()
    assert os.listdir(tmp_path / "real") == ["b.png"]


def test_formats_that_cannot_hold_the_size_say_so(tmp_path):
    fails("16383", write, tmp_path / "a.webp", np.zeros((1, 16400, 3), np.float32))
    fails("65500", write, tmp_path / "a.jpg", np.zeros((1, 66000, 3), np.float32))
    fails("20 x 16384 pixels, but WEBP allows 16383.*PNG", check_writable, tmp_path / "a.webp", (16384, 20))
    fails("65501 x 20 pixels, but JPEG allows 65500", check_writable, tmp_path / "a.jpeg", (20, 65501))
    for name, sides in {
        "a.webp": (16383, 20),
        "a.jpg": (65500, 65500),
        "a.png": (10**6, 1),
        "a.tif": (1, 10**6),
    }.items():
        check_writable(tmp_path / name, sides)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (r"pixels: .*NaN", {"pixels": np.full((4, 4, 3), np.nan)}),
        (r"pixels: .*infinite", {"pixels": np.full((4, 4, 3), np.inf)}),
        (r"pixels: .*\(4, 4\).*\[H, W, 3\]", {"pixels": np.zeros((4, 4))}),
        (r"pixels: .*\(4, 4, 4\)", {"pixels": np.zeros((4, 4, 4))}),
        (r"pixels: .*\(0, 4, 3\)", {"pixels": np.zeros((0, 4, 3))}),
        (r"pixels: .*uint8.*floats", {"pixels": np.zeros((4, 4, 3), np.uint8)}),
        (r"alpha: .*NaN", {"alpha": np.full((4, 4), np.nan)}),
        (r"alpha.*\(3, 4\)", {"alpha": np.zeros((3, 4))}),
        (r"bit_depth is 12", {"bit_depth": 12}),
    ],
)
def test_bad_pixels_are_refused_before_anything_is_written(tmp_path, words, change):
    (tmp_path / "a.png").write_bytes(b"old")
    fails(words, write, tmp_path / "a.png", **({"pixels": np.zeros((4, 4, 3))} | change))
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"old"


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "folder.png").mkdir()
    cases = {
        r"suffix \.xyz.*\.jpg": "a.xyz",
        "no suffix": "picture",
        r"missing does not exist": "missing/a.png",
        "expected a file name, got a folder": "folder.png",
    }
    for words, name in cases.items():
        assert name in fails(words, check_writable, tmp_path / name)
        fails(words, write, tmp_path / name, np.zeros((2, 2, 3)))
    check_writable(tmp_path / "a.png")
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write everywhere
    fails("is not writable", check_writable, tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["folder.png"]


@pytest.mark.parametrize("count", [1, 2, 21, 256])
def test_labels_round_trip(tmp_path, count):
    labels = np.random.default_rng(0).integers(0, count, (13, 17))
    palette = np.random.default_rng(1).integers(0, 256, (count, 3)).astype(np.uint8)
    image.write_labels(tmp_path / "a.png", labels, palette)
    back = read_labels(tmp_path / "a.png")
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, labels)
    np.testing.assert_array_equal(as_pillow_reads(tmp_path / "a.png", "RGB"), palette[labels])
    np.testing.assert_array_equal(read_colours(tmp_path / "a.png"), palette[labels])
    assert os.listdir(tmp_path) == ["a.png"]


def test_labels_from_grey_files(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_labels(save(tmp_path / "a.png", labels)), labels)
    wide = labels.astype(np.uint16) * 1000
    np.testing.assert_array_equal(read_labels(save(tmp_path / "b.png", wide)), wide)
    fails("mode RGB.*indexed", read_labels, save(tmp_path / "c.png", scene()))


def test_bad_labels_are_refused(tmp_path):
    labels, palette, write_labels = np.zeros((3, 4), int), np.zeros((2, 3), np.uint8), image.write_labels
    fails(
        r"labels run from 0 to 2.*2 colours",
        write_labels,
        tmp_path / "a.png",
        labels + np.arange(4) % 3,
        palette,
    )
    fails(r"labels run from -1", write_labels, tmp_path / "a.png", labels - 1, palette)
    fails("integers", write_labels, tmp_path / "a.png", labels / 2, palette)
    fails(r"integers \[H, W\]", write_labels, tmp_path / "a.png", labels[0], palette)
    fails("palette", write_labels, tmp_path / "a.png", labels, palette / 1.0)
    fails("palette", write_labels, tmp_path / "a.png", labels, np.zeros((300, 3), np.uint8))
    fails(r"\.png", write_labels, tmp_path / "a.jpg", labels, palette)
    fails("does not exist", write_labels, tmp_path / "no" / "a.png", labels, palette)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_arrays(dtype, shape):
    kind = np.dtype(dtype)
    top = np.iinfo(kind).max if kind.kind == "u" else 1
    array = (np.random.default_rng(0).random(shape) * top).astype(kind)
    photo = read(array)
    unit = (array / top).reshape(5, 7, -1)
    expected = unit[..., :3] if unit.shape[-1] > 1 else unit.repeat(3, -1)
    np.testing.assert_allclose(photo.pixels, expected, atol=1e-7)
    assert photo.pixels.dtype == np.float32 and not np.shares_memory(photo.pixels, array)
    assert photo.bit_depth == (8 if dtype == "uint8" else 16)
    assert (photo.alpha is not None) == (shape[-1] == 4)
    if photo.alpha is not None:
        np.testing.assert_allclose(photo.alpha, unit[..., 3], atol=1e-7)
    np.testing.assert_allclose(read_colours(array), expected * 255, atol=1.01)
    assert size(array) == (5, 7)


def test_jax_arrays_are_arrays():
    jnp = pytest.importorskip("jax.numpy")
    np.testing.assert_allclose(read(jnp.full((4, 5, 3), 0.25)).pixels, 0.25)
    assert size(jnp.zeros((4, 5, 3))) == (4, 5)


@pytest.mark.parametrize(
    ("words", "array"),
    [
        ("NaN", np.full((4, 4, 3), np.nan)),
        ("infinite", np.full((4, 4, 3), -np.inf, np.float32)),
        (r"from 0 to 255.*\[0, 1\]", np.array([[[0.0, 255.0, 1.0]]])),
        (r"from -0\.5 to 1", np.array([[[-0.5, 0.5, 1.0]]])),
        (r"int64.*uint8", np.zeros((4, 4, 3), np.int64)),
        (r"bool", np.zeros((4, 4), bool)),
        (r"\(4,\).*\[H, W\]", np.zeros(4)),
        (r"\(1, 4, 4, 3\)", np.zeros((1, 4, 4, 3))),
        (r"\(4, 4, 2\)", np.zeros((4, 4, 2))),
        (r"\(1, 0, 3\)", np.zeros((1, 0, 3))),
    ],
)
def test_bad_arrays(words, array):
    for call in (read, read_colours, size):
        fails(words, call, array)


def test_a_hair_over_the_range_is_clipped():
    photo = read(np.array([[[-1e-7, 0.5, 1 + 1e-7]]]))
    np.testing.assert_array_equal(photo.pixels, np.float32([[[0, 0.5, 1]]]))


def write_bmp_header(path, width, height):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(64))
    return path


def test_files_that_are_no_images(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("Dear diary, today no picture was taken.")
    (tmp_path / "page.png").write_text("<html><body>404</body></html>")
    (tmp_path / "shot.NEF").write_bytes(b"II*\0" + bytes(99))
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    cases = {
        "missing.png": "no such file.*Check the path",
        "dangling.png": "no such file",
        ".": "is a folder",
        "empty.jpg": r"empty \(0 bytes\)",
        "text.jpg": "not an image.*Dear diary.*JPEG PNG",
        "page.png": "not an image.*<html>",
        "shot.NEF": "camera raw.*Develop",
        "nul\0.png": "cannot be opened",
    }
    for name, words in cases.items():
        for call in (read, read_colours, size, read_labels):
            assert str(tmp_path) in fails(words, call, os.path.join(tmp_path, name))
    for call in (read, read_colours, size):
        fails("got list.*path", call, [[0, 1]])


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", scene())

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)  # root may read everything
    fails("cannot be opened.*Permission denied.*readable", read, path)


@pytest.mark.parametrize("options", [{}, {"quality": 50, "progressive": True}])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.bmp", "a.gif", "a.jp2", "a.ppm", "a.avif"])
def test_truncated_files_are_refused(tmp_path, capfd, name, options):
    if name == "a.avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    whole = save(tmp_path / name, scene(80, 120), **options).read_bytes()
    for kept in (0.95, 0.5):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
        fails(name, read, tmp_path / name)
        fails(name, read_colours, tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_16_bit_files_are_refused(tmp_path, capfd, compression):
    tifffile.imwrite(tmp_path / "a.tif", scene16(), photometric="rgb", compression=compression)
    png16(tmp_path / "a.png", scene16())
    for name in ("a.tif", "a.png"):
        whole = (tmp_path / name).read_bytes()
        for kept in (0.97, 0.5):
            (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
            fails("truncated or damaged.*Copy", read, tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_png(tmp_path):
    path = png16(tmp_path / "a.png", scene16())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    fails("truncated or damaged", read, path)


def test_images_without_pixels(tmp_path):
    fails("not an image, damaged, or of an unsupported kind", read, png16(tmp_path / "a.png", scene16(), size=(0, 1)))
    fails("not an image, damaged, or of an unsupported kind", size, png16(tmp_path / "a.png", scene16(), size=(1, 0)))
    fails("0 x 5 pixels", read, Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("extent", [(40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_absurd_sizes_are_refused_from_the_header(tmp_path, extent):
    files = [png16(tmp_path / "a.png", scene16(), size=extent), write_bmp_header(tmp_path / "a.bmp", *extent)]
    for path, call in product(files, (read, read_colours, size, read_labels)):
        fails(r"megapixels; the limit is 300.*Scale", call, path)


def test_the_limit_counts_pixels_and_holds_for_pil_images(monkeypatch, tmp_path):
    path = save(tmp_path / "a.png", scene())
    monkeypatch.setattr(image, "MAX_PIXELS", 24 * 36)
    read(path)
    monkeypatch.setattr(image, "MAX_PIXELS", 24 * 36 - 1)
    fails("declares 36 x 24", read, path)
    fails("declares 36 x 24", read, Image.fromarray(scene()))


def test_two_threads_may_read_one_pil_image_that_is_not_decoded_yet(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(3).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    with Image.open(path) as lazy, ThreadPoolExecutor(2) as threads:
        for found in threads.map(read, [lazy, lazy]):
            np.testing.assert_array_equal(np.rint(255 * found.pixels), pixels)


def test_big_photographs_pass_without_pillows_alarm(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", scene())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow alone now raises
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path).pixels.shape == (24, 36, 3)
        assert size(path) == (24, 36)
    assert Image.MAX_IMAGE_PIXELS == 100, "the caller's setting is put back"


def test_truncation_is_noticed_even_where_the_process_allows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = save(tmp_path / "a.jpg", scene(80, 120)).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    fails("truncated", read, tmp_path / "a.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_nothing_is_printed_or_logged(tmp_path):
    """In a process of its own, where no test runner catches warnings and logs."""
    save(tmp_path / "a.jpg", scene(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff rubbish")
    save(tmp_path / "p.png", Image.fromarray(scene()).quantize(9), transparency=bytes(9))
    tifffile.imwrite(tmp_path / "a.tif", scene(), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["SamplesPerPixel"].overwrite(99)
    code = (
        "import sys, jpst.image as image\n"
        "for path in sys.argv[1:]:\n"
        "    try: image.write(path + '.tif', image.read(path).pixels, bit_depth=16)\n"
        "    except image.ImageError: pass\n"
    )
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert logging.getLogger("PIL").level == logging.NOTSET


def test_the_module_needs_neither_jax_nor_the_optional_packages():
    unwanted = {"jax", "tifffile", "pillow_heif", "scipy"}
    code = f"import sys, jpst.image; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_quantised_gives_the_nearest_integers_of_the_type(dtype):
    top = np.iinfo(dtype).max
    pixels = np.float32([-0.1, 0, 0.4 / top, 0.6 / top, 0.5, 1, 1.2]).repeat(3).reshape(1, 7, 3)
    found = image.quantised(pixels, dtype)
    assert found.dtype == dtype
    assert found[0, :, 0].tolist() == [0, 0, 0, 1, round(0.5 * top), top, top]
