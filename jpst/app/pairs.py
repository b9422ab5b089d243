"""The regions of two photographs as a page shows them, and the partners that a visitor gives them."""

import dataclasses

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from jpst import regions
from jpst.app import display
from jpst.job import Job
from jpst.pixels import LUMINANCE
from jpst.regions import pairing, segment
from jpst.regions.segment import Segmentation
from jpst.regions.semantics import REST, Side, shares_by_name

COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (0, 114, 178), (213, 94, 0),
)  # fmt: skip
"""of pairs, which those who do not see all colours can tell apart (Okabe and Ito, 2008)"""
TINT, FADED = 0.5, 0.65
"""how much of a pair's colour, or of grey, lies over a region"""
LETTERS = 1 / 26
"""height of a name, of a picture's longest side"""


class Pairs:
    """Which region of the content takes its look from which of the style, and the one that is picked to be changed."""

    def __init__(self, job: Job) -> None:
        assert job.found.parts, "its regions can be paired"
        self._job, self._parts = job, job.found.parts
        self._partners = pairing.given(self._parts, job.recipe.pairs)
        self._sides: dict[Side, _Shown] = {
            "content": _Shown(display.reduced(job.original, display.ROUGH), self._parts.content),
            "style": _Shown(display.reduced(job.style, display.ROUGH), self._parts.style),
        }
        self.picked = self._parts.names("content")[0]

    @staticmethod
    def possible(job: Job) -> bool:
        """Whether both photographs have regions that can be paired."""
        parts = job.found.parts
        return parts is not None and bool(parts.names("content") and parts.names("style"))

    @property
    def changes(self) -> tuple[str, ...]:
        """The pairs that differ from the automatic ones, as `Recipe.pairs` has them."""
        return pairing.changes(self._parts, self._partners)

    @property
    def partner(self) -> str:
        """That of the region picked; `pairing.NONE` if it follows the whole style photograph."""
        return self._partners[self.picked] or pairing.NONE

    def offered(self, side: Side) -> list[tuple[str, str]]:
        """The regions of a photograph: how they are told, and their names."""
        shares = shares_by_name(self._parts.content if side == "content" else self._parts.style)
        return [(f"{name}, {100 * shares[name]:.0f} %", name) for name in self._parts.names(side)]

    def at(self, side: Side, across: int, down: int) -> str | None:
        """The region at a pixel of the picture shown; None where none can be paired."""
        return self._sides[side].at(across, down)

    def pick(self, name: str) -> None:
        """Picks a region of the content."""
        self.picked = name

    def give(self, partner: str | None) -> None:
        """Gives the region picked a region of the style, or the whole style photograph if None."""
        self._partners[self.picked] = partner

    def reset(self) -> None:
        """Goes back to the automatic pairs."""
        self._partners = self._parts.partners

    def job(self) -> Job:
        """The job with these pairs."""
        recipe = dataclasses.replace(self._job.recipe, pairs=self.changes)
        return dataclasses.replace(self._job, recipe=recipe, found=regions.repaired(self._job.found, self.changes))

    def pictures(self) -> tuple[PIL.Image.Image, PIL.Image.Image]:
        """Content and style with their regions: partners in one colour, grey what has none, the one picked outlined."""
        used = [name for name in self._parts.names("style") if name in self._partners.values()]
        colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(used)}
        own = {name: colours[partner] for name, partner in self._partners.items() if partner}
        outlined = self._partners[self.picked]
        return self._sides["content"].drawn(own, self.picked), self._sides["style"].drawn(colours, outlined)


class _Shown:
    """A photograph as it is shown, and the region of each of its pixels."""

    def __init__(self, picture: PIL.Image.Image, found: Segmentation) -> None:
        self._pixels = np.asarray(picture, np.float32)
        self._labels = segment.resized(found.labels, *self._pixels.shape[:2])
        self._names = found.names
        self._present = [number for number in np.unique(self._labels).tolist() if found.names[number] != REST]

    def at(self, across: int, down: int) -> str | None:
        height, width = self._labels.shape
        number = self._labels[np.clip(down, 0, height - 1), np.clip(across, 0, width - 1)]
        return self._names[number] if number in self._present else None

    def drawn(self, colours: dict[str, tuple[int, int, int]], outlined: str | None) -> PIL.Image.Image:
        """The picture with these colours over its regions, their names in them, and an outline around one."""
        grey = np.full(self._pixels.shape, (self._pixels @ LUMINANCE)[..., None] * 0.5 + 110)
        made = (1 - FADED) * self._pixels + FADED * grey
        for number in self._present:
            if colour := colours.get(self._names[number]):
                there = self._labels == number
                made[there] = (1 - TINT) * self._pixels[there] + TINT * np.array(colour, np.float32)
        made[_edges(self._labels, 1)] = 255
        if outlined in self._names:
            there = self._labels == self._names.index(outlined)
            made[_edges(there, 4)] = 0
            made[_edges(there, 2)] = 255
        picture = PIL.Image.fromarray(np.rint(np.clip(made, 0, 255)).astype(np.uint8))
        for number in self._present:
            self._write(ImageDraw.Draw(picture), number)
        return picture

    def _write(self, drawing: ImageDraw.ImageDraw, number: int) -> None:
        """Writes a region's name where it is widest."""
        depth = ndimage.distance_transform_edt(np.pad(self._labels == number, 1))
        down, across = np.unravel_index(np.argmax(np.asarray(depth)), depth.shape)  # pyright: ignore
        size = max(self._labels.shape) * LETTERS
        font = ImageFont.load_default(size)
        half = font.getlength(self._names[number]) / 2 + 3
        across = np.clip(across, half, max(self._labels.shape[1] - half, half))
        place = float(across), float(np.clip(down, size, self._labels.shape[0] - size))
        drawing.text(
            place, self._names[number], "white", font, "mm", stroke_width=max(2, size / 8), stroke_fill="black"
        )


def _edges(labels: np.ndarray, width: int) -> np.ndarray:
    """The pixels within `width` of another label."""
    size = 2 * (width // 2) + 1 if width > 1 else 2
    return ndimage.maximum_filter(labels, size) != ndimage.minimum_filter(labels, size)
