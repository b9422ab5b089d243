"""The command line's `jpst eval`: how good results are, in numbers."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from jpst import streams
from jpst.errors import JpstError, UsageError, told_of


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure results: edge SSIM, SSIM, style and covariance distance, newly clipped pixels, faults, NIMA.

    Everything is measured over the whole picture at 350 pixels; distances are parts of the untouched content's. Of
    several photographs with one style, a last line says how far apart colours are that neighbours had in common.
    """

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR|OUT.json")]
    """records that `jpst transfer`, `batch` or `sweep` wrote, or folders with them"""
    json: FlagCreatePairsOff[bool] = False
    """print a JSON object"""

    def run(self) -> None:
        """Measures each result; one that cannot be measured does not stop the others, exit status 1."""
        from jpst import aesthetics, evaluation, records, terminal, weights
        from jpst.many import lines

        if not self.results:
            raise UsageError("There is nothing to measure. Name one OUT.json or folder, or more.")
        entries, errors = [], {}
        for place in self.results:
            try:
                if place.is_dir():
                    listed = records.find(place)
                    entries += listed.results
                    errors |= listed.problems
                else:
                    entries.append(records.read(place))
            except JpstError as error:
                errors[str(place)] = str(error)
        if not entries:
            raise JpstError("\n".join(errors.values()) or "There is no finished result, only rows that failed.")
        console = terminal.console(quiet=self.json)
        terminal.fetch_if_missing("vgg19", console)
        vgg19 = weights.load("vgg19").variables
        rating = aesthetics.rater() if weights.find("nima") else None
        found = {}
        for entry in entries:
            try:
                found[str(entry.path)] = evaluation.numbers(evaluation.of_record(entry, vgg19, rating))
            except (JpstError, OSError, MemoryError) as error:
                errors[str(entry.path)] = told_of(entry.path, error)
        series = evaluation.series([entry for entry in entries if str(entry.path) in found])
        lines.show_qualities(found, console)
        lines.show_series(series, console)
        if self.json:
            told = {style: apart._asdict() for style, apart in series.items()}
            streams.say_json({"results": found, "series": told, "errors": errors})
        if errors:
            raise JpstError("\n".join(errors.values()))
