"""The command line's `jpst report`: a page on the results in a folder."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from jpst import streams


@dataclasses.dataclass(frozen=True)
class Report:
    """Write a page of HTML on the results in a folder: before and after, regions, losses, faults, settings.

    The folder is one that transfers, a sweep or a batch wrote to. The page has all that it shows inside it and asks for
    nothing from outside.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """folder with pictures and their records, in sub-folders too"""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PAGE")] = None
    """page to write (.html; default: report.html in DIR)"""
    json: FlagCreatePairsOff[bool] = False
    """print what was written as a JSON object"""

    def run(self) -> None:
        """Writes the page, and says what is not on it as it should be."""
        from jpst.many import report

        made = report.write(self.folder, self.output)
        if self.json:
            return streams.say_json({**made._asdict(), "page": str(made.page)})
        for problem in made.problems:
            streams.say(problem)
        counts = [f"{made.results} result{'s' * (made.results != 1)}"]
        counts += [f"{made.failed} failed row{'s' * (made.failed != 1)}"] if made.failed else []
        streams.say(f"{made.page} written, {', '.join(counts)}, {made.page.stat().st_size / 1e6:.1f} MB.")
