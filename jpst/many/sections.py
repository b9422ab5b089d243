"""A record as the texts of a page: regions, losses, faults, settings, and how it was made.

A record is JSON that anybody may have changed. A section that cannot be made of it is left out, and named.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jpst import command_line, faults, ranges, streams
from jpst.errors import JpstError
from jpst.many import curves
from jpst.optimise import Status
from jpst.presets import PRESETS
from jpst.recipe import ADAM_NUMBERS, Hyperparameters, Recipe

NOT_A_RECORDS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
"""what reading a record fails with that is damaged, or of another version"""

_MEANINGS = {
    "edges_lost": "share of the photograph's edges that are lost",
    "spread": "how far areas of one colour have drifted apart, in CIELAB",
    "halo": "halos and ghost edges: contrast beside edges, 1 is as before",
    "new_edges": "share of flat areas with new edges",
    "banding": "share of smooth areas with bands",
}
_ONCE = {"seed": 0, "strength": 1.0}
"""settings that are in no preset"""
_PAINTED = ("content_seg", "style_seg")
_FIELDS = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
_OPTIONS = {name: f"--{name.replace('_', '-')}" for name in (*_FIELDS, *Hyperparameters._fields, *_ONCE, *_PAINTED)}


class Region(NamedTuple):
    """A row of the table of regions."""

    name: str
    content: str
    style: str
    remark: str


class Fault(NamedTuple):
    """A row of the table of faults."""

    name: str
    value: str
    bound: str
    beyond: bool
    meaning: str


class Setting(NamedTuple):
    """A setting that is not the preset's."""

    option: str
    value: str
    preset: str


class Sections(NamedTuple):
    """All sections; an empty one, or None, is not shown."""

    summary: list[tuple[str, str]]
    warnings: list[str]
    notes: list[str]
    regions: list[Region]
    plot: curves.Plot | None
    faults: list[Fault]
    settings: list[Setting]
    levels: list[str]
    made: list[tuple[str, str]]
    unreadable: list[str]
    """names of the sections that could not be made"""


def of(told: dict[str, Any]) -> Sections:
    """The sections of a record."""
    makers: dict[str, Callable[[dict[str, Any]], Any]] = {
        "summary": _summary,
        "warnings": _warnings,
        "notes": _notes,
        "regions": _regions,
        "plot": lambda told: curves.of(told["levels"]),
        "faults": _faults,
        "settings": _settings,
        "levels": _levels,
        "made": _made,
    }
    found, unreadable = {}, []
    for name, make in makers.items():
        try:
            found[name] = make(told)
        except NOT_A_RECORDS:
            found[name] = None if name == "plot" else []
            unreadable.append({"plot": "losses", "made": "versions"}.get(name, name))
    return Sections(**found, unreadable=unreadable)


def command(told: dict[str, Any], picture: Path) -> str | None:
    """The command that makes a picture alone, as recorded or from the settings; None if they do not say enough.

    Painted masks are in no record, so their pictures have a command only if it was recorded.
    """
    if isinstance(told.get("command"), str):
        return told["command"]
    try:
        if told["segmenter"] == "masks":
            return None
        chosen: dict[str, Any] = {name: _hashable(value) for name, value in told["recipe"].items()}
        recipe, hyper = Recipe(**chosen), Hyperparameters(**told["hyperparameters"])
        if recipe.optimiser != "adam":
            hyper = hyper._replace(**{name: getattr(PRESETS[recipe.name][1], name) for name in ADAM_NUMBERS})
        others = {name: told[name] for name, usual in _ONCE.items() if told[name] != usual}
        sources = Path(told["content"]["path"]), Path(told["style"]["path"])
        return command_line.command(*sources, picture, recipe, hyper, others)
    except (JpstError, *NOT_A_RECORDS):
        return None


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _summary(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("preset", str(told["recipe"]["name"])),
        ("regions from", str(told["segmenter"])),
        ("size", _size(told["output_size"])),
        ("time", _duration(told["seconds"])),
        ("finished", str(told["finished"])[:16].replace("T", " ")),
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0) + [f"{rest} s"] * (hours == 0)
    return " ".join(parts)


def _warnings(told: dict[str, Any]) -> list[str]:
    return [ranges.as_options(sentence, _OPTIONS) for sentence in _sentences(told["warnings"])]


def _notes(told: dict[str, Any]) -> list[str]:
    """What else there is to know of the picture, the worst first."""
    absent = [f"The {term} term is missing: {why}." for term, why in told["terms_absent"].items()]
    ended = ["Interrupted: the best picture so far."] if told["interrupted"] else []
    status = [] if told["status"] == Status.FINE.sentence else [f"{told['status']}"]
    return [*ended, *status, *absent, *_sentences(told["notes"]), *_sentences(told.get("left_out", []))]


def _sentences(told: Any) -> list[str]:
    if not isinstance(told, list):
        raise TypeError("expected a list of sentences")
    return [str(each) for each in told]


def _regions(told: dict[str, Any]) -> list[Region]:
    return [
        Region(str(row["name"]), f"{row['content']:.1f} %", f"{row['style']:.1f} %", str(row["remark"]))
        for row in told["regions"]
    ]


def _faults(told: dict[str, Any]) -> list[Fault]:
    rows = []
    for name, bound in faults.BOUNDS._asdict().items():
        value = told["faults"][name]
        if value is not None:
            beyond, spoken = value > bound, name.replace("_", " ")
            rows.append(Fault(spoken, f"{value:.3g}", f"{bound:g}", beyond, _MEANINGS[name]))
    return rows


def _settings(told: dict[str, Any]) -> list[Setting]:
    """Those that differ from the preset; Adam's numbers only where Adam was asked."""
    recipe, numbers = PRESETS[told["recipe"]["name"]]
    usual = json.loads(streams.as_json(dataclasses.asdict(recipe) | numbers._asdict() | _ONCE))
    asked = told["recipe"] | told["hyperparameters"] | {name: told[name] for name in _ONCE}
    unread = ADAM_NUMBERS if asked["optimiser"] != "adam" else ()
    return [
        Setting(_OPTIONS.get(name) or str(name), _text(value), _text(usual[name]) if name in usual else "")
        for name, value in asked.items()
        if name not in unread and (name not in usual or usual[name] != value)
    ]


def _levels(told: dict[str, Any]) -> list[str]:
    """How each working size went."""
    lines = []
    for level in told["levels"]:
        steps = max(map(len, level["losses"].values()), default=0)
        plateau = ", ended on a plateau" * bool(level["plateau"])
        took = f"{level['seconds']:.1f} s"
        lines.append(f"{_size(level['size'])}: {steps} of {level['steps_planned']} steps in {took}{plateau}")
    return lines


def _made(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Inputs, machine, versions."""
    memory = told["peak_memory_bytes"]
    rows = [(role, f"{told[role]['path'] or 'not a file'}, {_size(told[role]['size'])}") for role in _ROLES]
    rows += [("device", str(told["device"]))]
    rows += [("peak memory", f"{memory / 2**30:.1f} GiB")] if memory else []
    networks = {"networks": told["checkpoints"], "scene network": told["scene_checkpoint"]}
    rows += [("versions", _text(told["versions"]))]
    return rows + [(name, _text(each)) for name, each in networks.items() if each]


_ROLES = ("content", "style")


def _size(size: Any) -> str:
    width, height = size
    return f"{width} x {height}"


def _text(value: Any) -> str:
    """A JSON value for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
