"""The folder of compiled programs: where it lies, whose it is, what it holds, and what is removed from it.

Files in the folder are executed, so it must belong to the user alone. Below it is a folder for each version of jaxlib
and each processor.
"""

import functools
import hashlib
import os
import platform
import shutil
import stat
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

LIMIT = 512 << 20
"""maximum bytes of all programs on disk; above it the least recently used ones are removed"""
UNFINISHED = ".part"
"""suffix of a file that is being written"""
_STALE = 3600.0  # seconds after which an unfinished file is no longer being written


def directory() -> Path:
    """The folder of the cache: $JPST_CACHE, else a folder in the user's cache folder.

    Raises OSError if that is in a home folder that there is not.
    """
    configured = os.environ.get("JPST_CACHE")
    import platformdirs

    try:
        return Path(configured or platformdirs.user_cache_path("jpst") / "compiled").expanduser()
    except RuntimeError as error:
        asked = configured or "the cache of this user"
        raise OSError(
            f"{asked}: there is no such home directory; expected a folder for compiled programs: set JPST_CACHE to "
            "one, without ~."
        ) from error


def prepared(root: Path) -> Path:
    """The folder under `root` for programs of this jaxlib and processor, made if it is missing.

    Removes programs of other jaxlib versions, and the least recently used ones above `LIMIT`. Raises OSError if the
    folder cannot be made, or if others may write to it.
    """
    folder = root / _version_folder()
    for each in (root, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(each)
    _trim(root)
    return folder


def clear(root: Path) -> None:
    """Removes all programs. Raises OSError if they cannot be removed."""
    for folder in _of_all_versions(root):
        shutil.rmtree(folder)


def programs(root: Path) -> list[tuple[float, Path, int]]:
    """Time of last use, file and file size of each program, the least recently used first."""
    found = []
    for folder in _of_all_versions(root):
        for path in folder.iterdir():
            with suppress(OSError):  # another run may be removing it
                status = path.stat()
                found.append((status.st_mtime, path, status.st_size))
    return sorted(found)


@functools.cache
def _version_folder() -> str:
    """The folder name for this jaxlib and processor: machine code for another processor may not run on this one."""
    features = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.lower().startswith(("flags", "features")))
    digest = hashlib.sha256(" ".join(sorted(features.split())).encode()).hexdigest()
    return f"jaxlib-{metadata.version('jaxlib')}-{platform.machine()}-{digest[:8]}"


def _check_private(folder: Path) -> None:
    """Raises OSError for a folder that other users may write to: its files are executed."""
    if not hasattr(os, "getuid"):  # Windows, where other users have no access to a user's folders
        return
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise OSError("it belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError("other users may write to it; to use it again, run chmod 700 on it")


def _of_all_versions(root: Path) -> list[Path]:
    """Folders like that of `_version_folder`."""
    return [path for path in sorted(root.glob("jaxlib-*")) if path.is_dir() and not path.is_symlink()]


def _trim(root: Path) -> None:
    """Removes programs of other versions, unfinished files of killed runs, and programs above the limit."""
    ours = f"jaxlib-{metadata.version('jaxlib')}-"
    for folder in _of_all_versions(root):
        if not folder.name.startswith(ours):
            shutil.rmtree(folder, ignore_errors=True)
    found = programs(root)
    total = sum(size for _, _, size in found)
    for used, path, size in found:
        unfinished = path.suffix == UNFINISHED and used < time.time() - _STALE
        if total > LIMIT or unfinished:
            with suppress(OSError):
                path.unlink()
            total -= size
