"""What a page shows of a transfer: pictures no larger than a screen, made of a job before and while it is run."""

import dataclasses

import numpy as np
import PIL.Image

from jpst import blending, highres, pipeline, pixels
from jpst.image import Photograph
from jpst.job import Job
from jpst.many import sheet
from jpst.pipeline import Run
from jpst.story import Progress

SIDE = 1024
"""of each finished picture on the page, at most, in pixels"""
ROUGH = 640
"""of those before it is finished, which come sooner"""


def reduced(photograph: Photograph, side: int = SIDE) -> PIL.Image.Image:
    """A photograph as displayed, no larger than the page needs it."""
    return sheet.reduced(_at_most(photograph, side), side)


def without_steps(job: Job) -> Job:
    """The same job with no network steps: its result is the base look, as of the preset `preview`."""
    recipe = dataclasses.replace(job.recipe, iterations=(0,))
    return dataclasses.replace(job, recipe=recipe, levels=(job.levels[0]._replace(steps=0),))


def base_look(job: Job) -> PIL.Image.Image:
    """The base look of a job as it is shown; with large photographs much sooner than at full size."""
    content, original = (_at_most(each, ROUGH) for each in (job.content, job.original))
    small = dataclasses.replace(job, content=content, original=original)
    return reduced(pipeline.run(without_steps(small)).photograph)


class Growing:
    """The result of a job while its steps run."""

    def __init__(self, job: Job) -> None:
        self._photograph = _at_most(job.content, ROUGH)
        self._pixels = pixels.neutral(self._photograph.pixels) if job.neutral else self._photograph.pixels

    def after(self, now: Progress) -> PIL.Image.Image:
        """The best result so far, with the photograph's detail."""
        made = highres.apply(self._pixels, pixels.at_size(self._pixels, now.level.content), now.best)
        return reduced(self._photograph._replace(pixels=made))


class Finished:
    """A finished transfer of which any strength can be had without a new run."""

    def __init__(self, job: Job, run: Run) -> None:
        self.job, self.run = job, run
        self._content, self._result = _at_most(job.original, SIDE), _at_most(run.full_strength, SIDE)
        self.before = reduced(self._content)

    def shown(self, strength: float) -> PIL.Image.Image:
        """The result at a strength of 0 to 1.5 as it is shown."""
        return reduced(blending.blend(self._content, self._result, strength))

    def whole(self, strength: float) -> Photograph:
        """The result at this strength at full size, with all its bits and the content's metadata."""
        return blending.blend(self.job.original, self.run.full_strength, strength)


def _at_most(photograph: Photograph, side: int) -> Photograph:
    """A photograph with no side longer than this; the same if it has none."""
    height, width = photograph.pixels.shape[:2]
    size = pixels.working_size(height, width, side)
    if size == (height, width):
        return photograph
    alpha = photograph.alpha
    if alpha is not None:
        alpha = np.asarray(pixels.at_size(alpha[..., None], size))[..., 0]
    return photograph._replace(pixels=np.asarray(pixels.at_size(photograph.pixels, size)), alpha=alpha)
