"""The regions of a transfer: from painted masks, a scene network, or the two photographs alone; matched to one set."""

from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import PIL.Image
from jaxtyping import Array, Float, PyTree

from jpst import cosegment, image, labelling, pixels, segment, semantics, trust, wordnet
from jpst.image import Photograph
from jpst.labelling import Labeller
from jpst.models import weights
from jpst.models.weights import Provenance
from jpst.recipe import Recipe
from jpst.segment import MaskError, Segmentation

Source = str | Path | PIL.Image.Image | np.ndarray
Segmenter = Literal["masks", "pspnet", "deeplab", "scene", "cluster", "none"]

SOFT_RADIUS = 2
SOFT_EPSILON = 1e-4


class Found(NamedTuple):
    """Matched regions, what found them, a sentence that says so, and the scene network's checkpoint if it was that."""

    regions: semantics.Regions
    segmenter: Segmenter
    note: str
    checkpoint: Provenance | None = None


def masks_to_use(
    photographs: tuple[Source, Source], given: tuple[Source | None, Source | None], recipe: Recipe
) -> tuple[Source, Source] | None:
    """The masks given, else those lying beside both photographs where the segmenter is "auto", else none.

    Raises:
      MaskError: one mask alone.
    """
    content, style = given
    if content is None and style is None:
        if recipe.segmenter != "auto":
            return None
        content, style = (segment.beside(at) if isinstance(at, str | Path) else None for at in photographs)
        return (content, style) if content and style else None
    if content is None or style is None:
        missing = "content" if content is None else "style"
        raise MaskError(
            f"There is no mask for the {missing} photograph, but one for the other. Both need one, painted in the "
            f"same colours: add --{missing}-seg, or leave both out."
        )
    if recipe.segmenter != "auto":
        raise MaskError(
            f"There are masks and the segmenter {recipe.segmenter!r}: which shall it be? Leave one of them out."
        )
    return content, style


def unused_mask(photographs: tuple[Source, Source], given: tuple[Source | None, Source | None], recipe: Recipe) -> str:
    """A sentence if a mask lies beside one photograph only and would be used, had the other one too; else nothing."""
    if given != (None, None) or recipe.segmenter != "auto":
        return ""
    beside = [segment.beside(at) if isinstance(at, str | Path) else None for at in photographs]
    found = [mask for mask in beside if mask]
    missing = "style" if beside[0] else "content"
    return f"The mask {found[0]} is not used: there is none for the {missing} photograph." if len(found) == 1 else ""


def choose(masks: tuple[Source, Source] | None, recipe: Recipe) -> Segmenter:
    """What will find the regions. "auto" is masks where there are some, else the best scene network that is here.

    Not "cluster": on ordinary pairs a wrong region costs more than a right one gains.
    """
    if masks is not None:
        return "masks"
    return labelling.best() if recipe.segmenter == "auto" else recipe.segmenter


def needs_vgg19(segmenter: Segmenter) -> bool:
    """Whether regions are found in VGG19's features."""
    return segmenter in ("cluster", "scene")


def find(
    photographs: tuple[Photograph, Photograph],
    masks: tuple[Source, Source] | None,
    recipe: Recipe,
    vgg19: PyTree | None = None,
) -> Found:
    """The matched regions of content and style. `vgg19`, its variables, are needed, and loaded, where `needs_vgg19`.

    Label maps have the photographs' shapes but not their sizes: those of networks are as small as they are found, that
    of a whole photograph is one pixel.
    """
    segmenter = choose(masks, recipe)
    if masks is not None:
        return _from_masks(photographs, masks)
    if segmenter in labelling.LABELLERS:
        try:
            return _from_labels(photographs, segmenter, recipe, vgg19)
        except labelling.FeaturesError as error:
            if recipe.segmenter != "auto":
                raise
            return _whole(f" {error}")
    if segmenter == "cluster":
        return _from_clusters(photographs, recipe, vgg19)
    return _whole()


def _whole(why: str = "") -> Found:
    whole = semantics.match(segment.whole(1, 1), segment.whole(1, 1), lambda *_: 1.0)
    return Found(whole, "none", f"Each photograph is one region.{why}")


def _from_masks(photographs: tuple[Photograph, Photograph], masks: tuple[Source, Source]) -> Found:
    names = [str(mask) if isinstance(mask, str | Path) else "the mask given" for mask in masks]
    painted = _painted(masks)
    content, style = (
        each._replace(labels=segment.fit(each.labels, *photograph.pixels.shape[:2], source=name))
        for each, photograph, name in zip(painted, photographs, names, strict=True)
    )
    single = " They show a single region." if len(content.names) == 1 else ""
    return Found(
        _by_appearance((photographs[0].pixels, photographs[1].pixels), content, style),
        "masks",
        f"Regions from the masks {names[0]} and {names[1]}.{single}",
    )


def _painted(masks: tuple[Source, Source]) -> tuple[Segmentation, Segmentation]:
    """By the indices of two label maps, by the colours of anything else."""
    indexed = [image.read_indices(mask) for mask in masks]
    if indexed[0] and indexed[1] and (found := segment.from_indexed(indexed[0], indexed[1])):
        return found
    return segment.from_painted(*(image.read_colours(mask) for mask in masks))


def _from_labels(
    photographs: tuple[Photograph, Photograph], labeller: Labeller, recipe: Recipe, vgg19: PyTree | None
) -> Found:
    paper = recipe.scene_mode == "paper"
    content, style = (labelling.label(each.pixels, labeller, vgg19, paper=paper) for each in photographs)
    similarity = wordnet.by_name(recipe.similarity, recipe.word_senses)
    pair = content.segmentation, style.segmentation
    if paper:
        share = recipe.minimum_share
        matched = semantics.group(*pair, similarity, threshold=recipe.similarity_threshold, minimum_share=share)
    else:
        matched = trust.trusted(*pair, similarity, threshold=recipe.similarity_threshold)
        small = (pixels.at_size(each.pixels, found.labels.shape) for each, found in zip(photographs, pair, strict=True))
        bounds = {"noise": recipe.matched_noise, "gains": recipe.matched_gains}
        matched = trust.plausible(matched, *map(np.asarray, small), **bounds)
    note = f"Regions from {_LABELLERS[labeller]} ({content.checkpoint.name})."
    if recipe.segmenter == "auto" and labeller == "scene" and (reason := labelling.fetch_deeplab()):
        note += f" {reason}"
    return Found(matched, labeller, note, content.checkpoint)


_LABELLERS = {"pspnet": "PSPNet", "deeplab": "DeepLab", "scene": "the scene head that comes with jpst"}


def _from_clusters(photographs: tuple[Photograph, Photograph], recipe: Recipe, vgg19: PyTree | None) -> Found:
    variables = weights.load("vgg19").variables if vgg19 is None else vgg19
    content, style = (np.asarray(cosegment.at_size(each.pixels)) for each in photographs)
    alphas = photographs[0].alpha, photographs[1].alpha
    regions = _by_appearance((content, style), *cosegment.cosegment(content, style, variables, alphas))
    return Found(regions, "cluster", "Regions from a clustering of both photographs' VGG19 features.")


def _by_appearance(
    pictures: tuple[np.ndarray, np.ndarray], content: Segmentation, style: Segmentation
) -> semantics.Regions:
    """Segmentations at their pictures' sizes, matched by name; what only one has goes where it looks alike."""
    similarity = semantics.appearance_similarity(pictures[0], content, pictures[1], style)
    return semantics.match(content, style, similarity)


def alone(photograph: Float[np.ndarray, "h w 3"], segmenter: Segmenter) -> Segmentation:
    """One photograph's segmentation, at its own size: what `find` would make of it, before any matching."""
    if segmenter == "cluster":
        found, _ = cosegment.cosegment(photograph, photograph, weights.load("vgg19").variables)
    else:
        found = labelling.label(photograph, segmenter).segmentation  # pyright: ignore[reportArgumentType]
    size = photograph.shape[0], photograph.shape[1]
    confidence = None if found.confidence is None else segment.resized(found.confidence, *size)
    return found._replace(labels=segment.resized(found.labels, *size), confidence=confidence)


def soft_masks(labels: np.ndarray, count: int, picture: Float[Array, "h w 3"], recipe: Recipe) -> Float[Array, "r h w"]:
    """The masks of a working picture: the share of each region in every pixel, and unless the recipe wants them hard,
    brought to the picture's edges."""
    masks = jnp.asarray(semantics.masks(labels, count, *picture.shape[:2]))
    if recipe.hard_masks or count == 1:
        return masks
    return segment.refine(masks, picture, SOFT_RADIUS, SOFT_EPSILON)
