"""The numbers that make sense, and the sentence that refuses all others."""

from numbers import Integral, Real
from typing import Any, NamedTuple, NoReturn

from jpst.errors import JpstError


class Range(NamedTuple):
    """From the least to the most, both included."""

    least: float
    most: float
    whole: bool = False
    """whether only whole numbers count"""
    or_zero: bool = False
    """whether 0 counts too"""

    def holds(self, value: Any) -> bool:
        """Whether it is a number of this range."""
        kind = Integral if self.whole else Real
        return isinstance(value, kind) and not isinstance(value, bool) and self._reaches(value)

    def _reaches(self, value: Any) -> bool:
        return self.least <= value <= self.most or (self.or_zero and value == 0)  # a NaN is neither

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        return f"{'0 or ' * self.or_zero}a {kind}, at least {_plain(self.least)} and at most {_plain(self.most)}"


def check(name: str, value: Any, allowed: Range) -> None:
    """Raises `JpstError` naming the field, its value, its option and its range, unless the value lies in that."""
    if not allowed.holds(value):
        refuse(name, value, str(allowed))


def refuse(name: str, value: Any, needed: str) -> NoReturn:
    """Raises the `JpstError` of a field whose value cannot be used; `needed` says what can."""
    raise JpstError(f"{name} is {_short(value)}. Give --{name.replace('_', '-')} {needed}.")


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _short(value: Any) -> str:
    """A number of a thousand digits shall not make a page of a sentence."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a {'negative ' * (value < 0)}number of more than 70 digits"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:70]}..."
