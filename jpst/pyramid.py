"""Coarse to fine: the optimisation, carried from one level to the next."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jpst import chunks, highres, projection, skin
from jpst.arguments import check_ranges
from jpst.levels import Level
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.optimise import State, Status, compile_transfer, init
from jpst.preparation import compile_features
from jpst.recipe import Hyperparameters, Recipe
from jpst.resuming import Keeper
from jpst.scene import Pair, Scene
from jpst.story import Climbed, Progress, Story, is_over, watch
from jpst.total import Networks

PREPARED_AT_ONCE = 2  # levels: compiling takes one thread each


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
    keeper: Keeper | None = None,
) -> list[Climbed]:
    """Optimises every level in turn, each starting from the result of the one before at its own size.

    A portrait is optimised as a landscape, with height and width exchanged in pictures and network alike, which gives
    the same result by the same compiled programs.

    Args:
      levels: as `levels.plan` gives them.
      bounds: how far a level's result is projected onto the family of `projection`; None: not at all.
      key: for a recipe that starts from noise.
      on_step: called after each step, on accelerators after each chunk of steps.
      keeper: goes on from the state that it keeps, and keeps the state of what is done.

    Returns:
      The levels reached; the last one has the result. Ctrl-C ends the optimisation, as does a loss that is not finite;
      the last level then holds the best image so far. A plateau ends only its level.
    """
    options = {"recipe": recipe, "bounds": bounds, "key": key, "on_step": on_step, "keeper": keeper}
    [climbed] = climb_all(pair, levels, networks, [hyper], **options)
    return climbed


def climb_all(
    pair: Pair,
    levels: tuple[Level, ...],
    networks: Networks,
    hypers: Sequence[Hyperparameters],
    *,
    recipe: Recipe,
    together: int = 1,
    bounds: projection.Bounds | None = None,
    key: Array | None = None,
    on_step: Callable[[Progress], None] = lambda _: None,
    keeper: Keeper | None = None,
) -> Iterator[list[Climbed]]:
    """`climb` with several settings: what does not depend on them is computed once. Arguments as there.

    Args:
      together: so many settings are optimised at once, by one program and on all local devices; it is compiled for this
        number, up to which the last settings are filled up.
      keeper: of one setting alone.

    Yields:
      What `climb` returns, for each of `hypers` in turn. Ctrl-C ends the settings that are being optimised, which are
      yielded, and none follow.
    """
    together, keeper = min(together, len(hypers)), keeper or Keeper()
    task = _Task(pair, levels, networks, hypers, recipe, together, bounds, key, on_step, keeper)
    if not recipe.optimises:
        made = _unoptimised(pair, levels[-1], recipe, calm=bounds is not None)
        yield from ([made] for _ in hypers)
    elif _is_turned(levels, recipe, networks.nima is not None):
        for climbed in _climb(task.turned()):
            yield [one.turned() for one in climbed]
    else:
        yield from _climb(task)


def compile_ahead(levels: tuple[Level, ...], networks: Networks, recipe: Recipe, rated: bool) -> None:
    """Compiles what `climb` needs and does not depend on the regions, for a thread that runs while they are found.

    Args:
      rated: whether `climb` will have NIMA, too.
    """
    if recipe.optimises:
        turned = _is_turned(levels, recipe, rated)
        for level in (level.turned() if turned else level for level in levels):
            for size in dict.fromkeys((level.content, level.style)):
                compile_features(size, networks, recipe)


def _is_turned(levels: tuple[Level, ...], recipe: Recipe, rated: bool) -> bool:
    """Whether height and width are exchanged; not if NIMA rates the picture, whose kernels cannot be."""
    height, width = levels[-1].content
    return recipe.shape != "own" and not rated and height > width


def _unoptimised(pair: Pair, level: Level, recipe: Recipe, calm: bool) -> Climbed:
    """The base look of a level as its result; no network is needed."""
    started = time.perf_counter()
    scene = _scene(pair, level, recipe)
    image, kept = scene.base_look(recipe), 1.0
    if calm:
        image, kept = _finished(scene, image)
    seconds = time.perf_counter() - started
    return Climbed(level, scene.content, image, {"total": []}, seconds, Status.FINE, False, False, kept)


def _projected(scene: Scene, image: Array, base: Array, bounds: projection.Bounds) -> tuple[Array, float]:
    """An image brought near to the base and into the family of `projection`, and the share of its contrast kept."""
    arrays = map(np.asarray, (scene.content, image, base, scene.content_masks))
    return _finished(scene, projection.project(*arrays, bounds=bounds))


def _finished(scene: Scene, image: Array | np.ndarray) -> tuple[Array, float]:
    """An image without glow in its smooth areas and with healthy skin, and the share of its contrast kept."""
    calm, kept = projection.calmed(*map(np.asarray, (scene.content, image, scene.content_masks)))
    if scene.people is not None:
        calm = skin.kept(np.asarray(scene.content), calm, np.asarray(scene.people))
    return jnp.asarray(calm), kept


def _scene(pair: Pair, level: Level, recipe: Recipe) -> Scene:
    """A level's scene, with empty masks for fewer programs to compile.

    Not for the paper's objective: it takes hundreds of steps, and a tenth more time for each would cost more than
    compiling for another number of regions.
    """
    scene = pair.at(level, recipe)
    return scene if recipe.objective == "paper" else scene.filled_up()


class _Task(NamedTuple):
    """What `climb_all` is asked for."""

    pair: Pair
    levels: tuple[Level, ...]
    networks: Networks
    hypers: Sequence[Hyperparameters]
    recipe: Recipe
    together: int
    bounds: projection.Bounds | None
    key: Array | None
    on_step: Callable[[Progress], None]
    keeper: Keeper

    def turned(self) -> "_Task":
        """The same with height and width exchanged; the steps are reported as they were asked for."""
        return self._replace(
            pair=self.pair.turned(),
            levels=tuple(level.turned() for level in self.levels),
            networks=Networks(vgg19.turned(self.networks.vgg19)),
            on_step=lambda now: self.on_step(now.turned()),
        )


class _Ready(NamedTuple):
    """A level whose step is compiled and waits for its first image."""

    scene: Scene
    targets: Targets
    state: State


def _climb(task: _Task) -> Iterator[list[Climbed]]:
    """Optimises the levels in turn while the next ones are prepared and compiled, for each group of settings."""
    pool = ThreadPoolExecutor(PREPARED_AT_ONCE)
    levels = task.levels[len(task.keeper.done) :]
    try:
        first = task.hypers[: task.together]
        prepared = [
            pool.submit(_ready, task.pair, level, task.networks, first, task.recipe, task.key) for level in levels
        ]
        for start in range(0, len(task.hypers), task.together):
            climbed = [task.keeper.done for _ in task.hypers[start : start + task.together]]
            _climb_group(task, levels, prepared, climbed, start)
            yield from climbed
            if any(one[-1].interrupted for one in climbed):
                break
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _climb_group(
    task: _Task,
    levels: tuple[Level, ...],
    prepared: list[Future[_Ready]],
    climbed: list[list[Climbed]],
    start: int,
) -> None:
    """Adds these levels, as far as they are reached, to what each setting of a group, from number `start` on, has."""
    with task.keeper.saving():
        for level, ready in zip(levels, prepared, strict=True):
            _add(task, level, ready, climbed, start)
            if all(map(is_over, climbed)):
                break
    if any(one[-1].interrupted for one in climbed):
        task.keeper.save()


def _add(task: _Task, level: Level, ready: Future[_Ready], climbed: list[list[Climbed]], start: int) -> None:
    """Optimises a level and adds it to what each setting of a group, from number `start` on, has climbed."""
    started = time.perf_counter()
    scene, targets, state = ready.result()
    firsts = [_first(scene, state, one) for one in climbed]
    stories = [Story(first, start + at, one) for at, (first, one) in enumerate(zip(firsts, climbed, strict=True))]
    group = task.hypers[start : start + task.together]
    if begun := task.keeper.begun(state, stories[0], climbed[0]):
        steps = len(stories[0].losses["total"])
        results = chunks.following(begun, targets, group[0], task.networks, task.recipe, level.steps, steps)
    else:
        filled = [*group, *[group[-1]] * (task.together - len(group))]  # one program, also for a last, smaller group
        results = chunks.results(firsts, state, targets, filled, task.networks, task.recipe, level.steps)
    results = task.keeper.watched(results, stories[0], climbed[0])
    watch(results, stories, level, task.recipe.plateau_tolerance, task.on_step)
    images = [
        (jnp.asarray(story.best), 1.0)
        if task.bounds is None or story.over
        else _projected(scene, story.best, targets.start, task.bounds)
        for story in stories
    ]
    seconds = (time.perf_counter() - started) / len(climbed) + task.keeper.spent_on(climbed[0])
    for one, story, (image, kept) in zip(climbed, stories, images, strict=True):
        if not story.over:
            one.append(story.climbed(level, scene.content, image, seconds)._replace(colour_kept=kept))


def _ready(
    pair: Pair,
    level: Level,
    networks: Networks,
    hypers: Sequence[Hyperparameters],
    recipe: Recipe,
    key: Array | None,
) -> _Ready:
    """All that a level needs but its first images, compiled for so many settings at once."""
    scene = _scene(pair, level, recipe)
    targets = scene.targets(networks, recipe)
    state = init(targets, recipe=recipe, key=key)
    for hyper in hypers:
        check_ranges(hyper)
    if level.steps:
        arrays = chunks.arguments([state.image] * len(hypers), state, targets, hypers, networks)
        compile_transfer(*arrays, recipe=recipe, steps=chunks.length(level.steps))
    return _Ready(scene, targets, state)


def _first(scene: Scene, state: State, climbed: list[Climbed]) -> Array:
    """The first image of a level: that of its state, or the result of the level before."""
    if not climbed:
        return state.image
    return jnp.asarray(highres.apply(np.asarray(scene.content), climbed[-1].content, climbed[-1].result))
