"""The working sizes of a transfer, level by level, and the size of its result."""

import math
from typing import NamedTuple

from jpst import pixels
from jpst.errors import JpstError
from jpst.models import vgg19
from jpst.recipe import Recipe


class Level(NamedTuple):
    """One level: the working sizes (height, width) of content and style, and its steps."""

    content: tuple[int, int]
    style: tuple[int, int]
    steps: int

    def turned(self) -> "Level":
        """The level with height and width exchanged."""
        (height, width), (height2, width2) = self.content, self.style
        return Level((width, height), (width2, height2), self.steps)


def plan(
    content: tuple[int, int], style: tuple[int, int], recipe: Recipe, *, projected: bool = False
) -> tuple[Level, ...]:
    """The levels for photographs of these sizes (height, width), coarsest first.

    Each is half the size of the next, and none is much larger than the photographs. Of a transfer that is `projected`
    only the coarsest is planned: the projection leaves nothing of what a finer one would add.

    Raises:
      JpstError: a photograph is too small, or too narrow at a working size, for the recipe's layers.
    """
    sizes = [recipe.size >> depth for depth in reversed(range(len(recipe.iterations)))]
    for name, photograph in (("content", content), ("style", style)):
        _check_size(name, photograph, sizes[0], recipe)
    planned = [
        Level(
            _working_size(content, size, recipe, recipe.size_multiple),
            _working_size(style, size, recipe, recipe.size_multiple),
            steps,
        )
        for size, steps in zip(sizes, recipe.iterations, strict=True)
    ]
    return tuple(planned[:1] if projected else planned)


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
    """Raises JpstError if the photograph, or its smallest working picture, is too narrow for the network."""
    least = vgg19.minimum_size(recipe.content_layers + recipe.style_layers)
    multiple = recipe.size_multiple if recipe.shape == "own" else 1  # rounding up would hide what is too narrow
    working = _working_size(photograph, size, recipe, multiple)
    if min(*working, *photograph) < least:
        raise JpstError(
            f"The {name} photograph, {photograph[1]} x {photograph[0]} pixels, is {working[1]} x {working[0]} at its "
            f"smallest working size; VGG19 needs at least {least} pixels on each side. Use a larger or wider "
            "photograph, a larger `size`, or fewer levels of `iterations`."
        )
