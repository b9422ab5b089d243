"""3 x 3 convolutions by Winograd's F(4x4, 3x3), and a 2 x 2 maximum pool whose gradient is fast: for CPUs.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308): each tile of 4 x 4 outputs is
the interpolation of products at 6 x 6 points, 36 multiplications where the sum takes 144. The evaluation points 0, 1,
-1, 2, 1/2 and infinity are closed under inversion, so that the kernel turned by 180 degrees, which the input's gradient
is a convolution with, has the same 36 values in another order: one transformed kernel serves both directions.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

OUT, KERNEL = 4, 3
POINTS = OUT + KERNEL - 1
FINITE = tuple(map(Fraction, ("0", "1", "-1", "2", "1/2")))
INVERSE = (5, 1, 2, 4, 3, 0)
"""where the inverse of each point stands; infinity is the last"""

Matrix = tuple[tuple[float, ...], ...]


def _toom_cook() -> tuple[Matrix, Matrix, Matrix]:
    """G [6, 3], B^T [6, 6] and A^T [4, 6] with y = A^T ((G g) * (B^T d)) the correlation of d [6] with g [3].

    G's rows are scaled so that turning them round is reordering them: G[INVERSE][:, ::-1] = G.
    """
    kernel, data = [], []
    for i, point in enumerate(FINITE):
        others = [other for j, other in enumerate(FINITE) if j != i]
        scale = max(abs(point), 1) ** (1 - KERNEL)
        values = [scale * point**power for power in range(KERNEL)]
        weight = scale * math.prod(point - other for other in others)
        kernel.append(values)
        data.append([coefficient / weight for coefficient in (*_coefficients(others), 0)])
    kernel.append([0] * (KERNEL - 1) + [1])
    data.append(list(_coefficients(FINITE)))
    outputs = [[*(point**power for point in FINITE), int(power == OUT - 1)] for power in range(OUT)]
    return tuple(tuple(tuple(map(float, row)) for row in matrix) for matrix in (kernel, data, outputs))  # type: ignore


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Of the polynomial with these roots, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


G, B_T, A_T = _toom_cook()


def transform(kernel: Float[Array, "3 3 c k"]) -> Float[Array, "36 c k"]:
    """The kernel's values at the 6 x 6 points, which `convolve` multiplies with: computed once, used in every step."""
    columns = _combine(G, [kernel[i] for i in range(KERNEL)])
    rows = _combine(G, [columns[:, j] for j in range(KERNEL)])
    return rows.reshape(POINTS**2, *kernel.shape[2:])


def turned(transformed: Float[Array, "36 c k"]) -> Float[Array, "36 c k"]:
    """The values of the kernel whose rows are this one's columns."""
    square = transformed.reshape(POINTS, POINTS, *transformed.shape[1:])
    return jnp.swapaxes(square, 0, 1).reshape(transformed.shape)


def convolve(
    image: Float[Array, "h w c"], kernel: Float[Array, "3 3 c k"], transformed: Float[Array, "36 c k"] | None = None
) -> Float[Array, "h w k"]:
    """Correlation with `kernel`, zeros around the image, same size: XLA's own, or Winograd's if `transformed` is given.

    Both agree to about 1e-5 of the largest output in float32. Gradients come out for image and kernel; `transformed`
    must be `transform(kernel)` and counts as a copy of it: it has no gradient of its own.
    """
    return _stock(image, kernel) if transformed is None else _winograd(image, kernel, transformed)


def _stock(image: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        image[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


@jax.custom_vjp
def _winograd(image: Array, kernel: Array, transformed: Array) -> Array:
    del kernel  # only its gradient is asked for
    return _by_tiles(image, transformed, 1, B_T, A_T)


def _winograd_forward(image: Array, kernel: Array, transformed: Array):
    return _winograd(image, kernel, transformed), (image, kernel, transformed)


def _winograd_backward(saved: tuple[Array, Array, Array], gradient: Array):
    image, kernel, transformed = saved
    data, outputs = tuple(B_T[i] for i in INVERSE), tuple(tuple(row[i] for i in INVERSE) for row in A_T)
    by_image = _by_tiles(gradient, transformed, 2, data, outputs)
    # Nothing is computed of it where, as in a transfer, it is not asked for.
    (by_kernel,) = jax.linear_transpose(lambda kernel: _stock(image, kernel), kernel)(gradient)
    return by_image, by_kernel, None


_winograd.defvjp(_winograd_forward, _winograd_backward)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _by_tiles(image: Array, kernel: Array, contracted: int, data: Matrix, outputs: Matrix) -> Array:
    """Tiles to 6 x 6 values, a product over channels at each of the 36, and back: [h, w, channels].

    One direction after the other, in two passes over memory: as one expression it compiles for seconds a layer. Jitted
    so that it is traced once for all layers of a shape.
    """
    height, width, channels = image.shape
    down, across = -(-height // OUT), -(-width // OUT)
    padding = [(1, OUT * (tiles + 1) - size - 1) for tiles, size in ((down, height), (across, width))]
    rows = jnp.pad(image, (*padding, (0, 0))).reshape(down + 1, OUT, -1, channels)
    shifts = [(i // OUT, i % OUT) for i in range(POINTS)]  # a tile of 6 is one of 4 and the head of the next
    columns = _combine(data, [rows[by : by + down, i] for by, i in shifts])
    columns = columns.reshape(POINTS * down, across + 1, OUT, channels)
    values = _combine(data, [columns[:, by : by + across, i] for by, i in shifts])
    values = values.reshape(POINTS**2, down * across, channels)
    products = jax.lax.dot_general(values, kernel, (((2,), (contracted,)), ((0,), (0,))))
    products = products.reshape(POINTS, POINTS * down, across, -1)
    columns = _combine(outputs, list(products), axis=2).reshape(POINTS, down, OUT * across, -1)
    rows = _combine(outputs, list(columns), axis=1)
    return rows.reshape(OUT * down, OUT * across, -1)[:height, :width]


def _combine(matrix: Sequence[Sequence[float]], terms: Sequence[Array], axis: int = 0) -> Array:
    """Matrix @ terms, written out as the few sums that it is, stacked along `axis`."""
    sums = []
    for row in matrix:  # in terms of lax, which is traced several times as fast as operators are
        present = [(factor, term) for factor, term in zip(row, terms, strict=True) if factor]
        products = [jax.lax.mul(term, term.dtype.type(factor)) if factor != 1 else term for factor, term in present]
        sums.append(functools.reduce(jax.lax.add, products))
    return jnp.stack(sums, axis)


@jax.custom_vjp
def pool(image: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """The maximum of each 2 x 2 pixels, sides rounded down; the gradient goes to the first of equals, row by row."""
    return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, (2, 2, 1), (2, 2, 1), "VALID")


def _pool_forward(image: Array):
    largest = pool(image)
    return largest, (image, largest)


def _pool_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    """As XLA's, but a comparison for each pixel, where XLA's goes through the windows one after another."""
    image, largest = saved
    height, width, channels = image.shape
    down, across = largest.shape[:2]
    windows = image[: 2 * down, : 2 * across].reshape(down, 2, across, 2, channels)
    taken = jnp.zeros(largest.shape, bool)
    parts = []
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        first = (windows[:, i, :, j] == largest) & ~taken
        taken |= first
        parts.append(jnp.where(first, gradient, 0))
    rows = [jnp.stack(parts[i : i + 2], axis=2) for i in (0, 2)]
    whole = jnp.stack(rows, axis=1).reshape(2 * down, 2 * across, channels)
    return (jnp.pad(whole, ((0, height - 2 * down), (0, width - 2 * across), (0, 0))),)


pool.defvjp(_pool_forward, _pool_backward)
