"""Coarse to fine: the optimisation, carried from one level to the next."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jpst import highres, projection
from jpst.levels import Level
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.optimise import Result, State, Status, compile_transfer, init, transfer
from jpst.preparation import compile_features
from jpst.recipe import Hyperparameters, Recipe
from jpst.scene import Pair, Scene
from jpst.total import Networks

ACCELERATOR_CHUNK = 10  # at most so many steps in one call on GPU and TPU, between two reports of progress
PREPARED_AT_ONCE = 2  # levels: compiling takes one thread each
PLATEAU_STEPS = 20  # over which a recipe's `plateau_tolerance` is measured


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
        """The same with height and width exchanged."""
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
    colour_kept: float = 1.0
    """share of the colour contrast that `projection.calmed` left"""

    def turned(self) -> "Climbed":
        """The same with height and width exchanged."""
        content, result = (jnp.swapaxes(image, 0, 1) for image in (self.content, self.result))
        return self._replace(level=self.level.turned(), content=content, result=result)


def climb(
    pair: Pair,
    levels: tuple[Level, ...],
    networks: Networks,
    hyper: Hyperparameters,
    *,
    recipe: Recipe,
    bounds: projection.Bounds | None = None,
    key: Array | None = None,
    on_step: Callable[[Progress], None] = lambda _: None,
) -> list[Climbed]:
    """Optimises every level in turn, each starting from the result of the one before at its own size.

    A portrait is optimised as a landscape, with height and width exchanged in pictures and network alike, which gives
    the same result by the same compiled programs.

    Args:
      levels: as `levels.plan` gives them.
      bounds: how far a level's result is projected onto the family of `projection`; None: not at all.
      key: for a recipe that starts from noise.
      on_step: called after each step, on accelerators after each chunk of steps.

    Returns:
      The levels reached; the last one has the result. Ctrl-C ends the optimisation, as does a loss that is not finite;
      the last level then holds the best image so far. A plateau ends only its level.
    """
    if not recipe.optimises:
        return [_unoptimised(pair, levels[-1], recipe, calm=bounds is not None)]
    if not _is_turned(levels, networks, recipe):
        return _climb(pair, levels, networks, hyper, recipe, bounds, key, on_step)
    networks = Networks(vgg19.turned(networks.vgg19))
    turned = tuple(level.turned() for level in levels)
    climbed = _climb(pair.turned(), turned, networks, hyper, recipe, bounds, key, lambda now: on_step(now.turned()))
    return [one.turned() for one in climbed]


def compile_ahead(levels: tuple[Level, ...], networks: Networks, recipe: Recipe) -> None:
    """Compiles what `climb` needs and does not depend on the regions, for a thread that runs while they are found."""
    if recipe.optimises:
        turned = _is_turned(levels, networks, recipe)
        for level in (level.turned() if turned else level for level in levels):
            for size in dict.fromkeys((level.content, level.style)):
                compile_features(size, networks, recipe)


def _is_turned(levels: tuple[Level, ...], networks: Networks, recipe: Recipe) -> bool:
    """Whether height and width are exchanged."""
    height, width = levels[-1].content
    square = recipe.shape != "own" and networks.nima is None  # NIMA's kernels may not be
    return square and height > width


def _unoptimised(pair: Pair, level: Level, recipe: Recipe, calm: bool) -> Climbed:
    """The base look of a level as its result; no network is needed."""
    started = time.perf_counter()
    scene = _scene(pair, level, recipe)
    image, kept = scene.base_look(recipe), 1.0
    if calm:
        image, kept = _calmed(scene, image)
    seconds = time.perf_counter() - started
    return Climbed(level, scene.content, image, {"total": []}, seconds, Status.FINE, False, False, kept)


def _projected(scene: Scene, image: Array, base: Array, bounds: projection.Bounds) -> tuple[Array, float]:
    """An image brought near to the base and into the family of `projection`, and the share of its contrast kept."""
    arrays = map(np.asarray, (scene.content, image, base, scene.content_masks))
    return _calmed(scene, projection.project(*arrays, bounds=bounds))


def _calmed(scene: Scene, image: Array | np.ndarray) -> tuple[Array, float]:
    calm, kept = projection.calmed(*map(np.asarray, (scene.content, image, scene.content_masks)))
    return jnp.asarray(calm), kept


def _scene(pair: Pair, level: Level, recipe: Recipe) -> Scene:
    """A level's scene, with empty masks for fewer programs to compile.

    Not for the paper's objective: it takes hundreds of steps, and a tenth more time for each would cost more than
    compiling for another number of regions.
    """
    scene = pair.at(level, recipe)
    return scene if recipe.objective == "paper" else scene.filled_up()


class _Ready(NamedTuple):
    """A level whose step is compiled and waits for its first image."""

    scene: Scene
    targets: Targets
    state: State


def _climb(
    pair: Pair,
    levels: tuple[Level, ...],
    networks: Networks,
    hyper: Hyperparameters,
    recipe: Recipe,
    bounds: projection.Bounds | None,
    key: Array | None,
    on_step: Callable[[Progress], None],
) -> list[Climbed]:
    """Optimises the levels in turn while the next ones are prepared and compiled."""
    climbed: list[Climbed] = []
    pool = ThreadPoolExecutor(PREPARED_AT_ONCE)
    try:
        prepared = [pool.submit(_ready, pair, level, networks, hyper, recipe, key) for level in levels]
        for level, ready in zip(levels, prepared, strict=True):
            started = time.perf_counter()
            scene, targets, state = ready.result()
            if climbed:
                moved = highres.apply(np.asarray(scene.content), climbed[-1].content, climbed[-1].result)
                moved = jnp.asarray(moved)
                state = state._replace(image=moved, best_image=moved)
            chunks = _chunks(state, targets, hyper, networks, recipe, level.steps)
            done = sum(len(one.losses["total"]) for one in climbed)
            image, losses, status, interrupted, plateau = _watch(
                chunks, state.best_image, level, done, recipe.plateau_tolerance, on_step
            )
            kept = 1.0
            if bounds is not None:
                image, kept = _projected(scene, image, targets.start, bounds)
            seconds = time.perf_counter() - started
            climbed.append(Climbed(level, scene.content, image, losses, seconds, status, interrupted, plateau, kept))
            if interrupted or status is not Status.FINE:
                break
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return climbed


def _ready(
    pair: Pair, level: Level, networks: Networks, hyper: Hyperparameters, recipe: Recipe, key: Array | None
) -> _Ready:
    """All that a level needs but its first image."""
    scene = _scene(pair, level, recipe)
    targets = scene.targets(networks, recipe)
    state = init(targets, hyper, recipe=recipe, key=key)
    compile_transfer(state, targets, hyper, networks, recipe=recipe, steps=chunk_length(level.steps))
    return _Ready(scene, targets, state)


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
