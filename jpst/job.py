"""What a transfer needs before the first step: photographs read, regions found and matched, sizes fixed."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jpst import estimate, image, loading, pixels, pyramid, ranges, regions, weights
from jpst import levels as planning
from jpst.errors import JpstError
from jpst.estimate import Estimate, ShortMemoryError
from jpst.image import Photograph
from jpst.levels import Level
from jpst.presets import preset
from jpst.recipe import SEED, STRENGTH, Hyperparameters, Recipe
from jpst.regions import Found, Source
from jpst.scene import Pair, Picture, Scene
from jpst.total import Networks


@dataclasses.dataclass(frozen=True)
class Job:
    """A planned transfer: everything it needs before the first step, with its own recipe and numbers."""

    recipe: Recipe
    hyper: Hyperparameters
    seed: int
    strength: float
    content_source: Source
    style_source: Source
    content: Photograph
    style: Photograph
    original: Photograph
    """the content with the colours that it stores where it is transparent"""
    found: Found
    """the regions, and where they came from"""
    levels: tuple[Level, ...]
    """the working sizes and steps, coarsest first"""
    projected: bool
    """whether the result is projected: unless regions come from painted masks"""
    neutral: bool
    """whether the style is black and white; the result will be, too"""
    absent: dict[str, str]
    """weighted terms whose network is missing, and why"""
    short: ShortMemoryError | None
    """why it does not fit into this machine's memory; None if it does"""
    networks: Networks | None
    """given by the caller; None if they are to be loaded"""
    vgg19: weights.Loaded | None
    """loaded for the regions already, or because it is on disk and will be needed"""

    @property
    def pair(self) -> Pair:
        """What is optimised: the photographs with their regions. For a black and white style the content is so, too."""
        content = pixels.neutral(self.content.pixels) if self.neutral else self.content.pixels
        matched = self.found.regions
        return Pair(
            Picture(content, matched.content, self.content.alpha, self.found.people),
            Picture(self.style.pixels, matched.style, self.style.alpha),
            matched.names,
            matched.whole,
        )

    def estimate(self) -> Estimate:
        """Estimates memory and time on this machine."""
        photographs = sum(photograph.pixels[..., 0].size for photograph in (self.content, self.style))
        return estimate.estimate(photographs, self.levels, self.recipe)


def plan(
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
    check_memory: bool = True,
    compile_ahead: bool = False,
    fetch: Callable[[str], object] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Job:
    """Plans a transfer: reads the photographs, checks all arguments, finds and matches the regions, fixes the sizes.

    Args:
      content, style, recipe, hyper, content_seg, style_seg, networks, seed, strength: as in `stylize`.
      check_memory: refuse a transfer that does not fit into memory; else the job says so in `short`.
      compile_ahead: compile what does not depend on the regions while they are found, for a job that will be run.
      fetch: called with "vgg19" if the regions need VGG19 and it is missing; by default it is downloaded.
      tell: called with one line before DeepLab is downloaded.

    Raises:
      JpstError: as `stylize`.
    """
    recipe = recipe or Recipe()
    hyper = hyper or preset(recipe.name)[1]
    absent = loading.check_numbers(recipe, hyper, networks)
    ranges.check("seed", seed, SEED)
    ranges.check("strength", strength, STRENGTH)
    sizes = image.size(content), image.size(style)
    masks = regions.painted((content, style), (content_seg, style_seg), recipe) or (None, None)
    projected = recipe.projection == "grid" and masks[0] is None
    levels = planning.plan(*sizes, recipe, projected=projected)
    short = estimate.shortage(*sizes, recipe, projected=projected)
    if short and check_memory:
        raise short
    source = regions.choose((content, style), masks, recipe, tell)
    if networks is None and source.needs_vgg19 and fetch and weights.find("vgg19") is None:
        fetch("vgg19")
    with ThreadPoolExecutor() as pool:
        needed = source.needs_vgg19 or (recipe.optimises and weights.find("vgg19") is not None)
        loaded = pool.submit(loading.load_vgg19, recipe) if needed and networks is None else None
        if compile_ahead:
            rated = networks.nima is not None if networks else loading.rates(hyper, absent)
            pool.submit(_compile_ahead, levels, networks, loaded, recipe, rated)
        naming = pool.submit(regions.load, source)
        reading = pool.submit(image.read, style)
        original = image.read(content, metadata=True)
        photographs = _as_seen(content, original), _as_seen(style, reading.result())
        variables = None
        if source.needs_vgg19:
            variables = networks.vgg19 if networks else loaded and loaded.result().variables
        found = regions.find(photographs, source, recipe, naming.result(), variables)
        return Job(
            recipe=recipe,
            hyper=hyper,
            seed=seed,
            strength=float(strength),
            content_source=content,
            style_source=style,
            content=photographs[0],
            style=photographs[1],
            original=original,
            found=found,
            levels=levels,
            projected=projected,
            neutral=pixels.is_neutral(photographs[1].pixels, photographs[1].alpha),
            absent=absent,
            short=short,
            networks=networks,
            vgg19=loaded and loaded.result(),
        )


def load_scene(
    content: Source,
    style: Source,
    recipe: Recipe | None = None,
    content_seg: Source | None = None,
    style_seg: Source | None = None,
    networks: Networks | None = None,
) -> Scene:
    """Reads two photographs, finds and matches their regions, and brings all to the size of the last level of steps.

    As `stylize` does it: a style in black and white makes the content black and white, too. What `stylize` does after
    the steps (projection, colours of skin, full size) is not part of `transfer`.

    Args:
      content, style: paths, PIL images or arrays (as `image.read` takes them).
      recipe: the working size and the segmenter; the preset "balanced" unless given.
      content_seg, style_seg: painted masks, one flat colour a region; both or neither.
      networks: spares loading VGG19 where regions are found by its features.

    Raises:
      JpstError: unusable photographs or masks; the message says what to do.
    """
    recipe = recipe or Recipe()
    hyper = preset(recipe.name)[1]._replace(nima_weight=0.0)  # no network of a term is needed yet
    job = plan(
        content,
        style,
        recipe=recipe,
        hyper=hyper,
        content_seg=content_seg,
        style_seg=style_seg,
        networks=networks,
        check_memory=False,
    )
    return job.pair.at(job.levels[-1], recipe)


def _compile_ahead(
    levels: tuple[Level, ...],
    networks: Networks | None,
    loading: Future[weights.Loaded] | None,
    recipe: Recipe,
    rated: bool,
) -> None:
    """Compiles what does not depend on the regions, unless VGG19 is yet to be downloaded."""
    if networks is None and loading is not None:
        networks = Networks(loading.result().variables)
    if networks is not None:
        pyramid.compile_ahead(levels, networks, recipe, rated)


def _as_seen(source: Source, photograph: Photograph) -> Photograph:
    """The photograph without the colours that are stored where it is transparent.

    Raises:
      JpstError: nothing of it is visible.
    """
    if photograph.alpha is not None and not photograph.alpha.any():
        name = source if isinstance(source, str | Path) else "the photograph given"
        raise JpstError(f"{name}: it is transparent everywhere. Give a photograph of which something can be seen.")
    return photograph._replace(pixels=pixels.filled(photograph.pixels, photograph.alpha))
