"""Resizing on the host, by the few weights that are not zero. XLA would compile anew for each photograph's size."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array


def resized(image: Float[np.ndarray, "h w c"], height: int, width: int, kernel: "Kernel") -> Float[np.ndarray, "H W c"]:
    """An image at another size, with half-pixel centres and antialiasing; float32.

    Args:
      kernel: `triangle`, for bilinear, or `cubic`, which may overshoot the range of the image a little.
    """
    before, across, channels = image.shape
    image = np.asarray(image, np.float32)
    if (before, across) == (height, width):
        return image  # which the weights, 1 on the diagonal, would only copy
    narrow = _weights(before, height, kernel) @ image.reshape(before, -1)
    turned = narrow.reshape(height, across, channels).swapaxes(0, 1).reshape(across, -1)
    return (_weights(across, width, kernel) @ turned).reshape(width, height, channels).swapaxes(0, 1)


def triangle(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The kernel of linear interpolation, at distances in pixels."""
    return np.maximum(1 - x, 0)


def cubic(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Keys' cubic convolution (1981, a = -1/2), at distances in pixels."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


Kernel = Callable[[np.ndarray], np.ndarray]
REACH = 2  # pixels to either side, of the wider kernel


def _weights(size: int, out: int, kernel: Kernel) -> csr_array:
    """[out, size]: the kernel at each output pixel, stretched to it where it is larger; the rows sum to one."""
    stretch = max(size / out, 1.0)
    centres = (np.arange(out) + 0.5) * (size / out) - 0.5
    inputs = np.floor(centres - REACH * stretch).astype(int)[:, None] + np.arange(int(2 * REACH * stretch) + 3)
    weights = np.where((inputs >= 0) & (inputs < size), kernel(np.abs(inputs - centres[:, None]) / stretch), 0)
    weights /= weights.sum(1, keepdims=True)
    rows, kept = np.broadcast_to(np.arange(out)[:, None], inputs.shape), weights != 0
    return csr_array((weights[kept].astype(np.float32), (rows[kept], inputs[kept])), shape=(out, size))
