"""The presets: choices and numbers that suit each other, by name. Nothing here imports JAX."""

import dataclasses
from numbers import Real
from typing import Any

from jpst import ranges
from jpst.errors import JpstError
from jpst.recipe import ADAM_NUMBERS, NUMBERS, Hyperparameters, Recipe, check_read

_PAPER = Recipe(
    name="paper",
    size=700,
    shape="own",
    size_multiple=1,
    iterations=(4000,),
    optimiser="adam",
    projection="none",
    matched_noise=2 / 255,
    matched_gains=None,
    output_size="working",
    start="content",
    objective="paper",
    content_layers=("conv4_2",),
    style_layers=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
    nima_size=0,
    matting_epsilon=1e-5,
    matting_moments="float32",
    grams="dense",
    scene_mode="paper",
    word_senses="all",
    minimum_share=0.0,
    hard_masks=True,
)
_OURS = Hyperparameters(
    content_weight=0.02,
    style_weight=1.0,
    regularization_weight=30.0,
    nima_weight=0.0,
    coherence_weight=5.0,
    edge_weight=0.2,
    clipping_weight=0.1,
    learning_rate=2.0,
)

PRESETS: dict[str, tuple[Recipe, Hyperparameters]] = {
    "preview": (Recipe(name="preview", size=192, iterations=(0,)), _OURS),
    "fast": (Recipe(name="fast", size=128, iterations=(20,)), _OURS),
    "balanced": (Recipe(), _OURS),
    "quality": (
        Recipe(name="quality", iterations=(60, 20)),
        _OURS._replace(edge_weight=0.3),
    ),
    "paper": (_PAPER, Hyperparameters()),
    # the author's settings for the picture in the reference's README
    "readme": (
        dataclasses.replace(_PAPER, name="readme", start="noise", similarity="wpath", similarity_threshold=0.4),
        Hyperparameters(style_weight=5000.0, nima_weight=0.0),
    ),
    # the paper's objective by another way: benchmarks/convergence.py measures the two against each other
    "paper-fast": (
        dataclasses.replace(
            _PAPER,
            name="paper-fast",
            iterations=(20, 250),
            start="matched",
            optimiser="lbfgs",
            grams="gathered",
            plateau_tolerance=1e-3,
        ),
        Hyperparameters(),
    ),
}


def preset(name: str = "balanced", /, **overrides: Any) -> tuple[Recipe, Hyperparameters]:
    """The choices and numbers of a preset, changed where asked: `preset("balanced", style_weight=3, size=640)`.

    Args:
      name: one of "preview", "fast", "balanced", "quality", "paper", "readme" and "paper-fast".
      overrides: fields of `Recipe` (but `name`) or `Hyperparameters`.

    Raises:
      JpstError: an unknown preset or field, a value that its field cannot have, or a number that the optimiser does
        not read.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise JpstError(
            f"There is no preset {name!r}; the presets are {', '.join(PRESETS)}.{ranges.nearest(name, PRESETS)}"
        )
    recipe, hyper = PRESETS[name]
    choices = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
    for field in overrides:
        _check_known(field, choices)
    recipe = dataclasses.replace(recipe, **{name: value for name, value in overrides.items() if name in choices})
    numbers = {name: value for name, value in overrides.items() if name not in choices}
    for field, number in numbers.items():
        if isinstance(number, Real) or not hasattr(number, "shape"):  # arrays, of a sweep, are checked in use
            ranges.check(field, number, NUMBERS[field])
    check_read(recipe, [name for name in numbers if name in ADAM_NUMBERS])
    return recipe, hyper._replace(**numbers)


def _check_known(field: str, choices: list[str]) -> None:
    if field not in choices and field not in Hyperparameters._fields:
        raise JpstError(
            f"There is no field {field}.{ranges.nearest(field, [*choices, *Hyperparameters._fields])} A recipe has "
            f"{', '.join(choices)}; numbers are {', '.join(Hyperparameters._fields)}."
        )
