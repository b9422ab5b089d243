"""The command line's `jpst look`: the colours of a transfer as a LUT, and a LUT on many photographs."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from jpst import ranges, streams
from jpst.errors import JpstError, UsageError, told_of
from jpst.recipe import STRENGTH

if TYPE_CHECKING:  # imports SciPy, which would delay --help
    from jpst.lut_files import Table


@dataclasses.dataclass(frozen=True)
class Make:
    """Write the colour change from CONTENT to RESULT, a picture made by a transfer, as a 3-D LUT.

    Editors and cameras read the file. It holds what depends on colour alone; the output says how much of the result
    that is.
    """

    content: Annotated[Positional[Path], arg(metavar="CONTENT|OUT.json")]
    """photograph, or the record of a transfer, which names both pictures"""
    output: Annotated[Path, arg(aliases=["-o"], metavar="LOOK")]
    """LUT to write: .cube, .clf, or .png for a HaldCLUT"""
    result: Annotated[Positional[Path | None], arg(metavar="RESULT")] = None
    """picture that a transfer made of CONTENT"""
    json: FlagCreatePairsOff[bool] = False
    """print how much of the result the LUT carries as a JSON object"""

    def run(self) -> None:
        """Fits and writes the table."""
        from jpst import image, lut, lut_files, outputs, records, terminal

        lut_files.check_writable(self.output)
        content, result = self.content, self.result
        if result is None:
            entry = records.read(self.content)
            content, result = entry.source("content"), entry.picture
        outputs.check([self.output], [self.content, content, result])
        table, found = lut.of_pictures(*(image.read(path).pixels for path in (content, result)))
        lut_files.write(self.output, table, f"{content.stem} to {result.stem}")
        terminal.show_lut(self.output, found, terminal.console(quiet=self.json))
        if self.json:
            streams.say_json(found._asdict())


@dataclasses.dataclass(frozen=True)
class Apply:
    """Give photographs the colours of a LUT, at full size; equal colours stay equal in all of them."""

    table: Annotated[Positional[Path], arg(metavar="LOOK")]
    """.cube, .clf, or a HaldCLUT as .png"""
    photographs: Annotated[Positional[tuple[Path, ...]], arg(metavar="PHOTO")]
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
    """folder for the pictures, which keep their names"""
    strength: float = 1.0
    """mix of the photograph (0) and the LUT's colours (1); up to 1.5 exaggerates them"""
    quality: int = 95
    """of JPEG, WebP and HEIC, 1 to 100"""

    def __post_init__(self) -> None:
        ranges.check("strength", self.strength, STRENGTH)

    def run(self) -> None:
        """Writes each picture and tells what it cannot keep; one that fails does not stop the others."""
        from jpst import lut_files, outputs

        if not self.photographs:
            raise UsageError("There is nothing to apply the LUT to. Name one photograph or more.")
        table = lut_files.read(self.table)
        targets = [self.output / path.name for path in self.photographs]
        outputs.make_folder(self.output)
        outputs.check(targets, [*self.photographs, self.table])
        errors = []
        for path, target in zip(self.photographs, targets, strict=True):
            try:
                lost = self._write(path, target, table)
                streams.say(" ".join([f"{target} written.", *lost]))
            except (JpstError, OSError, MemoryError) as error:
                errors.append(told_of(path, error))
        if errors:
            raise JpstError("\n".join(errors))

    def _write(self, path: Path, target: Path, table: "Table") -> list[str]:
        """Writes a picture; returns a sentence for each thing that it lacks of the photograph."""
        from jpst import image, lut

        photograph = image.read(path, metadata=True)
        made = photograph._replace(pixels=lut.apply(table, photograph.pixels, self.strength))
        image.write(target, **made._asdict(), quality=self.quality)
        return [*photograph.notes, *image.left_out(target, made)]


@dataclasses.dataclass(frozen=True)
class Look:
    """Take the colours of a transfer along, as a LUT."""

    action: Annotated[Make, subcommand("make")] | Annotated[Apply, subcommand("apply")]

    def run(self) -> None:
        """Runs the action."""
        self.action.run()
