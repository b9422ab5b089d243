"""The colour change of a transfer as a 3-D lookup table (LUT), for editors, cameras and series. Host code.

A table holds what depends on colour alone. What a transfer does differently in different places is lost; `fidelity`
says how much that is. Interpolation is colour-science's, of the extra `lut`; files are read and written by `lut_files`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import cg

from jpst import lut_files, pixels
from jpst.lut_files import Table, identity

LONGEST = 700  # side in pixels of the pictures that a table is made of
SAMPLES = 60_000  # pixels that a table is fitted to
SMOOTHNESS = 0.02  # weight of squared second differences, for each pixel per node
IDENTITY = 1e-4  # weight of the distance from the identity: decides where no pixels are
ROBUST = 0.02  # distance in RGB beyond which a pixel counts less, as what is local does
ROUNDS = 3  # of reweighting
BAND = 1 << 20  # pixels that are interpolated at once


class Fidelity(NamedTuple):
    """How much of a transfer a table carries."""

    mean: float
    """colour difference CIEDE2000 between the table's picture and the result"""
    p95: float
    """its 95th percentile"""
    coverage: float
    """share of the nodes next to a colour of the photograph; the others are extrapolated"""
    neutral_drift: float
    """largest chroma, in CIELAB, that a grey gets"""


def fit(content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h w 3"], nodes: int = lut_files.NODES) -> Table:
    """The table that best turns the colours of `content` into those of `result`.

    Regularised lattice regression (Garcia and Gupta, "Lattice regression", 2009) of the change of each colour:
    trilinear weights, squared second differences between nodes, and a pull to the identity that decides where the
    photograph has no colours. Pixels that disagree with the others of their colour are weighted down (Huber's weights).
    Along the grey axis no channel decreases.

    Args:
      content, result: sRGB-encoded RGB in [0, 1], of one size.
      nodes: along each axis.
    """
    colours, change = _samples(content, result)
    weights = _trilinear(colours, nodes)
    rough = _roughness(nodes) * (SMOOTHNESS * len(colours) / nodes**3)
    ridge = eye_array(nodes**3) * (IDENTITY * len(colours) / nodes**3)
    trusted, found = np.ones(len(colours)), np.zeros((nodes**3, 3))
    for _ in range(ROUNDS):
        matrix = (weights.T @ (weights * trusted[:, None]) + rough + ridge).tocsr()
        right = weights.T @ (trusted[:, None] * change)
        scale = diags_array(1 / matrix.diagonal())
        found = np.stack([cg(matrix, right[:, i], found[:, i], rtol=1e-5, M=scale)[0] for i in range(3)], -1)
        distance = np.linalg.norm(weights @ found - change, axis=-1)
        trusted = ROBUST / np.maximum(distance, ROBUST)
    table = np.clip(identity(nodes) + found.reshape(nodes, nodes, nodes, 3), 0, 1)
    grey = np.arange(nodes)
    table[grey, grey, grey] = np.maximum.accumulate(table[grey, grey, grey], 0)
    return table


def apply(table: Table, photograph: Float[np.ndarray, "h w 3"], strength: float = 1.0) -> Float[np.ndarray, "h w 3"]:
    """The photograph with the table's colours, by tetrahedral interpolation; `strength` 0 is the photograph itself."""
    if strength == 0:
        return photograph
    flat = photograph.reshape(-1, 3)
    mapped = np.empty_like(flat)
    for start in range(0, len(flat), BAND):
        band = np.clip(flat[start : start + BAND], 0, 1)
        found = lut_files.colour_science().algebra.table_interpolation_tetrahedral(band, table)
        mapped[start : start + BAND] = band + strength * (found - band)
    return np.clip(mapped, 0, 1).reshape(photograph.shape).astype(photograph.dtype)


def fidelity(table: Table, content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h w 3"]) -> Fidelity:
    """Compares the table's picture of `content` with `result`, and looks at the table itself."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    apart = deltaE_ciede2000(rgb2lab(apply(table, content)), rgb2lab(np.clip(result, 0, 1)))
    nodes = len(table)
    near = np.asarray(_trilinear(content.reshape(-1, 3), nodes).sum(0)) > 0
    grey = np.arange(nodes)
    chroma = np.linalg.norm(rgb2lab(table[grey, grey, grey])[:, 1:], axis=-1)
    return Fidelity(float(apart.mean()), float(np.percentile(apart, 95)), float(near.mean()), float(chroma.max()))


def of_pictures(content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h2 w2 3"]) -> tuple[Table, Fidelity]:
    """The table of two pictures of any size, each brought to at most `LONGEST` pixels, and how much it carries."""
    height, width, _ = content.shape
    size = pixels.working_size(height, width, LONGEST)
    small, changed = (np.asarray(pixels.at_size(each, size), np.float64) for each in (content, result))
    table = fit(small, changed)
    return table, fidelity(table, small, changed)


def _samples(content: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours and their changes, of pixels drawn evenly over the picture."""
    colours, changed = (np.clip(image, 0, 1).reshape(-1, 3).astype(np.float64) for image in (content, result))
    drawn = np.random.default_rng(0).permutation(len(colours))[:SAMPLES]
    return colours[drawn], changed[drawn] - colours[drawn]


def _trilinear(colours: Float[np.ndarray, "p 3"], nodes: int) -> csr_array:
    """The weights [p, nodes^3] of the eight nodes around each colour."""
    places = np.clip(colours, 0, 1) * (nodes - 1)
    low = np.minimum(places.astype(int), nodes - 2)
    part = places - low
    columns, weights = [], []
    for corner in np.ndindex(2, 2, 2):
        columns.append(np.ravel_multi_index(tuple((low + corner).T), (nodes, nodes, nodes)))
        weights.append(np.where(corner, part, 1 - part).prod(-1))
    rows = np.tile(np.arange(len(colours)), 8)
    shape = (len(colours), nodes**3)
    return csr_array((np.concatenate(weights), (rows, np.concatenate(columns))), shape=shape)


def _roughness(nodes: int) -> csr_array:
    """The quadratic form of all second differences along the three axes."""
    second = np.diff(np.eye(nodes), 2, axis=0)
    once, square = eye_array(nodes), csr_array(second.T @ second)
    axes = [[square, once, once], [once, square, once], [once, once, square]]
    return csr_array(sum(kron(kron(a, b), c) for a, b, c in axes))
