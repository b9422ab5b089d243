"""Pure functions on images [H, W, C]: sizes, resizing, black and white, edges, guided upsampling."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from jpst import resampling
from jpst.caching import cached

TRACE = 1e-6  # pixels: less of a region than this is none
COMMON_RATIO = 1.5  # of the sides of most cameras' photographs, and of one common shape to the next
NEUTRAL_MEAN, NEUTRAL_MOST, NEUTRAL_SHARE = 2 / 255, 12 / 255, 1e-3
"""of a black and white photograph: mean of max(R, G, B) - min(R, G, B), and the share of pixels where that is larger"""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709, on the encoded values


def working_size(height: int, width: int, longest: int, multiple: int = 1) -> tuple[int, int]:
    """(height, width) of an image brought to at most `longest` pixels on its longest side.

    The ratio is kept as far as whole multiples of `multiple` allow. Neither side grows beyond the photograph's own or
    `longest`, unless that is shorter than `multiple`.
    """
    scale = min(1.0, longest / max(height, width))

    def fitted(side: int) -> int:
        wanted, allowed = round(side * scale / multiple), min(longest, side) // multiple
        return multiple * max(1, min(wanted, allowed))

    return fitted(height), fitted(width)


def common_size(height: int, width: int, size: int, multiple: int = 1) -> tuple[int, int]:
    """(height, width) of the nearest of few shapes, whose sides have the ratios 1, 3:2, (3:2)^2, ...

    `size` is the longest side at 3:2; the other shapes have about as many pixels. Sides are rounded to whole multiples
    of `multiple`. The sides' ratio changes by 22 % at most (the square root of 3:2), beside rounding.
    """
    step = np.log(COMMON_RATIO)
    ratio = COMMON_RATIO ** np.round(np.log(max(height, width) / min(height, width)) / step)
    longest = size * np.sqrt(ratio / COMMON_RATIO)
    sides = [multiple * max(1, round(side / multiple)) for side in (longest / ratio, longest)]
    return (sides[0], sides[1]) if width >= height else (sides[1], sides[0])


def resize(image: Float[Array, "h w c"], height: int, width: int, method: str = "cubic") -> Float[Array, "H W c"]:
    """Antialiased resize with half-pixel centres; cubic may overshoot the range of the input a little."""
    return jax.image.resize(image, (height, width, image.shape[-1]), method, precision=jax.lax.Precision.HIGHEST)


def at_size(photograph: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> Float[Array, "H W c"]:
    """A photograph at a size (height, width), in [0, 1]; exactly itself where it has that size already.

    What `resize` does, on the host.
    """
    if photograph.shape[:2] == size:
        return jax.device_put(photograph)
    return jax.device_put(np.clip(resampling.resized(photograph, *size, resampling.cubic), 0, 1))


def filled(
    photograph: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"] | None
) -> Float[np.ndarray, "h w 3"]:
    """The photograph with the nearest visible colour where alpha is 0: what a file stores there is nobody's colour.

    Some pixel must be visible.
    """
    if alpha is None or alpha.all():
        return photograph
    nearest = ndimage.distance_transform_edt(alpha == 0, return_distances=False, return_indices=True)
    return photograph[tuple(np.asarray(nearest))]


def is_neutral(photograph: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"] | None = None) -> bool:
    """Whether a photograph is black and white: no colours but those that compression leaves."""
    few = np.s_[:: max(1, photograph.shape[0] // 256), :: max(1, photograph.shape[1] // 256)]
    sample = _chroma(photograph[few], alpha if alpha is None else alpha[few])
    if sample.size and sample.mean() > 4 * NEUTRAL_MEAN:
        return False  # as most are; looking at every pixel of a camera's picture takes a quarter of a second
    chroma = _chroma(photograph, alpha)
    return bool(chroma.mean() <= NEUTRAL_MEAN and np.mean(chroma > NEUTRAL_MOST) <= NEUTRAL_SHARE)


def _chroma(photograph: np.ndarray, alpha: np.ndarray | None) -> Float[np.ndarray, " pixels"]:
    """max(R, G, B) - min(R, G, B) of each visible pixel."""
    red, green, blue = np.moveaxis(photograph, -1, 0)  # a reduction over so short an axis takes ten times as long
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return chroma.ravel() if alpha is None else chroma[alpha > 0]


def neutral(photograph: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """The photograph in black and white: its luminance in all three channels."""
    return np.repeat((photograph @ np.float32(LUMINANCE))[..., None], 3, axis=-1)


def resize_tf1(planes: Float[Array, "c h w"], height: int, width: int) -> Float[Array, "c H W"]:
    """TensorFlow 1's bilinear resize of each plane: source = index * in / out, no half-pixel centres."""
    for axis, size in ((1, height), (2, width)):
        source = np.arange(size) * (planes.shape[axis] / size)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, planes.shape[axis] - 1)
        part = jnp.float32(source - low).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        planes = jnp.take(planes, low, axis) * (1 - part) + jnp.take(planes, high, axis) * part
    return planes


def area_mean(planes: Float[Array, "c h w"], height: int, width: int) -> Float[Array, "c H W"]:
    """Each plane averaged over the exact area of every output pixel: sums to one where the planes do."""
    rows, columns = area_weights(planes.shape[1], height), area_weights(planes.shape[2], width)
    return jnp.einsum("chw,Hh,Ww->cHW", planes, rows, columns, precision="highest")


def edges(image: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Sobel magnitude of the luminance, scaled as scikit-image does; at least 0.001, where its slope stays finite."""
    around = jnp.pad(jnp.matmul(image, jnp.float32(LUMINANCE), precision="highest"), 1, mode="symmetric")
    rows = around[:-2] + 2 * around[1:-1] + around[2:]
    columns = around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]
    across, down = (rows[:, 2:] - rows[:, :-2]) / 4, (columns[2:] - columns[:-2]) / 4
    return jnp.sqrt((across**2 + down**2) / 2 + 1e-6)


def halved(image: Float[Array, "h w c"]) -> Float[Array, "H W c"]:
    """An image at half its size, sides rounded down: the mean over each pixel's area."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    if image.shape[:2] == (2 * height, 2 * width):  # without matrices of weights in the compiled program
        return image.reshape(height, 2, width, 2, -1).mean((1, 3))
    return jnp.moveaxis(area_mean(jnp.moveaxis(image, -1, 0), height, width), 0, -1)


def area_weights(size: int, out: int) -> np.ndarray:
    """[out, size]: the share of each input pixel in the interval that an output pixel covers."""
    edges = np.linspace(0, size, out + 1)
    cells = np.arange(size)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    overlap = np.maximum(overlap, 0)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def box_mean(image: Float[Array, "h w c"], radius: int) -> Float[Array, "h w c"]:
    """Mean over the (2 radius + 1)^2 window around each pixel, over the pixels inside the image only."""
    for axis in (0, 1):
        window, pad = [1, 1, 1], [(0, 0), (0, 0), (0, 0)]
        window[axis], pad[axis] = 2 * radius + 1, (radius, radius)
        image = jax.lax.reduce_window(image, 0.0, jax.lax.add, tuple(window), (1, 1, 1), pad)
        at = np.arange(image.shape[axis])  # counted on the host: XLA folds a constant's window sums for many seconds
        count = np.minimum(at, radius) + np.minimum(at[::-1], radius) + 1
        image = image / jnp.float32(count).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return image


@partial(cached, static_argnums=(2,))
def affine_maps(
    guide: Float[Array, "h w 3"],
    target: Float[Array, "h w k"],
    radius: int,
    epsilon: float | Float[Array, ""],
    prior: Float[Array, "3 k"],
) -> Float[Array, "h w 4 k"]:
    """For every pixel the affine map, rows r, g, b, 1, that best turns `guide` into `target` around it.

    The guided filter's (He, Sun and Tang, "Guided image filtering", 2010), over windows of side 2 radius + 1, averaged
    over the windows that hold the pixel. `epsilon` is the variance of the guide, in its own units, below which a window
    counts as flat; there the linear part tends to `prior` (differs from the paper, where that is zero).
    """
    mean = partial(box_mean, radius=radius)
    height, width, channels = target.shape

    def products(a: Array, b: Array) -> Array:
        return (a[..., :, None] * b[..., None, :]).reshape(height, width, -1)

    own, other = mean(guide), mean(target)
    covariance = (mean(products(guide, guide)) - products(own, own)).reshape(height, width, 3, 3)
    cross = (mean(products(guide, target)) - products(own, other)).reshape(height, width, 3, channels)
    linear = _solved(covariance, cross + epsilon * prior[None, None], epsilon)
    shift = other - jnp.einsum("hwa,hwab->hwb", own, linear, precision="highest")
    maps = jnp.concatenate([linear, shift[..., None, :]], axis=-2)
    return mean(maps.reshape(height, width, -1)).reshape(height, width, 4, channels)


def _solved(matrix: Float[Array, "h w 3 3"], right: Float[Array, "h w 3 k"], ridge: Array | float) -> Array:
    """(matrix + ridge Id)^-1 right, of symmetric matrices without negative eigenvalues, by their L D L^T.

    Not by `jnp.linalg.solve`: with JAX 0.10 on two cores, batches of it in two threads wait for each other for ever.
    """
    (a00, _, _), (a10, a11, _), (a20, a21, a22) = [[matrix[..., i, j, None] for j in range(3)] for i in range(3)]
    r0, r1, r2 = (right[..., i, :] for i in range(3))
    d0 = a00 + ridge
    l10, l20 = a10 / d0, a20 / d0
    # Exactly, no pivot is smaller than the ridge; rounding would make some negative.
    d1 = jnp.maximum(a11 + ridge - l10 * a10, ridge)
    below = a21 - l20 * a10
    l21 = below / d1
    d2 = jnp.maximum(a22 + ridge - l20 * a20 - l21 * below, ridge)
    y1 = r1 - l10 * r0
    x2 = (r2 - l20 * r0 - l21 * y1) / d2
    x1 = y1 / d1 - l21 * x2
    x0 = r0 / d0 - l10 * x1 - l20 * x2
    return jnp.stack([x0, x1, x2], axis=-2)
