"""A report: one page of HTML, with all that it shows inside it, on the results in a folder."""

import base64
import datetime
import functools
import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

import jpst
from jpst import outputs, records
from jpst.errors import JpstError
from jpst.image import encoding
from jpst.many import curves, sections, sheet, thumbnails
from jpst.many.sections import Sections
from jpst.many.thumbnails import Thumbnail, Thumbnails
from jpst.outputs import OutputError
from jpst.recipe import Hyperparameters
from jpst.records import Entry, Found

NAME = "report.html"
MOST = 500
"""results on a page"""
_MARK = '<meta name="generator" content="jpst'


class Report(NamedTuple):
    """A page that was written."""

    page: Path
    results: int
    failed: int
    problems: list[str]
    """a sentence for each thing that is not on the page as it should be; the page has them too"""


class Result(NamedTuple):
    """A picture on the page. Texts are as they are: the template escapes them."""

    entry: Entry
    name: str
    after: Thumbnail | None
    before: Thumbnail | None
    style: Thumbnail | None
    missing: list[str]
    sections: Sections
    command: str | None
    caption: str = ""
    """of a sweep: the numbers in which it differs from the others"""


class Sweep(NamedTuple):
    """Pictures of one pair, on which one slider acts."""

    name: str
    results: list[Result]


def report(folder: str | os.PathLike[str], page: str | os.PathLike[str] | None = None) -> Path:
    """Writes a page of HTML on the results in a folder: of transfers, a sweep or a batch. It needs no other file.

    Args:
      folder: where pictures and their records lie, in sub-folders too.
      page: the file to write; report.html in the folder unless given.

    Returns:
      The page. What could not be read (a photograph that was moved, a damaged record) is told on it.

    Raises:
      JpstError: there is no record in the folder, or the page cannot be written.
    """
    return write(folder, page).page


def write(folder: str | os.PathLike[str], page: str | os.PathLike[str] | None = None) -> Report:
    """Does the work of `report`, and says what came of it."""
    folder = Path(folder)
    page = folder / NAME if page is None else Path(page)
    found = records.find(folder)
    _check(page, found)
    shown, problems = found.results[:MOST], [*found.problems.values(), *found.foreign]
    if left := len(found.results) - len(shown):
        problems.append(f"{left} of {len(found.results)} results are left out. Make a page for each sub-folder.")
    small = Thumbnails(thumbnails.side(len({path for entry in shown for path in _named(entry, styles=False)})))
    results = [_result(entry, folder, small) for entry in shown]
    problems += dict.fromkeys(line for each in results for line in each.missing)
    text = _html(folder, results, found.failed, problems)
    outputs.make_folder(page.parent)
    with encoding.replacing(page) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # names on disk may be no text
    return Report(page, len(results), len(found.failed), problems)


def _named(entry: Entry, styles: bool = True) -> list[Path]:
    """The files that a record names, as it names them."""
    sources = entry.sources("content")[:1] + entry.sources("style")[:1] * styles
    return [entry.picture, *sources]


def _check(page: Path, found: Found) -> None:
    """Raises `OutputError` unless the page can be written and replaces at most another page of a report."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{page}: a report is a page of HTML. Use the suffix .html.")
    entries = [*found.results, *found.failed]
    outputs.check([page], [path for entry in entries for path in (entry.path, *_named(entry)) if _there(path)])
    if page.is_file() and _MARK.encode() not in page.read_bytes()[:4096]:
        raise OutputError(f"{page}: this is not a report of jpst; the page would replace it. Choose another name.")


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _result(entry: Entry, folder: Path, small: Thumbnails) -> Result:
    """Collects what the page shows of a record."""
    missing: list[str] = []
    shown: dict[str, Thumbnail | None] = {"result": _thumbnail("result", [entry.picture], None, small, missing)}
    for role in ("content", "style"):
        told = entry.told.get(role)
        size = told.get("size") if isinstance(told, dict) else None
        shown[role] = _thumbnail(role, entry.sources(role), size, small, missing)
    after, size = shown["result"], entry.told.get("output_size")
    if after and isinstance(size, list) and size != list(after.size):
        missing.append(f"{entry.picture}: it is {after.size[0]} x {after.size[1]} now, not as its record tells.")
    made = sections.of(entry.told)
    if made.unreadable:
        missing.append(f"{entry.path}: damaged, or of another version: no {', '.join(made.unreadable)}.")
    name = str(entry.picture.relative_to(folder))
    command = sections.command(entry.told, entry.picture)
    return Result(entry, name, after, shown["content"], shown["style"], missing, made, command)


def _thumbnail(role: str, paths: list[Path], size: object, small: Thumbnails, missing: list[str]) -> Thumbnail | None:
    """A photograph of a record; None, and a line in `missing`, if it cannot be shown."""
    if not paths:
        return None
    try:
        return small.of(paths, size, aside=role == "style")
    except JpstError as error:
        missing.append(f"The {role} cannot be shown. {error}")
        return None


def _grouped(results: list[Result]) -> tuple[list[Sweep], list[Result]]:
    """The sweeps, and the results that belong to none."""
    together: dict[tuple[str, ...], list[Result]] = {}
    for each in results:
        told = each.entry.told
        swept = isinstance(told.get("command"), str)
        pair = [str(path) for role in ("content", "style") for path in each.entry.sources(role)[:1]]
        together.setdefault((str(each.entry.path.parent), *pair) if swept else (each.name,), []).append(each)
    sweeps, single = [], []
    for group in together.values():
        try:
            sweeps.append(_sweep(group))
        except sections.NOT_A_RECORDS:
            single += group
    return sweeps, single


def _sweep(group: list[Result]) -> Sweep:
    """Sorts the results of a sweep by the numbers that vary; fails if that is not possible."""
    hypers = [Hyperparameters(**each.entry.told["hyperparameters"]) for each in group]
    varied = sheet.varied(hypers)
    if not varied:
        raise ValueError("not a sweep")
    pairs = sorted(zip(hypers, group, strict=True), key=lambda pair: [float(getattr(pair[0], name)) for name in varied])
    content, style = (Path(group[0].entry.told[role]["path"]).name for role in ("content", "style"))
    numbers = ", ".join(name.replace("_", " ") for name in varied)
    results = [each._replace(caption=sheet.caption(hyper, varied)) for hyper, each in pairs]
    return Sweep(f"{content} with {style}: {numbers}", results)


def _html(folder: Path, results: list[Result], failed: list[Entry], problems: list[str]) -> str:
    """The page. Its policy allows the two styles and the script in it, by their hashes, and pictures inside it."""
    texts = {name: _file(f"page.{name}") for name in ("css", "js")}
    pictures = "".join(
        f".photo-{each.number}{{background-image:url({each.uri});aspect-ratio:{each.width}/{each.height}}}\n"
        for each in dict.fromkeys(filter(None, (each for result in results for each in (result.before, result.style))))
    )
    sweeps, single = _grouped(results)
    return (
        _template()
        .render(
            folder=folder.resolve().name or str(folder),
            policy=f"default-src 'none'; img-src data:; style-src {_hash(texts['css'])} {_hash(pictures)}; "
            f"script-src {_hash(texts['js'])}; base-uri 'none'; form-action 'none'",
            css=texts["css"],
            pictures=pictures,
            js=texts["js"],
            sweeps=sweeps,
            single=single,
            count=len(results),
            failed=[_failure(entry) for entry in failed],
            problems=problems,
            version=jpst.__version__,
            today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
            box=curves,
        )
        .lstrip()
    )


@functools.cache
def _template() -> jinja2.Template:
    options = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(loader=jinja2.FunctionLoader(_file), **options).get_template("page.html")


def _failure(entry: Entry) -> dict[str, Any]:
    """A row of the table of failures."""
    paths = {role: str(next(iter(entry.sources(role)), "")) for role in ("content", "style")}
    batch = entry.told["batch"]
    return {"row": str(batch.get("row", "")), **paths, "reason": str(batch.get("reason", ""))}


def _file(name: str) -> str:
    return (resources.files("jpst") / "data" / "report" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
