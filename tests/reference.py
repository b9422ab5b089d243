"""Slow oracles: NumPy in float64, written from the equations. They share no code with jpst."""

import numpy as np
from scipy import linalg


def matting_laplacian(image: np.ndarray, epsilon: float) -> np.ndarray:
    """Levin, Lischinski and Weiss (2006), equation 12: dense [H W, H W] over row-major pixels.

    L_ij = sum over windows w that hold i and j of
           delta_ij - (1 + (I_i - mu)^T (Sigma + epsilon / |w| Id)^-1 (I_j - mu)) / |w|
    """
    image = image.astype(np.float64)
    height, width = image.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    out = np.zeros((height * width, height * width))
    for y in range(height - 2):
        for x in range(width - 2):
            members = index[y : y + 3, x : x + 3].ravel()
            colours = image[y : y + 3, x : x + 3].reshape(9, 3)
            centred = colours - colours.mean(0)
            inverse = np.linalg.inv(centred.T @ centred / 9 + epsilon / 9 * np.eye(3))
            for a, i in enumerate(members):
                for b, j in enumerate(members):
                    out[i, j] += (i == j) - (1 + centred[a] @ inverse @ centred[b]) / 9
    return out


def matting_energy(laplacian: np.ndarray, image: np.ndarray) -> float:
    """Luan et al. (arXiv 1703.07511), equation 2: the sum over channels of v^T L v."""
    return sum(v @ laplacian @ v for v in image.astype(np.float64).reshape(-1, image.shape[-1]).T)


def resize_tf1(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """TensorFlow 1's `resize_bilinear`, corners not aligned: source = index * in / out, the end repeated."""
    plane = plane.astype(np.float64)
    rows, columns = plane.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            sy, sx = y * rows / height, x * columns / width
            y0, x0 = int(sy), int(sx)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top = plane[y0, x0] + (sx - x0) * (plane[y0, x1] - plane[y0, x0])
            bottom = plane[y1, x0] + (sx - x0) * (plane[y1, x1] - plane[y1, x0])
            out[y, x] = top + (sy - y0) * (bottom - top)
    return out


def area_mean(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """The integral of a piecewise constant plane over each output cell, divided by the cell's area."""
    rows, columns = plane.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            top, bottom = y * rows / height, (y + 1) * rows / height
            left, right = x * columns / width, (x + 1) * columns / width
            for j in range(rows):
                for i in range(columns):
                    tall = max(0.0, min(bottom, j + 1) - max(top, j))
                    wide = max(0.0, min(right, i + 1) - max(left, i))
                    out[y, x] += float(plane[j, i]) * tall * wide
    return out / ((rows / height) * (columns / width))


def gram(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The sum over pixels of m^2 f f^T (Gatys et al., arXiv 1508.06576, equation 3, with masked features)."""
    features = features.astype(np.float64)
    out = np.zeros((features.shape[-1],) * 2)
    for y, x in np.ndindex(mask.shape):
        masked = features[y, x] * float(mask[y, x])
        out += np.outer(masked, masked)
    return out


def content_loss(features: np.ndarray, target: np.ndarray) -> float:
    """Penhouet and Sanzenbacher (arXiv 1901.03915): the mean squared difference of features."""
    return float(np.mean((features.astype(np.float64) - target) ** 2))


def paper_style_loss(
    features: np.ndarray, style_features: np.ndarray, content_masks: np.ndarray, style_masks: np.ndarray
) -> float:
    """arXiv 1901.03915's code, one layer: the sum over masks of mean((G_style - G)^2) / (2 C^2 (h w)^2)."""
    height, width, channels = features.shape
    total = 0.0
    for own, other in zip(content_masks, style_masks, strict=True):
        g = gram(features, resize_tf1(own, height, width))
        g_style = gram(style_features, resize_tf1(other, *style_features.shape[:2]))
        total += np.mean((g_style - g) ** 2) / (2 * channels**2 * (height * width) ** 2)
    return float(total)


def relative_style_loss(
    features: np.ndarray, style_features: np.ndarray, content_masks: np.ndarray, style_masks: np.ndarray
) -> float:
    """Ours, one layer: Grams over their own area, differences over the style Gram's mean square, and a mean
    weighted by the square root of the area.
    """
    terms, weights = [], []
    for own, other in zip(content_masks, style_masks, strict=True):
        own = area_mean(own, *features.shape[:2])
        other = area_mean(other, *style_features.shape[:2])
        g = gram(features, own) / np.sum(own**2)
        g_style = gram(style_features, other) / np.sum(other**2)
        terms.append(np.mean((g - g_style) ** 2) / np.mean(g_style**2))
        weights.append(np.sqrt(np.sum(own**2)))
    return float(np.average(terms, weights=weights))


def adam(
    start: np.ndarray, gradient, steps: int, rate: float, beta1: float, beta2: float, epsilon: float
) -> np.ndarray:
    """Kingma and Ba (arXiv 1412.6980), algorithm 1."""
    x = start.astype(np.float64)
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, steps + 1):
        g = np.asarray(gradient(x), np.float64)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        x = x - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
    return x


def monge_kantorovich(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pitie and Kokaram (2007), equation 8: A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 for covariances A and B."""
    root = linalg.sqrtm(source).real
    inverse = np.linalg.inv(root)
    return inverse @ linalg.sqrtm(root @ target @ root).real @ inverse


def guided_map(content: np.ndarray, result: np.ndarray, epsilon: float, prior: float = 1.0) -> np.ndarray:
    """One window's affine map [4, 3], rows r, g, b, 1: He, Sun and Tang (2013), equation 2, to prior Id.

    Minimises sum |(I - mu) A - (R - nu)|^2 + n epsilon |A - prior Id|^2, by stacking both parts as rows.
    """
    own, other = content.reshape(-1, 3).astype(np.float64), result.reshape(-1, 3).astype(np.float64)
    ridge = np.sqrt(len(own) * epsilon) * np.eye(3)
    rows = np.concatenate([own - own.mean(0), ridge])
    linear = np.linalg.lstsq(rows, np.concatenate([other - other.mean(0), prior * ridge]), rcond=None)[0]
    return np.vstack([linear, other.mean(0) - own.mean(0) @ linear])
