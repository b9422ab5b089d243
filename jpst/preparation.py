"""What a transfer aims at, computed once: features, Grams, the matting Laplacian, the first image."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jpst import arguments, colours, losses, matting, pixels
from jpst.caching import cached
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.recipe import Recipe
from jpst.total import Networks, check_networks, precision


def prepare(
    content: ArrayLike,
    style: ArrayLike,
    content_masks: ArrayLike,
    style_masks: ArrayLike,
    networks: Networks,
    *,
    recipe: Recipe,
    content_parts: ArrayLike | None = None,
) -> Targets:
    """Everything that does not change while the image does: features, Grams, the matting Laplacian, the first image.

    Pure, and usable under `jit` and `vmap` (the Laplacian's float64 assembly is a host callback there; with
    `recipe.laplacian == "bcoo"`, whose size depends on the picture, call it outside).

    Args:
      content: the photograph to change, [h, w, 3], sRGB-encoded RGB in [0, 1], at working size.
      style: the photograph whose look it gets, [h2, w2, 3]; its size may be another.
      content_masks, style_masks: [R, h, w] and [R, h2, w2]: for each region the share of every pixel that is its,
        summing to 1 over R (less where the photograph is transparent). Region r of one gets the look of region r of
        the other; `jnp.ones((1, h, w))` makes the whole picture one region.
      networks: as `load_networks` gives them.
      recipe: layers, objective, start and forms; sizes and steps are not looked at.
      content_parts: [R, h, w], where each region lies, if its colours and features are measured elsewhere, in
        `content_masks`, which may then sum to more: what has no counterpart of its own is one region that is measured
        over the whole of both photographs.

    Raises:
      JpstError: an argument of another shape, or with values that it cannot have; it says which.
    """
    check_networks(networks)
    content, style, content_masks, style_masks, content_parts = arguments.scene(
        content, style, content_masks, style_masks, content_parts
    )
    laplacian, *coarse = (_laplacian(picture, recipe) for picture in _octaves(content, recipe.coherence_octaves))
    with precision(recipe):
        layers = _layers(recipe)
        # All layers of both, though not all are used: the two are then one compiled function where they have one size.
        own, other = (_features(networks.vgg19, picture, layers) for picture in (content, style))
        relevant = (recipe.content_layers, recipe.style_layers, recipe.objective)
        masks = (content_masks, style_masks, content_parts)
        content_targets, style_targets = _targets(own, other, *masks, *relevant)
        start = first_image(content, style, *masks, recipe=recipe, preprocessing=networks.vgg19["preprocessing"])
    if recipe.grams == "gathered" and not any(isinstance(mask, Tracer) for mask in jax.tree.leaves(style_targets)):
        style_targets = {name: losses.by_pairs(target) for name, target in style_targets.items()}
    scale = 1.0 if recipe.objective == "paper" else 1.0 / (content.shape[0] * content.shape[1])
    view = losses.view(recipe.nima_size, *content.shape[:2]) if recipe.nima_size and networks.nima is not None else None
    return Targets(
        content_targets, style_targets, laplacian, jnp.float32(scale), start, _edges(content), tuple(coarse), view
    )


def compile_features(size: tuple[int, int], networks: Networks, recipe: Recipe) -> None:
    """Compiles what `prepare` computes of a photograph of (height, width), beside other work; runs nothing."""
    with precision(recipe):
        picture = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
        _features.compile(networks.vgg19, picture, _layers(recipe))


def _layers(recipe: Recipe) -> tuple[str, ...]:
    return tuple(dict.fromkeys(recipe.content_layers + recipe.style_layers))


def first_image(
    content: Float[Array, "h w 3"],
    style: Float[Array, "h2 w2 3"],
    content_masks: Float[Array, "r h w"],
    style_masks: Float[Array, "r h2 w2"],
    content_parts: Float[Array, "r h w"] | None = None,
    *,
    recipe: Recipe,
    preprocessing: PyTree = None,
) -> Float[Array, "h w 3"]:
    """What the optimisation starts from, but for the noise of "noise"; arguments as in `prepare`.

    It may leave [0, 1]. `preprocessing`: VGG19's, which a recipe that starts from noise needs.
    """
    masks = content_masks, style_masks, content_parts
    bounds = recipe.matched_noise, recipe.matched_gains
    return _first(content, style, *masks, preprocessing, recipe.start, *bounds)


def _laplacian(picture: Float[Array, "h w 3"], recipe: Recipe) -> matting.Laplacian:
    laplacian = matting.laplacian(picture, recipe.matting_epsilon, recipe.matting_moments)
    return matting.bcoo(laplacian) if recipe.laplacian == "bcoo" else laplacian


def _octaves(picture: Float[Array, "h w 3"], count: int) -> Iterator[Float[Array, "_ _ 3"]]:
    """The picture, then so many times half the one before, as long as that has a window of the Laplacian."""
    yield picture
    if count and min(picture.shape[:2]) // 2 >= matting.WINDOW:
        yield from _octaves(_halved(picture), count - 1)


_features = cached(vgg19.features, static_argnums=(2,))
_edges, _halved = cached(pixels.edges), cached(pixels.halved)


@partial(cached, static_argnums=(5, 6, 7))
def _targets(own, other, content_masks, style_masks, content_parts, content_layers, style_layers, objective):
    content_targets = {name: losses.content_target(own[name], objective) for name in content_layers}
    style_targets = {
        name: losses.style_target(
            other[name],
            content_masks,
            style_masks,
            own[name].shape[:2],
            len(style_layers),
            objective,
            content_parts,
        )
        for name in style_layers
    }
    return content_targets, style_targets


@partial(cached, static_argnums=(6, 7, 8))
def _first(content, style, content_masks, style_masks, content_parts, preprocessing, start, noise, gains):
    if start == "matched":
        return colours.base_look(content, style, content_masks, style_masks, noise, content_parts, gains)
    if start == "style":
        return pixels.resize(style, *content.shape[:2])
    if start == "noise":
        return jnp.broadcast_to(-preprocessing["offset"] / preprocessing["scale"], content.shape)
    return content
