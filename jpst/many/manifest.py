"""The rows of a batch: read from a table or from folders, checked, each with its own settings and output.

A row that cannot be used keeps its place and says why (`Row.problem`); it never hides the others.
"""

import csv
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jpst import ranges
from jpst.errors import JpstError
from jpst.many import cells, places
from jpst.many.cells import COLUMNS, PATHS
from jpst.presets import preset
from jpst.recipe import SEED, STRENGTH, Hyperparameters, Recipe

TABLES = {".csv": "CSV", ".tsv": "CSV", ".jsonl": "JSON", ".ndjson": "JSON", ".json": "JSON"}
PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".heic", ".heif", ".avif", ".bmp", ".gif"}
PHOTOGRAPHS |= {".jp2", ".jpx", ".j2k", ".ppm", ".pgm", ".pnm"}
"""suffixes of the files that are taken from a folder"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a batch: a transfer, or why it cannot be made."""

    where: str
    """the row as a person finds it: its line in the manifest"""
    content: Path | None = None
    style: Path | None = None
    content_seg: Path | None = None
    style_seg: Path | None = None
    output: Path | None = None
    """the picture to write; None if the row names none that may be written"""
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    hyper: Hyperparameters = dataclasses.field(default_factory=lambda: preset("balanced")[1])
    seed: int = 0
    strength: float = 1.0
    problem: str | None = None
    """why the row cannot be done, in a sentence or two"""

    @property
    def inputs(self) -> list[Path]:
        """Content, style and the masks given, as far as the row names them."""
        return [path for path in (self.content, self.style, self.content_seg, self.style_seg) if path]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row as it is written down: cells by column, empty ones left out."""

    where: str
    given: dict[str, Any]
    problem: str | None = None


class Defaults(NamedTuple):
    """The settings of rows that name no others."""

    recipe: Recipe
    hyper: Hyperparameters
    seed: int = 0
    strength: float = 1.0

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """The settings of a row that gives these: the fields of `Defaults`; `JpstError` for what cannot be.

        A row of another preset has that preset's settings, but those that the defaults change from their own.
        """
        base = preset(self.recipe.name)
        choices = {field.name: getattr(self.recipe, field.name) for field in dataclasses.fields(Recipe)}
        changed = {name: each for name, each in choices.items() if each != getattr(base[0], name)}
        changed |= {name: each for name, each in self.hyper._asdict().items() if each != getattr(base[1], name)}
        own = {name: each for name, each in given.items() if name not in (*PATHS, "preset", "seed", "strength")}
        recipe, hyper = preset(given.get("preset", self.recipe.name), **changed | own)
        seed, strength = given.get("seed", self.seed), given.get("strength", self.strength)
        ranges.check("seed", seed, SEED)
        ranges.check("strength", strength, STRENGTH)
        return {"recipe": recipe, "hyper": hyper, "seed": seed, "strength": float(strength)}


def rows(entries: list[Entry], base: Path, folder: Path, defaults: Defaults) -> list[Row]:
    """Checks the entries and gives each its settings and its output.

    Args:
      base: the folder that paths are relative to.
      folder: where the outputs go; none leaves it.
    """
    outputs = places.of([entry.given for entry in entries], [entry.where for entry in entries], base, folder)
    return [_row(entry, base, output, defaults) for entry, output in zip(entries, outputs, strict=True)]


def read(manifest: Path) -> list[Entry]:
    """The entries of a table: CSV (commas, semicolons or tabs) or JSON lines, by its suffix.

    Raises:
      JpstError: it cannot be read as such a table, or has no rows or no column "content".
    """
    kind = TABLES.get(manifest.suffix.lower())
    if kind is None:
        raise JpstError(
            f"{manifest}: a manifest is a table with the suffix {', '.join(TABLES)}. Give one, or a folder."
        )
    try:
        text = manifest.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise JpstError(f"{manifest}: cannot be read ({error.strerror or error}). Give a table of rows.") from error
    except UnicodeDecodeError as error:
        raise JpstError(f"{manifest}: the text is not UTF-8 ({error}). Save it as UTF-8.") from error
    found = list(_json_entries(text) if kind == "JSON" else _csv_entries(text, manifest))
    if not found:
        raise JpstError(f"{manifest}: there are no rows. Give one for each picture, with `content` and `style`.")
    return found


def paired(contents: Path, style: Path, without: Path) -> tuple[list[Entry], list[Path]]:
    """The entries of a folder of contents with one style, or with the folder's photographs of the same names.

    Sub-folders are searched. Masks (NAME_seg.png) are no contents, nor are hidden files and those of other kinds.

    Args:
      without: a folder that is not searched, where the outputs go.

    Returns:
      The entries, in the order of their names, with paths relative to `contents`; and the files that are neither
      photographs nor masks.

    Raises:
      JpstError: there is no photograph in `contents`.
    """
    photographs, others = _photographs(contents, without)
    if not photographs:
        raise JpstError(f"{contents}: there are no photographs in this folder. Give a folder of them, or a manifest.")
    if not style.is_dir():
        given = os.path.abspath(style)
        return [Entry(str(path), {"content": str(path), "style": given}) for path in photographs], others
    partners: dict[str, list[Path]] = {}
    for path in _photographs(style, without)[0]:
        partners.setdefault(places.key(path.with_suffix("")), []).append(path)
    return [_with_partner(path, partners, style) for path in photographs], others


def _with_partner(content: Path, partners: dict[str, list[Path]], styles: Path) -> Entry:
    found = partners.get(places.key(content.with_suffix("")), [])
    exact = [path for path in found if path == content] or found
    given: dict[str, Any] = {"content": str(content)}
    if len(exact) == 1:
        return Entry(str(content), given | {"style": os.path.abspath(styles / exact[0])})
    names = ", ".join(map(str, exact))
    several = f"{styles} has {names} for it. Leave one of them there"
    problem = several if exact else f"{styles} has no photograph of this name. Add one"
    return Entry(str(content), given, f"{content}: {problem}.")


def _photographs(folder: Path, without: Path) -> tuple[list[Path], list[Path]]:
    """The photographs in a folder and its sub-folders, and the files that are none; paths relative to it."""
    photographs, others = [], []
    for path in sorted(_files(folder, os.path.realpath(without))):
        ours = not path.name.startswith(".") and path.suffix.lower() in PHOTOGRAPHS
        (photographs if ours else others).append(path)
    stems = {places.key(path.with_suffix("")) for path in photographs}
    masks = {path for path in photographs if _masked(path) and places.key(path.with_name(_masked(path))) in stems}
    return [path for path in photographs if path not in masks], others


def _masked(path: Path) -> str:
    """The stem of the photograph that a file of this name is a mask of; empty if it is none."""
    return path.stem.removesuffix("_seg") if path.suffix.lower() == ".png" and path.stem.endswith("_seg") else ""


def _files(folder: Path, without: str) -> Iterator[Path]:
    for place, below, names in os.walk(folder):
        kept = [name for name in below if os.path.realpath(os.path.join(place, name)) != without]
        below[:] = [name for name in kept if not name.startswith(".")]
        yield from (Path(place, name).relative_to(folder) for name in names)


def _csv_entries(text: str, manifest: Path) -> Iterator[Entry]:
    header = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_header(columns, manifest)
        for line in reader:
            if any(cell.strip() for cell in line):
                yield _csv_entry(columns, line, f"line {reader.line_num}")
    except csv.Error as error:
        raise JpstError(f"{manifest}: line {reader.line_num} is not CSV ({error}). Quote cells as CSV does.") from error


def _check_header(columns: list[str], manifest: Path) -> None:
    if twice := [name for name in dict.fromkeys(columns) if name and columns.count(name) > 1]:
        raise JpstError(f"{manifest}: the column {twice[0]} is there twice. Keep one of them.")
    if "content" not in columns:
        found = ", ".join(filter(None, columns)) or "nothing"
        raise JpstError(f'{manifest}: the first line has {found}; expected names of columns, "content" among them.')


def _csv_entry(columns: list[str], line: list[str], where: str) -> Entry:
    given = {name: cell.strip() for name, cell in zip(columns, line, strict=False) if cell.strip()}
    if surplus := [cell for cell in line[len(columns) :] if cell.strip()]:
        return Entry(where, given, f"{where} has more cells than there are columns ({surplus[0]}). Quote its commas.")
    return Entry(where, given)


def _json_entries(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _json_entry(line, f"line {number}")


def _json_entry(line: str, where: str) -> Entry:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Entry(where, {}, f"{where} is not JSON ({error}). Write one JSON object on each line.")
    if not isinstance(found, dict):
        return Entry(where, {}, f"{where} is not a JSON object. Write {{...}} with `content` and `style`.")
    return Entry(where, {name: value for name, value in found.items() if value is not None and value != ""})


def _row(entry: Entry, base: Path, output: Path | str, defaults: Defaults) -> Row:
    """A checked row; `output` is a path or why there is none."""
    row = Row(entry.where, problem=entry.problem)
    try:
        known = isinstance(entry.given.get("content"), str)
        row = dataclasses.replace(row, content=base / entry.given["content"] if known else None)
        if isinstance(output, Path):
            row = dataclasses.replace(row, output=output)
        if row.problem:
            return row
        if unknown := [name for name in entry.given if name not in COLUMNS]:
            hint = ranges.nearest(unknown[0], COLUMNS)
            raise JpstError(
                f"There is no column {unknown[0]!r}.{hint} There are {', '.join(PATHS)}, preset, seed, strength "
                "and the fields of `Recipe` and `Hyperparameters`."
            )
        found = {name: cells.value(name, given) for name, given in entry.given.items()}
        row = dataclasses.replace(row, **_files_of(found, base))
        row = dataclasses.replace(row, **defaults.settings(found))
        if isinstance(output, str):
            raise JpstError(output)
        return row
    except JpstError as error:
        return dataclasses.replace(row, problem=str(error))


def _files_of(found: dict[str, Any], base: Path) -> dict[str, Path]:
    for name in ("content", "style"):
        if name not in found:
            raise JpstError(f"There is no {name}. Give `{name}` a path.")
    names: Iterable[str] = (name for name in PATHS if name in found and name != "output")
    return {name: _file(name, found[name], base) for name in names}


def _file(name: str, given: str, base: Path) -> Path:
    path = base / given
    if path.name.startswith("._"):
        raise JpstError(f"{path}: macOS keeps this file beside {path.name[2:]}; it is no photograph. Leave it out.")
    if not os.path.isfile(path):
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"
        raise JpstError(f"{path}: {found}. Give `{name}` the path of a photograph, relative to {base}.")
    return path
