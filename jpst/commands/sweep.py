"""The command line's `jpst sweep`: one pair with several settings, and a sheet to compare them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from jpst import ranges, streams
from jpst.many import TOGETHER
from jpst.presets import preset
from jpst.recipe import NUMBERS, SEED, STRENGTH, Hyperparameters, Recipe

if TYPE_CHECKING:  # imports JAX, which would delay --help
    from rich.console import Console

    from jpst.job import Job

Values = dataclasses.make_dataclass(
    "Values",
    [
        (name, Annotated[tuple[float, ...], arg(metavar="X ...", help=f"one value or several: {NUMBERS[name]}")])
        for name in Hyperparameters._fields
    ],
    frozen=True,
)
"""values of each number of a sweep"""
Values.__doc__ = "The numbers of a transfer, see `jpst transfer --help`."


def single(hyper: Hyperparameters) -> Any:
    """`Values` with one value each."""
    return Values(**{name: (number,) for name, number in hyper._asdict().items()})


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Transfer one pair with several settings: `sweep CONTENT STYLE -o DIR --style-weight 0.3 1 3`.

    Writes a picture for each combination of values, named after them, with its record, which has the command that makes
    this picture alone; and sheet.jpg, which shows all of them. Ctrl-C saves the best results so far.
    """

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    """photograph to change"""
    style: Annotated[Positional[Path], arg(metavar="STYLE")]
    """photograph whose look it gets"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
    """folder for the pictures"""
    recipe: OmitArgPrefixes[Recipe]
    values: OmitArgPrefixes[Values]  # pyright: ignore[reportInvalidTypeForm]
    zip: FlagCreatePairsOff[bool] = False
    """the first values of all numbers together, then the second ones, ...; not every combination"""
    together: Annotated[int, arg(metavar="N")] = 0
    """settings that are optimised at once (0: on a CPU 1, on GPU and TPU as many as fit into memory)"""
    content_seg: Annotated[Path | None, arg(metavar="PNG")] = None
    """painted mask of CONTENT: one flat colour a region"""
    style_seg: Annotated[Path | None, arg(metavar="PNG")] = None
    """painted mask of STYLE, in the same colours"""
    seed: int = 0
    """seed of the noise of --start noise"""
    strength: float = 1.0
    """mix of CONTENT (0) and each result (1); up to 1.5 exaggerates the result"""
    json: FlagCreatePairsOff[bool] = False
    """print the records as one JSON list"""

    def __post_init__(self) -> None:
        ranges.check("seed", self.seed, SEED)
        ranges.check("strength", self.strength, STRENGTH)
        ranges.check("together", self.together, TOGETHER)
        for name, allowed in NUMBERS.items():
            for number in getattr(self.values, name):
                ranges.check(name, number, allowed)

    def run(self) -> None:
        """Transfers, and writes a picture and record for each setting, and the sheet."""
        from jpst import outputs, terminal
        from jpst.many import lines, sheet, sweep

        console = terminal.console(quiet=self.json)
        values = dataclasses.asdict(self.values)
        hypers = sweep.settings(preset(self.recipe.name)[1], values, zipped=self.zip)
        varied = sheet.varied(hypers)
        pictures = [sheet.picture(self.output, self.content, hyper, varied) for hyper in hypers]
        inputs = [path for path in (self.content, self.style, self.content_seg, self.style_seg) if path]
        outputs.check_sweep(self.output / sheet.NAME, pictures, inputs, self.recipe)
        planned = self._planned(hypers[0], console)
        terminal.show_job(planned, console)
        if self.recipe.optimises:
            terminal.fetch_if_missing("vgg19", console)
        records, shown = [], [("content", sheet.reduced(planned.content)), ("style", sheet.reduced(planned.style))]
        ended = f"interrupted, {{}} of {len(hypers)} pictures were written."
        try:
            with terminal.steps_bar(planned.levels, console, len(hypers)) as advance:
                runs = sweep.run(planned, hypers, together=self.together, on_step=advance)
                for picture, hyper, run in zip(pictures, hypers, runs, strict=False):
                    run.record["command"] = self._command(picture, hyper)
                    records.append(outputs.write_result(picture, run))
                    shown.append((sheet.caption(hyper, varied) or "result", sheet.reduced(run.photograph)))
        except KeyboardInterrupt:  # between steps it would end them
            raise KeyboardInterrupt(ended.format(len(records))) from None
        columns = len(dict.fromkeys(values[varied[-1]])) if varied and not self.zip else 4
        outputs.write_sheet(self.output / sheet.NAME, sheet.sheet(shown, columns))
        lines.show_sweep(pictures, records, self.output / sheet.NAME, console)
        if self.json:
            streams.say_json(records)
        if any(record["interrupted"] for record in records):
            raise KeyboardInterrupt(ended.format(len(records)))

    def _command(self, picture: Path, hyper: Hyperparameters) -> str:
        from jpst import command_line

        others = {name: getattr(self, name) for name in ("content_seg", "style_seg", "seed", "strength")}
        changed = {name: value for name, value in others.items() if value != getattr(Sweep, name)}
        return command_line.command(self.content, self.style, picture, self.recipe, hyper, changed)

    def _planned(self, hyper: Hyperparameters, console: "Console") -> "Job":
        from jpst import pipeline, terminal

        return pipeline.plan(
            self.content,
            self.style,
            content_seg=self.content_seg,
            style_seg=self.style_seg,
            recipe=self.recipe,
            hyper=hyper,
            seed=self.seed,
            strength=self.strength,
            compile_ahead=True,
            fetch=lambda network: terminal.fetch(network, console),
            tell=lambda line: console.print(line, soft_wrap=True),
        )
