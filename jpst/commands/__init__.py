"""The commands: a dataclass each, whose fields are its arguments and options and whose `run` does the work.

Each module imports quickly, for --help; `run` imports what it needs.
"""

import dataclasses

from jpst.recipe import Hyperparameters, Recipe


def options(*commands: type) -> dict[str, str]:
    """The options of commands, of the recipe and of the numbers by the names of their fields."""
    fields = [field.name for each in (*commands, Recipe) for field in dataclasses.fields(each)]
    return {name: f"--{name.replace('_', '-')}" for name in (*fields, *Hyperparameters._fields)} | {"name": "--preset"}
