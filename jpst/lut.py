"""The colour change of a transfer as a 3-D lookup table (LUT), for editors, cameras and series. Host code.

A table holds what depends on colour alone. What a transfer does differently in different places is lost; `fidelity`
says how much that is. Reading, writing and interpolation are colour-science's, of the extra `lut`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import cg

from jpst.errors import JpstError
from jpst.image import encoding

NODES = 33  # along each axis, as editors expect
LONGEST = 700  # side in pixels of the pictures that `jpst look make` compares
SAMPLES = 60_000  # pixels that a table is fitted to
SMOOTHNESS = 0.02  # weight of squared second differences, for each pixel per node
IDENTITY = 1e-4  # weight of the distance from the identity: decides where no pixels are
ROBUST = 0.02  # distance in RGB beyond which a pixel counts less, as what is local does
ROUNDS = 3  # of reweighting
BAND = 1 << 20  # pixels that are interpolated at once

Table = Float[np.ndarray, "n n n 3"]


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


def identity(nodes: int = NODES) -> Table:
    """The table that changes nothing, indexed by red, green, blue."""
    axis = np.linspace(0, 1, nodes)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def fit(content: Float[np.ndarray, "h w 3"], result: Float[np.ndarray, "h w 3"], nodes: int = NODES) -> Table:
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
        found = _colour().algebra.table_interpolation_tetrahedral(band, table)
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


def write(path: str | os.PathLike[str], table: Table, title: str) -> None:
    """Writes a .cube file (Iridas, DaVinci Resolve): red fastest, values in [0, 1].

    Raises:
      JpstError: another suffix, or it cannot be written; nothing is then left.
    """
    check(path)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "look.cube")
        _colour().write_LUT(_colour().LUT3D(table, title), str(made), 7)
        lines = made.read_text(encoding="utf-8").splitlines(keepends=True)
    with encoding.replacing(path) as file:
        file.write("".join(line for line in lines if not line.startswith("DOMAIN")).encode())


def read(path: str | os.PathLike[str]) -> Table:
    """Reads a 3-D table over [0, 1] from a .cube file.

    Raises:
      JpstError: it is not there, is damaged, or is a table of another kind.
    """
    source = Path(path)
    check(source)
    if not source.is_file():
        raise JpstError(f"{source}: there is no such file. Give a .cube file, as `jpst look make` writes it.")
    try:
        found = _colour().read_LUT(str(source))
        table, domain = np.asarray(found.table, np.float64), np.asarray(found.domain)
    except Exception as error:  # the reader raises many kinds of errors
        raise JpstError(f"{source}: not a .cube file ({type(error).__name__}: {error}). Export it again.") from error
    if table.ndim != 4 or not np.isfinite(table).all() or not np.array_equal(domain, [[0] * 3, [1] * 3]):
        raise JpstError(f"{source}: expected a 3-D table of finite numbers over 0 to 1. Export it as one.")
    return table


def check(path: str | os.PathLike[str]) -> None:
    """Raises `JpstError` unless this machine can read and write tables in files of this name."""
    if Path(path).suffix.lower() != ".cube":
        raise JpstError(f"{path}: expected a name that ends in .cube.")
    _colour()


def _colour() -> Any:
    try:
        with np.printoptions():  # its import changes how NumPy prints arrays everywhere
            import colour
    except ImportError:
        raise JpstError('Lookup tables need colour-science. Install it: pip install "jpst[lut]".') from None
    return colour


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
