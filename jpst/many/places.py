"""Where the pictures of a batch go: names and sub-folders of the contents, inside one folder, no two in one place."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpst.errors import JpstError
from jpst.image import suffix_for


def key(path: str | Path) -> str:
    """The same for two paths that a file system may take for one: letters' case and accents may be stored alike."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def of(rows: Sequence[dict[str, Any]], where: Sequence[str], base: Path, folder: Path) -> list[Path | str]:
    """The picture of each row, inside `folder`; or a sentence that says why there is none.

    A row's `output` is taken as it is, relative to `folder`. Without, it is the content's path relative to `base`, or
    only its name where the content lies elsewhere. Where several such rows would get one name, or one record, each gets
    a longer name. Of rows that ask for one output the first has it.

    Args:
      where: what to call each row.
    """
    found = [_asked(row["output"], folder) if "output" in row else _default(row, base, folder) for row in rows]
    free = [number for number, row in enumerate(rows) if "output" not in row and isinstance(found[number], Path)]
    for group in _clashes(found, free):
        for number, name in zip(group, _longer(group, found, rows), strict=True):
            found[number] = name
    holders: dict[str, str] = {}
    for number, place in enumerate(found):
        if isinstance(place, Path):
            holder = holders.setdefault(_record(place), where[number])
            taken = f"The output {place} belongs to {holder}, with its record. Give each row its own `output`."
            found[number] = folder / place if holder == where[number] else taken
    return found


def _record(place: Path) -> str:
    return key(place.with_suffix(".json"))


def _asked(output: Any, folder: Path) -> Path | str:
    """A path relative to `folder`, or why that cannot be."""
    try:
        if not isinstance(output, str):
            raise JpstError(f"output is {output!r}. Give `output` a path as text.")
        target, root = Path(os.path.normpath(folder / output)), os.path.realpath(folder)
        place = Path(os.path.relpath(os.path.realpath(target.parent), root)) / target.name
        if not target.name or place.parts[0] == ".." or place.is_absolute() or target == Path(os.path.normpath(folder)):
            raise JpstError(f"The output {output} is outside of {folder}. Give `output` a path inside of it.")
        return place
    except JpstError as error:
        return str(error)
    except (OSError, ValueError) as error:  # such as another drive, or a NUL
        return f"The output {output!r} cannot be used ({error}). Give `output` a path inside of {folder}."


def _default(row: dict[str, Any], base: Path, folder: Path) -> Path | str:
    content = row.get("content")
    if not isinstance(content, str) or not Path(content).name or "\0" in content:
        return "There is no content to name the output after. Give `content` a path."
    try:
        relative = Path(os.path.relpath(base / content, base))
    except ValueError:  # on another drive
        relative = Path("..", Path(content).name)
    inside = Path(relative.name) if relative.parts[:1] == ("..",) else relative
    if inside.name in ("", ".."):
        return f"The content {content} is a folder. Give `content` the path of a photograph."
    return _asked(str(inside.with_suffix(suffix_for(inside))), folder)


def _clashes(found: list[Path | str], free: list[int]) -> list[list[int]]:
    """The numbers of rows whose name is their content's, grouped by the place that they share with others."""
    together: dict[str, list[int]] = {}
    for number, place in enumerate(found):
        if isinstance(place, Path):
            together.setdefault(_record(place), []).append(number)
    return [[each for each in group if each in free] for group in together.values() if len(group) > 1]


def _longer(group: list[int], found: list[Path | str], rows: Sequence[dict[str, Any]]) -> list[Path]:
    """The shortest kind of names that tells the rows of a group apart from each other and from all other rows."""
    taken = {_record(place) for place in found if isinstance(place, Path)}
    names: list[Path] = []
    for kind in range(4):
        names = [_named(kind, number, found[number], rows[number]) for number in group]
        records = {_record(name) for name in names}
        if len(records) == len(group) and not records & taken:
            break
    return names


def _named(kind: int, number: int, place: Path | str, row: dict[str, Any]) -> Path:
    place, style = Path(place), Path(str(row.get("style"))).stem
    ends = Path(row["content"]).suffix[1:], style, f"{Path(row['content']).suffix[1:]}-{style}", f"row{number + 1}"
    return place.with_name(f"{place.stem}-{ends[kind]}{place.suffix}")
