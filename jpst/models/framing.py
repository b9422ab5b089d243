"""A photograph in the frame that a scene network takes: resized and padded. Host code."""

from __future__ import annotations

import numpy as np

from jpst import resampling


def fitted(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of a photograph [height, width, ...] with its longest side at `longest` pixels."""
    scale = longest / max(shape[:2])
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image [h, w, channels] at another size, bilinearly, with antialiasing."""
    return resampling.resized(image, height, width, resampling.triangle)


def padded(image: np.ndarray, height: int, width: int, colour: np.ndarray, centred: bool = False) -> np.ndarray:
    """An image [h, w, 3] in a picture of one colour [3]: at its upper left, or in its middle."""
    picture = np.tile(colour.astype(np.float32), (height, width, 1))
    top, left = margins(picture, image, centred)
    picture[top : top + image.shape[0], left : left + image.shape[1]] = image
    return picture


def margins(picture: np.ndarray, image: np.ndarray, centred: bool) -> tuple[int, int]:
    """Rows above and columns left of an image in the picture that it was padded to."""
    rows, columns = (outer - inner for outer, inner in zip(picture.shape[:2], image.shape[:2], strict=True))
    return (rows // 2, columns // 2) if centred else (0, 0)
