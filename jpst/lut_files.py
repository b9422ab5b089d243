"""Files of lookup tables: .cube by colour-science, .clf by OpenColorIO, HaldCLUT pictures by `image`. Host code."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jpst import image
from jpst.errors import JpstError
from jpst.image import encoding

NODES = 33  # along each axis, as editors expect
HALD_LEVEL = 8  # a HaldCLUT of level n has n^2 nodes along each axis, in a square picture of side n^3
MOST_HALD_LEVEL = 12
_UNFIT = re.compile(r"[^ -~]|[\"']")  # letters that a title does not have

Table = Float[np.ndarray, "n n n 3"]
"""the colours, sRGB-encoded RGB in [0, 1], that those of a regular grid become; indexed by red, green, blue"""


class Format(NamedTuple):
    """How a kind of file is written, by (table, title), and read, by its path."""

    encode: Callable[[Table, str], bytes]
    decode: Callable[[Path], Table]


def identity(nodes: int = NODES) -> Table:
    """The table that changes nothing."""
    axis = np.linspace(0, 1, nodes)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)


def write(path: str | os.PathLike[str], table: Table, title: str) -> None:
    """Writes a table; the suffix selects the format.

    .cube is Iridas' and DaVinci Resolve's text, red fastest, values in [0, 1]; .clf the Academy's Common LUT Format;
    .png a HaldCLUT of level 8 in 16 bits, for which the table is interpolated to 64 nodes. Letters of the
    title that some reader does not take, all but printable ASCII without quotes, become underscores.

    Raises:
      JpstError: another suffix, a package is missing, or the file cannot be written; nothing is then left.
    """
    check(path)
    with encoding.replacing(path) as file:
        file.write(_FORMATS[Path(path).suffix.lower()].encode(table, _UNFIT.sub("_", title)))


def read(path: str | os.PathLike[str]) -> Table:
    """Reads a 3-D table over [0, 1]; a .clf, which may hold other operations too, as a table of 33 nodes.

    Raises:
      JpstError: another suffix, a package is missing, there is no file, it is damaged, or a table of another kind.
    """
    source = Path(path)
    check(source)
    if not source.is_file():
        raise JpstError(f"{source}: there is no such file. Give a LUT, as `jpst look make` writes it.")
    try:
        table = _FORMATS[source.suffix.lower()].decode(source)
    except (JpstError, MemoryError):
        raise
    except Exception as error:  # the readers raise many kinds of errors
        kind = source.suffix.lower()
        raise JpstError(f"{source}: not a {kind} file ({type(error).__name__}: {error}). Export it again.") from error
    if table.ndim != 4 or not np.isfinite(table).all():
        raise JpstError(f"{source}: expected a 3-D table of finite numbers over 0 to 1. Export it as one.")
    return table


def check(path: str | os.PathLike[str]) -> None:
    """Raises `JpstError` unless this machine can read and write tables in files of this name."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise JpstError(f"{path}: expected a name that ends in .cube, .clf or, for a HaldCLUT, .png.")
    colour_science()
    if suffix == ".clf":
        _open_color_io()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises `JpstError` unless such a file can be written there."""
    check(path)
    image.check_folder(path)


def colour_science() -> Any:
    """The package colour-science; raises `JpstError` if it is not installed."""
    try:
        with np.printoptions():  # its import changes how NumPy prints arrays everywhere
            import colour
    except ImportError:
        raise JpstError('Lookup tables need colour-science. Install it: pip install "jpst[lut]".') from None
    return colour


def _open_color_io() -> Any:
    try:
        import PyOpenColorIO
    except ImportError:
        raise JpstError('.clf files need OpenColorIO. Install it: pip install "jpst[lut]".') from None
    return PyOpenColorIO


def _cube(table: Table, title: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "look.cube")
        colour_science().write_LUT(colour_science().LUT3D(table, title), str(made), 7)
        lines = made.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("DOMAIN")).encode()


def _of_cube(path: Path) -> Table:
    found = colour_science().read_LUT(str(path))
    if not np.array_equal(np.asarray(found.domain), [[0] * 3, [1] * 3]):
        raise JpstError(f"{path}: expected a 3-D table of finite numbers over 0 to 1. Export it as one.")
    return np.asarray(found.table, np.float64)


def _clf(table: Table, title: str) -> bytes:
    ocio = _open_color_io()
    grid = ocio.Lut3DTransform(len(table))
    grid.setData(np.float32(table).ravel())
    grid.setInterpolation(ocio.INTERP_TETRAHEDRAL)
    group = ocio.GroupTransform([grid])
    group.getFormatMetadata().addChildElement("Description", title)
    return group.write(formatName="Academy/ASC Common LUT Format", config=ocio.Config.CreateRaw()).encode()


def _of_clf(path: Path) -> Table:
    ocio = _open_color_io()
    colours = np.float32(identity()).reshape(-1, 3)
    with tempfile.TemporaryDirectory() as folder:  # it would take a $ in a path for the name of a variable
        plain = str(shutil.copyfile(path, Path(folder, "look.clf")))
        try:
            processor = ocio.Config.CreateRaw().getProcessor(ocio.FileTransform(plain))
            processor.getDefaultCPUProcessor().applyRGB(colours)
        except ocio.Exception as error:
            raise ValueError(str(error).replace(plain, str(path))) from error
    return np.clip(colours.reshape(identity().shape), 0, 1).astype(np.float64)


def _hald(table: Table, title: str) -> bytes:
    side = HALD_LEVEL**3
    fine = colour_science().algebra.table_interpolation_tetrahedral(identity(HALD_LEVEL**2).reshape(-1, 3), table)
    blue_first = fine.reshape(HALD_LEVEL**2, HALD_LEVEL**2, HALD_LEVEL**2, 3).transpose(2, 1, 0, 3)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "look.png")
        image.write(made, blue_first.reshape(side, side, 3), bit_depth=16)
        return made.read_bytes()


def _of_hald(path: Path) -> Table:
    pixels = image.read(path).pixels
    level = round(len(pixels) ** (1 / 3))
    if pixels.shape[:2] != (level**3, level**3) or not 2 <= level <= MOST_HALD_LEVEL:
        height, width = pixels.shape[:2]
        raise JpstError(f"{path}: expected a HaldCLUT, a square whose side is a cube, got {width} x {height} pixels.")
    return pixels.reshape(level**2, level**2, level**2, 3).transpose(2, 1, 0, 3).astype(np.float64)


_FORMATS = {".cube": Format(_cube, _of_cube), ".clf": Format(_clf, _of_clf), ".png": Format(_hald, _of_hald)}
