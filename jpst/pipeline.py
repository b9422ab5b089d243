"""From two photographs to a finished one: read, find regions, optimise coarse to fine, bring to full size, record."""

import dataclasses
import datetime
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import PIL.Image

from jpst import blending, highres, image, labelling, loading, pixels, pyramid, ranges, regions, semantics
from jpst.errors import JpstError
from jpst.estimate import Estimate, ShortMemoryError, estimate, shortage
from jpst.image import Photograph
from jpst.models import weights
from jpst.optimise import Networks
from jpst.pyramid import Climbed, Level, Picture, Progress
from jpst.recipe import SEED, STRENGTH, Hyperparameters, Recipe
from jpst.regions import Found, Source

BLACK_AND_WHITE = "The style is black and white, so the result is, too."


class Job(NamedTuple):
    """Everything that a transfer needs before the first network runs."""

    content_source: Source
    style_source: Source
    content: Photograph
    style: Photograph
    original: Photograph
    """the content with the colours that it stores where it is transparent"""
    found: Found
    """the regions, and where they came from"""
    levels: tuple[Level, ...]
    vgg19: weights.Loaded | None
    """the network as the recipe uses it, unless the caller has networks or it is yet to be fetched"""
    neutral: bool = False
    """whether the style is black and white; the result will be, too"""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished transfer."""

    image: PIL.Image.Image | np.ndarray
    """the result in the form that the content came in: an array of its dtype, with alpha as a fourth channel if it had
    one; of a path or a PIL image a PIL image, RGB or RGBA, which has 8 bits a channel. `photograph` keeps 16."""
    photograph: Photograph
    """the result as `image.write` takes it: float32 pixels, the content's alpha, the content's bit depth"""
    full_strength: Photograph
    """`photograph` at strength 1, of which `jpst.blend` makes any other strength"""
    interrupted: bool
    """whether Ctrl-C ended it early"""
    record: dict[str, Any]
    """recipe, hyperparameters, versions, checkpoints, regions, losses of every step, times: ready for JSON"""


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
) -> Run:
    """Gives `content` the look of `style`.

    Args:
      content, style: paths, PIL images or arrays (as `image.read` takes them).
      recipe: the static choices; the preset "balanced" unless given.
      hyper: the numbers; those of the recipe's preset unless given.
      content_seg, style_seg: painted masks, one flat colour a region; both or neither.
      networks: networks loaded before, to spare loading them again; else VGG19 is loaded, and fetched at first use.
      seed: of the noise that a recipe may start from, 0 to 2**32 - 1; nothing else is random.
      strength: how much of the result, 0 to 1.5: 0 is the content itself (in its colours, of a black and white style
        too), 1 the result, above 1 is more of it. Always the same work; `jpst.blend` makes another without it.
      on_step: called after each step (on an accelerator, after each chunk of steps).

    Ctrl-C during the steps ends them; the best picture so far is finished and returned as `interrupted`.

    Raises:
      JpstError: unusable photographs, masks, checkpoints or numbers, or too little memory; the message says what to
        do.
    """
    recipe = recipe or Recipe()
    hyper = hyper or Hyperparameters.preset(recipe.name)
    _check_numbers(hyper, seed, strength)
    if short := memory_shortage(content, style, recipe):
        raise short
    job = prepare_job(content, style, recipe, content_seg=content_seg, style_seg=style_seg, networks=networks)
    return execute(job, recipe=recipe, hyper=hyper, networks=networks, seed=seed, strength=strength, on_step=on_step)


def prepare_job(
    content: Source,
    style: Source,
    recipe: Recipe,
    *,
    content_seg: Source | None = None,
    style_seg: Source | None = None,
    networks: Networks | None = None,
) -> Job:
    """Reads photographs and masks, finds and matches the regions and fixes the working sizes, before any optimising."""
    pyramid.plan(image.size(content), image.size(style), recipe)  # refuses small ones before anything is loaded
    masks = regions.masks_to_use((content, style), (content_seg, style_seg), recipe)
    if masks is None and recipe.segmenter == "auto":
        labelling.fetch_deeplab()
    by_features = regions.needs_vgg19(regions.choose(masks, recipe))
    with ThreadPoolExecutor() as pool:
        here = by_features or weights.find("vgg19") is not None
        coming = pool.submit(loading.load_vgg19, recipe) if here and networks is None else None
        reading = pool.submit(image.read, style)
        original = image.read(content, metadata=True)
        photographs = _as_seen(content, original), _as_seen(style, reading.result())
        levels = pyramid.plan(photographs[0].pixels.shape[:2], photographs[1].pixels.shape[:2], recipe)
        if networks is not None:
            variables = networks.vgg19
        else:
            variables = coming.result().variables if coming and by_features else None
        found = regions.find(photographs, masks, recipe, variables)
        if unused := regions.unused_mask((content, style), (content_seg, style_seg), recipe):
            found = found._replace(note=f"{found.note} {unused}")
        neutral = pixels.is_neutral(photographs[1].pixels, photographs[1].alpha)
        return Job(content, style, *photographs, original, found, levels, coming and coming.result(), neutral)


def _as_seen(source: Source, photograph: Photograph) -> Photograph:
    """The photograph without the colours that are stored where it is transparent.

    Raises:
      JpstError: nothing of it is visible.
    """
    if photograph.alpha is not None and not photograph.alpha.any():
        name = source if isinstance(source, str | Path) else "the photograph given"
        raise JpstError(f"{name}: it is transparent everywhere. Give a photograph of which something can be seen.")
    return photograph._replace(pixels=pixels.filled(photograph.pixels, photograph.alpha))


def execute(
    job: Job,
    *,
    recipe: Recipe,
    hyper: Hyperparameters | None = None,
    networks: Networks | None = None,
    seed: int = 0,
    strength: float = 1.0,
    on_step: Callable[[Progress], None] = lambda _: None,
) -> Run:
    """Optimises a job and brings its result to full size; arguments as in `stylize`."""
    started = time.perf_counter()
    hyper = hyper or Hyperparameters.preset(recipe.name)
    _check_numbers(hyper, seed, strength)
    networks, checkpoints = (networks, "given by the caller") if networks else loading.load(recipe, hyper, job.vgg19)
    content = pixels.neutral(job.content.pixels) if job.neutral else job.content.pixels
    climbed = pyramid.climb(
        Picture(content, job.found.regions.content, job.content.alpha, job.found.regions.whole),
        Picture(job.style.pixels, job.found.regions.style, job.style.alpha, job.found.regions.whole),
        len(job.found.regions.names),
        job.levels,
        networks,
        hyper,
        recipe=recipe,
        key=jax.random.key(seed),
        on_step=on_step,
    )
    finished = finish(content, climbed[-1], recipe)
    photograph = job.content._replace(pixels=pixels.neutral(finished) if job.neutral else finished)
    if photograph.alpha is not None and photograph.alpha.shape != photograph.pixels.shape[:2]:
        photograph = photograph._replace(alpha=_alpha_at(photograph.alpha, photograph.pixels.shape[:2]))
    blended = blending.at_strength(job.original, job.content, photograph, float(strength))
    return Run(
        image=blending.in_form_of(job.content_source, blended),
        photograph=blended,
        full_strength=photograph,
        interrupted=climbed[-1].interrupted,
        record={
            **_settings(job, recipe, hyper, seed),
            "strength": float(strength),
            "checkpoints": checkpoints,
            "scene_checkpoint": job.found.checkpoint and job.found.checkpoint._asdict(),
            "terms_absent": loading.absent_terms(recipe, hyper, networks),
            **_story(climbed),
            "output_size": photograph.pixels.shape[1::-1],
            "seconds": round(time.perf_counter() - started, 2),
            "peak_memory_bytes": _peak_memory(),
        },
    )


def _check_numbers(hyper: Hyperparameters, seed: int, strength: float) -> None:
    loading.check_ranges(hyper)
    ranges.check("seed", seed, SEED)
    ranges.check("strength", strength, STRENGTH)


def estimated(job: Job, recipe: Recipe) -> Estimate:
    """What `execute` will take on this machine."""
    photographs = sum(photograph.pixels[..., 0].size for photograph in (job.content, job.style))
    return estimate(photographs, job.levels, recipe)


def memory_shortage(content: Source, style: Source, recipe: Recipe) -> ShortMemoryError | None:
    """Why a transfer would not fit into this machine's memory, None if it will; of files only the headers are read."""
    return shortage(image.size(content), image.size(style), recipe)


def finish(full: np.ndarray, climbed: Climbed, recipe: Recipe) -> np.ndarray:
    """The result [H, W, 3] in [0, 1] at the size that the recipe asks for."""
    size = pyramid.output_size((full.shape[0], full.shape[1]), recipe)
    full = full if full.shape[:2] == size else np.asarray(pixels.at_size(full, size))
    if full.shape == climbed.result.shape:
        return np.clip(np.asarray(climbed.result), 0.0, 1.0)
    return highres.apply(full, climbed.content, climbed.result)


def _alpha_at(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(pixels.at_size(alpha[..., None], size))[..., 0]


def _settings(job: Job, recipe: Recipe, hyper: Hyperparameters, seed: int) -> dict[str, Any]:
    """What was asked for, and with what software."""
    packages = ("jpst", "jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    return {
        **describe(job),
        "recipe": dataclasses.asdict(recipe),
        "hyperparameters": {name: float(value) for name, value in hyper._asdict().items()},
        "seed": int(seed),
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in packages}},
        "device": str(jax.devices()[0].device_kind),
    }


def describe(job: Job) -> dict[str, Any]:
    """A job for the record: photographs, regions, working sizes (sizes as width, height)."""
    return {
        "content": _photograph(job.content_source, job.content),
        "style": _photograph(job.style_source, job.style),
        "regions": [row._asdict() for row in semantics.table(job.found.regions)],
        "segmenter": job.found.segmenter,
        "notes": notes(job),
        "working_sizes": [level.content[::-1] for level in job.levels],
    }


def notes(job: Job) -> list[str]:
    """What to know of the regions, the two files and the result, a sentence or two each."""
    photographs = {"content": job.content, "style": job.style}
    told = [f"{name}: {note}" for name, each in photographs.items() for note in each.notes]
    return [job.found.note, *told, *([BLACK_AND_WHITE] if job.neutral else [])]


def _photograph(source: Source, photograph: Photograph) -> dict[str, Any]:
    path = str(source) if isinstance(source, str | Path) else None
    return {"path": path, "size": photograph.pixels.shape[1::-1], "bit_depth": photograph.bit_depth}


def _story(climbed: list[Climbed]) -> dict[str, Any]:
    """How the optimisation went: losses of every step, level by level."""
    return {
        "levels": [
            {
                "size": one.level.content[::-1],
                "style_size": one.level.style[::-1],
                "steps_planned": one.level.steps,
                "seconds": round(one.seconds, 2),
                "plateau": one.plateau,
                "losses": one.losses,
            }
            for one in climbed
        ],
        "status": climbed[-1].status.sentence,
        "interrupted": climbed[-1].interrupted,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _peak_memory() -> int | None:
    """The process's largest resident size in bytes, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
