"""What the terminal shows of many pictures: a bar over the rows of a batch, and lines on what came of each."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jpst.many.batch import Outcome, Plan
from jpst.metrics import Apart
from jpst.optimise import Status

_NAMED = 5  # files left out


def show_batch(planned: Plan, console: Console) -> None:
    """Prints how many rows there are, and what of a folder is none."""
    console.print(f"{len(planned.rows)} rows, into {planned.folder}", soft_wrap=True)
    if planned.left_out:
        names = ", ".join(map(str, planned.left_out[:_NAMED]))
        more = f" and {len(planned.left_out) - _NAMED} more" * (len(planned.left_out) > _NAMED)
        console.print(f"Left out, as they are no photographs: {names}{more}.", soft_wrap=True)


@contextlib.contextmanager
def rows_bar(rows: int, console: Console) -> Iterator[Callable[[Outcome], None]]:
    """Shows a bar over rows, and a line for each that is done or fails. Yields the function to call after each."""
    columns = (TextColumn("row {task.completed}/{task.total}"), BarColumn(None), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=rows)

        def advance(outcome: Outcome) -> None:
            if outcome.state != "kept":
                told = (f"{outcome.row.where}:", outcome.row.output, outcome.state)
                console.print(" ".join(str(each) for each in told if each), soft_wrap=True)
            bar.advance(task)

        yield advance


def show_outcomes(outcomes: list[Outcome], console: Console) -> None:
    """Prints a line for each row that failed, with its file and the reason, and then how many rows came to what."""
    if failed := [each for each in outcomes if each.state == "failed"]:
        console.print("Failed:")
    for row, _, reason in failed:
        name = f"{row.content.name}: " if row.content and row.where.startswith("line ") else ""
        console.print(f"  {row.where}: {name}{reason}", soft_wrap=True)
    states = [each.state for each in outcomes]
    told = {"done": "done", "kept": "done before and kept", "failed": "failed", "left": "not begun"}
    counts = [f"{states.count(state)} {words}" for state, words in told.items() if state in states]
    console.print(f"{len(outcomes)} rows: {', '.join(counts)}.", soft_wrap=True)


def show_qualities(found: Mapping[str, Mapping[str, float | None]], console: Console) -> None:
    """Prints the metrics of results, a line each, and their means if there are several."""
    rows = {name: dict(each) for name, each in found.items()}
    if len(rows) > 1:
        columns = zip(*(each.values() for each in rows.values()), strict=True)
        means = [None if None in column else float(np.mean(column)) for column in columns]
        rows["mean"] = dict(zip(next(iter(rows.values())), means, strict=True))
    for name, each in rows.items():
        shown = [f"{what.replace('_', ' ')} {value:.3f}" for what, value in each.items() if value is not None]
        console.print(f"{name}:  {'  '.join(shown)}", soft_wrap=True, markup=False, highlight=False)


def show_series(found: Mapping[str, Apart], console: Console) -> None:
    """Prints how consistent series are, a line for each style."""
    for style, (before, after, shared) in found.items():
        common = f"colours that neighbours have in common ({shared:.0%} of the pixels)"
        told = f"All with {style}: {common} are {after:.1f} dE2000 apart, {before:.1f} before."
        console.print(told, soft_wrap=True, highlight=False)


def show_sweep(pictures: list[Path], records: list[dict[str, Any]], sheet: Path, console: Console) -> None:
    """Prints the pictures written, those with visible faults, and the sheet."""
    for picture, told in zip(pictures, records, strict=False):
        notes = ["interrupted: the best so far"] if told["interrupted"] else []
        notes += ["it may look broken"] if told["warnings"] else []
        notes += [told["status"]] if told["status"] != Status.FINE.sentence else []
        console.print("; ".join([f"{picture} written", *notes]), soft_wrap=True)
    if len(records) < len(pictures):
        console.print(f"{len(pictures) - len(records)} settings were not begun.")
    console.print(f"{sheet} shows them beside each other.", soft_wrap=True)
