"""A sweep: one pair of photographs with several settings, of which everything that they share is done once."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax

from jpst import estimate, job, loading, pipeline, ranges
from jpst.errors import JpstError
from jpst.job import Job
from jpst.many import TOGETHER
from jpst.pipeline import Run
from jpst.presets import preset
from jpst.pyramid import Progress
from jpst.recipe import Hyperparameters, Recipe
from jpst.regions import Source
from jpst.total import Networks


def settings(
    hyper: Hyperparameters, values: Mapping[str, Sequence[float]], *, zipped: bool = False
) -> list[Hyperparameters]:
    """The numbers `hyper` with each combination of values, the last name's values first; without repetition.

    Args:
      values: by the name of the number.
      zipped: the first values of all names together, then the second ones, ...; a single value goes with each.

    Raises:
      JpstError: an unknown name, a name without values, or zipped values of different number.
    """
    for name, each in values.items():
        if name not in Hyperparameters._fields:
            hint = ranges.nearest(name, Hyperparameters._fields)
            raise JpstError(f"There is no number {name}.{hint} There are {', '.join(Hyperparameters._fields)}.")
        if not len(each):
            raise JpstError(f"{name} has no values. Give `{name}` one or more.")
    lengths = {name: len(each) for name, each in values.items() if len(each) > 1}
    if zipped and len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise JpstError(f"The numbers of values differ: {counts}. Give as many of each, or leave `zip` out.")
    count = max(lengths.values(), default=1)
    even = [each if len(each) > 1 else list(each) * count for each in values.values()]
    rows = zip(*even, strict=True) if zipped and values else itertools.product(*values.values())
    found = [hyper._replace(**dict(zip(values, map(float, row), strict=True))) for row in rows]
    return list(dict.fromkeys(found))


def sweep(
    content: Source,
    style: Source,
    *,
    recipe: Recipe | None = None,
    hyper: Hyperparameters | None = None,
    zipped: bool = False,
    content_seg: Source | None = None,
    style_seg: Source | None = None,
    networks: Networks | None = None,
    seed: int = 0,
    strength: float = 1.0,
    together: int = 0,
    on_step: Callable[[Progress], None] = lambda _: None,
    **values: Sequence[float],
) -> list[Run]:
    """Transfers one pair with several settings: `sweep("day.jpg", "dusk.jpg", style_weight=[0.3, 1, 3])`.

    Args:
      values: by the name of a field of `Hyperparameters`; every combination is run.
      zipped: the first values of all names are run together, then the second ones, ...
      together: so many settings are optimised at once; see `at_once`, which is asked for 0.
      content, style, recipe, hyper, content_seg, style_seg, networks, seed, strength, on_step: as in `stylize`.

    Returns:
      A run for each setting, its numbers in `record["hyperparameters"]`. Ctrl-C ends the settings that are being
      optimised; none follow.

    Raises:
      JpstError: as `stylize`, and for values that cannot be combined.
    """
    recipe = recipe or Recipe()
    hypers = settings(hyper or preset(recipe.name)[1], values, zipped=zipped)
    planned = job.plan(
        content,
        style,
        recipe=recipe,
        hyper=hypers[0],
        content_seg=content_seg,
        style_seg=style_seg,
        networks=networks,
        seed=seed,
        strength=strength,
        compile_ahead=True,
    )
    return list(run(planned, hypers, together=together, on_step=on_step))


def run(
    planned: Job,
    hypers: Sequence[Hyperparameters],
    *,
    together: int = 0,
    on_step: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Run]:
    """Runs a job once with each of `hypers`, in place of its own; arguments and results as in `sweep`."""
    ranges.check("together", together, TOGETHER)
    jobs = [dataclasses.replace(planned, hyper=hyper, absent=_absent(planned, hyper)) for hyper in hypers]
    limit = together or at_once(planned)
    size = math.ceil(len(jobs) / math.ceil(len(jobs) / limit))
    return pipeline.run_all(jobs, together=(together and size) or _even(size, limit), on_step=on_step)


def at_once(planned: Job) -> int:
    """How many settings of a job are optimised at once, on all local devices.

    On GPU and TPU as many as fit into memory. On a CPU one: several at once take an eighth less time, but their
    rounding differs, which L-BFGS magnifies to a few 8-bit levels; one by one they are, to the last bit, single runs.
    """
    if jax.default_backend() == "cpu":
        return 1
    return len(jax.local_devices()) * estimate.fitting_a_device(planned.levels, planned.recipe)


def _even(size: int, limit: int) -> int:
    """A number of settings, at most the limit, that all devices share evenly if there is more than one."""
    devices = len(jax.local_devices())
    return size if limit == 1 else min(limit, math.ceil(size / devices) * devices)


def _absent(planned: Job, hyper: Hyperparameters) -> dict[str, str]:
    return loading.check_numbers(planned.recipe, hyper, planned.networks)
