"""The cells of a manifest: the columns that there are, and what a cell's text stands for."""

import dataclasses
import re
from typing import Any, Literal, get_origin

from jpst.errors import JpstError
from jpst.recipe import Hyperparameters, Recipe

PATHS = ("content", "style", "content_seg", "style_seg", "output")
_KINDS: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Recipe) if field.name != "name"}
_KINDS |= dict.fromkeys(Hyperparameters._fields, float) | {"seed": int, "strength": float, "preset": str}
COLUMNS = (*PATHS, *_KINDS)
"""of a manifest: any field of `Recipe` and `Hyperparameters` is one"""

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def value(column: str, given: Any) -> Any:
    """What a cell stands for: text is read as its column's kind, lists of JSON become tuples.

    What cannot be read as that stays as it is, for the check of its field to refuse.

    Raises:
      JpstError: a path that is no text.
    """
    if column in PATHS and not isinstance(given, str):
        raise JpstError(f"{column} is {given!r}. Give `{column}` a path as text.")
    if isinstance(given, list):
        return tuple(given)
    return _read(given, _KINDS.get(column, str)) if isinstance(given, str) else given


def _read(text: str, kind: Any) -> Any:
    if kind is str or get_origin(kind) is Literal:
        return text
    if kind is bool:
        return _FLAGS.get(text.lower(), text)
    if kind in (int, float):
        return _number(text, (kind,))
    if text.lower() == "none":
        return None
    between = r"\s*[,;]+\s*" if "=" in text else r"[\s,;]+"  # pairs: names of regions have spaces
    return tuple(_number(part, (int, float)) for part in re.split(between, text.strip("()[] ")) if part)


def _number(text: str, kinds: tuple[type, ...]) -> Any:
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return text
