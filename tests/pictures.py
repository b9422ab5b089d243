"""Pictures, colour profiles and files made in code, and the values of Pillow and lcms to compare with."""

import io
import struct
import warnings
import zlib
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from jpst.image import ImageError

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
TURN = 0x0112
XYZ_TO_SRGB = (  # linear, from D50, after Lindbloom
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)


def scene(height=24, width=36, channels=3, seed=0):
    """Smooth colours over nearly the whole range, and some noise: uint8 [height, width, channels]."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    smooth = np.stack([x, y, (x + y) / 2, 1 - x], -1)[..., :channels] * 200 + 20
    noise = np.random.default_rng(seed).integers(-15, 16, smooth.shape)
    return (smooth + noise).astype(np.uint8)


def scene16(height=24, width=36, channels=3):
    return np.random.default_rng(1).integers(0, 65536, (height, width, channels)).astype(np.uint16)


def gradient16(width=4096):
    """Muted colours that change smoothly, in far finer steps than 8 bits hold: uint16 [4, width, 3]."""
    ramp = np.linspace(0, 1, width)
    row = np.stack([0.3 + 0.5 * ramp, 0.35 + 0.4 * ramp, 0.6 - 0.2 * ramp], -1)
    return np.rint(np.broadcast_to(row, (4, width, 3)) * 65535).astype(np.uint16)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(path, samples, *, profile=None, exif=None, transparent=None, size=None):
    """A 16-bit PNG straight from the specification, rows unfiltered; `size` overrules the declared one."""
    height, width, channels = samples.shape
    declared = size or (height, width)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = np.insert(samples.astype(">u2").view(np.uint8).reshape(height, -1), 0, 0, axis=1)
    parts = [png_chunk(b"IHDR", struct.pack(">2I5B", declared[1], declared[0], 16, colour_type, 0, 0, 0))]
    parts += [png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))] if profile else []
    parts += [png_chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))] if transparent else []
    parts += [png_chunk(b"eXIf", exif)] if exif else []
    parts += [png_chunk(b"IDAT", zlib.compress(rows.tobytes())), png_chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def exif_turn(orientation):
    exif = Image.Exif()
    exif[TURN] = orientation
    return exif.tobytes()[6:]  # without the "Exif\0\0" of JPEG


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def curv(*points):
    return b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points)


def para(kind, *values):
    return b"para\0\0\0\0" + struct.pack(f">Hxx{len(values)}i", kind, *(round(v * 65536) for v in values))


def lut8(inputs, corners):
    """A lut8 tag with straight curves and a grid of two nodes along each input: corners [2 ** inputs, 3]."""
    head = b"mft1\0\0\0\0" + bytes([inputs, 3, 2, 0]) + xyz(np.eye(3)[0])[8:] + xyz(np.eye(3)[1])[8:]
    straight = bytes(range(256))
    return head + xyz(np.eye(3)[2])[8:] + straight * inputs + bytes(np.uint8(corners).ravel()) + straight * 3


def icc(space, tags, connection=b"XYZ ", kind=b"mntr", version=0x02400000):
    """An ICC profile, byte by byte (ICC.1:2001-04)."""
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1, 0.8249)), **tags}
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        table += struct.pack(">4s2I", key, start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"jpst", version, kind, space, connection)
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz((0.9642, 1, 0.8249))[8:]
    return head.ljust(128, b"\0") + table + body


def matrix_profile(primaries=ADOBE, curve=None):
    curve = curve or curv(563)  # 563/256 is Adobe RGB's 2.2
    colours = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=True))
    return icc(b"RGB ", colours | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def table_profile():
    """RGB by look-up table: red and blue change places; the corners of the grid are in Lab."""
    lab = ImageCms.createProfile("LAB")
    corners = np.array([[b, g, r] for r, g, b in product((0, 255), repeat=3)], np.uint8)
    as_lab = ImageCms.profileToProfile(
        Image.fromarray(corners[None]), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
    )
    encoded = np.asarray(as_lab).astype(np.int16)[0]
    encoded[:, 1:] = (encoded[:, 1:] + 128) % 256  # Pillow's Lab is signed, the profile's is offset by 128
    return icc(b"RGB ", {b"A2B0": lut8(3, encoded)}, b"Lab ", b"scnr")


def cmyk_profile():
    """Inks that darken: L from the sum of inks, a and b from the differences."""
    inks = np.array(list(product((0, 1), repeat=4)))
    light = 255 * (1 - inks @ [0.2, 0.25, 0.1, 0.45])
    lab = np.stack([light, 128 + 40 * (inks[:, 1] - inks[:, 0]), 128 + 60 * (inks[:, 2] - inks[:, 0])], -1)
    return icc(b"CMYK", {b"A2B0": lut8(4, lab)}, b"Lab ", b"prtr")


def lcms(samples, profile, intent=ImageCms.Intent.RELATIVE_COLORIMETRIC):
    """8-bit conversion to sRGB by lcms through Pillow: float [H, W, 3]."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    pillow = Image.fromarray(samples) if isinstance(samples, np.ndarray) else samples
    srgb = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(pillow, source, srgb, intent, outputMode="RGB")) / 255


def as_pillow_reads(path, mode=None):
    """Upright samples as Pillow reads them."""
    with Image.open(path) as opened:
        turned = ImageOps.exif_transpose(opened)
        return np.asarray(turned.convert(mode) if mode else turned)


def distance(a, b):
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b)).max())


def save(path, samples, mode=None, **options):
    pillow = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    pillow.save(path, **options)
    return path


def fails(match, call, *args, **kwargs):
    """The call raises ImageError with these words, says what to do, and lets nothing else out."""
    with warnings.catch_warnings(record=True) as caught, pytest.raises(ImageError, match=match) as error:
        warnings.simplefilter("always")
        call(*args, **kwargs)
    assert not caught
    assert str(error.value).count(". ") >= 1, "a finding and an advice"
    return str(error.value)
