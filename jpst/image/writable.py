"""The formats that pictures are written in, and whether one can be written to a path."""

import os
from pathlib import Path

from jpst.image import opening
from jpst.image.errors import ImageError

WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
WRITABLE |= {".webp": "WEBP", ".heic": "HEIF", ".heif": "HEIF"}

SIDE_LIMITS = {"JPEG": 65500, "WEBP": 16383}
"""The most pixels per side that these formats can store."""


def suffix_for(path: str | os.PathLike[str]) -> str:
    """The suffix of a result of this photograph: its own if `write` knows the format, else .png."""
    own = Path(path).suffix
    return own if own.lower() in WRITABLE else ".png"


def check_writable(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> None:
    """Raises the `ImageError` that `write` would raise for this path and an image of this size (height, width)."""
    target, suffix = Path(os.path.realpath(path)), Path(path).suffix.lower()
    if suffix not in WRITABLE:
        found = f"the suffix {suffix} is not a format that jpst can write" if suffix else "the name has no suffix"
        raise ImageError(f"{path}: {found}. Use one of {' '.join(WRITABLE)}.")
    if target.is_dir():
        raise ImageError(f"{path}: expected a file name, got a folder. Give a file name.")
    check_folder(path)
    if WRITABLE[suffix] == "HEIF":
        opening.register_heif(path)
    limit = SIDE_LIMITS.get(WRITABLE[suffix])
    if size and limit and max(size) > limit:
        found = f"the picture is {size[1]} x {size[0]} pixels, but {WRITABLE[suffix]} allows {limit} per side"
        raise ImageError(f"{path}: {found}. Write PNG or TIFF, or a smaller picture.")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raises `ImageError` unless the folder of this file is there and writable."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ImageError(f"{path}: the folder {folder} does not exist. Create it or choose another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"{path}: the folder {folder} is not writable. Choose another.")
