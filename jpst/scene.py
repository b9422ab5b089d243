"""Two photographs and their regions as arrays at working size, for those who optimise by themselves."""

from typing import NamedTuple

from jaxtyping import Array, Float

from jpst import optimise, pixels, pyramid
from jpst.job import prepare_job
from jpst.losses import Targets
from jpst.optimise import Networks
from jpst.pyramid import Picture
from jpst.recipe import Recipe
from jpst.regions import Source


class Scene(NamedTuple):
    """What `load_scene` makes of two photographs: float32 arrays at a recipe's finest working size."""

    content: Float[Array, "h w 3"]
    """the photograph to change, sRGB-encoded RGB in [0, 1]"""
    style: Float[Array, "h2 w2 3"]
    """the photograph whose look it gets"""
    content_masks: Float[Array, "r h w"]
    """each region's share of every pixel; they sum to 1, or to the photograph's alpha"""
    style_masks: Float[Array, "r h2 w2"]
    """the same regions in the style photograph"""
    names: tuple[str, ...]
    """of the regions"""
    whole: int | None = None
    """the region, if there is one, of what has no counterpart of its own in the other photograph"""

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """`prepare(*scene.arrays, networks, recipe=recipe)`: every region is measured where it lies."""
        return self.content, self.style, self.content_masks, self.style_masks

    def targets(self, networks: Networks, recipe: Recipe) -> Targets:
        """What `stylize` aims at on its finest level. It differs from `prepare` of `arrays` where there is a region
        `whole`, whose colours and features are measured over the whole of both photographs."""
        masks = [pyramid.measured(each, self.whole) for each in (self.content_masks, self.style_masks)]
        parts = None if self.whole is None else self.content_masks
        arrays = self.content, self.style, masks[0], masks[1]
        return optimise.prepare(*arrays, networks, recipe=recipe, content_parts=parts)


def load_scene(
    content: Source,
    style: Source,
    recipe: Recipe | None = None,
    content_seg: Source | None = None,
    style_seg: Source | None = None,
    networks: Networks | None = None,
) -> Scene:
    """Reads two photographs, finds and matches their regions, and brings all to the recipe's finest working size.

    As `stylize` does it: a style in black and white makes the content black and white, too.

    Args:
      content, style: paths, PIL images or arrays (as `image.read` takes them).
      recipe: the working size and the segmenter; the preset "balanced" unless given.
      content_seg, style_seg: painted masks, one flat colour a region; both or neither.
      networks: spares loading VGG19 where regions are found by its features.

    Raises:
      JpstError: unusable photographs or masks; the message says what to do.
    """
    recipe = recipe or Recipe()
    job = prepare_job(content, style, recipe, content_seg=content_seg, style_seg=style_seg, networks=networks)
    regions, level = job.found.regions, job.levels[-1]
    changed = pixels.neutral(job.content.pixels) if job.neutral else job.content.pixels
    own, own_masks = pyramid.at_size(
        Picture(changed, regions.content, job.content.alpha), level.content, len(regions.names), recipe
    )
    other, other_masks = pyramid.at_size(
        Picture(job.style.pixels, regions.style, job.style.alpha), level.style, len(regions.names), recipe
    )
    count = len(regions.names)  # the others are empty: `stylize` spares itself compilations by them
    return Scene(own, other, own_masks[:count], other_masks[:count], regions.names, regions.whole)
