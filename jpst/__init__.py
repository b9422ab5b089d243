"""Photo style transfer in JAX: the public names, loaded at first use so that `import jpst` is quick."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jpst.blending import blend as blend
    from jpst.errors import JpstError as JpstError
    from jpst.loading import load_networks as load_networks
    from jpst.optimise import Networks as Networks
    from jpst.optimise import Result as Result
    from jpst.optimise import State as State
    from jpst.optimise import Status as Status
    from jpst.optimise import init as init
    from jpst.optimise import prepare as prepare
    from jpst.optimise import transfer as transfer
    from jpst.pipeline import Run as Run
    from jpst.pipeline import stylize as stylize
    from jpst.recipe import Hyperparameters as Hyperparameters
    from jpst.recipe import Recipe as Recipe

_HOMES = {
    "blending": ("blend",),
    "errors": ("JpstError",),
    "losses": ("Targets",),
    "loading": ("load_networks",),
    "pipeline": ("Run", "stylize"),
    "recipe": ("Hyperparameters", "Recipe"),
    "optimise": ("Networks", "Result", "State", "Status", "init", "prepare", "transfer"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"jpst.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'jpst' has no attribute {name!r}")
