"""Similarity of two regions of a photograph by their colours and their heights. Host code."""

from functools import cache

import numpy as np

from jpst.masks import BLOCK_ROWS
from jpst.regions.segment import MaskError, Segmentation
from jpst.regions.semantics import Side, Similarity


def similarity(
    content_photo: np.ndarray, content: Segmentation, style_photo: np.ndarray, style: Segmentation
) -> Similarity:
    """Similarity of two regions of one photograph (float [H, W, 3], sRGB in 0..1, same size as its labels).

    It is 1 / (1 + sqrt(e^2 + y^2)), with e the CIELAB distance of the regions' mean colours divided by 100 (black to
    white), and y the difference of their mean vertical positions divided by the photograph's height. It is 1 for the
    same colour at the same height. Position counts because at night sky and ground have the same colour.
    """
    photos: dict[Side, tuple[np.ndarray, Segmentation]] = {
        "content": (content_photo, content),
        "style": (style_photo, style),
    }
    for side, (photo, segmentation) in photos.items():
        if photo.shape[:2] != segmentation.labels.shape:
            raise MaskError(
                f"The {side} label map: expected {list(photo.shape[:2])} [height, width] as its photograph, got "
                f"{list(segmentation.labels.shape)}. Resize it with segment.fit."
            )

    @cache  # computed on demand: most pairs of masks have no orphans
    def features(side: Side) -> dict[str, np.ndarray]:
        return _features(*photos[side])

    def alike(side: Side, orphan: str, candidate: str) -> float:
        distance = np.linalg.norm(features(side)[orphan] - features(side)[candidate])
        return float(1 / (1 + distance))

    return alike


def _features(photo: np.ndarray, segmentation: Segmentation) -> dict[str, np.ndarray]:
    """For each name with pixels the mean of (L, a, b) / 100 and of the vertical position (0 top, 1 bottom)."""
    from skimage.color import rgb2lab

    names = sorted(set(segmentation.names))
    lookup = np.array([names.index(name) for name in segmentation.names])
    height = len(photo)
    sums = np.zeros((len(names), 5))
    for top in range(0, height, BLOCK_ROWS):
        block = photo[top : top + BLOCK_ROWS]
        labels = lookup[segmentation.labels[top : top + BLOCK_ROWS]]
        rows = np.arange(top, top + len(block))[:, None, None] + 0.5
        position = np.broadcast_to(rows / height, (*labels.shape, 1))
        values = np.concatenate([rgb2lab(block) / 100, position, np.ones_like(position)], axis=-1)
        for column in range(5):
            sums[:, column] += np.bincount(labels.ravel(), values[..., column].ravel(), minlength=len(names))
    return {name: row[:4] / row[4] for name, row in zip(names, sums, strict=True) if row[4] > 0}
