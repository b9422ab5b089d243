"""The command line's `jpst segment`: the regions of one photograph."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from jpst import streams


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
    json: FlagCreatePairsOff[bool] = False
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
