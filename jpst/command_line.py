"""The command that makes a picture again, as it would be typed."""

import dataclasses
import os
import shlex
import subprocess
from pathlib import Path

from jpst.presets import PRESETS
from jpst.recipe import Hyperparameters, Recipe


def command(
    content: Path,
    style: Path,
    output: Path,
    recipe: Recipe,
    hyper: Hyperparameters,
    others: dict[str, object],
) -> str:
    """The command that makes a picture alone. `others`: options that are no fields of recipe or numbers."""
    base, numbers = PRESETS[recipe.name]
    words = ["jpst", "transfer", _text(content), _text(style), "-o", _text(output), "--preset", recipe.name]
    for field in dataclasses.fields(Recipe):
        if field.name != "name" and getattr(recipe, field.name) != getattr(base, field.name):
            words += _option(field.name, getattr(recipe, field.name))
    for name in Hyperparameters._fields:
        if getattr(hyper, name) != getattr(numbers, name):
            words += _option(name, getattr(hyper, name))
    for name, value in others.items():
        words += _option(name, value)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def plain(number: float) -> str:
    """The shortest text that is read as this number."""
    return text if float(text := f"{number:g}") == number else repr(number)


def _option(name: str, value: object) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{option}", *map(_text, values)]


def _text(value: object) -> str:
    """A value as a word; a path that begins with - would be read as an option."""
    if isinstance(value, float):
        return plain(value)
    return f"./{value}" if isinstance(value, Path) and str(value).startswith("-") else str(value)
