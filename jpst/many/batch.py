"""A batch: the rows of a manifest given to worker processes, those already done left alone, failures collected."""

import os
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jpst import image, levels, outputs, ranges, records, regions
from jpst.errors import JpstError
from jpst.many import FAILURES, WORKERS, Engine, crew, manifest, ray_engine, worker
from jpst.many.manifest import Row
from jpst.presets import preset
from jpst.recipe import Hyperparameters, Recipe
from jpst.weights import unfinished

_LEFTOVERS = (f"{worker.PREFIX}*.part",)

Answers = Generator[tuple[Row, str | None], None, None]
State = Literal["done", "kept", "failed", "left"]


class Outcome(NamedTuple):
    """What became of a row."""

    row: Row
    state: State
    """done now; kept, as it was finished before; failed; or left, not begun"""
    reason: str | None = None
    """why it failed"""


class Plan(NamedTuple):
    """A batch before its work: what each row needs."""

    folder: Path
    rows: list[Row]
    """of this shard, in the manifest's order"""
    left_out: list[Path]
    """files of a folder of contents that are no photographs"""


def plan(
    source: str | Path,
    folder: str | Path,
    *,
    style: str | Path | None = None,
    recipe: Recipe | None = None,
    hyper: Hyperparameters | None = None,
    seed: int = 0,
    strength: float = 1.0,
    shard: tuple[int, int] = (1, 1),
) -> Plan:
    """Reads a manifest, or pairs photographs of folders. Arguments and errors as in `batch`."""
    source, folder = Path(source), Path(folder)
    part, parts = shard
    if not 1 <= part <= parts:
        raise JpstError(f"shard is {part}/{parts}. Give `shard` as i/n, from 1/n to n/n.")
    if style is None and source.is_dir():
        raise JpstError(f"{source}: a folder of contents needs styles. Name one photograph, or a folder of them, too.")
    if style is not None and not source.is_dir():
        raise JpstError(f"{source}: not a folder. Give a folder of contents before {style}, or a manifest alone.")
    if style is not None and not Path(style).exists():
        raise JpstError(f"{style}: there is no such file or folder. Give a style photograph, or a folder of them.")
    left_out: list[Path] = []
    if style is None:
        entries, base = manifest.read(source), source.parent
    else:
        (entries, left_out), base = manifest.paired(source, Path(style), folder), source
    recipe = recipe or Recipe()
    defaults = manifest.Defaults(recipe, hyper or preset(recipe.name)[1], seed, strength)
    rows = manifest.rows(entries, base, folder, defaults)
    return Plan(folder, rows[part - 1 :: parts], left_out)


def batch(
    source: str | Path,
    folder: str | Path,
    *,
    style: str | Path | None = None,
    recipe: Recipe | None = None,
    hyper: Hyperparameters | None = None,
    seed: int = 0,
    strength: float = 1.0,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
    max_failures: int = 0,
    engine: Engine = "local",
    address: str | None = None,
    on_row: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Transfers many pairs, each by its own settings, in processes of their own.

    A row whose picture was finished by an earlier call, with the same inputs, settings and version, is kept. So a batch
    that was ended, however, is finished by the same call.

    Args:
      source: a manifest, a table of rows (.csv, .jsonl); or, with `style`, a folder of contents.
      folder: where pictures and records go.
      style: the style photograph of all contents, or a folder with one of the same name for each.
      recipe, hyper, seed, strength: of the rows that name no others; the preset "balanced" unless given.
      workers: processes; the processors are shared out among them.
      shard: (i, n) does the i-th of every n rows, 1 to n, so that n machines share a manifest.
      max_failures: begin no further row after so many have failed; 0 never stops.
      engine: who runs the workers: "local", this machine; or "ray", a Ray cluster, whose processors are shared out
        instead. All its machines must see the inputs and the folder at the same paths. Both make the same pictures,
        to the last bit where their workers have as many threads.
      address: of a Ray cluster that runs: HOST:PORT, or "auto" on one of its machines. Without it Ray is started on
        this machine, and stopped at the end.
      on_row: called with each row's outcome as it comes.

    Returns:
      The outcome of each row, in the manifest's order. Failures raise nothing.

    Raises:
      JpstError: the manifest, the folder or the engine cannot be used.
    """
    settings = {"recipe": recipe, "hyper": hyper, "seed": seed, "strength": strength}
    planned = plan(source, folder, style=style, **settings, shard=shard)
    chosen = {"engine": engine, "address": address}
    return run(planned, workers=workers, max_failures=max_failures, **chosen, on_row=on_row)


def run(
    planned: Plan,
    *,
    workers: int = 1,
    max_failures: int = 0,
    engine: Engine = "local",
    address: str | None = None,
    on_row: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Does the work of a batch; arguments as in `batch`."""
    ranges.check("workers", workers, WORKERS)
    ranges.check("max_failures", max_failures, FAILURES)
    answers = _answers(engine, address)
    found: dict[str, Outcome] = {}
    with unfinished.ended_cleanly(), _scratch(planned.folder) as scratch:
        inputs = {os.path.realpath(path) for row in planned.rows for path in row.inputs}
        with closing(_outcomes(planned, inputs, partial(answers, workers=workers, folder=planned.folder))) as outcomes:
            for outcome in outcomes:
                if outcome.state == "failed":
                    _note(outcome, inputs, scratch)
                found[outcome.row.where] = outcome
                on_row(outcome)
                if 0 < max_failures <= sum(each.state == "failed" for each in found.values()):
                    break
    return [found.get(row.where, Outcome(row, "left")) for row in planned.rows]


def _answers(engine: Engine, address: str | None) -> Callable[..., Answers]:
    """The engine's `answers`, as in `crew`; raises `JpstError` if there is no such engine."""
    ray_engine.check(engine, address)
    return crew.answers if engine == "local" else partial(ray_engine.answers, address=address)


def _outcomes(planned: Plan, inputs: set[str], answers: Callable[..., Answers]) -> Generator[Outcome, None, None]:
    """First the rows that need no work, then the others as they are done."""
    waiting: dict[Hashable, list[Row]] = {}
    for row in planned.rows:
        try:
            shape = _shape(row, inputs)
            if not _finished(row):
                waiting.setdefault(shape, []).append(row)
                continue
            yield Outcome(row, "kept")
        except (JpstError, OSError) as error:
            yield Outcome(row, "failed", " ".join(str(error).split()))
    with closing(answers(waiting)) as answered:
        for row, reason in answered:
            yield Outcome(row, "failed" if reason else "done", reason)


def _shape(row: Row, inputs: set[str]) -> Hashable:
    """What the compiled programs of a row depend on: equal for rows that share them.

    Args:
      inputs: of all rows.

    Raises:
      JpstError: the row cannot be done.
      OSError: a file cannot be looked at.
    """
    if row.problem:
        raise JpstError(row.problem)
    assert row.content and row.style and row.output, "a row without a problem names them"
    sizes = image.size(row.content), image.size(row.style)
    if overwritten := [path for path in _written(row) if os.path.realpath(path) in inputs]:
        raise JpstError(f"{overwritten[0]}: this would overwrite an input of the batch. Choose another `output`.")
    row.output.parent.mkdir(parents=True, exist_ok=True)
    outputs.check_transfer(row.output, row.inputs, row.recipe, previews=False)
    outputs.check_ours(row.output)
    masks = regions.painted((row.content, row.style), (row.content_seg, row.style_seg), row.recipe)
    projected = row.recipe.projection == "grid" and masks is None
    planned = levels.plan(*sizes, row.recipe, projected=projected)
    return row.recipe, tuple((*sorted(level.content), *sorted(level.style)) for level in planned)


def _written(row: Row) -> list[Path]:
    return [row.output, outputs.record_of(row.output)] if row.output else []


def _finished(row: Row) -> bool:
    """Whether the row's picture and record are there, made of the same inputs by the same settings and version."""
    assert row.output, "a row without a problem has an output"
    told = _record(row.output).get("batch")
    return isinstance(told, dict) and told.get("state") == "done" and told.get("identity") == worker.identity(row)


def _record(picture: Path) -> dict[str, Any]:
    """The record of a finished picture that is there; empty without one."""
    try:
        told = records.read(outputs.record_of(picture)).told
    except JpstError:
        return {}
    finished = records.named_by(told) == picture.name and os.path.isfile(picture) and not records.failed(told)
    return told if finished else {}


def _note(failed: Outcome, inputs: set[str], scratch: Path) -> None:
    """Writes the record of a failed row in its place, unless that is another file's or a finished picture's.

    Nor beside a picture of others, which would then count as ours.
    """
    row = failed.row
    if not row.output or not outputs.ours(row.output) or _record(row.output):
        return
    if any(os.path.realpath(path) in inputs for path in _written(row)):
        return
    with suppress(JpstError, OSError):  # the reason is told anyway
        outputs.check_record(row.output)
        row.output.parent.mkdir(parents=True, exist_ok=True)
        worker.note(row, failed.reason, scratch)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A scratch folder in `folder`, which is made; what killed batches left there is removed before and after."""
    outputs.make_folder(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JpstError(f"{folder}: the folder is not writable. Choose another.")
    unfinished.remove_leftovers(folder, _LEFTOVERS)
    try:
        with unfinished.scratch(folder, worker.PREFIX) as scratch:
            yield scratch
    finally:
        unfinished.remove_leftovers(folder, _LEFTOVERS)
