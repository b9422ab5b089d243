"""The total that a transfer minimises, and the networks it is computed with."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jpst import losses
from jpst.errors import JpstError
from jpst.losses import Targets
from jpst.models import nima, vgg19
from jpst.recipe import Hyperparameters, Recipe


class Networks(NamedTuple):
    """Variables of the networks: pytrees, always passed as an argument, never closed over. One serves any pairs."""

    vgg19: PyTree
    """as `load_networks` gives them"""
    nima: PyTree | None = None
    """of the aesthetic term, which is left out without"""


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


def check_networks(networks: Any) -> None:
    """Raises JpstError unless these are `Networks`."""
    if not isinstance(networks, Networks):
        raise JpstError(f"networks is a {type(networks).__name__}: expected Networks, as load_networks gives them.")


def precision(recipe: Recipe | None) -> AbstractContextManager[None]:
    """Left to itself a GPU would round the factors of float32 convolutions to ten bits, a TPU to seven."""
    asked = "float32" if recipe is None else recipe.feature_precision
    return jax.default_matmul_precision(None if asked == "bfloat16" else asked)
