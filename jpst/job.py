"""What a transfer needs before the first network runs: photographs read, regions found and matched, sizes fixed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from jpst import image, labelling, loading, pixels, pyramid, regions
from jpst.errors import JpstError
from jpst.image import Photograph
from jpst.models import weights
from jpst.optimise import Networks
from jpst.pyramid import Level
from jpst.recipe import Recipe
from jpst.regions import Found, Source


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
        here = by_features or (recipe.optimises and weights.find("vgg19") is not None)
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
