"""Upsamples a small result to the size of the content photograph, with a local affine colour model.

At working size the result is fitted, window by window, as an affine map of the content's colours (the fast guided
filter of He and Sun, arXiv 1505.00996, with the content as guide). The maps are interpolated to full size and applied
to the full photograph, so edges and texture are those of the photograph.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jpst.caching import cached
from jpst.pixels import affine_maps

BAND = 64  # rows processed at a time: bounds the memory of the interpolated maps


def apply(
    full: Float[np.ndarray, "H W 3"],
    content: Float[Array, "h w 3"],
    result: Float[Array, "h w 3"],
    radius: int = 1,
    epsilon: float = 1e-3,
) -> Float[np.ndarray, "H W 3"]:
    """`result` at the size of `full`.

    Args:
      full: the content photograph [H, W, 3] in [0, 1].
      content, result: the same photograph at working size, and the transfer's result.
      radius: half the side of the windows, in working pixels.
      epsilon: variance (in [0, 1] units) below which a window counts as flat and gets a plain colour shift.

    Returns:
      float32 [H, W, 3], clipped to [0, 1].
    """
    # regularised towards a plain shift (the identity), not a flat colour, in windows with too little contrast
    maps = affine_maps(content, result, radius, epsilon, np.eye(3, dtype=np.float32))
    height, width = full.shape[:2]
    rows = _interpolation(maps.shape[0], height)
    columns = _interpolation(maps.shape[1], width)
    out = np.empty(full.shape, np.float32)
    tops = range(0, height, BAND)
    mapped = (_map_band(maps, _rows(full, top), *(_rows(part, top) for part in rows), *columns) for top in tops)
    for top, band in zip(tops, _one_ahead(mapped), strict=True):
        out[top : top + BAND] = np.asarray(band)[: height - top]
    return out


def _rows(array: np.ndarray, top: int) -> np.ndarray:
    """BAND rows from `top` on; the last is repeated where there are fewer, so that all bands have one shape."""
    rows = array[top : top + BAND]
    missing = BAND - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows


def _one_ahead(items: Iterator[Array]) -> Iterator[Array]:
    """The same, but the next one is asked for before one is given: the device computes while the host copies."""
    before = next(items)
    for item in items:
        yield before
        before = item
    yield before


def _interpolation(size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear interpolation along one axis: lower index, upper index and weight of the upper index, each [out]."""
    source = ((np.arange(out) + 0.5) * (size / out) - 0.5).clip(0, size - 1)
    low = np.floor(source).astype(np.int32)
    return low, np.minimum(low + 1, size - 1), (source - low).astype(np.float32)


@cached
def _map_band(maps, band, row_low, row_high, row_part, column_low, column_high, column_part):
    """Interpolates the maps to a band of rows and applies them: [BAND, W, 3]."""
    row_part, column_part = row_part[:, None, None, None], column_part[None, :, None, None]
    maps = maps[row_low] * (1 - row_part) + maps[row_high] * row_part
    maps = maps[:, column_low] * (1 - column_part) + maps[:, column_high] * column_part
    mapped = maps[..., 3, :] + sum(maps[..., channel, :] * band[..., channel, None] for channel in range(3))
    return jnp.clip(mapped, 0.0, 1.0)
