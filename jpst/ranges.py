"""The numbers and words that make sense, and the sentence that refuses all others.

Sentences name what Python calls a field or an argument, in backquotes: `size`, `segmenter="none"`. The command line
tells them with its options (`as_options`).
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, NoReturn

from jpst.errors import JpstError


class Range(NamedTuple):
    """The numbers from `least` to `most`, both included."""

    least: float
    most: float
    whole: bool = False
    """whether only whole numbers are allowed"""
    or_zero: bool = False
    """whether 0 is allowed too"""

    def holds(self, value: Any) -> bool:
        """Whether `value` is a number in this range."""
        kind = Integral if self.whole else Real
        return isinstance(value, kind) and not isinstance(value, bool) and self._reaches(value)

    def _reaches(self, value: Any) -> bool:
        return self.least <= value <= self.most or (self.or_zero and value == 0)  # a NaN is neither

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        return f"{'0 or ' * self.or_zero}a {kind}, at least {_plain(self.least)} and at most {_plain(self.most)}"


def check(name: str, value: Any, allowed: Range) -> None:
    """Raises `JpstError` unless the value is in the range; the message names the field, value, option and range."""
    if not allowed.holds(value):
        refuse(name, value, str(allowed))


def check_choice(name: str, value: Any, offered: Iterable[str]) -> None:
    """Raises `JpstError` naming the field, its value and what is offered, unless the value is one of these words."""
    offered = tuple(offered)
    if not isinstance(value, str) or value not in offered:
        refuse(name, value, f"one of {', '.join(offered)}", nearest(value, offered))


def refuse(name: str, value: Any, needed: str, hint: str = "") -> NoReturn:
    """Raises the `JpstError` of a field whose value cannot be used; `needed` says what can."""
    raise JpstError(f"{name} is {_short(value)}. Give `{name}` {needed}.{hint}")


def nearest(given: Any, offered: Iterable[str]) -> str:
    """A question that follows a sentence: the word offered that is spelt most like the one given; else nothing."""
    close = difflib.get_close_matches(given, list(offered), 1) if isinstance(given, str) else []
    return f" Did you mean {close[0]}?" if close else ""


def as_options(sentence: str, options: Mapping[str, str]) -> str:
    """A sentence for the command line: `size` becomes --size, `segmenter="none"` --segmenter none.

    `options` holds each field's option; other words in backquotes stay as they are.
    """

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name not in options:
            return found[0]
        return options[name] if value is None else f"{options[name]} {value.strip(chr(34))}"

    return re.sub(r"`(?P<name>\w+)(?:=(?P<value>[^`]*))?`", option, sentence)


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _short(value: Any) -> str:
    """The value as text, shortened so that a number of a thousand digits does not fill a page."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a {'negative ' * (value < 0)}number of more than 70 digits"
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # such a number in a tuple
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else f"{text[:70]}..."
