"""Terminal output: tables, progress bars, closing lines."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from jpst import caching, image, loading, pipeline, pyramid, ranges, record, streams, weights
from jpst.aesthetics import Score
from jpst.estimate import Estimate
from jpst.job import Job
from jpst.levels import Level
from jpst.optimise import Status
from jpst.outputs import Share
from jpst.regions import semantics
from jpst.weights import downloads, registry

if TYPE_CHECKING:
    from jpst.lut import Fidelity


class _Patient(Console):
    """A console that ignores broken pipes; rich would end the job."""

    def on_broken_pipe(self) -> None:
        streams.drop_unread()


def console(quiet: bool = False) -> Console:
    """A console on standard output, or on standard error if `quiet` (standard output has JSON).

    Text is not parsed as markup.
    """
    return _Patient(stderr=quiet, markup=False, emoji=False)


def say(line: str, console: Console) -> None:
    """Prints a line, which the terminal may break but we do not."""
    console.print(line, soft_wrap=True)


def show_job(job: Job, console: Console) -> None:
    """Prints sizes, regions, notes and terms of use before the work starts."""
    for name, photograph in (("content", job.content), ("style", job.style)):
        height, width = photograph.pixels.shape[:2]
        console.print(f"{name}: {width} x {height}, {photograph.bit_depth} bit")
    sizes = ", ".join(f"{width} x {height} ({steps} steps)" for (height, width), _, steps in job.levels)
    console.print(f"working sizes: {sizes}")
    for note in (*record.notes(job), *(f"The {term} term is missing: {why}." for term, why in job.absent.items())):
        console.print(note, soft_wrap=True)
    if len(job.found.regions.names) > 1 or job.found.regions.moves:
        console.print(_regions(job.found.regions))
    for note in loading.aesthetic_terms_of_use(job.recipe, job.hyper, job.absent):
        console.print(note, soft_wrap=True)


def _regions(regions: semantics.Regions) -> Table:
    shown = Table("region", "content", "style", "", box=None, pad_edge=False)
    for name, content, style, remark in semantics.table(regions):
        shown.add_row(name, f"{content:.2f} %", f"{style:.2f} %", remark)
    return shown


def show_segments(segmenter: str, rows: list[Share], palette: np.ndarray, console: Console) -> None:
    """Prints the segmenter and the regions of a photograph, with the colours of the label map."""
    console.print(f"segmenter: {segmenter}")
    shown = Table("", "label", "region", "share", "confidence", box=None, pad_edge=False)
    for label, name, percent, confidence in rows:
        colour = "#{:02x}{:02x}{:02x}".format(*palette[label].tolist())
        sure = "" if confidence is None else f"{100 * confidence:.0f} %"
        shown.add_row(Text("  ", style=f"on {colour}"), str(label), name, f"{percent:.2f} %", sure)
    console.print(shown)


def show_estimate(estimate: Estimate, console: Console) -> None:
    """Prints the estimate of a dry run."""
    console.print(
        f"estimated: {estimate.memory_bytes / 2**30:.1f} GiB of memory and {_duration(estimate.seconds)} on this "
        f"machine, plus {_duration(estimate.compile_seconds)} the first time, to compile for these sizes",
        soft_wrap=True,
    )


def show_run(run: pipeline.Run, output: Path, console: Console, options: Mapping[str, str]) -> None:
    """Prints the closing lines: status, warnings, notes, the file written. `options`: as for `ranges.as_options`."""
    if run.interrupted:
        console.print("Interrupted: this is the best picture so far.")
    elif run.record["status"] != Status.FINE.sentence:
        console.print(f"Note: {run.record['status']}", soft_wrap=True)
    for warning in run.record["warnings"]:
        console.print(f"Note: {ranges.as_options(warning, options)}", soft_wrap=True)
    if run.photograph.metadata:
        kinds = ", ".join(run.photograph.metadata.kinds())
        console.print(f"Metadata of the content are kept ({kinds}); --strip leaves them out.", soft_wrap=True)
    for note in image.left_out(output, run.photograph):
        console.print(note, soft_wrap=True)
    height, width = run.photograph.pixels.shape[:2]
    seconds = _duration(run.record["seconds"])
    console.print(f"{output} written, {width} x {height}, in {seconds}.", soft_wrap=True)


def show_lut(path: Path, found: "Fidelity", console: Console) -> None:
    """Prints how much of a transfer a LUT carries."""
    console.print(
        f"{path} written. Its picture differs from the transfer's by {found.mean:.1f} dE2000 on average and by less "
        f"than {found.p95:.1f} in 95 % of the pixels. {found.coverage:.0%} of the table are colours of the photograph. "
        f"The most colourful grey has a chroma of {found.neutral_drift:.1f}.",
        soft_wrap=True,
    )


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.7 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


@contextlib.contextmanager
def steps_bar(
    levels: tuple[Level, ...], console: Console, settings: int = 1
) -> Iterator[Callable[[pyramid.Progress], None]]:
    """Shows two live lines: step, bar and time left; all losses. Yields the function to call after each step.

    The steps are those of all settings.
    """
    columns = (TextColumn("step {task.fields[step]}"), BarColumn(None), TimeElapsedColumn(), TextColumn("left"))
    bar, losses = Progress(*columns, TimeRemainingColumn()), Text("preparing and compiling", no_wrap=True)
    costs = [math.prod(level.content) for level in levels for _ in range(level.steps)]  # time per pixel
    work = settings * sum(costs)
    steps, done = settings * sum(level.steps for level in levels), dict.fromkeys(range(settings), 0)
    task = bar.add_task("", total=work, step=f"0/{steps}")
    if not steps:
        yield lambda _: None
        return

    def advance(now: pyramid.Progress) -> None:
        if earlier := now.step - now.chunk - done[now.setting]:  # in an earlier process, at whatever speed
            bar.reset(task, completed=sum(costs[:earlier]))
        done[now.setting] = now.step
        work = now.chunk * math.prod(now.level.content)
        bar.update(task, advance=work, step=f"{sum(done.values())}/{steps}")
        losses.plain = "  ".join(f"{term} {value:.3g}" for term, value in now.terms.items())

    with Live(Group(bar, losses), console=console):
        yield advance
    if not console.is_terminal:  # rich prints the last state once, without a line end
        console.line()


def show_scores(scores: list[tuple[Path, Score]], console: Console) -> None:
    """Prints one score with its distribution as bars, or several as a table, best first."""
    if len(scores) == 1:
        ((path, score),) = scores
        console.print(f"{path}: {score.mean:.2f} +- {score.deviation:.2f}", soft_wrap=True)
        return console.print(_bars(score, _letters(console)))
    shown = Table("score", "deviation", "1 to 10", "picture", box=None, pad_edge=False)
    for path, score in sorted(scores, key=lambda each: -each[1].mean):
        shown.add_row(
            f"{score.mean:.2f}", f"{score.deviation:.2f}", _sparkline(score, _letters(console)), Text(str(path))
        )
    console.print(shown)


def _letters(console: Console) -> str:
    """Characters from empty to full: blocks if the terminal's encoding has them."""
    return " .:-=+*%#" if console.options.ascii_only else " ▁▂▃▄▅▆▇█"


def _bars(score: Score, letters: str) -> Table:
    shown = Table.grid(padding=(0, 1))
    most = max(score.distribution)
    for rating, probability in enumerate(score.distribution, 1):
        bar = letters[-1] * round(_BAR_WIDTH * probability / most)
        shown.add_row(f"{rating:2d}", bar.ljust(_BAR_WIDTH), f"{100 * probability:4.1f} %")
    return shown


def _sparkline(score: Score, letters: str) -> str:
    most = max(score.distribution)
    return "".join(letters[round((len(letters) - 1) * probability / most)] for probability in score.distribution)


_BAR_WIDTH = 40


def fetch_if_missing(network: str, console: Console) -> None:
    """Downloads a network's weights if they are missing."""
    if weights.find(network) is None:
        console.print(f"The {network} weights are missing; downloading them once.")
        fetch(network, console)


def fetch(name: str, console: Console) -> Path:
    """Prints the licence of a checkpoint, then downloads it with a progress bar."""
    for line in registry.licences(name):
        console.print(line, soft_wrap=True)
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), console=console
    ) as bar:
        task = bar.add_task(name, total=None)
        return downloads.fetch(name, on_progress=lambda done, total: bar.update(task, completed=done, total=total))


def show_checkpoints(rows: list[dict[str, Any]], folder: Path, console: Console) -> None:
    """Prints the registry, one paragraph per checkpoint: a table would be wider than a terminal."""
    for row in rows:
        found = f" ({row['network']}): {row['path'] or 'missing'}"
        console.print(Text.assemble((row["name"], "bold"), found), soft_wrap=True)
        console.print(f"  {row['source']}\n  {row['licence']}", soft_wrap=True)
    console.print(f"folder: {folder}", soft_wrap=True)


def show_cache(info: caching.Info, console: Console) -> None:
    """Prints the folder, number and size of the compiled programs."""
    console.print(f"folder: {info.folder}", soft_wrap=True)
    used, limit = info.bytes / 1e6, info.limit / 1e6
    console.print(f"{info.programs} compiled programs, {used:.1f} MB of at most {limit:.0f} MB")
