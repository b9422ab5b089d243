"""The command line's `jpst look`: the colours of a transfer as a LUT, and a LUT on many photographs."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from jpst import ranges, streams
from jpst.errors import JpstError
from jpst.recipe import STRENGTH

if TYPE_CHECKING:  # imports SciPy, which would delay --help
    from jpst.lut import Table


@dataclasses.dataclass(frozen=True)
class Make:
    """Write the colour change from CONTENT to RESULT, a picture made by a transfer, as a 3-D LUT.

    Editors and cameras read the file. It holds what depends on colour alone; the output says how much of the result
    that is.
    """

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    output: Annotated[Path, arg(aliases=["-o"], metavar="LOOK.cube")]
    json: FlagCreatePairsOff[bool] = False
    """print how much of the result the LUT carries as a JSON object"""

    def run(self) -> None:
        """Fits and writes the table."""
        import numpy as np

        from jpst import image, lut, outputs, pixels

        lut.check(self.output)
        outputs.check([self.output], [self.content, self.result])
        size = pixels.working_size(*image.size(self.content), lut.LONGEST)
        content, result = (
            np.asarray(pixels.at_size(image.read(path).pixels, size), np.float64)
            for path in (self.content, self.result)
        )
        table = lut.fit(content, result)
        found = lut.fidelity(table, content, result)
        lut.write(self.output, table, f"{self.content.stem} to {self.result.stem}")
        if self.json:
            return streams.say_json(found._asdict())
        streams.say(
            f"{self.output} written. Its picture differs from {self.result.name} by {found.mean:.1f} dE2000 on average "
            f"and by less than {found.p95:.1f} in 95 % of the pixels. {found.coverage:.0%} of the table are colours of "
            f"the photograph. The most colourful grey has a chroma of {found.neutral_drift:.1f}."
        )


@dataclasses.dataclass(frozen=True)
class Apply:
    """Give photographs the colours of a LUT, at full size; equal colours stay equal in all of them."""

    table: Annotated[Positional[Path], arg(metavar="LOOK.cube")]
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
        """Writes each picture; one that fails does not stop the others."""
        from jpst import lut, outputs

        table = lut.read(self.table)
        targets = [self.output / path.name for path in self.photographs]
        outputs.make_folder(self.output)
        outputs.check(targets, [*self.photographs, self.table])
        errors = []
        for path, target in zip(self.photographs, targets, strict=True):
            try:
                self._write(path, target, table)
                streams.say(f"{target} written.")
            except (JpstError, OSError) as error:
                errors.append(str(error))
        if errors:
            raise JpstError("\n".join(errors))

    def _write(self, path: Path, target: Path, table: "Table") -> None:
        from jpst import image, lut

        photograph = image.read(path, metadata=True)
        pixels = lut.apply(table, photograph.pixels, self.strength)
        image.write(target, **photograph._replace(pixels=pixels)._asdict(), quality=self.quality)


@dataclasses.dataclass(frozen=True)
class Look:
    """Take the colours of a transfer along, as a LUT (.cube)."""

    action: Annotated[Make, subcommand("make")] | Annotated[Apply, subcommand("apply")]

    def run(self) -> None:
        """Runs the action."""
        self.action.run()
