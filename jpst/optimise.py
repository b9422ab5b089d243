"""The transfer itself: `prepare` once, `init` a state, `step` or `transfer` it. Pure functions on arrays.

Images are float32 [H, W, 3], sRGB-encoded RGB in [0, 1]; masks float32 [R, H, W], summing to one over R. Everything is
written for one image and batched by `jax.vmap` from outside, for instance over `Hyperparameters`.
"""

import enum
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from jpst import arguments, losses, matting, pixels, ranges, solver
from jpst.caching import cached
from jpst.errors import JpstError
from jpst.losses import Targets
from jpst.models import nima, vgg19
from jpst.recipe import STEPS, Hyperparameters, Recipe


class Networks(NamedTuple):
    """Variables of the networks: pytrees, always passed as an argument, never closed over. One serves any pairs."""

    vgg19: PyTree
    """as `load_networks` gives them"""
    nima: PyTree | None = None
    """of the aesthetic term, which is left out without"""


class State(NamedTuple):
    """A transfer between two steps. NumPy arrays, as a state that was saved may have them, will do."""

    image: Float[Array, "h w 3"]
    """what is evaluated next; it may leave [0, 1]"""
    opt_state: Any
    """of the optimiser that `init` was asked for: a pytree of arrays"""
    step: Int[Array, ""]
    """updates made so far"""
    best_image: Float[Array, "h w 3"]
    """the image evaluated so far that had the lowest total; it may leave [0, 1]"""
    best_loss: Float[Array, ""]
    """the total of `best_image`; infinite before the first step"""


class Status(enum.IntEnum):
    """How a transfer went, as data: jitted code cannot raise. `sentence` is what to tell a person."""

    FINE = 0
    NOT_FINITE = 1

    @property
    def sentence(self) -> str:
        """What to tell a person."""
        if self is Status.FINE:
            return "every step was finite"
        return (
            "a loss or gradient became infinite or not a number; the picture stopped changing there. "
            "Try smaller weights or, with the optimiser adam, a smaller learning rate."
        )


class Result(NamedTuple):
    """What `transfer` returns."""

    image: Float[Array, "h w 3"]
    """the image of lowest total so far, that of earlier calls included, in sRGB. Steps are not bounded, so that it may
    leave [0, 1]: clip it before it is shown or written."""
    state: State
    """continues the run"""
    history: dict[str, Float[Array, " steps"]]
    """each weighted term and their "total" before every update of this call"""
    status: Int[Array, ""]
    """a `Status`: `Status(int(status)).sentence` tells it in words"""


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
    _check_networks(networks)
    content, style, content_masks, style_masks, content_parts = arguments.scene(
        content, style, content_masks, style_masks, content_parts
    )
    laplacian, *coarse = (_laplacian(picture, recipe) for picture in _octaves(content, recipe.coherence_octaves))
    with _precision(recipe):
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
    with _precision(recipe):
        picture = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
        _features.compile(networks.vgg19, picture, _layers(recipe))


def _layers(recipe: Recipe) -> tuple[str, ...]:
    return tuple(dict.fromkeys(recipe.content_layers + recipe.style_layers))


def _check_networks(networks: Any) -> None:
    if not isinstance(networks, Networks):
        raise JpstError(f"networks is a {type(networks).__name__}: expected Networks, as load_networks gives them.")


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


def _precision(recipe: Recipe | None) -> AbstractContextManager[None]:
    """Left to itself a GPU would round the factors of float32 convolutions to ten bits, a TPU to seven."""
    precision = "float32" if recipe is None else recipe.feature_precision
    return jax.default_matmul_precision(None if precision == "bfloat16" else precision)


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
        return pixels.base_look(content, style, content_masks, style_masks, noise, content_parts, gains)
    if start == "style":
        return pixels.resize(style, *content.shape[:2])
    if start == "noise":
        return jnp.broadcast_to(-preprocessing["offset"] / preprocessing["scale"], content.shape)
    return content


def init(targets: Targets, hyper: Hyperparameters | None = None, *, recipe: Recipe, key: Array | None = None) -> State:
    """The state before the first step.

    Args:
      targets: as `prepare` gives them.
      hyper: only checked: no optimiser's first state depends on the numbers.
      recipe: the start and the optimiser.
      key: needed where `recipe.start == "noise"`: 1e-4 levels around the mean colour that the network was trained with.

    Raises:
      JpstError: a number out of its range.
      ValueError: there is no key, and one is needed.
    """
    if hyper is not None:
        arguments.check_ranges(hyper)
    image = jnp.asarray(targets.start)
    if recipe.start == "noise":
        if key is None:
            raise ValueError('recipe.start is "noise", which needs a random key: pass key=jax.random.key(seed).')
        image = image + 1e-4 * solver.LEVEL * jax.random.normal(key, image.shape)
    return State(image, solver.start(image, recipe.optimiser), jnp.int32(0), image, jnp.float32(jnp.inf))


def step(
    state: State,
    targets: Targets,
    hyper: Hyperparameters,
    networks: Networks,
    *,
    recipe: Recipe | None = None,
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One evaluation at `state.image` and the update that follows from it; `transfer` makes many.

    Args as in `transfer`; of the recipe only `feature_precision` counts, float32 without one. The optimiser is the one
    that `init` was asked for. The numbers may differ from step to step, which compiles nothing anew.

    Returns:
      The next state, and each weighted term and their "total" before the update. Where a loss or gradient is not
      finite the image stays as it was.
    """
    state, targets, hyper, networks = _checked_step(state, targets, hyper, networks)
    with _precision(recipe):
        state, (terms, _) = _step(state, targets, hyper, networks)
    return state, terms


def transfer(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, *, recipe: Recipe, steps: int
) -> Result:
    """`steps` evaluations, each followed by an update of the image; n steps and then m more equal n + m.

    This is the optimisation, named after what it does, as `jpst.optimise` is the module.

    Args:
      state: from `init`, from a call before, or such a state restored as NumPy arrays.
      targets: as `prepare` gives them.
      hyper: one number each, for this call. Several go through `jax.vmap`.
      networks: as for `prepare`; without NIMA there is no aesthetic term, whatever its weight.
      recipe: what `prepare` and `init` were given; only `feature_precision` counts here.
      steps: a whole number; static.

    Under a caller's `jit` or `vmap`, and on accelerators, this is one `lax.scan`. Called with plain arrays on a CPU it
    drives the same jitted step from Python instead, because XLA runs a scan's convolutions there on one thread.

    Raises:
      JpstError: a number out of its range, or a state and targets of different pairs. What becomes infinite on the way
        raises nothing: see `Result.status`.
    """
    ranges.check("steps", steps, STEPS)
    state, targets, hyper, networks = _checked_step(state, targets, hyper, networks)
    with _precision(recipe):
        if _plain_on_cpu(state, targets, hyper, networks):
            records = []
            for _ in range(steps):
                state, record = _step(state, targets, hyper, networks)
                records.append(record)
            first = records[0] if records else jax.eval_shape(_step, state, targets, hyper, networks)[1]
            history, finite = jax.tree.map(lambda like, *x: jax.device_put(np.asarray(x, like.dtype)), first, *records)
        else:
            state, (history, finite) = _scan(state, targets, hyper, networks, steps)
    status = jnp.where(jnp.all(finite), jnp.int32(Status.FINE), jnp.int32(Status.NOT_FINITE))
    return Result(state.best_image, state, history, status)


def _checked_step(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks
) -> tuple[State, Targets, Hyperparameters, Networks]:
    """The arguments of a step as JAX's arrays; JpstError unless they go together."""
    _check_networks(networks)
    arguments.check_one_each(hyper)
    state, targets, networks = jax.tree.map(_as_jax, (state, targets, networks))
    arguments.check_like("state.image", state.image, "targets.start", targets.start)
    return state, targets, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper), networks


def _as_jax(leaf: Any) -> Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(np.asarray(leaf))


def compile_transfer(
    state: State, targets: Targets, hyper: Hyperparameters, networks: Networks, *, recipe: Recipe, steps: int
) -> None:
    """Compiles what `transfer` of such arrays would, for instance in a thread beside other work; runs nothing.

    State and targets may be abstract, of `jax.ShapeDtypeStruct`.
    """
    if not steps:
        return
    hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
    with _precision(recipe):
        if _plain_on_cpu(state, targets, hyper, networks):
            _step.compile(state, targets, hyper, networks)
        else:
            _scan.compile(state, targets, hyper, networks, steps)


def _plain_on_cpu(state: State, *others: PyTree) -> bool:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((state, others))):
        return False
    if isinstance(state.image, jax.ShapeDtypeStruct):
        return jax.default_backend() == "cpu"
    return next(iter(state.image.devices())).platform == "cpu"


@partial(cached, static_argnums=(4,))
def _scan(state, targets, hyper, networks, steps):
    return jax.lax.scan(lambda state, _: _step(state, targets, hyper, networks), state, length=steps)


@cached
def _step(state: State, targets: Targets, hyper: Hyperparameters, networks: Networks):
    """One update: the terms at the image as it is, the best image from that same pair, then the solver's move."""
    (total, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.image, targets, hyper, networks)
    following, opt_state, update = solver.advance(state.image, total, gradient, state.opt_state, hyper)
    finite = jnp.isfinite(total) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(update))
    better = jnp.isfinite(total) & (total < state.best_loss)
    changed = following, opt_state, state.step + 1
    kept = state.image, state.opt_state, state.step
    image, opt_state, step = jax.tree.map(lambda new, old: jnp.where(finite, new, old), changed, kept)
    best_image = jnp.where(better, state.image, state.best_image)
    state = State(image, opt_state, step, best_image, jnp.where(better, total, state.best_loss))
    return state, (terms | {"total": total}, finite)


def objective(
    image: Float[Array, "h w 3"], targets: Targets, hyper: Hyperparameters, networks: Networks
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The total to be minimised, and its weighted terms by name; `jax.grad(objective, has_aux=True)` differentiates it.

    Args:
      image: [h, w, 3], sRGB in [0, 1] or a little beyond, of the size of `targets.start`.
      targets: as `prepare` gives them.
      hyper, networks: as in `transfer`.

    On GPU and TPU call it inside `jax.default_matmul_precision("float32")`, as `step` does, or factors are rounded.
    """
    features = vgg19.features(networks.vgg19, image, (*targets.content, *targets.style))
    content = sum(losses.content_loss(features[name], target) for name, target in targets.content.items())
    style = sum(losses.style_loss(features[name], target) for name, target in targets.style.items())
    terms = {
        "content": hyper.content_weight * content,
        "style": hyper.style_weight * style,
        "photorealism": hyper.regularization_weight * losses.photorealism_loss(image, targets),
        "coherence": hyper.coherence_weight * losses.coherence_loss(image, targets),
        "edges": hyper.edge_weight * losses.edge_loss(image, targets),
        "clipping": hyper.clipping_weight * losses.clipping_loss(image),
    }
    if networks.nima is not None:
        ratings = nima.distribution(networks.nima, losses.seen(image, targets.view))
        terms["aesthetics"] = hyper.nima_weight * losses.aesthetic_loss(ratings)
    return jnp.asarray(sum(terms.values())), terms
