"""Loads the networks of a transfer, each in the fastest form for this machine, and checks the hyperparameters."""

from typing import Any

import jax
import numpy as np

from jpst import aesthetics, weights
from jpst.arguments import check_ranges
from jpst.errors import JpstError
from jpst.models import vgg19
from jpst.presets import preset
from jpst.recipe import ADAM_NUMBERS, Hyperparameters, Recipe, check_read
from jpst.total import Networks


def load_networks(recipe: Recipe | None = None, hyper: Hyperparameters | None = None) -> Networks:
    """Loads the networks of a transfer, once for many calls of `stylize`.

    VGG19 is downloaded at first use. If `hyper` weights the aesthetic term, NIMA is loaded if it is present.
    """
    recipe = recipe or Recipe()
    hyper = hyper or preset(recipe.name)[1]
    return load(recipe, hyper, check_numbers(recipe, hyper))[0]


def load(
    recipe: Recipe, hyper: Hyperparameters, absent: dict[str, str], network: weights.Loaded | None = None
) -> tuple[Networks, dict[str, Any]]:
    """Loads the networks; returns them and their provenance for the record.

    Args:
      absent: as `check_numbers` gives it.
      network: VGG19 from `load_vgg19`, if it is loaded already.
    """
    loaded = {"vgg19": network or load_vgg19(recipe)}
    if rates(hyper, absent):
        loaded["nima"] = aesthetics.load(None if recipe.nima_checkpoint == "auto" else recipe.nima_checkpoint)
    variables: dict[str, Any] = {name: each.variables for name, each in loaded.items()}
    return Networks(**variables), {name: each.provenance._asdict() for name, each in loaded.items()}


def load_vgg19(recipe: Recipe) -> weights.Loaded:
    """Loads VGG19 in the fastest form for this machine and the recipe's precision."""

    def load() -> weights.Loaded:
        loaded = weights.load("vgg19")
        return loaded._replace(variables=in_fastest_form(loaded.variables, recipe))

    return weights.kept(("vgg19 in its fastest form", recipe.feature_precision), load)


def in_fastest_form(variables: vgg19.Variables, recipe: Recipe) -> vgg19.Variables:
    """Prepares VGG19's variables for this machine and the recipe's precision."""
    if recipe.feature_precision == "bfloat16":
        return vgg19.cast(variables, "bfloat16")
    if jax.default_backend() == "cpu":  # where XLA's own convolutions are slow
        return vgg19.accelerate(variables)
    return variables


def check_numbers(recipe: Recipe, hyper: Hyperparameters, networks: Networks | None = None) -> dict[str, str]:
    """Checks that each number is in its range and has an effect.

    A number has no effect if it belongs to Adam and another optimiser is used, or if it weights a term of the paper's
    objective whose network is missing. Adam's numbers count as chosen if they are neither the preset's nor those of
    `Hyperparameters()`.

    Args:
      networks: those to be used, if not those that would be loaded.

    Returns:
      Weighted terms whose network is missing, and why. They are dropped, and reported to the user.

    Raises:
      JpstError: a number that is out of its range or has no effect.
    """
    check_ranges(hyper)
    defaults = preset(recipe.name)[1], Hyperparameters()
    check_read(recipe, [name for name in ADAM_NUMBERS if not any(_same(name, hyper, other) for other in defaults)])
    absent = _absent_terms(recipe, hyper, networks)
    if recipe.name in ("paper", "paper-fast") and absent:
        advice = "The networks given have none: pass load_networks(recipe, hyper). "
        if weights.find("nima") is None:
            advice = f"{aesthetics.absent()}\n"
        raise JpstError(
            f"The preset {recipe.name} weights the aesthetic term; without NIMA it is not the paper's objective. "
            f"{advice}Or drop the term with `nima_weight=0`."
        )
    return absent


def _same(name: str, hyper: Hyperparameters, other: Hyperparameters) -> bool:
    return not np.any(getattr(hyper, name) != getattr(other, name))


def rates(hyper: Hyperparameters, absent: dict[str, str]) -> bool:
    """Whether the objective has the aesthetic term. `absent`: as `check_numbers` gives it."""
    return bool(np.any(hyper.nima_weight)) and not absent


def _absent_terms(recipe: Recipe, hyper: Hyperparameters, networks: Networks | None) -> dict[str, str]:
    if networks is None:  # a checkpoint given by name exists, or loading it fails
        present = recipe.nima_checkpoint != "auto" or weights.find("nima") is not None
    else:
        present = networks.nima is not None
    if present or not np.any(hyper.nima_weight):
        return {}
    return {
        "aesthetics": f"no NIMA network is loaded; nima_weight {float(hyper.nima_weight):g} has no effect "
        "(`jpst weights list` shows where to get one)"
    }


def aesthetic_terms_of_use(recipe: Recipe, hyper: Hyperparameters, absent: dict[str, str]) -> tuple[str, ...]:
    """Lines to show before the aesthetic term's network is used: its name and licence. Empty without such a network."""
    if not rates(hyper, absent):
        return ()
    name = recipe.nima_checkpoint
    if name == "auto" and (found := weights.find("nima")):
        name = found.checkpoint.name
    return (f"Aesthetic term by {name}: {aesthetics.licence(name)}.",)
