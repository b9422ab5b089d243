"""The command line's `jpst transfer`, and `jpst demo`, which is one of a pair that comes with other packages."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from jpst import ranges, streams
from jpst.commands import options
from jpst.errors import JpstError
from jpst.presets import preset
from jpst.ranges import Range
from jpst.recipe import ADAM_NUMBERS, SEED, STRENGTH, Hyperparameters, Recipe, check_read

if TYPE_CHECKING:  # imports JAX, which would delay --help
    from rich.console import Console

    from jpst import pyramid
    from jpst.job import Job
    from jpst.pipeline import Run

SAVE_EVERY = Range(0, 1_000_000, whole=True)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Give the photograph CONTENT the look of the photograph STYLE.

    Regions are found automatically (see --segmenter). Ctrl-C saves the best result so far.
    """

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    """photograph to change: JPEG, PNG, TIFF, WebP, HEIC"""
    style: Annotated[Positional[Path], arg(metavar="STYLE")]
    """photograph whose look it gets"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")]
    """picture to write (.jpg, .png, .tif, .webp); a record of how it was made is written to OUT's name with .json"""
    recipe: OmitArgPrefixes[Recipe]
    hyper: OmitArgPrefixes[Hyperparameters]
    content_seg: Annotated[Path | None, arg(metavar="PNG")] = None
    """painted mask of CONTENT: one flat colour a region"""
    style_seg: Annotated[Path | None, arg(metavar="PNG")] = None
    """painted mask of STYLE, in the same colours"""
    seed: int = 0
    """seed of the noise of --start noise"""
    strength: float = 1.0
    """mix of CONTENT (0) and the result (1); up to 1.5 exaggerates the result (--save-every is not affected)"""
    save_every: Annotated[int, arg(metavar="N")] = 0
    """also write the best result so far every N steps, as OUT-stepN (0: never)"""
    lut: Annotated[Path | None, arg(metavar="LOOK")] = None
    """also write the colour change as a LUT: .cube, .clf, or .png for a HaldCLUT (see `jpst look`)"""
    tensorboard: Annotated[Path | None, arg(metavar="DIR")] = None
    """also write losses and previews for TensorBoard while the steps run, to a folder in DIR with OUT's name"""
    resume: FlagCreatePairsOff[bool] = False
    """keep the state of the steps in a file beside OUT, with .resume at the end of its name, and go on from it if an
    earlier run was ended, by Ctrl-C or by the system; the file is removed when OUT is whole"""
    strip: FlagCreatePairsOff[bool] = False
    """leave out CONTENT's metadata: date, camera, place, author, rights"""
    dry_run: FlagCreatePairsOff[bool] = False
    """only show sizes, regions, memory and time"""
    json: FlagCreatePairsOff[bool] = False
    """print the record, or the dry run, as one JSON object"""

    def __post_init__(self) -> None:
        ranges.check("seed", self.seed, SEED)
        ranges.check("strength", self.strength, STRENGTH)
        ranges.check("save_every", self.save_every, SAVE_EVERY)
        # An option that was not given has the preset's number, which Python's callers may leave at `Hyperparameters()`.
        _, defaults = preset(self.recipe.name)
        check_read(self.recipe, [name for name in ADAM_NUMBERS if getattr(self.hyper, name) != getattr(defaults, name)])

    def run(self) -> None:
        """Transfers, and writes OUT and OUT.json."""
        from jpst import outputs, tensorboard, terminal

        console = terminal.console(quiet=self.json)
        if self.tensorboard:
            tensorboard.check()
        inputs = [path for path in (self.content, self.style, self.content_seg, self.style_seg) if path]
        others = [*self._checked_lut(), *([self._state] if self.resume else [])]
        outputs.check_transfer(self.output, inputs, self.recipe, previews=self.save_every > 0, others=others)
        job = self._planned(console)
        terminal.show_job(job, console)
        if self.dry_run:
            return self._report(job, console)
        if self.recipe.optimises:
            terminal.fetch_if_missing("vgg19", console)
        if not self.resume and os.path.exists(self._state):
            terminal.say(f"Note: {self._state} is of a run that was ended. --resume goes on with it.", console)
        run = self._made(job, console)
        if self.strip:
            run = run.stripped()
        written = outputs.write_result(self.output, run)
        run.forget()
        terminal.show_run(run, self.output, console, options(Transfer))
        if self.lut:
            written = outputs.add_to_record(self.output, written, lut=self._write_lut(self.lut, job, run, console))
        if self.json:
            streams.say_json(written)
        if run.interrupted:
            goes_on = self.resume and self._state.exists()
            raise KeyboardInterrupt(f"interrupted. {self._goes_on if goes_on else f'{self.output} is whole.'}")

    def _made(self, job: "Job", console: "Console") -> "Run":
        """Runs the job, and shows and writes how it goes."""
        from jpst import outputs, pipeline, terminal

        def tell(line: str) -> None:
            terminal.say(line, console)

        with (
            terminal.steps_bar(job.levels, console) as advance,
            self._board(job, tell) as board,
            self._ended_well(tell),
        ):
            every = self.save_every

            def on_step(now: "pyramid.Progress") -> None:
                nonlocal every
                advance(now)
                board(now)
                try:
                    outputs.write_preview(self.output, now, every, job.content.pixels.shape[:2])
                except JpstError as error:  # such as a full disk
                    every = 0
                    tell(f"Note: no more previews are written. {error}")

            return pipeline.run(job, on_step=on_step, resume=self._state if self.resume else None, tell=tell)

    def _board(
        self, job: "Job", tell: Callable[[str], None]
    ) -> AbstractContextManager[Callable[["pyramid.Progress"], None]]:
        """What writes the course of the job for TensorBoard, if that is asked for."""
        if not self.tensorboard:
            return nullcontext(lambda _: None)
        from jpst import tensorboard

        steps = sum(level.steps for level in job.levels)
        folder = self.tensorboard / self.output.stem
        return tensorboard.written(folder, steps, self.save_every, job.content.pixels.shape[:2], tell)

    @contextmanager
    def _ended_well(self, tell: Callable[[str], None]) -> Iterator[None]:
        """With --resume, SIGTERM inside ends the steps as Ctrl-C does, and how to go on is told."""
        from jpst.weights import unfinished

        with unfinished.ended_cleanly() if self.resume else nullcontext():
            try:
                yield
            except Exception:
                raise
            except BaseException as ended:
                if self.resume and self._state.exists():
                    if isinstance(ended, KeyboardInterrupt):
                        ended.args = (f"interrupted. {self._goes_on}",)
                    else:
                        tell(self._goes_on)
                raise

    @property
    def _state(self) -> Path:
        """The file that --resume keeps."""
        return Path(f"{self.output}.resume")

    @property
    def _goes_on(self) -> str:
        return f"{self._state} holds the state: the same command with --resume goes on from there."

    def _checked_lut(self) -> list[Path]:
        from jpst import lut_files

        if self.lut:
            lut_files.check_writable(self.lut)
        return [self.lut] if self.lut else []

    def _write_lut(self, path: Path, job: "Job", run: "Run", console: "Console") -> dict[str, Any]:
        """Writes the LUT; returns what the record tells of it."""
        from jpst import lut, lut_files, terminal

        table, found = lut.of_pictures(job.content.pixels, run.photograph.pixels)
        lut_files.write(path, table, f"{self.content.stem} to {self.output.stem}")
        terminal.show_lut(path, found, console)
        return {"path": str(path), **found._asdict()}

    def _planned(self, console: "Console") -> "Job":
        from jpst import pipeline, terminal

        return pipeline.plan(
            self.content,
            self.style,
            recipe=self.recipe,
            hyper=self.hyper,
            content_seg=self.content_seg,
            style_seg=self.style_seg,
            seed=self.seed,
            strength=self.strength,
            check_memory=not self.dry_run,
            compile_ahead=not self.dry_run,
            fetch=lambda network: terminal.fetch(network, console),
            tell=lambda line: console.print(line, soft_wrap=True),
        )

    def _report(self, job: "Job", console: "Console") -> None:
        """Shows what a job would take."""
        from jpst import record, terminal

        estimate = job.estimate()
        terminal.show_estimate(estimate, console)
        if job.short:
            warning = ranges.as_options(f"Warning: {job.short}", options(Transfer))
            console.print(warning, style="yellow", soft_wrap=True)
        if self.json:
            streams.say_json({**record.describe(job), **estimate._asdict()})


@dataclasses.dataclass(frozen=True)
class Demo:
    """Transfer a pair of photographs, by day and at dusk, that scikit-learn and scikit-image ship."""

    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")] = Path("demo.jpg")
    """picture to write"""

    def run(self) -> None:
        """Finds the two photographs and transfers them with the default preset."""
        from importlib import resources

        content = resources.files("sklearn.datasets") / "images" / "china.jpg"
        style = resources.files("skimage") / "data" / "rocket.jpg"
        with resources.as_file(content) as content_path, resources.as_file(style) as style_path:
            Transfer(content_path, style_path, self.output, *preset()).run()
