"""Records as they are read: what one names, and those in a folder, of pictures or of rows of a batch that failed."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jpst.errors import JpstError
from jpst.image import WRITABLE

MOST_BYTES = 1 << 28  # of a JSON file; the losses of a million steps take half of it


class Entry(NamedTuple):
    """A record."""

    path: Path
    told: dict[str, Any]
    """what it holds: any JSON object with jpst's version; the rest is to be checked"""

    @property
    def picture(self) -> Path:
        """Its picture: the one that it names, else the one of its name with the suffix of a picture."""
        if named := named_by(self.told):
            return self.path.with_name(named)
        beside = [self.path.with_suffix(suffix) for suffix in WRITABLE]
        return next((path for path in beside if os.path.isfile(path)), self.path.with_suffix(".png"))

    def sources(self, role: str) -> list[Path]:
        """Where the content or style may be: a relative path may start from here, or from beside the record."""
        photograph = self.told.get(role)
        path = photograph.get("path") if isinstance(photograph, dict) else None
        return list(dict.fromkeys([Path(path), self.path.parent / path])) if isinstance(path, str) and path else []

    def source(self, role: str) -> Path:
        """The content or style: where it is, else where it was; raises `JpstError` if the record names none."""
        paths = self.sources(role)
        if not paths:
            raise JpstError(f"{self.path}: expected the path of the {role} photograph in it, got none.")
        return next((path for path in paths if os.path.isfile(path)), paths[0])


class Found(NamedTuple):
    """What the JSON files of a folder and its sub-folders are, in the order of their names."""

    results: list[Entry]
    failed: list[Entry]
    """of rows of a batch"""
    problems: dict[str, str]
    """a sentence for each file and folder that cannot be read, by its path"""
    foreign: list[str]
    """a sentence for each file of something else"""


class _ForeignError(JpstError):
    """A JSON file is of something else."""


def is_record(content: Any) -> bool:
    """Whether the content of a JSON file is a record of jpst."""
    return isinstance(content, dict) and isinstance(content.get("versions"), dict) and "jpst" in content["versions"]


def named_by(record: dict[str, Any]) -> str | None:
    """The file name of a record's picture, which lies beside it; None if it names none, or another folder."""
    name = record.get("output")
    return name if isinstance(name, str) and name and Path(name).name == name and "\0" not in name else None


def failed(record: dict[str, Any]) -> bool:
    """Whether a record is of a row of a batch that failed."""
    batch = record.get("batch")
    return isinstance(batch, dict) and batch.get("state") == "failed"


def read(path: Path) -> Entry:
    """Reads a record; raises `JpstError` if the file is not one."""
    try:
        return Entry(path, _read(path))
    except OSError as error:
        raise JpstError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except JpstError as error:
        raise JpstError(f"{path}: {error}. Give OUT.json, the record of a transfer.") from error


def picture_named_by(path: Path) -> str | None:
    """The file name of the picture to which a record belongs; None if the file is not a record."""
    try:
        return named_by(_read(path))
    except JpstError:
        return None


def find(folder: Path) -> Found:
    """Reads all JSON files of a folder and its sub-folders; hidden ones and links to folders are left out.

    Raises:
      JpstError: it is no folder, or no record is in it.
    """
    if not os.path.isdir(folder):
        raise JpstError(f"{folder}: expected a folder. Give the one that a transfer, sweep or batch wrote to.")
    found = Found([], [], {}, [])
    for path in _files(folder, found.problems):
        try:
            told = _read(path)
            (found.failed if failed(told) else found.results).append(Entry(path, told))
        except _ForeignError as error:
            found.foreign.append(f"{path}: {error}.")
        except (JpstError, OSError) as error:
            found.problems[str(path)] = f"{path}: {getattr(error, 'strerror', None) or error}."
    if not found.results and not found.failed:
        others = [*found.problems.values(), *found.foreign]
        told = f" {others[0]}" if others else ""
        raise JpstError(f"{folder}: there is no record of jpst in it.{told} Give the folder of a picture's OUT.json.")
    return found


def _files(folder: Path, problems: dict[str, str]) -> Iterator[Path]:
    """The JSON files, in the order of their names."""

    def unreadable(error: OSError) -> None:
        problems[error.filename] = f"{error.filename}: {error.strerror}."

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=in_order)
        for name in sorted(names, key=in_order):
            path = Path(place, name)
            if path.suffix.lower() == ".json" and not name.startswith(".") and os.path.isfile(path):
                yield path


def in_order(name: str) -> list[tuple[bool, float, str]]:
    """A key that sorts names with the numbers in them as numbers: 2 before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(True, float(part), "") if number % 2 else (False, 0.0, part) for number, part in enumerate(parts)]


def _read(path: Path) -> dict[str, Any]:
    """The content of a record; raises `JpstError` with what the file is instead."""
    if path.stat().st_size > MOST_BYTES:
        raise JpstError("is too large for a record")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise JpstError(f"is not JSON, or damaged ({error})") from error
    if not is_record(content):
        raise _ForeignError("is not a record of jpst")
    return content
