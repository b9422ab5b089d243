"""The command line's `jpst score`: how well people would rate photographs."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from jpst import ranges, streams
from jpst.errors import JpstError, UsageError, told_of
from jpst.ranges import Range

SCORED_SIZE = Range(32, 4096, whole=True, or_zero=True)


@dataclasses.dataclass(frozen=True)
class Score:
    """Score photographs from 1 to 10 with NIMA, which predicts ratings by people: mean, deviation and distribution."""

    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    """photographs: JPEG, PNG, TIFF, WebP, HEIC"""
    checkpoint: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """NIMA network: a name from `jpst weights list`, or a file (default: the first of the list that is present)"""
    size: int = 224
    """each photograph is resized to a square of this side, as the networks were trained (0: unchanged)"""
    json: FlagCreatePairsOff[bool] = False
    """print a JSON object"""

    def __post_init__(self) -> None:
        ranges.check("size", self.size, SCORED_SIZE)

    def run(self) -> None:
        """Scores all photographs that can be read; exit status 1 if one cannot."""
        from jpst import aesthetics, image, terminal

        if not self.images:
            raise UsageError("There is nothing to score. Name one photograph or more.")
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
            except (JpstError, OSError, MemoryError) as error:
                errors[str(path)] = told_of(path, error)
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
