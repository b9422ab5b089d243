"""The command line's `jpst eval`: how good results are, in numbers."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from jpst import streams
from jpst.errors import JpstError


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure results: edge SSIM, SSIM, style and covariance distance, newly clipped pixels, faults, NIMA.

    Everything is measured over the whole picture at 350 pixels; distances are parts of the untouched content's.
    """

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR|OUT.json")]
    """records that `jpst transfer`, `batch` or `sweep` wrote, or folders with them"""
    json: FlagCreatePairsOff[bool] = False
    """print a JSON object"""

    def run(self) -> None:
        """Measures each result; one that cannot be measured does not stop the others, exit status 1."""
        from jpst import aesthetics, evaluation, outputs, terminal, weights

        records = outputs.records(self.results)
        if not records:
            raise JpstError("There are no records of transfers (OUT.json) there. Name a folder with results.")
        console = terminal.console(quiet=self.json)
        terminal.fetch_if_missing("vgg19", console)
        vgg19 = weights.load("vgg19").variables
        rating = aesthetics.rater() if weights.find("nima") else None
        found, errors = {}, {}
        for record in records:
            try:
                found[str(record)] = evaluation.numbers(evaluation.of_record(record, vgg19, rating))
            except (JpstError, OSError) as error:
                errors[str(record)] = str(error)
        terminal.show_qualities(found, console)
        if self.json:
            streams.say_json({"results": found, "errors": errors})
        if errors:
            raise JpstError("\n".join(errors.values()))
