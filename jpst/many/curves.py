"""The losses of a record as curves over the steps, on a logarithmic axis: coordinates for an SVG."""

import math
from typing import Any, NamedTuple

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 10, 34  # margins for the numbers at the axes
MOST_POINTS = 200
"""of a curve; of more steps every second, third, ... is drawn, and the last"""
MOST_DECADES = 6
"""on the axis: smaller values lie on its lower end"""


class Curve(NamedTuple):
    """A term."""

    term: str
    points: str
    """x,y pairs of an SVG polyline"""
    first: str
    last: str
    """its value at the first and last step"""


class Plot(NamedTuple):
    """Curves with their axes: the place and text of each mark."""

    curves: list[Curve]
    heights: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    levels: list[float]
    """where a finer level begins"""
    floor: str
    """the axis's lower end, where values below it are drawn; empty if there are none"""


def of(levels: list[dict[str, Any]]) -> Plot | None:
    """The curves of all levels, one after the other; None if there was no step. Fails on what is no record's."""
    lengths = [max(map(len, level["losses"].values()), default=0) for level in levels]
    starts = [sum(lengths[:number]) for number in range(len(levels))]
    terms: dict[str, list[tuple[int, float]]] = {}
    for start, level in zip(starts, levels, strict=True):
        for term, values in level["losses"].items():
            steps = enumerate(values, start + 1)
            terms.setdefault(term, []).extend((step, float(value)) for step, value in steps if _finite(value))
    drawn = sorted((term for term, points in terms.items() if points), key=lambda term: (term != "total", term))
    positive = [value for term in drawn for _, value in terms[term] if value > 0]
    if not positive:
        return None
    low, high = _decades(min(positive), max(positive))
    count = sum(lengths)
    curves = [_curve(term, terms[term], count, low, high) for term in drawn]
    below = any(value < 10.0**low for term in drawn for _, value in terms[term])
    return Plot(
        curves,
        [(_y(10.0**power, low, high), f"{10.0**power:g}") for power in range(low, high + 1)],
        [(_x(step, count), str(step)) for step in sorted({1, (count + 1) // 2, count})],
        [_x(start + 0.5, count) for start in starts if 0 < start < count],
        f"{10.0**low:g}" if below else "",
    )


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _decades(least: float, most: float) -> tuple[int, int]:
    """The powers of ten at both ends of the axis."""
    high = math.ceil(math.log10(most))
    return min(max(math.floor(math.log10(least)), high - MOST_DECADES), high - 1), high


def _curve(term: str, points: list[tuple[int, float]], count: int, low: int, high: int) -> Curve:
    stride = math.ceil(len(points) / MOST_POINTS)
    some = [*points[: len(points) - 1 : stride], points[-1]]
    if len(some) == 1:  # a line of one point would not be seen
        some *= 2
    drawn = " ".join(f"{_x(step, count):g},{_y(value, low, high):g}" for step, value in some)
    return Curve(term, drawn, f"{points[0][1]:.3g}", f"{points[-1][1]:.3g}")


def _x(step: float, count: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (step - 1) / max(count - 1, 1), 1)


def _y(value: float, low: int, high: int) -> float:
    power = math.log10(value) if value > 0 else low
    share = (max(power, low) - low) / (high - low)
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)
