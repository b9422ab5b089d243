"""The matting Laplacian, which penalises colour changes that are not locally affine.

Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting" (2006), equation 12: for each 3 x 3 window w
with mean colour mu and covariance Sigma, each pair of its pixels i, j adds

    delta_ij - (1 + (I_i - mu)^T (Sigma + epsilon / 9 Id)^-1 (I_j - mu)) / 9

to L_ij. The energy of a channel v is v^T L v; it is zero where v is an affine function of the image's colour in each
window. There are two forms of the same operator: `stencil`, the 25 entries of each row as an array [5, 5, H, W], and
`bcoo`, the sparse matrix [H W, H W] over row-major pixels. `apply` and `energy` accept either.
"""

from itertools import combinations, combinations_with_replacement, product
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
TILE = 16, 496  # rows and columns assembled at a time; allocating larger arrays would take most of the time


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
      moments: precision of the windows' means and covariances. "float64" is accurate (and equals pymatting); "float32"
        repeats the reference's rounding, which in flat windows is as large as its epsilon.

    Returns:
      float32 [5, 5, H, W]: entry [dy, dx, y, x] couples pixel (y, x) with pixel (y + dy - 2, x + dx - 2); each row
      sums to zero. All zero where the image has no whole window (a side under 3 pixels).
    """
    height, width = image.shape[:2]
    rows, columns = TILE
    out = np.empty((SPAN, SPAN, height, width), np.float32)
    for top, left in product(range(0, height, rows), range(0, width, columns)):
        above, before = min(top, REACH), min(left, REACH)
        around = image[top - above : top + rows + REACH, left - before : left + columns + REACH]
        entries = _tile(around, epsilon, moments)[:, :, above:, before:]
        out[:, :, top : top + rows, left : left + columns] = entries[:, :, :rows, :columns]
    return out


def _tile(image: np.ndarray, epsilon: float, moments: str) -> np.ndarray:
    """`stencil` in float64 for a tile that fits into the processor's cache; correct where all windows are inside."""
    height, width = image.shape[:2]
    out = np.zeros((SPAN, SPAN, height, width))
    if min(height, width) < WINDOW:
        return out
    white, scaled = _whitened_windows(image, epsilon, moments)
    scaled /= WINDOW**2
    rows, columns = height - REACH, width - REACH
    affinity = np.empty((rows, columns))
    positions = list(product(range(WINDOW), range(WINDOW)))
    for (a, (ay, ax)), (b, (by, bx)) in combinations(enumerate(positions), 2):  # pixel pairs, vectorised over windows
        np.einsum("cyx,cyx->yx", white[a], scaled[b], out=affinity)
        affinity += 1 / WINDOW**2
        out[by - ay + REACH, bx - ax + REACH, ay : ay + rows, ax : ax + columns] -= affinity
    for dy, dx in product(range(SPAN), range(SPAN)):  # the other half by symmetry
        if (dy, dx) > (REACH, REACH):
            down, right = dy - REACH, abs(dx - REACH)
            upper, lower = slice(0, height - down), slice(down, height)
            left, across = slice(0, width - right), slice(right, width)
            from_, to = (left, across) if dx >= REACH else (across, left)
            out[SPAN - 1 - dy, SPAN - 1 - dx, lower, to] = out[dy, dx, upper, from_]
    out[REACH, REACH] = -out.sum((0, 1))
    return out


def _whitened_windows(image: np.ndarray, epsilon: float, moments: str) -> tuple[np.ndarray, np.ndarray]:
    """u, v [9, 3, H - 2, W - 2] with u_i . v_j = (I_i - mu)^T (Sigma + epsilon / 9 Id)^-1 (I_j - mu) in each window.

    With Sigma + epsilon / 9 Id = L D L^T: u = L^-1 (I - mu), v = D^-1 u. Written out for 3 x 3, which for all windows
    of an image is many times faster than `np.linalg`, and as stable.
    """
    deviation, covariance = _moments(image.astype(moments))
    (rr, rg, rb), (_, gg, gb), (_, _, bb) = covariance + (epsilon / WINDOW**2) * np.eye(3)[..., None, None]
    white = deviation
    l_gr, l_br = rg / rr, rb / rr
    d_g = gg - l_gr * rg
    l_bg = (gb - l_gr * rb) / d_g
    d_b = bb - l_br * rb - l_bg * (gb - l_gr * rb)
    white[:, 1] -= l_gr * white[:, 0]
    white[:, 2] -= l_br * white[:, 0]
    white[:, 2] -= l_bg * white[:, 1]
    return white, white * np.stack([1 / rr, 1 / d_g, 1 / d_b])


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I - mu [9, 3, H - 2, W - 2] and Sigma [3, 3, H - 2, W - 2] of each window, as float64.

    They are computed in the precision of `image`. In float64 the covariance is the mean of (I - mu)(I - mu)^T. In
    float32 it is the reference's mean(I I^T) - mu mu^T with the same rounding: products accumulated in row-major order
    by fused multiply-adds, as matrix products do.
    """
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    rows, columns = image.shape[0] - REACH, image.shape[1] - REACH
    windows = np.stack([planes[:, y : y + rows, x : x + columns] for y, x in product(range(WINDOW), range(WINDOW))])
    mean = windows.mean(0)
    deviation = windows - mean
    if image.dtype == np.float64:
        return deviation, _second_moment(deviation)
    second = np.zeros((3, 3, *mean.shape[1:]), np.float32)
    for pixel in windows.astype(np.float64):  # products of float32 are exact in float64: one rounding per step
        second = (second + pixel[:, None] * pixel[None, :]).astype(np.float32)
    covariance = second / np.float32(WINDOW**2) - mean[:, None] * mean[None, :]
    return deviation.astype(np.float64), covariance.astype(np.float64)


def _second_moment(deviation: np.ndarray) -> np.ndarray:
    """The mean of d d^T over the nine pixels, from its six distinct entries."""
    covariance = np.empty((3, 3, *deviation.shape[2:]))
    for a, b in combinations_with_replacement(range(3), 2):
        np.einsum("pyx,pyx->yx", deviation[:, a], deviation[:, b], out=covariance[a, b])
        covariance[a, b] /= WINDOW**2
        covariance[b, a] = covariance[a, b]
    return covariance


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
    return jnp.moveaxis(_apply(laplacian, image), 0, -1)


def energy(laplacian: Laplacian, image: Float[Array, "h w c"]) -> Float[Array, ""]:
    """The photorealism energy: v^T L v summed over the channels v of `image` (values in [0, 1]).

    The stencil form sums -L_ij (v_i - v_j)^2 / 2 over pixel pairs, which equals v^T L v because the rows of L sum to
    zero, and is exactly invariant to a constant shift in float32. The sparse form is the matrix product.
    """
    if isinstance(laplacian, sparse.BCOO):
        return jnp.vdot(image, apply(laplacian, image))
    return _stencil_energy(laplacian, image)


def _pairwise_energy(laplacian: Float[Array, "5 5 h w"], image: Float[Array, "h w c"]) -> Float[Array, ""]:
    by_pixel = sum(entries * difference**2 for entries, difference in _differences(laplacian, image))
    return -0.5 * jnp.sum(jnp.asarray(by_pixel))


_stencil_energy = jax.custom_vjp(_pairwise_energy)


def _energy_forward(laplacian: Array, image: Array):
    return _pairwise_energy(laplacian, image), (laplacian, image)


def _energy_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """2 L v, as L is symmetric. Autodiff, which transposes each difference separately, takes forty times as long."""
    # The barrier keeps XLA from holding the differences of both passes in memory, which is slower.
    laplacian, image = jax.lax.optimization_barrier(saved)
    by_image = 2 * gradient * jnp.moveaxis(_apply(laplacian, image), 0, -1)
    # XLA removes this if, as in a transfer, the gradient by the Laplacian is not used.
    (by_laplacian,) = jax.vjp(lambda laplacian: _pairwise_energy(laplacian, image), laplacian)[1](gradient)
    return by_laplacian, by_image


_stencil_energy.defvjp(_energy_forward, _energy_backward)


def _apply(laplacian: Float[Array, "5 5 h w"], image: Float[Array, "h w c"]) -> Float[Array, "c h w"]:
    return jnp.asarray(sum(entries * difference for entries, difference in _differences(laplacian, image)))


def _differences(laplacian: Float[Array, "5 5 h w"], image: Float[Array, "h w c"]):
    """For each offset except the centre: the stencil's entries [1, H, W] and v_j - v_i [C, H, W].

    Differences with pixels outside the image are arbitrary: their entries are zero.
    """
    height, width = image.shape[:2]
    planes = jnp.moveaxis(image, -1, 0)  # channels first: long rows vectorise, pixels of three values do not
    padded = jnp.pad(planes, ((0, 0), (REACH, REACH), (REACH, REACH)), mode="edge")
    for dy, dx in product(range(SPAN), range(SPAN)):
        if (dy, dx) != (REACH, REACH):
            yield laplacian[dy, dx][None], padded[:, dy : dy + height, dx : dx + width] - planes


def laplacian(
    image: Float[Array, "h w 3"], epsilon: float, moments: Literal["float64", "float32"] = "float64"
) -> Float[Array, "5 5 h w"]:
    """`stencil` that also works inside `jit` and `vmap`, where the float64 assembly is a callback on the host."""

    def assemble(image: Array) -> np.ndarray:
        return stencil(np.asarray(image), epsilon, moments)

    if not isinstance(image, Tracer):
        return jax.device_put(assemble(image))
    shape = jax.ShapeDtypeStruct((SPAN, SPAN, *image.shape[:2]), jnp.float32)
    return jax.pure_callback(assemble, shape, image, vmap_method="sequential")
