"""The matting Laplacian: which colour changes are locally affine, and so keep a photograph a photograph.

Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting" (2006), equation 12: for each 3 x 3 window w
with mean colour mu and covariance Sigma, each pair of its pixels i, j adds

    delta_ij - (1 + (I_i - mu)^T (Sigma + epsilon / 9 Id)^-1 (I_j - mu)) / 9

to L_ij. The energy of a channel v is v^T L v; it is zero where v is an affine function of the image's colour in each
window. Two forms of the same operator are kept: `stencil`, the 25 entries of each row as an array [5, 5, H, W], and
`bcoo`, the sparse matrix [H W, H W] over row-major pixels. `apply` and `energy` accept either.
"""

from itertools import combinations, product
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import sparse
from jaxtyping import Array, Float

Laplacian = Float[Array, "5 5 h w"] | sparse.BCOO

WINDOW = 3
REACH = WINDOW - 1  # pixels that share a window are at most this far apart
SPAN = 2 * REACH + 1


def stencil(
    image: Float[np.ndarray, "h w 3"],
    epsilon: float = 1e-5,
    moments: Literal["float64", "float32"] = "float64",
) -> Float[np.ndarray, "5 5 h w"]:
    """The matting Laplacian of `image` as a stencil, assembled in float64 on the host.

    Args:
      image: colours [H, W, 3] in [0, 1].
      epsilon: smoothness; divided by the window's 9 pixels as in Levin's code, the reference and pymatting. Larger
        values tolerate less colour change across weak edges.
      moments: precision of the windows' means and covariances. "float64" is the mathematics (and pymatting's
        result); "float32" repeats the reference's rounding, which on flat windows is as large as its epsilon.

    Returns:
      float32 [5, 5, H, W]: entry [dy, dx, y, x] couples pixel (y, x) with pixel (y + dy - 2, x + dx - 2); each row
      sums to zero. All zero where the image has no whole window (a side under 3 pixels).
    """
    height, width = image.shape[:2]
    out = np.zeros((SPAN, SPAN, height, width))
    if min(height, width) < WINDOW:
        return out.astype(np.float32)
    white, scaled = _whitened_windows(image, epsilon, moments)
    rows, columns = height - REACH, width - REACH
    pixels = list(product(range(WINDOW), range(WINDOW)))
    for (a, (ay, ax)), (b, (by, bx)) in combinations(enumerate(pixels), 2):  # pixel pairs, vectorised over windows
        affinity = (1.0 + (white[a] * scaled[b]).sum(0)) / len(pixels)
        out[by - ay + REACH, bx - ax + REACH, ay : ay + rows, ax : ax + columns] -= affinity
        out[ay - by + REACH, ax - bx + REACH, by : by + rows, bx : bx + columns] -= affinity
    out[REACH, REACH] = -out.sum((0, 1))
    return out.astype(np.float32)


def _whitened_windows(image: np.ndarray, epsilon: float, moments: str) -> tuple[np.ndarray, np.ndarray]:
    """u, v [9, 3, H - 2, W - 2] with u_i . v_j = (I_i - mu)^T (Sigma + epsilon / 9 Id)^-1 (I_j - mu) in each window.

    With Sigma + epsilon / 9 Id = L D L^T: u = L^-1 (I - mu), v = D^-1 u. Written out for 3 x 3 because, batched over an
    image, that is many times faster than `np.linalg`, and as stable.
    """
    deviation, covariance = _moments(image.astype(moments))
    (rr, rg, rb), (_, gg, gb), (_, _, bb) = covariance + (epsilon / WINDOW**2) * np.eye(3)[..., None, None]
    first, second, third = deviation.transpose(1, 0, 2, 3)
    l_gr, l_br = rg / rr, rb / rr
    d_g = gg - l_gr * rg
    l_bg = (gb - l_gr * rb) / d_g
    d_b = bb - l_br * rb - l_bg * (gb - l_gr * rb)
    second = second - l_gr * first
    third = third - l_br * first - l_bg * second
    white = np.stack([first, second, third], axis=1)
    return white, white / np.stack([rr, d_g, d_b])


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I - mu [9, 3, H - 2, W - 2] and Sigma [3, 3, H - 2, W - 2] of each window, float64, rounded as `image`'s dtype.

    In float64 the covariance is the mean of (I - mu)(I - mu)^T. In float32 it is the reference's mean(I I^T) - mu mu^T
    with its roundings: products accumulated in row-major order by fused multiply-adds, as matrix products do.
    """
    windows = np.lib.stride_tricks.sliding_window_view(image, (WINDOW, WINDOW), axis=(0, 1))
    windows = windows.transpose(3, 4, 2, 0, 1).reshape(WINDOW**2, 3, *windows.shape[:2])
    mean = windows.mean(0)
    deviation = windows - mean
    if image.dtype == np.float64:
        return deviation, np.einsum("kaij,kbij->abij", deviation, deviation) / WINDOW**2
    second = np.zeros((3, 3, *mean.shape[1:]), np.float32)
    for pixel in windows.astype(np.float64):  # the product of two float32 is exact in float64: one rounding a step
        second = (second + pixel[:, None] * pixel[None, :]).astype(np.float32)
    covariance = second / np.float32(WINDOW**2) - mean[:, None] * mean[None, :]
    return deviation.astype(np.float64), covariance.astype(np.float64)


def bcoo(stencil: Float[Array | np.ndarray, "5 5 h w"]) -> sparse.BCOO:
    """The same operator as a sparse matrix [H W, H W] over row-major pixels, its indices sorted and unique."""
    entries = np.asarray(stencil)
    height, width = entries.shape[2:]
    dy, dx, y, x = np.ix_(*(np.arange(size) for size in entries.shape))
    y_other, x_other = y + dy - REACH, x + dx - REACH
    inside = (y_other >= 0) & (y_other < height) & (x_other >= 0) & (x_other < width)
    present = np.transpose(inside & (entries != 0), (2, 3, 0, 1))  # row-major pixels, then columns ascending
    y, x, dy, dx = np.argwhere(present).T
    indices = np.stack([y * width + x, (y + dy - REACH) * width + x + dx - REACH], axis=1).astype(np.int32)
    return sparse.BCOO(
        (jnp.asarray(entries[dy, dx, y, x]), jnp.asarray(indices)),
        shape=(height * width, height * width),
        indices_sorted=True,
        unique_indices=True,
    )


def apply(laplacian: Laplacian, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """L v for each channel v of `image`."""
    if isinstance(laplacian, sparse.BCOO):
        return (laplacian @ image.reshape(-1, image.shape[-1])).reshape(image.shape)
    return sum(entries[..., None] * difference for entries, difference in _differences(laplacian, image))  # type: ignore


def energy(laplacian: Laplacian, image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """The photorealism energy: v^T L v summed over the channels v of `image` (values in [0, 1]).

    The stencil form sums -L_ij (v_i - v_j)^2 / 2 over pixel pairs, which equals v^T L v because the rows of L sum to
    zero, and is exactly invariant to a constant shift in float32; the sparse form is the matrix product itself.
    """
    if isinstance(laplacian, sparse.BCOO):
        return jnp.vdot(image, apply(laplacian, image))
    pairs = _differences(laplacian, image)
    return -0.5 * sum(jnp.sum(entries[..., None] * difference**2) for entries, difference in pairs)  # type: ignore


def _differences(laplacian: Float[Array, "5 5 h w"], image: Float[Array, "h w c"]):
    """For each offset but the centre: the stencil's entries [H, W] and v_j - v_i [H, W, C] (any value outside)."""
    height, width = image.shape[:2]
    padded = jnp.pad(image, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    for dy, dx in product(range(SPAN), range(SPAN)):
        if (dy, dx) != (REACH, REACH):
            yield laplacian[dy, dx], padded[dy : dy + height, dx : dx + width] - image


def laplacian(
    image: Float[Array, "h w 3"], epsilon: float, moments: Literal["float64", "float32"] = "float64"
) -> Float[Array, "5 5 h w"]:
    """`stencil` for use inside `jit` and `vmap` too: the float64 assembly runs on the host as a callback there."""

    def assemble(image: Array) -> np.ndarray:
        return stencil(np.asarray(image), epsilon, moments)

    if not isinstance(image, Tracer):
        return jnp.asarray(assemble(image))
    shape = jax.ShapeDtypeStruct((SPAN, SPAN, *image.shape[:2]), jnp.float32)
    return jax.pure_callback(assemble, shape, image, vmap_method="sequential")
