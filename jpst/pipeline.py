"""From two photographs to a finished one: read, find regions, optimise coarse to fine, bring to full size, record."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL.Image

from jpst import blending, highres, identity, image, levels, loading, pixels, projection, pyramid, record
from jpst.image import Photograph
from jpst.job import Job, plan
from jpst.pyramid import Climbed, Progress
from jpst.recipe import Hyperparameters, Recipe
from jpst.regions import Source
from jpst.resuming import Keeper
from jpst.scene import Pair
from jpst.total import Networks


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished transfer."""

    content: Source
    """as it was given"""
    photograph: Photograph
    """the result as `image.write` takes it: float32 pixels, the content's alpha, bit depth and metadata"""
    full_strength: Photograph
    """`photograph` at strength 1, of which `jpst.blend` makes any other strength"""
    interrupted: bool
    """whether Ctrl-C ended it early"""
    record: dict[str, Any]
    """recipe, hyperparameters, versions, checkpoints, regions, losses of every step, faults, times: ready for JSON"""
    state: Path | None = None
    """the file that keeps the state of the steps, if `resume` asked for one"""

    @functools.cached_property
    def image(self) -> PIL.Image.Image | np.ndarray:
        """The result in the form that the content came in.

        Of an array an array of its dtype, with alpha as a fourth channel if it had one; of a path or a PIL image a PIL
        image, RGB or RGBA, which has 8 bits a channel. `photograph` keeps 16.
        """
        return blending.in_form_of(self.content, self.photograph)

    def save(self, path: str | os.PathLike[str], quality: int = 95, strip: bool = False) -> None:
        """Writes the picture, tagged as sRGB, with the content's alpha and metadata, and its 16 bits in PNG and TIFF.

        A state that was kept is then removed, unless the run was interrupted.

        Args:
          path: its suffix names the format: .jpg .png .tif .webp, and .heic with pillow-heif.
          quality: 1 to 100, of the lossy formats.
          strip: leave out the content's metadata: date, camera, place, author, rights.

        Raises:
          JpstError: it cannot be written there; nothing is then left.
        """
        run = self.stripped() if strip else self
        image.write(path, **run.photograph._asdict(), quality=quality)
        self.forget()

    def forget(self) -> None:
        """Removes the state that was kept, unless the run was interrupted."""
        if self.state and not self.interrupted:
            self.state.unlink(missing_ok=True)

    def stripped(self) -> "Run":
        """The same run without the content's metadata."""
        without = {name: getattr(self, name)._replace(metadata=None) for name in ("photograph", "full_strength")}
        return dataclasses.replace(self, **without)


def stylize(
    content: Source,
    style: Source,
    *,
    recipe: Recipe | None = None,
    hyper: Hyperparameters | None = None,
    content_seg: Source | None = None,
    style_seg: Source | None = None,
    networks: Networks | None = None,
    seed: int = 0,
    strength: float = 1.0,
    on_step: Callable[[Progress], None] = lambda _: None,
    resume: str | os.PathLike[str] | None = None,
) -> Run:
    """Gives `content` the look of `style`.

    Args:
      content, style: paths, PIL images or arrays (as `image.read` takes them).
      recipe: the static choices; the preset "balanced" unless given.
      hyper: the numbers; those of the recipe's preset unless given. `jpst.preset` makes recipe and numbers that suit
        each other; `Hyperparameters()` has the paper's.
      content_seg, style_seg: painted masks, one flat colour a region; both or neither.
      networks: networks loaded before, to spare loading them again; else VGG19 is loaded, and fetched at first use.
      seed: of the noise that a recipe may start from, 0 to 2**32 - 1; nothing else is random.
      strength: how much of the result, 0 to 1.5: 0 is the content itself (in its colours, of a black and white style
        too), 1 the result, above 1 is more of it. Always the same work; `jpst.blend` makes another without it.
      on_step: called after each step (on an accelerator, after each chunk of steps).
      resume: as in `run`.

    Ctrl-C during the steps ends them; the best picture so far is finished and returned as `interrupted`.

    Raises:
      JpstError: unusable photographs, masks, checkpoints or numbers, or too little memory; the message says what to
        do.
    """
    job = plan(
        content,
        style,
        recipe=recipe,
        hyper=hyper,
        content_seg=content_seg,
        style_seg=style_seg,
        networks=networks,
        seed=seed,
        strength=strength,
        compile_ahead=True,
    )
    return run(job, on_step=on_step, resume=resume)


def run(
    job: Job,
    *,
    on_step: Callable[[Progress], None] = lambda _: None,
    resume: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Optimises a job and brings its result to full size.

    Args:
      job: as `plan` gives it.
      on_step: called after each step (on an accelerator, after each chunk of steps).
      resume: a file in which the state of the steps is kept, about twice a minute and when they are ended early. The
        same job goes on from it, to the same picture; `Run.save` removes it.
      tell: called with a sentence if it goes on, or cannot, and if the state cannot be written.

    Ctrl-C during the steps ends them; the best picture so far is finished and returned as `interrupted`.

    Raises:
      JpstError: a network cannot be loaded, or the file of `resume` is the state of another job.
    """
    [finished] = run_all([job], on_step=on_step, resume=resume, tell=tell)
    return finished


def run_all(
    jobs: Sequence[Job],
    *,
    together: int = 1,
    on_step: Callable[[Progress], None] = lambda _: None,
    resume: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Runs jobs that differ in nothing but `hyper` and `absent`; what does not depend on them is done once.

    Args:
      jobs: one or more.
      together: so many are optimised at once, see `pyramid.climb_all`.
      on_step: as in `run`.
      resume, tell: as in `run`, of one job alone.

    Yields:
      Each job's `run`, in turn. Ctrl-C ends those that are being optimised, and none follow.

    Raises:
      JpstError: a network cannot be loaded.
    """
    started, first = time.perf_counter(), jobs[0]
    networks, checkpoints = _networks(jobs)
    pair = first.pair
    keeper = Keeper()
    if resume is not None and first.recipe.optimises:
        keeper = Keeper(Path(resume), identity.of_steps(first, networks), tell)
    started -= keeper.seconds
    climbs = pyramid.climb_all(
        pair,
        first.levels,
        networks,
        [job.hyper for job in jobs],
        recipe=first.recipe,
        together=together,
        bounds=projection.CLOSE if first.projected else None,
        key=jax.random.key(first.seed),
        on_step=on_step,
        keeper=keeper,
    )
    for job, climbed in zip(jobs, climbs, strict=False):
        if len(jobs) > 1:  # what was done once is no job's
            started = time.perf_counter() - sum(one.seconds for one in climbed)
        yield dataclasses.replace(_finished(job, pair, climbed, checkpoints, started), state=keeper.path)


def _finished(job: Job, pair: Pair, climbed: list[Climbed], checkpoints: Any, started: float) -> Run:
    """A job's levels as a finished picture; it began at `started`."""
    finished = finish(pair.content.pixels, climbed[-1], job.recipe)
    photograph = job.content._replace(pixels=pixels.neutral(finished) if job.neutral else finished)
    if photograph.alpha is not None and photograph.alpha.shape != photograph.pixels.shape[:2]:
        photograph = photograph._replace(alpha=_alpha_at(photograph.alpha, photograph.pixels.shape[:2]))
    blended = blending.at_strength(job.original, job.content, photograph, job.strength)
    return Run(
        content=job.content_source,
        photograph=blended,
        full_strength=photograph,
        interrupted=climbed[-1].interrupted,
        record=record.of(job, checkpoints, climbed, photograph, blended, time.perf_counter() - started),
    )


def _networks(jobs: Sequence[Job]) -> tuple[Networks, Any]:
    """The networks of the steps, none if there are no steps, and for the record where they come from."""
    job = next((each for each in jobs if loading.rates(each.hyper, each.absent)), jobs[0])
    if job.networks is not None:
        return job.networks, "given by the caller"
    if not job.recipe.optimises:
        return Networks(None), {}
    return loading.load(job.recipe, job.hyper, job.absent, job.vgg19)


def finish(full: np.ndarray, climbed: Climbed, recipe: Recipe) -> np.ndarray:
    """The result [H, W, 3] in [0, 1] at the size that the recipe asks for."""
    size = levels.output_size((full.shape[0], full.shape[1]), recipe)
    full = full if full.shape[:2] == size else np.asarray(pixels.at_size(full, size))
    if full.shape == climbed.result.shape:
        return np.clip(np.asarray(climbed.result), 0.0, 1.0)
    return highres.apply(full, climbed.content, climbed.result)


def _alpha_at(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(pixels.at_size(alpha[..., None], size))[..., 0]
