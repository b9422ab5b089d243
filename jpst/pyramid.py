"""Coarse to fine: the working sizes, and the optimisation carried from one to the next."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jpst import highres, pixels, projection
from jpst.errors import JpstError
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.optimise import Networks, Result, State, Status, compile_transfer, first_image, init, prepare, transfer
from jpst.recipe import Hyperparameters, Recipe
from jpst.regions import soft_masks

ACCELERATOR_CHUNK = 10  # at most so many steps in one call on GPU and TPU, between two reports of progress
PREPARED_AT_ONCE = 2  # levels: compiling takes one thread each
PLATEAU_STEPS = 20  # over which a recipe's `plateau_tolerance` is measured
REGION_COUNTS = (1, 9, 24)  # masks are filled up to these with empty ones, which costs little: fewer steps to compile


class Level(NamedTuple):
    """One level: the working sizes (height, width) of content and style, and its steps."""

    content: tuple[int, int]
    style: tuple[int, int]
    steps: int

    def turned(self) -> "Level":
        """With height and width exchanged, as all things here called so."""
        (height, width), (height2, width2) = self.content, self.style
        return Level((width, height), (width2, height2), self.steps)


class Picture(NamedTuple):
    """A photograph [H, W, 3] in [0, 1] and its regions, a label map of the same shape but of any size.

    Where alpha, [H, W] in [0, 1], is given, each pixel counts by it. `whole` is the label of what has no counterpart of
    its own in the other photograph: its colours and features are measured over the whole picture.
    """

    pixels: Float[np.ndarray, "h w 3"]
    labels: Int[np.ndarray, "h2 w2"]
    alpha: Float[np.ndarray, "h w"] | None = None
    whole: int | None = None

    def turned(self) -> "Picture":
        alpha = None if self.alpha is None else self.alpha.T
        return Picture(self.pixels.swapaxes(0, 1), self.labels.T, alpha, self.whole)


class Progress(NamedTuple):
    """Where the optimisation stands after a chunk of steps."""

    level: Level
    step: int
    """steps done, over all levels"""
    chunk: int
    """steps done since the last report"""
    terms: dict[str, float]
    """each weighted term and "total", before the last update"""
    best: Float[Array, "h w 3"]
    """the best image so far, at this level's size"""

    def turned(self) -> "Progress":
        return self._replace(level=self.level.turned(), best=jnp.swapaxes(self.best, 0, 1))


class Climbed(NamedTuple):
    """One level, done (or as far as it came)."""

    level: Level
    content: Float[Array, "h w 3"]
    result: Float[Array, "h w 3"]
    losses: dict[str, list[float]]
    """each weighted term and "total" before every step"""
    seconds: float
    """wall time, compilation included"""
    status: Status
    interrupted: bool
    """whether Ctrl-C ended it"""
    plateau: bool
    """whether it ended before its last step, the total having stopped falling"""

    def turned(self) -> "Climbed":
        content, result = (jnp.swapaxes(image, 0, 1) for image in (self.content, self.result))
        return self._replace(level=self.level.turned(), content=content, result=result)


def plan(content: tuple[int, int], style: tuple[int, int], recipe: Recipe) -> tuple[Level, ...]:
    """The levels, coarsest first, each half the size of the next and none much larger than the photographs.

    Raises:
      JpstError: a photograph is too small, or too narrow at a working size, for the recipe's layers.
    """
    sizes = [recipe.size >> depth for depth in reversed(range(len(recipe.iterations)))]
    for name, photograph in (("content", content), ("style", style)):
        _check_size(name, photograph, sizes[0], recipe)
    return tuple(
        Level(
            _working_size(content, size, recipe, recipe.size_multiple),
            _working_size(style, size, recipe, recipe.size_multiple),
            steps,
        )
        for size, steps in zip(sizes, recipe.iterations, strict=True)
    )


def output_size(photograph: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """(height, width) of the result for a content photograph of (height, width)."""
    if recipe.output_size == "native":
        return photograph
    return pixels.working_size(*photograph, recipe.size, recipe.size_multiple if recipe.shape == "own" else 1)


def _working_size(photograph: tuple[int, int], size: int, recipe: Recipe, multiple: int) -> tuple[int, int]:
    """(height, width) of a photograph of (height, width) at a level of this size."""
    if recipe.shape == "own":
        return pixels.working_size(*photograph, size, multiple)
    alike = math.sqrt(pixels.COMMON_RATIO * math.prod(photograph))  # the longest side, were it 3:2
    halvings = max(0, math.floor(math.log2(recipe.size / alike) + 0.5)) if alike else 0
    return pixels.common_size(*photograph, min(size, recipe.size >> halvings), multiple)


def _check_size(name: str, photograph: tuple[int, int], size: int, recipe: Recipe) -> None:
    """That neither the photograph nor its smallest working picture is too narrow for the network."""
    least = vgg19.minimum_size(recipe.content_layers + recipe.style_layers)
    multiple = recipe.size_multiple if recipe.shape == "own" else 1  # rounding up would hide what is too narrow
    working = _working_size(photograph, size, recipe, multiple)
    if min(*working, *photograph) < least:
        raise JpstError(
            f"The {name} photograph, {photograph[1]} x {photograph[0]} pixels, is {working[1]} x {working[0]} at its "
            f"smallest working size; VGG19 needs at least {least} pixels on each side. Use a larger or wider "
            "photograph, a larger --size, or fewer levels of --iterations."
        )


def climb(
    content: Picture,
    style: Picture,
    regions: int,
    levels: tuple[Level, ...],
    networks: Networks,
    hyper: Hyperparameters,
    *,
    recipe: Recipe,
    bounds: projection.Bounds | None = projection.CLOSE,
    key: Array | None = None,
    on_step: Callable[[Progress], None] = lambda _: None,
) -> list[Climbed]:
    """Optimises every level in turn, each starting from the one before brought to its size.

    A portrait is worked on as a landscape, with height and width exchanged in pictures and network alike, which gives
    the same result by the same compiled programs.

    Args:
      content, style: the photographs, at their own sizes; their labels count the same `regions`.
      levels: as `plan` made them.
      bounds: of a recipe's projection; None: nothing is projected.
      key: for a recipe that starts from noise.
      on_step: called after each step, on accelerators after each chunk of steps.

    Returns:
      The levels reached, the result being the last one's. Ctrl-C ends the climb, as does a loss that is not finite;
      the last level then holds the best image so far. A plateau ends only the level that it is met on.
    """
    if not recipe.optimises:
        return [_unoptimised(content, style, regions, levels[-1], recipe)]
    height, width = levels[-1].content
    if height <= width or recipe.shape == "own" or networks.nima is not None:  # whose kernels may not be square
        return _climb(content, style, regions, levels, networks, hyper, recipe, bounds, key, on_step)
    pictures = content.turned(), style.turned()
    networks = Networks(vgg19.turned(networks.vgg19))
    levels = tuple(level.turned() for level in levels)
    turned = partial(_climb, *pictures, regions, levels, networks, hyper, recipe, bounds, key)
    climbed = turned(lambda now: on_step(now.turned()))
    return [one.turned() for one in climbed]


def _unoptimised(content: Picture, style: Picture, regions: int, level: Level, recipe: Recipe) -> Climbed:
    """The first image of a level as its result: no network is asked."""
    started = time.perf_counter()
    scene = _scene(content, style, regions, level, recipe)
    image = first_image(scene.content, scene.style, *scene.measured, scene.parts, recipe=recipe)
    seconds = time.perf_counter() - started
    return Climbed(level, scene.content, image, {"total": []}, seconds, Status.FINE, False, False)


class _Scene(NamedTuple):
    """Two photographs at a level's size, and the masks of their regions."""

    content: Float[Array, "h w 3"]
    style: Float[Array, "h2 w2 3"]
    parts: Float[Array, "r h w"]
    """where each region of the content lies"""
    measured: tuple[Float[Array, "r h w"], Float[Array, "r h2 w2"]]
    """where the colours and features of each are measured, in both"""


def _scene(content: Picture, style: Picture, regions: int, level: Level, recipe: Recipe) -> _Scene:
    small, parts = at_size(content, level.content, regions, recipe)
    small_style, style_parts = at_size(style, level.style, regions, recipe)
    return _Scene(small, small_style, parts, (measured(parts, content.whole), measured(style_parts, style.whole)))


class _Ready(NamedTuple):
    """A level whose step is compiled and waits for its first image."""

    content: Float[Array, "h w 3"]
    masks: Float[Array, "r h w"]
    targets: Targets
    state: State


def _climb(
    content: Picture,
    style: Picture,
    regions: int,
    levels: tuple[Level, ...],
    networks: Networks,
    hyper: Hyperparameters,
    recipe: Recipe,
    bounds: projection.Bounds | None,
    key: Array | None,
    on_step: Callable[[Progress], None],
) -> list[Climbed]:
    """The levels in turn, those to come being prepared and compiled meanwhile."""
    climbed: list[Climbed] = []
    pool = ThreadPoolExecutor(PREPARED_AT_ONCE)
    try:
        coming = [pool.submit(_ready, content, style, regions, level, networks, hyper, recipe, key) for level in levels]
        for level, ready in zip(levels, coming, strict=True):
            started = time.perf_counter()
            own, masks, targets, state = ready.result()
            if climbed:
                moved = jnp.asarray(highres.apply(np.asarray(own), climbed[-1].content, climbed[-1].result))
                state = state._replace(image=moved, best_image=moved)
            chunks = _chunks(state, targets, hyper, networks, recipe, level.steps)
            done = sum(len(one.losses["total"]) for one in climbed)
            image, losses, status, interrupted, plateau = _watch(
                chunks, state.best_image, level, done, recipe.plateau_tolerance, on_step
            )
            if recipe.projection == "grid" and bounds is not None:
                arrays = [np.asarray(each) for each in (own, image, targets.start, masks)]
                image = jnp.asarray(projection.project(*arrays, bounds=bounds))
            seconds = time.perf_counter() - started
            climbed.append(Climbed(level, own, image, losses, seconds, status, interrupted, plateau))
            if interrupted or status is not Status.FINE:
                break
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return climbed


def _ready(
    content: Picture,
    style: Picture,
    regions: int,
    level: Level,
    networks: Networks,
    hyper: Hyperparameters,
    recipe: Recipe,
    key: Array | None,
) -> _Ready:
    """All that a level needs but its first image."""
    scene = _scene(content, style, regions, level, recipe)
    arrays = scene.content, scene.style, *scene.measured
    targets = prepare(*arrays, networks, recipe=recipe, content_parts=scene.parts)
    state = init(targets, hyper, recipe=recipe, key=key)
    compile_transfer(state, targets, hyper, networks, recipe=recipe, steps=chunk_length(level.steps))
    return _Ready(scene.content, scene.parts, targets, state)


def at_size(picture: Picture, size: tuple[int, int], regions: int, recipe: Recipe) -> tuple[Array, Array]:
    """A picture [h, w, 3] and its masks [R, h, w], which sum to its alpha, at a working size."""
    small = pixels.at_size(picture.pixels, size)
    masks = soft_masks(picture.labels, regions, small, recipe)
    if picture.alpha is not None:
        masks = masks * pixels.at_size(picture.alpha[..., None], size)[..., 0][None]
    return small, _filled_up(masks, recipe)


def measured(parts: Float[Array, "r h w"], whole: int | None) -> Float[Array, "r h w"]:
    """Where each region's colours and features are measured: the region `whole` everywhere."""
    return parts if whole is None else parts.at[whole].set(parts.sum(0))


def _filled_up(masks: Float[Array, "r h w"], recipe: Recipe) -> Float[Array, "R h w"]:
    """With empty masks, which change no term, up to the next of `REGION_COUNTS`.

    Not for the paper's objective: it is solved for hundreds of steps, which a tenth more of each would make dearer than
    compiling for another number of regions.
    """
    if recipe.objective == "paper":
        return masks
    wanted = next((count for count in REGION_COUNTS if count >= len(masks)), len(masks))
    return jnp.pad(masks, ((0, wanted - len(masks)), (0, 0), (0, 0)))


def _chunks(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, recipe: Recipe, steps: int
) -> Iterator[Result]:
    """`transfer` in pieces between which the host may look, and stop: single steps on a CPU, scans elsewhere."""
    chunk = chunk_length(steps)
    for _ in range(0, steps, chunk):
        result = transfer(state, targets, hyper, networks, recipe=recipe, steps=chunk)
        state = result.state
        yield result


def chunk_length(steps: int) -> int:
    """So many of a level's steps are one call of `transfer`."""
    return 1 if jax.default_backend() == "cpu" else _largest_divisor(steps, ACCELERATOR_CHUNK)


def _largest_divisor(steps: int, most: int) -> int:
    """Up to `most`: a last, shorter scan would be compiled for itself, which takes longer than all its steps."""
    return max(length for length in range(1, most + 1) if steps % length == 0)


def _watch(
    chunks: Iterator[Result],
    best: Array,
    level: Level,
    done: int,
    tolerance: float,
    on_step: Callable[[Progress], None],
) -> tuple[Array, dict[str, list[float]], Status, bool, bool]:
    """Runs the chunks to their end, Ctrl-C, a plateau or the first that is not finite: the best image and the story."""
    losses: dict[str, list[float]] = {"total": []}
    status = Status.FINE
    try:
        for result in chunks:
            best, status = result.image, Status(int(result.status))
            for term, values in result.history.items():
                losses.setdefault(term, []).extend(np.asarray(values).tolist())
            latest = {term: values[-1] for term, values in losses.items()}
            step = done + len(losses["total"])
            on_step(Progress(level, step, len(result.history["total"]), latest, best))
            if status is not Status.FINE:
                break
            if len(losses["total"]) < level.steps and _is_flat(losses["total"], tolerance):
                return best, losses, status, False, True
    except KeyboardInterrupt:
        return best, losses, status, True, False
    return best, losses, status, False, False


def _is_flat(totals: list[float], tolerance: float) -> bool:
    """Whether the last `PLATEAU_STEPS` lowered the best total by less than a share of it."""
    if not tolerance or len(totals) <= PLATEAU_STEPS:
        return False
    before = min(totals[:-PLATEAU_STEPS])
    return before - min(totals) < tolerance * abs(before)
