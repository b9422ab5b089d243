"""Colour profiles: converts the samples of a file to sRGB (ICC.1:2010), at 16 bits where Pillow has only 8."""

import functools
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

import numpy as np
from PIL import Image

BROKEN = "Its colour profile is damaged, or for another kind of image; sRGB is assumed."
BROKEN_INK = "Its colour profile is damaged, or for another kind of image; the inks are taken as plain cyan, magenta, \
yellow and black."
_VISIBLE = (-5e-4, 1.005)  # linear light outside this range is half an 8-bit level or more outside sRGB
_WORTH_TELLING = 1e-3  # share of the pixels from which a note is given


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Row slices of about a megapixel, so that temporaries stay small compared with the image."""
    step = max(1, 2**20 // shape[1])
    return (slice(start, start + step) for start in range(0, shape[0], step))


def unit(samples: np.ndarray, channels: int) -> np.ndarray:
    """float32 [H, W, channels] in [0, 1]."""
    out = np.empty((*samples.shape[:2], channels), np.float32)
    if samples.dtype.kind == "f":
        return np.clip(samples, 0, 1, out=out, casting="same_kind")
    return np.divide(samples, np.float32(np.iinfo(samples.dtype).max), out=out)


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage for a sentence."""
    return "all" if share == 1 else f"{share:.0%}" if 0.1 <= share < 0.995 else f"{max(share, 1e-4):.2%}"


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB that pictures are tagged with."""
    from PIL import ImageCms

    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # a fixed date, so that equal images give equal files
    return made[:24] + date + made[36:]


D50 = np.array([0.9642, 1, 0.8249], np.float32)


def _by_lcms(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    given, srgb = (ImageCms.ImageCmsProfile(BytesIO(each)) for each in (profile, srgb_profile()))
    try:
        converted = ImageCms.profileToProfile(image, given, srgb, outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise ValueError(f"profile refused: {error}") from error
    assert converted is not None  # only a conversion in place returns nothing
    return converted


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """Converts by the profile. Without a usable profile: (1 - ink)(1 - black), with a note if there was a profile."""
    image.load()
    with suppress(OSError, ValueError):
        if profile:
            return _by_lcms(image, profile), []
    return image.convert("RGB"), [BROKEN_INK] if profile is not None else []


def to_srgb(samples: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, list[str]]:
    """Converts samples [H, W, 1 or 3] by a profile to float32 [H, W, 3], sRGB-encoded; also returns notes on losses."""
    if profile is None:
        return unit(samples, 3), []
    broken = (struct.error, LookupError, ValueError, ArithmeticError, OSError)
    with suppress(*broken), np.errstate(divide="raise", invalid="raise", over="raise"):
        converted, cut = _by_profile(samples, profile)
        return unit(samples, 3) if converted is None else converted, _cut_colours(cut)
    return unit(samples, 3), [BROKEN]


def lab_to_srgb(samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Converts CIELAB (D50) [H, W, 3] as stored in TIFF, uint8 or uint16, to sRGB-encoded values of the same type.

    L* covers the range of the type; a* and b* are signed, at 16 bits in units of 1/256 (TIFF 6.0, section 23).
    """
    top = np.iinfo(samples.dtype).max
    signed, step = (np.int8, 1) if samples.dtype == np.uint8 else (np.int16, 256)
    out, cut = np.empty(samples.shape, samples.dtype), 0
    for rows in row_blocks(samples.shape):
        light = (samples[rows, :, :1] * np.float32(100 / top) + 16) / 116
        chroma = np.ascontiguousarray(samples[rows, :, 1:]).view(signed) / np.float32(step)
        cubes = np.concatenate([light + chroma[..., :1] / 500, light, light - chroma[..., 1:] / 200], -1)
        xyz = np.where(cubes > 6 / 29, cubes**3, (cubes - 4 / 29) * np.float32(3 * (6 / 29) ** 2)) * D50
        linear = xyz @ np.linalg.inv(_primaries(_tags(srgb_profile()))).T
        cut += _outside(linear)
        out[rows] = np.rint(_encoded(linear) * top)
    return out, _cut_colours(cut / out[..., 0].size)


def _cut_colours(share: float) -> list[str]:
    return [f"Colours outside sRGB were clipped, in {percent(share)} of the pixels."] if share >= _WORTH_TELLING else []


def _outside(linear: np.ndarray) -> int:
    """The number of pixels, in linear light, that are visibly outside sRGB."""
    return int(((linear < _VISIBLE[0]) | (linear > _VISIBLE[1])).any(-1).sum())


def _by_profile(samples: np.ndarray, profile: bytes) -> tuple[np.ndarray | None, float]:
    """`samples` converted to sRGB, or None if the profile is sRGB; and the share of clipped pixels.

    Pillow gives access to lcms at 8 bits only. So the profiles that cameras and raw developers write, three curves and
    a matrix (ICC.1:2010, F.3), are evaluated in this module, at 16-bit precision. For look-up tables and for greys the
    share of clipped pixels is not known and returned as 0. Raises one of many errors if the profile is damaged or for
    another kind of image.
    """
    tags, top = _tags(profile), np.iinfo(samples.dtype).max
    if profile[16:24] == b"GRAYXYZ " and samples.shape[-1] == 1:
        return np.repeat(_encoded(_curve(tags[b"kTRC"], top))[samples], 3, axis=-1), 0.0
    if profile[16:20] != b"RGB ":
        raise ValueError("for another kind of image")
    samples = np.broadcast_to(samples, (*samples.shape[:2], 3))
    if b"A2B0" in tags:
        return _by_lattice(samples, profile), 0.0
    ramp = np.arange(0, 256, 17, dtype=np.uint8)
    probe = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(1, -1, 3)
    if np.abs(_by_matrix(probe, tags)[0] - probe / 255).max() < 0.5 / 255:
        return None, 0.0  # sRGB, which exists in many slightly rounded versions
    return _by_matrix(samples, tags)


def _by_matrix(samples: np.ndarray, tags: dict[bytes, bytes]) -> tuple[np.ndarray, float]:
    curves = [_curve(tags[name], np.iinfo(samples.dtype).max) for name in (b"rTRC", b"gTRC", b"bTRC")]
    matrix = np.linalg.solve(_primaries(_tags(srgb_profile())), _primaries(tags)).astype(np.float32)
    out, cut = np.empty(samples.shape, np.float32), 0
    for rows in row_blocks(samples.shape):
        linear = np.stack([curve[samples[rows, :, i]] for i, curve in enumerate(curves)], -1) @ matrix.T
        cut += _outside(linear)
        out[rows] = _encoded(linear)
    return out, cut / out[..., 0].size


def _by_lattice(samples: np.ndarray, profile: bytes) -> np.ndarray:
    """Converts by a profile of look-up tables (scanners, printers): lcms on a lattice of 52^3 colours.

    The linear interpolation between them keeps 16-bit gradients free of 8-bit steps.
    """
    from scipy.ndimage import map_coordinates

    nodes = np.arange(0, 256, 5, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), -1)
    measured = _by_lcms(Image.fromarray(lattice.reshape(len(nodes), -1, 3)), profile)
    table = np.asarray(measured, np.float32).reshape(lattice.shape) / 255
    scale = np.float32((len(nodes) - 1) / np.iinfo(samples.dtype).max)
    out = np.empty(samples.shape, np.float32)
    for rows in row_blocks(samples.shape):
        at = np.moveaxis(samples[rows] * scale, -1, 0)
        for channel in range(3):
            out[rows, :, channel] = map_coordinates(table[..., channel], at, order=1, mode="nearest")
    return out


def _encoded(linear: np.ndarray) -> np.ndarray:
    """float32 sRGB values (IEC 61966-2-1) of linear light, clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    count = int.from_bytes(profile[128:132], "big")
    entries = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
    return {name: profile[start : start + length] for name, start, length in entries}


def _primaries(tags: dict[bytes, bytes]) -> np.ndarray:
    """float64 [3, 3]: XYZ (D50) of red, green and blue, one per column."""
    columns = [struct.unpack(">3i", tags[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return np.array(columns).T / 65536


def _curve(tag: bytes, top: int) -> np.ndarray:
    """float32 [top + 1]: linear light for each sample value, from a curv or para tag (ICC.1:2010 10.5, 10.15)."""
    x = np.linspace(0, 1, top + 1)
    if tag[:4] == b"curv":
        count = int.from_bytes(tag[8:12], "big")
        points = np.frombuffer(tag, ">u2", count, 12)
        if count > 1:
            return np.interp(x, np.linspace(0, 1, count), points / 65535).astype(np.float32)
        return (x ** (points[0] / 256) if count else x).astype(np.float32)
    kind = tag[8:10] if tag[:4] == b"para" else b""
    count = {b"\0\0": 1, b"\0\1": 3, b"\0\2": 4, b"\0\3": 5, b"\0\4": 7}[kind]
    given = [value / 65536 for value in struct.unpack(f">{count}i", tag[12 : 12 + 4 * count])]
    gamma, a, b, c, d, e, f = given + [1, 0, 0, 0, 0, 0][count - 1 :]
    if count in (3, 4):  # the linear part begins where the base of the power would become negative
        c, d, e, f = 0, -b / a, c, c
    light = np.where(x >= d, np.maximum(a * x + b, 0) ** gamma + e, c * x + f)
    return np.clip(light, 0, 1).astype(np.float32)
