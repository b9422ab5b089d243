"""What no label is sure of, given to the region that it runs into without an edge. Host code."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu

from jpst.regions import segment

EDGES_STOP = 2000.0  # a step between colours d apart, in [0, 1] and Euclidean, is exp(-2000 d^2) as likely as another
ENDS = 1e-4  # likelihood that a walk ends before the next step: in even areas it goes about 100 steps far
ARRIVED = 0.8  # share of the walks that must arrive in a region for a pixel to be given to it


def filled(
    labels: Int[np.ndarray, "h w"], unsure: Bool[np.ndarray, "h w"], picture: Float[np.ndarray, "h w 3"]
) -> Int[np.ndarray, "h w"]:
    """A label map whose `unsure` pixels have the label that nearly all random walks from them lead to.

    Else a piece of a sky that was not recognised would be a smudge in it. As in "Random walks for image segmentation"
    (Grady, 2006), with RGB in [0, 1]; differs from it in that a walk may end on its way, so that what edges surround on
    all sides, such as a bird, stays what it is. Solved exactly, at half the size.
    """
    seeds = np.where(unsure, -1, labels)[::2, ::2]
    if min(labels.shape) < 2 or not unsure.any() or (seeds < 0).all():
        return labels
    rows, columns = (side // 2 * 2 for side in labels.shape)
    half = picture[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2, 3).mean((1, 3))
    found, share = _arrivals(seeds[: rows // 2, : columns // 2], half)
    found, share = (segment.resized(each, *labels.shape) for each in (found, share))
    return np.where(unsure & (share > ARRIVED), found, labels).astype(np.int32)


def _arrivals(seeds: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the label that most walks arrive at, and their share; `seeds` are labels, -1 where unsure."""
    at = np.arange(seeds.size).reshape(seeds.shape)
    pairs, weights = [], []
    for axis in (0, 1):
        apart = np.square(np.diff(picture, axis=axis)).sum(-1)
        pairs.append(np.stack([np.delete(at, -1, axis).ravel(), np.delete(at, 0, axis).ravel()]))
        weights.append(np.exp(-EDGES_STOP * apart).ravel())
    (one, other), weight = np.concatenate(pairs, 1), np.concatenate(weights).astype(np.float64)
    steps = sparse.coo_array((weight, (one, other)), shape=(seeds.size, seeds.size))
    steps = (steps + steps.T).tocsr()
    free = np.flatnonzero(seeds.ravel() < 0)
    leaving = sparse.dia_array((steps.sum(1)[None] + ENDS, [0]), shape=steps.shape).tocsr()
    solver = splu((leaving - steps)[free][:, free].tocsc())
    names = np.unique(seeds[seeds >= 0])
    shares = np.zeros((len(names), seeds.size))
    for number, name in enumerate(names):
        here = (seeds.ravel() == name).astype(np.float64)
        shares[number] = here
        shares[number, free] = solver.solve((steps @ here)[free])
    return names[shares.argmax(0)].reshape(seeds.shape), shares.max(0).reshape(seeds.shape)
