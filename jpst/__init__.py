"""Photo style transfer in JAX: the public names, loaded at first use so that `import jpst` is quick."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jpst.aesthetics import rater as rater
    from jpst.aesthetics import score as score
    from jpst.blending import blend as blend
    from jpst.caching import enable as enable_caches  # noqa: F401
    from jpst.errors import JpstError as JpstError
    from jpst.job import Job as Job
    from jpst.job import load_scene as load_scene
    from jpst.job import plan as plan
    from jpst.loading import load_networks as load_networks
    from jpst.losses import Targets as Targets
    from jpst.many.batch import batch as batch
    from jpst.many.report import report as report
    from jpst.many.sweep import sweep as sweep
    from jpst.optimise import Result as Result
    from jpst.optimise import State as State
    from jpst.optimise import Status as Status
    from jpst.optimise import init as init
    from jpst.optimise import step as step
    from jpst.optimise import transfer as transfer
    from jpst.pipeline import Run as Run
    from jpst.pipeline import run as run
    from jpst.pipeline import stylize as stylize
    from jpst.preparation import prepare as prepare
    from jpst.presets import preset as preset
    from jpst.recipe import Hyperparameters as Hyperparameters
    from jpst.recipe import Recipe as Recipe
    from jpst.scene import Scene as Scene
    from jpst.stacking import stack as stack
    from jpst.total import Networks as Networks
    from jpst.total import objective as objective

    __version__: str

_HOMES = {
    "aesthetics": ("rater", "score"),
    "blending": ("blend",),
    "errors": ("JpstError",),
    "job": ("Job", "load_scene", "plan"),
    "losses": ("Targets",),
    "loading": ("load_networks",),
    "pipeline": ("Run", "run", "stylize"),
    "presets": ("preset",),
    "recipe": ("Hyperparameters", "Recipe"),
    "optimise": ("Result", "State", "Status", "init", "step", "transfer"),
    "preparation": ("prepare",),
    "scene": ("Scene",),
    "stacking": ("stack",),
    "total": ("Networks", "objective"),
}
_HOME_OF = {name: (module, name) for module, names in _HOMES.items() for name in names}
_HOME_OF["batch"] = "many.batch", "batch"
_HOME_OF["report"] = "many.report", "report"
_HOME_OF["sweep"] = "many.sweep", "sweep"
_HOME_OF["enable_caches"] = "caching", "enable"
__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        module, attribute = _HOME_OF[name]
        return getattr(import_module(f"jpst.{module}"), attribute)
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("jpst")
        except metadata.PackageNotFoundError:  # its folder is on the path, and it is not installed
            return "unknown"
    raise AttributeError(f"module 'jpst' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
