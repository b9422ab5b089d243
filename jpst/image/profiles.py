"""ICC profiles made from colour declarations in PNG (third edition) and EXIF, for files without an ICC profile."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Chromaticities = tuple[tuple[float, float], ...]
"""x, y (CIE 1931) of red, green, blue and white."""

BT709: Chromaticities = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
ADOBE: Chromaticities = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65)
# Keys are the code points of ITU-T H.273, tables 2 and 3.
_PRIMARIES: dict[int, Chromaticities] = {
    1: BT709,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), (0.310, 0.316)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
HDR = {16: "PQ", 18: "HLG"}
_NEARLY_SRGB = (0.45, 0.46)
"""PNG files of sRGB colours declare the gamma 1/2.2, the power law nearest to sRGB's curve."""


def _curve(kind: int, *values: float) -> bytes:
    """A parametric curve tag (ICC.1:2010 10.15)."""
    return b"para\0\0\0\0" + struct.pack(f">Hxx{len(values)}i", kind, *(round(value * 65536) for value in values))


SRGB_CURVE = _curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = _curve(3, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES = {1: _BT709_CURVE, 4: _curve(0, 2.2), 5: _curve(0, 2.8), 6: _BT709_CURVE, 8: _curve(0, 1.0)}
_CURVES |= {13: SRGB_CURVE, 14: _BT709_CURVE, 15: _BT709_CURVE}


def made(chromaticities: Chromaticities, curve: bytes) -> bytes:
    """An ICC profile (the parts that `icc.to_srgb` reads) of three primaries, a white point and one curve.

    Raises `ValueError` if the numbers are not colours.
    """
    columns = {
        name: _xyz(values) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _matrix(chromaticities).T, strict=True)
    }
    tags = columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4s2I", name, start + len(body), len(value))
        body += value
    return b"mntrRGB XYZ ".rjust(24, b"\0").ljust(128, b"\0") + table + body


def adobe_rgb() -> bytes:
    """The profile of Adobe RGB (1998), section 4.3."""
    return made(ADOBE, _curve(0, 563 / 256))


def of_code_points(cicp: bytes) -> bytes | None:
    """The profile of a PNG's cICP chunk; None if the chunk does not describe full-range RGB.

    HDR curves, which do not fit into [0, 1], are listed in `HDR` by their number (the second byte).
    """
    primaries, curve, matrix, full_range = cicp
    if primaries not in _PRIMARIES or curve not in _CURVES or matrix or full_range != 1:
        return None
    return made(_PRIMARIES[primaries], _CURVES[curve])


def of_gamma(gamma: float | None, chromaticities: Chromaticities | None) -> bytes:
    """The profile of a PNG's gAMA (the encoding exponent, for example 1/2.2) and cHRM chunks; None stands for sRGB's.

    Raises `ValueError` if the numbers are not colours.
    """
    if gamma is not None and not 0.1 <= gamma <= 10:
        raise ValueError(f"a gamma of {gamma:g}")
    if gamma is None or _NEARLY_SRGB[0] <= gamma <= _NEARLY_SRGB[1]:
        return made(chromaticities or BT709, SRGB_CURVE)
    return made(chromaticities or BT709, _curve(0, 1 / gamma))


def _matrix(chromaticities: Chromaticities) -> np.ndarray:
    """XYZ (white point D50) of red, green and blue, one per column."""
    xy = np.array(chromaticities, float)
    if xy.min() < 0 or xy[:, 1].min() < 1e-3:
        raise ValueError("chromaticities that are no colours")
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    colours, white = xyz[:, :3], xyz[:, 3]
    scaled = colours * np.linalg.solve(colours, white)
    adaptation = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ D50 / (_BRADFORD @ white)) @ _BRADFORD)
    found = adaptation @ scaled
    if not np.isfinite(found).all() or np.abs(found).max() > 100:
        raise ValueError("chromaticities that are no colours")
    return found


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values.tolist()))
