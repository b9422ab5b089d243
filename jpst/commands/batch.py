"""The command line's `jpst batch`: many pairs, from a manifest or from folders."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from jpst import ranges, streams
from jpst.errors import JpstError
from jpst.many import FAILURES, WORKERS, Engine
from jpst.recipe import SEED, STRENGTH, Hyperparameters, Recipe

if TYPE_CHECKING:  # imports JAX, which would delay --help
    from jpst.many.batch import Outcome


@dataclasses.dataclass(frozen=True)
class Batch:
    """Transfer many pairs: `batch MANIFEST -o DIR`, or `batch CONTENTS STYLE -o DIR` with a folder of contents.

    MANIFEST is a table, CSV or JSON lines, with a row for each picture: content, style, and if wanted content_seg,
    style_seg, output, preset, seed, strength, and any other option by its name (style_weight). Paths are relative to
    the manifest, outputs to DIR. STYLE is one photograph, or a folder that has one of the same name for each content.

    Beside each picture lies a record that says whether the row was done, and if not, why. Rows that are done already
    are kept, so the same command finishes a batch that was ended. Exit status 1 if a row failed.
    """

    source: Annotated[Positional[Path], arg(metavar="MANIFEST|CONTENTS")]
    """table of rows (.csv, .tsv, .jsonl), or folder of photographs to change"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
    """folder for the pictures; sub-folders and names are those of the contents"""
    recipe: OmitArgPrefixes[Recipe]
    hyper: OmitArgPrefixes[Hyperparameters]
    style: Annotated[Positional[Path | None], arg(metavar="STYLE|STYLES")] = None
    """of a folder of contents: their one style, or a folder with a style of the same name for each"""
    workers: Annotated[int, arg(metavar="N")] = 1
    """processes that work at once; processors are shared out, memory is needed N times"""
    shard: Annotated[str, arg(metavar="I/N")] = "1/1"
    """do every N-th row, beginning with the I-th: for several machines"""
    max_failures: Annotated[int, arg(metavar="N")] = 0
    """stop once N rows have failed (0: never)"""
    engine: Engine = "local"
    """who runs the workers: this machine, or a Ray cluster; its machines must see inputs and DIR at the same paths"""
    address: Annotated[str | None, arg(metavar="HOST:PORT|auto")] = None
    """of a Ray cluster that runs; without it --engine ray starts Ray on this machine, and stops it at the end"""
    seed: int = 0
    """seed of the noise of --start noise"""
    strength: float = 1.0
    """mix of content (0) and result (1); up to 1.5 exaggerates the result"""
    json: FlagCreatePairsOff[bool] = False
    """print the outcome of each row as one JSON object"""

    def __post_init__(self) -> None:
        ranges.check("seed", self.seed, SEED)
        ranges.check("strength", self.strength, STRENGTH)
        ranges.check("workers", self.workers, WORKERS)
        ranges.check("max_failures", self.max_failures, FAILURES)

    def run(self) -> None:
        """Does the rows; exit status 1 if one failed."""
        from jpst import terminal
        from jpst.many import batch, lines, ray_engine

        ray_engine.check(self.engine, self.address)
        console = terminal.console(quiet=self.json)
        planned = batch.plan(
            self.source,
            self.output,
            style=self.style,
            recipe=self.recipe,
            hyper=self.hyper,
            seed=self.seed,
            strength=self.strength,
            shard=self._part(),
        )
        lines.show_batch(planned, console)
        if any(row.recipe.optimises for row in planned.rows if not row.problem):
            terminal.fetch_if_missing("vgg19", console)
        limits = {name: getattr(self, name) for name in ("workers", "max_failures", "engine", "address")}
        try:
            with lines.rows_bar(len(planned.rows), console) as advance:
                outcomes = batch.run(planned, **limits, on_row=advance)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted. The same command goes on where it was.") from None
        lines.show_outcomes(outcomes, console)
        if self.json:
            streams.say_json([_told(each) for each in outcomes])
        failed, left = (sum(each.state == state for each in outcomes) for state in ("failed", "left"))
        if failed:
            rest = f", {left} were not begun" if left else ""
            raise JpstError(f"{failed} of {len(outcomes)} rows failed{rest}. The same command tries them again.")

    def _part(self) -> tuple[int, int]:
        part, _, parts = self.shard.partition("/")
        if not part.isdecimal() or not parts.isdecimal():
            ranges.refuse("shard", self.shard, "as I/N, from 1/N to N/N")
        return int(part), int(parts)


def _told(outcome: "Outcome") -> dict[str, Any]:
    row = outcome.row
    paths = {"content": row.content, "style": row.style, "output": row.output}
    told = {name: path and str(path) for name, path in paths.items()}
    return {"row": row.where, **told, "state": outcome.state, "reason": outcome.reason}
