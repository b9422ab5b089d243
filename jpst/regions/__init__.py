"""The regions of a transfer: from painted masks, a scene network, or the two photographs alone; matched to one set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Float, PyTree

from jpst import image, pixels, weights
from jpst.errors import JpstError
from jpst.image import Photograph
from jpst.recipe import Recipe
from jpst.regions import appearance, cosegment, labelling, pairing, segment, semantics, trust, wordnet
from jpst.regions.labelling import Labeller
from jpst.regions.segment import MaskError, Segmentation
from jpst.weights import Loaded, Provenance

Source = str | Path | PIL.Image.Image | np.ndarray
Segmenter = Literal["masks", "pspnet", "deeplab", "scene", "cluster", "none"]


class Found(NamedTuple):
    """Matched regions, what found them, a sentence that says so, and the scene network's checkpoint if it was that."""

    regions: semantics.Regions
    segmenter: Segmenter
    note: str
    checkpoint: Provenance | None = None
    parts: pairing.Parts | None = None
    """what can be given another partner by hand; None with painted masks, whose colours are the pairs, and with none"""
    people: Float[np.ndarray, "h w"] | None = None
    """how likely there is a person in the content, in [0, 1], at the size of its label map; None if nothing tells"""


class Way(NamedTuple):
    """How the regions of a transfer are found."""

    segmenter: Segmenter
    masks: tuple[Source, Source] | None
    """painted, of content and style; None with any segmenter but "masks"."""
    note: str
    """why it is not a better one, in a sentence or two; empty if it is what was asked for"""

    @property
    def needs_vgg19(self) -> bool:
        """Whether regions are found in VGG19's features."""
        return in_features(self.segmenter)


def choose(
    photographs: tuple[Source, Source],
    given: tuple[Source | None, Source | None],
    recipe: Recipe,
    tell: Callable[[str], None] = lambda _: None,
) -> Way:
    """Decides how regions are found.

    With the segmenter "auto": the masks given, else those beside both photographs, else the best scene network. If only
    the scene head is there, DeepLab is downloaded, and `tell` called with a line that says so. Not "cluster": on
    ordinary pairs a wrong region costs more than a right one gains.

    Args:
      given: masks of content and style.

    Raises:
      MaskError: one mask alone, or masks and another segmenter.
    """
    if masks := painted(photographs, given, recipe):
        return Way("masks", masks, "")
    if recipe.segmenter != "auto":
        return Way(recipe.segmenter, None, "")
    notes = [labelling.fetch_deeplab(tell)]
    beside = _beside(photographs)
    if lone := beside[0] or beside[1]:
        missing = "style" if beside[0] else "content"
        notes.append(f"The mask {lone} is not used: there is none for the {missing} photograph.")
    return Way(labelling.best(), None, " ".join(filter(None, notes)))


def painted(
    photographs: tuple[Source, Source], given: tuple[Source | None, Source | None], recipe: Recipe
) -> tuple[Source, Source] | None:
    """The masks that `choose` will use, which is known before anything is downloaded; arguments and errors as there."""
    content, style = given
    if content is None and style is None:
        content, style = _beside(photographs) if recipe.segmenter == "auto" else (None, None)
        return (content, style) if content and style else None
    if content is None or style is None:
        missing = "content" if content is None else "style"
        raise MaskError(
            f"There is no mask for the {missing} photograph, but one for the other. Both need one, painted in the "
            f"same colours: add `{missing}_seg`, or leave both out."
        )
    if recipe.segmenter != "auto":
        raise MaskError(
            f"There are masks and the segmenter {recipe.segmenter!r}: which shall it be? Leave one of them out."
        )
    return content, style


def _beside(photographs: tuple[Source, Source]) -> tuple[Path | None, Path | None]:
    content, style = (segment.beside(at) if isinstance(at, str | Path) else None for at in photographs)
    return content, style


def in_features(segmenter: Segmenter) -> bool:
    """Whether a segmenter finds regions in VGG19's features."""
    return segmenter in ("cluster", "scene")


def load(way: Way) -> Loaded | None:
    """The network that names regions, if a way has one."""
    return labelling.load(way.segmenter) if way.segmenter in labelling.LABELLERS else None


def find(
    photographs: tuple[Photograph, Photograph],
    way: Way,
    recipe: Recipe,
    network: Loaded | None = None,
    vgg19: PyTree | None = None,
) -> Found:
    """The matched regions of content and style.

    Args:
      network: what `load` gives for this way; loaded if None.
      vgg19: its variables; loaded if None, where the way needs them.

    Label maps have the photographs' shapes but not their sizes: those of networks are as small as they are found, that
    of a whole photograph is one pixel.
    """
    found = _found(photographs, way, recipe, network, vgg19)
    found = found._replace(note=f"{found.note} {way.note}".rstrip())
    return repaired(found, recipe.pairs) if recipe.pairs else found


def repaired(found: Found, pairs: Sequence[str]) -> Found:
    """The same regions with other partners, `Recipe.pairs`; without any the automatic ones.

    Raises:
      JpstError: a pair names a region that there is not; or regions were painted, or there are none.
    """
    if found.parts:
        regions = pairing.repaired(found.parts, pairs) if pairs else found.parts.automatic
        return found._replace(regions=regions)
    if pairs and found.segmenter == "masks":
        raise JpstError(
            "There are masks and `pairs`: which shall it be? Paint in one colour what belongs together, or leave one "
            "of them out."
        )
    if pairs:
        raise JpstError(f"pairs: there are no regions to pair. {found.note} Leave `pairs` out.")
    return found


def _found(
    photographs: tuple[Photograph, Photograph], way: Way, recipe: Recipe, network: Loaded | None, vgg19: PyTree | None
) -> Found:
    if way.masks is not None:
        return _from_masks(photographs, way.masks)
    if way.segmenter in labelling.LABELLERS:
        try:
            return _from_labels(photographs, way.segmenter, recipe, network or labelling.load(way.segmenter), vgg19)
        except labelling.FeaturesError as error:
            if recipe.segmenter != "auto":
                raise
            return _whole(f" {error}")
    if way.segmenter == "cluster":
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
    photographs: tuple[Photograph, Photograph],
    labeller: Labeller,
    recipe: Recipe,
    network: Loaded,
    vgg19: PyTree | None,
) -> Found:
    paper = recipe.scene_mode == "paper"
    content, style = (labelling.label(each.pixels, labeller, network, vgg19, paper=paper) for each in photographs)
    similarity = wordnet.by_name(recipe.similarity, recipe.word_senses)
    pair = (
        segment.spread(content.segmentation, photographs[0].alpha),
        segment.spread(style.segmentation, photographs[1].alpha),
    )
    if paper:
        share = recipe.minimum_share
        matched = semantics.group(*pair, similarity, threshold=recipe.similarity_threshold, minimum_share=share)
    else:
        matched = trust.trusted(*pair, similarity, threshold=recipe.similarity_threshold)
        small = (
            np.asarray(pixels.at_size(photographs[0].pixels, pair[0].labels.shape)),
            np.asarray(pixels.at_size(photographs[1].pixels, pair[1].labels.shape)),
        )
        bounds = {"noise": recipe.matched_noise, "gains": recipe.matched_gains}
        matched = trust.plausible(trust.filled(matched, pair, small), *small, **bounds)
    note = f"Regions from {_TOLD_AS[labeller]} ({content.checkpoint.name})."
    parts = pairing.parts(trust.known(pair[0]), trust.known(pair[1]), matched)
    return Found(
        matched, labeller, note, content.checkpoint, parts, None if paper else segment.share_of("person", pair[0])
    )


_TOLD_AS = {"pspnet": "PSPNet", "deeplab": "DeepLab", "scene": "the scene head that comes with jpst"}


def _from_clusters(photographs: tuple[Photograph, Photograph], recipe: Recipe, vgg19: PyTree | None) -> Found:
    variables = weights.load("vgg19").variables if vgg19 is None else vgg19
    content, style = (np.asarray(cosegment.at_size(each.pixels)) for each in photographs)
    alphas = photographs[0].alpha, photographs[1].alpha
    found = cosegment.cosegment(content, style, variables, alphas)
    regions = _by_appearance((content, style), *found)
    note = "Regions from a clustering of both photographs' VGG19 features."
    return Found(regions, "cluster", note, parts=pairing.parts(*found, regions))


def _by_appearance(
    pictures: tuple[np.ndarray, np.ndarray], content: Segmentation, style: Segmentation
) -> semantics.Regions:
    """Segmentations at their pictures' sizes, matched by name; what only one has goes where it looks alike."""
    similarity = appearance.similarity(pictures[0], content, pictures[1], style)
    return semantics.match(content, style, similarity)


def alone(photograph: Float[np.ndarray, "h w 3"], segmenter: Segmenter) -> Segmentation:
    """One photograph's segmentation, at its own size: what `find` would make of it, before any matching."""
    if segmenter == "cluster":
        found, _ = cosegment.cosegment(photograph, photograph, weights.load("vgg19").variables)
    else:
        assert segmenter in labelling.LABELLERS, "masks and none are not found in one photograph"
        found = labelling.label(photograph, segmenter, labelling.load(segmenter)).segmentation
    size = photograph.shape[0], photograph.shape[1]
    confidence = None if found.confidence is None else segment.resized(found.confidence, *size)
    return found._replace(labels=segment.resized(found.labels, *size), confidence=confidence)
