"""Allowed ranges of numbers, and the error for a value outside."""

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


def refuse(name: str, value: Any, needed: str) -> NoReturn:
    """Raises the `JpstError` for a value that a field does not allow; `needed` says what it allows."""
    raise JpstError(f"{name} is {_short(value)}. Give --{name.replace('_', '-')} {needed}.")


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _short(value: Any) -> str:
    """The value as text, shortened so that a number of a thousand digits does not fill a page."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a {'negative ' * (value < 0)}number of more than 70 digits"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:70]}..."
