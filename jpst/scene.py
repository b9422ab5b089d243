"""Two photographs and their regions: as read (`Pair`), and as arrays at a working size (`Scene`)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jpst import pixels, preparation
from jpst.levels import Level
from jpst.losses import Targets
from jpst.masks import soft_masks
from jpst.recipe import Recipe
from jpst.total import Networks

REGION_COUNTS = (1, 9, 24)  # masks are filled up to these with empty ones, which costs little: fewer steps to compile


class Picture(NamedTuple):
    """A photograph and its regions.

    `pixels` [H, W, 3] are sRGB-encoded RGB in [0, 1]; `labels` are a label map of the same shape but of any size; each
    pixel counts by `alpha`, [H, W] in [0, 1], if there is one. `people`: how likely there is a person, in [0, 1], of
    the same shape but of any size, if that is known.
    """

    pixels: Float[np.ndarray, "h w 3"]
    labels: Int[np.ndarray, "h2 w2"]
    alpha: Float[np.ndarray, "h w"] | None = None
    people: Float[np.ndarray, "h3 w3"] | None = None

    def turned(self) -> "Picture":
        """The picture with height and width exchanged."""
        alpha, people = (None if each is None else each.T for each in (self.alpha, self.people))
        return Picture(self.pixels.swapaxes(0, 1), self.labels.T, alpha, people)

    def at(self, size: tuple[int, int], regions: int, recipe: Recipe) -> tuple[Array, Array]:
        """The picture [h, w, 3] and its masks [regions, h, w], which sum to its alpha, at a working size."""
        small = pixels.at_size(self.pixels, size)
        masks = soft_masks(self.labels, regions, small, recipe)
        if self.alpha is not None:
            masks = masks * _resized(self.alpha, size)[None]
        return small, masks


def _resized(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Array:
    return pixels.at_size(values[..., None], size)[..., 0]


class Scene(NamedTuple):
    """Two photographs and their regions as float32 arrays at a working size, as `load_scene` gives them."""

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
    people: Float[Array, "h w"] | None = None
    """how likely there is a person in the content, in [0, 1], if that is known"""

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """`prepare(*scene.arrays, networks, recipe=recipe)`: every region is measured where it lies."""
        return self.content, self.style, self.content_masks, self.style_masks

    @property
    def measured(self) -> tuple[Array, Array]:
        """Where the colours and features of each region are measured, in content and style: `whole` everywhere."""
        if self.whole is None:
            return self.content_masks, self.style_masks
        masks = self.content_masks, self.style_masks
        content, style = (each.at[self.whole].set(each.sum(0)) for each in masks)
        return content, style

    def filled_up(self) -> "Scene":
        """The scene with empty masks, which change no term, up to the next of `REGION_COUNTS`."""
        count = len(self.content_masks)
        empty = next((wanted for wanted in REGION_COUNTS if wanted >= count), count) - count
        content, style = (
            jnp.pad(each, ((0, empty), (0, 0), (0, 0))) for each in (self.content_masks, self.style_masks)
        )
        return self._replace(content_masks=content, style_masks=style)

    def targets(self, networks: Networks, recipe: Recipe) -> Targets:
        """What `stylize` aims at on its finest level.

        It differs from `prepare` of `arrays` where there is a region `whole`, whose colours and features are measured
        over the whole of both photographs.
        """
        arrays = self.content, self.style, *self.measured
        return preparation.prepare(*arrays, networks, recipe=recipe, content_parts=self.content_masks)

    def base_look(self, recipe: Recipe) -> Float[Array, "h w 3"]:
        """What the optimisation starts from, unless that is noise."""
        return preparation.first_image(self.content, self.style, *self.measured, self.content_masks, recipe=recipe)


class Pair(NamedTuple):
    """Content and style with the same regions, at their own sizes; fields as in `Scene`."""

    content: Picture
    style: Picture
    names: tuple[str, ...]
    whole: int | None = None

    def turned(self) -> "Pair":
        """The pair with height and width exchanged."""
        return self._replace(content=self.content.turned(), style=self.style.turned())

    def at(self, level: Level, recipe: Recipe) -> Scene:
        """The scene at a level's sizes."""
        content, content_masks = self.content.at(level.content, len(self.names), recipe)
        style, style_masks = self.style.at(level.style, len(self.names), recipe)
        people = None if self.content.people is None else _resized(self.content.people, level.content)
        return Scene(content, style, content_masks, style_masks, self.names, self.whole, people)
