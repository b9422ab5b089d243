"""The command line: parses arguments, calls the library, prints and exits.

Its options are the fields of `Recipe` and `Hyperparameters`.
"""

import dataclasses
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from jpst import ranges, streams
from jpst.cli_batch import Batch
from jpst.cli_cache import Cache
from jpst.cli_look import Look
from jpst.cli_sweep import Sweep, single
from jpst.cli_weights import Weights
from jpst.errors import JpstError
from jpst.presets import PRESETS, preset
from jpst.ranges import Range
from jpst.recipe import ADAM_NUMBERS, SEED, STRENGTH, Hyperparameters, Recipe, check_read

if TYPE_CHECKING:  # imports JAX, which would delay --help; commands import what they need
    from rich.console import Console

    from jpst import pyramid
    from jpst.job import Job

Flag = FlagCreatePairsOff[bool]

SAVE_EVERY = Range(0, 1_000_000, whole=True)
SCORED_SIZE = Range(32, 4096, whole=True, or_zero=True)


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
    strip: Flag = False
    """leave out CONTENT's metadata: date, camera, place, author, rights"""
    dry_run: Flag = False
    """only show sizes, regions, memory and time"""
    json: Flag = False
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
        from jpst import outputs, pipeline, terminal

        console = terminal.console(quiet=self.json)
        inputs = [path for path in (self.content, self.style, self.content_seg, self.style_seg) if path]
        outputs.check_transfer(self.output, inputs, self.recipe, previews=self.save_every > 0)
        job = self._planned(console)
        terminal.show_job(job, console)
        if self.dry_run:
            return self._report(job, console)
        if self.recipe.optimises:
            terminal.fetch_if_missing("vgg19", console)
        with terminal.steps_bar(job.levels, console) as advance:

            def on_step(now: "pyramid.Progress") -> None:
                advance(now)
                outputs.write_preview(self.output, now, self.save_every, job.content.pixels.shape[:2])

            run = pipeline.run(job, on_step=on_step)
        if self.strip:
            run = run.stripped()
        written = outputs.write_result(self.output, run)
        terminal.show_run(run, self.output, console, _OPTIONS)
        if self.json:
            streams.say_json(written)

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
            warning = ranges.as_options(f"Warning: {job.short}", _OPTIONS)
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


@dataclasses.dataclass(frozen=True)
class Segment:
    """Find the regions of a photograph: writes a label map as an indexed PNG and prints a table."""

    photograph: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """photograph: JPEG, PNG, TIFF, WebP, HEIC"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="OUT")]
    """label map to write (.png): pixel values are region numbers, colours are ADE20K's"""
    segmenter: Literal["auto", "pspnet", "deeplab", "scene", "cluster"] = "auto"
    """pspnet: the 150 scene classes of ADE20K (`jpst weights fetch pspnet50-ade20k`); deeplab: the first 31 of them,
    downloaded at first use; scene: the same 31, by the network that ships with jpst; cluster: regions without names;
    auto: the first of pspnet, deeplab and scene that is available"""
    overlay: Annotated[Path | None, arg(metavar="PICTURE")] = None
    """also write the photograph with coloured regions"""
    json: Flag = False
    """print a JSON object"""

    def run(self) -> None:
        """Segments one photograph."""
        from jpst import image, outputs, regions, terminal
        from jpst.regions import labelling

        console = terminal.console(quiet=self.json)
        outputs.check_segmentation(self.output, self.overlay, self.photograph)
        photograph = image.seen(image.read(self.photograph))
        used = self.segmenter
        if used == "auto":
            if missing := labelling.fetch_deeplab(lambda line: console.print(line, soft_wrap=True)):
                console.print(missing, soft_wrap=True)
            used = labelling.best()
        if regions.in_features(used):
            terminal.fetch_if_missing("vgg19", console)
        found = regions.alone(photograph, used)
        outputs.write_segmentation(self.output, self.overlay, photograph, found)
        rows = outputs.region_shares(found)
        terminal.show_segments(used, rows, outputs.palette(), console)
        report = [row._asdict() for row in rows]
        if self.json:
            streams.say_json({"segmenter": used, "regions": report})


@dataclasses.dataclass(frozen=True)
class Score:
    """Score photographs from 1 to 10 with NIMA, which predicts ratings by people: mean, deviation and distribution."""

    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    """photographs: JPEG, PNG, TIFF, WebP, HEIC"""
    checkpoint: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """NIMA network: a name from `jpst weights list`, or a file (default: the first of the list that is present); or
    aesthetic-head, a small head made by jpst, the default if NIMA is missing and the package has the head"""
    size: int = 224
    """each photograph is resized to a square of this side, as the networks were trained (0: unchanged)"""
    json: Flag = False
    """print a JSON object"""

    def __post_init__(self) -> None:
        ranges.check("size", self.size, SCORED_SIZE)

    def run(self) -> None:
        """Scores all photographs that can be read; exit status 1 if one cannot."""
        from jpst import aesthetics, image, terminal

        if not self.images:
            raise JpstError("There is nothing to score. Name one photograph or more.")
        console, asked = terminal.console(quiet=self.json), aesthetics.chosen(self.checkpoint)
        if asked == aesthetics.HEAD:
            terminal.fetch_if_missing("vgg19", console)
        rater = aesthetics.rater(asked)
        name = rater.provenance.name
        unasked = "There is no NIMA network; using " if asked != self.checkpoint else ""
        console.print(f"{unasked}{name}: {aesthetics.licence(name)}", soft_wrap=True)
        scores, errors = [], {}
        for path in self.images:
            try:
                scores.append((path, aesthetics.score(rater.variables, image.seen(image.read(path)), self.size)))
            except (JpstError, OSError) as error:
                errors[str(path)] = str(error)
        if scores:
            terminal.show_scores(scores, console)
        report = {"checkpoint": rater.provenance._asdict(), "size": self.size, "errors": errors}
        if rater.features:
            report["vgg19"] = rater.features._asdict()
        report["scores"] = [{"image": str(path), **score._asdict()} for path, score in scores]
        if self.json:
            streams.say_json(report)
        if errors:
            raise JpstError("\n".join(errors.values()))


@streams.forgiving
def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 the job failed, 2 wrong use, 130 interrupted without a result."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = _parse(arguments)
        _run(command)
    except (JpstError, OSError) as error:  # such as a full disk
        sys.exit(f"jpst: {ranges.as_options(str(error), _OPTIONS)}")
    except KeyboardInterrupt as interrupt:
        told = interrupt.args[0] if interrupt.args else "interrupted, nothing was written."
        print(f"jpst: {told}", file=sys.stderr)
        sys.exit(130)


def _run(command: Any) -> None:
    """Runs a command with compiled programs cached on disk; prints a note if they cannot be cached."""
    from jpst import caching

    caching.enable()
    try:
        command.run()
    finally:
        if problem := caching.problem():
            print(f"Note: {problem}", file=sys.stderr)


def _parse(arguments: list[str]) -> Any:
    recipe, hyper = PRESETS[_asked_preset(arguments)]
    commands = (
        Annotated[
            Transfer,
            subcommand("transfer", default=Transfer(*[tyro.MISSING] * 3, recipe=recipe, hyper=hyper)),
        ]
        | Annotated[Batch, subcommand("batch", default=Batch(*[tyro.MISSING] * 2, recipe=recipe, hyper=hyper))]
        | Annotated[
            Sweep,
            subcommand("sweep", default=Sweep(*[tyro.MISSING] * 3, recipe=recipe, values=single(hyper))),
        ]
        | Annotated[Look, subcommand("look")]
        | Annotated[Demo, subcommand("demo")]
        | Annotated[Segment, subcommand("segment")]
        | Annotated[Score, subcommand("score")]
        | Annotated[Weights, subcommand("weights")]
        | Annotated[Cache, subcommand("cache")]
    )
    with streams.reader_may_leave():  # --help may be piped to `head`
        return tyro.cli(commands, prog="jpst", args=arguments, description=_DESCRIPTION, config=_NAMES)
    sys.exit(0)


_FIELDS = [field.name for each in (Transfer, Batch, Sweep, Recipe) for field in dataclasses.fields(each)] + [
    *Hyperparameters._fields
]
_OPTIONS = {name: f"--{name.replace('_', '-')}" for name in _FIELDS} | {"name": "--preset"}
_NAMES = (OmitArgPrefixes, OmitSubcommandPrefixes)  # plain: no --recipe.size, no `weights action:list`
_DESCRIPTION = "Photo style transfer: give one photograph the light, weather, season or colour grade of another."


def _asked_preset(arguments: list[str]) -> str:
    """The preset given on the command line, found before parsing: it sets the defaults of all other options."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--preset=") else [word])]
    asked = [after for word, after in pairwise(words) if word == "--preset"]
    return asked[-1] if asked and asked[-1] in PRESETS else Recipe().name  # the parser refuses an unknown one
