"""The record of a transfer, `OUT.json`: settings, regions, losses, and faults of the result."""

import dataclasses
import datetime
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import jpst
from jpst import faults
from jpst.faults import Faults
from jpst.image import Photograph
from jpst.job import Job
from jpst.pyramid import Climbed
from jpst.regions import Found, Source, semantics

BLACK_AND_WHITE = "The style is black and white, so the result is, too."
_SAID = {
    "edges_lost": "{:.0%} of the photograph's edges are lost",
    "spread": "areas of one colour have drifted apart",
    "halo": "there are halos or ghost edges",
    "new_edges": "{:.0%} of its flat areas have new edges",
    "banding": "{:.0%} of its smooth areas show banding",
}


def of(
    job: Job, checkpoints: Any, climbed: list[Climbed], full: Photograph, written: Photograph, seconds: float
) -> dict[str, Any]:
    """The record of a finished job.

    Args:
      checkpoints: of the networks, or where else they come from.
      climbed: the levels.
      full: the result at strength 1.
      written: the picture at the job's strength.
      seconds: taken by the work.
    """
    found = faults.of_pictures(job.content.pixels, full.pixels, job.content.alpha)
    seen = found
    if written.pixels is not full.pixels:
        seen = faults.of_pictures(job.content.pixels, written.pixels, job.content.alpha)
    return {
        **_settings(job),
        "checkpoints": checkpoints,
        "scene_checkpoint": job.found.checkpoint and job.found.checkpoint._asdict(),
        "terms_absent": job.absent,
        **_story(climbed),
        "faults": {name: round(value, 4) for name, value in found._asdict().items()},
        "warnings": warnings(seen, job.found, job.strength),
        "output_size": full.pixels.shape[1::-1],
        "seconds": round(seconds, 2),
        "peak_memory_bytes": _peak_memory(),
    }


def _settings(job: Job) -> dict[str, Any]:
    """The settings of a transfer and the software versions."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    versions = {name: metadata.version(name) for name in packages}
    return {
        **describe(job),
        "recipe": dataclasses.asdict(job.recipe),
        "hyperparameters": {name: float(value) for name, value in job.hyper._asdict().items()},
        "seed": int(job.seed),
        "strength": job.strength,
        "versions": {"python": sys.version.split()[0], "jpst": jpst.__version__, **versions},
        "device": str(jax.devices()[0].device_kind),
    }


def describe(job: Job) -> dict[str, Any]:
    """The job: photographs, regions, working sizes (sizes as width, height)."""
    return {
        "content": _photograph(job.content_source, job.content),
        "style": _photograph(job.style_source, job.style),
        "regions": [row._asdict() for row in semantics.table(job.found.regions)],
        "segmenter": job.found.segmenter,
        "notes": notes(job),
        "working_sizes": [level.content[::-1] for level in job.levels],
    }


def notes(job: Job) -> list[str]:
    """Notes on the regions, the two files and the result, a sentence or two each."""
    photographs = {"content": job.content, "style": job.style}
    on_files = [f"{name}: {note}" for name, each in photographs.items() for note in each.notes]
    return [job.found.note, *on_files, *([BLACK_AND_WHITE] if job.neutral else [])]


def _photograph(source: Source, photograph: Photograph) -> dict[str, Any]:
    path = str(source) if isinstance(source, str | Path) else None
    return {"path": path, "size": photograph.pixels.shape[1::-1], "bit_depth": photograph.bit_depth}


def _story(climbed: list[Climbed]) -> dict[str, Any]:
    """The course of the optimisation: the losses of every step, level by level."""
    return {
        "levels": [
            {
                "size": one.level.content[::-1],
                "style_size": one.level.style[::-1],
                "steps_planned": one.level.steps,
                "seconds": round(one.seconds, 2),
                "plateau": one.plateau,
                "colour_contrast_kept": one.colour_kept,
                "losses": one.losses,
            }
            for one in climbed
        ],
        "status": climbed[-1].status.sentence,
        "interrupted": climbed[-1].interrupted,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def warnings(found: Faults, regions: Found, strength: float) -> list[str]:
    """A sentence with the faults beyond `faults.BOUNDS` at this strength and what to try; an empty list without any."""
    beyond = faults.beyond(found)
    if not beyond:
        return []
    seen = ", ".join(_SAID[name].format(value) for name, value in beyond.items())
    advice = ["another style", f"`strength={0.7 * strength:.2g}`"]
    if len(regions.regions.names) > 1:
        advice.append('`segmenter="none"`')
    if regions.segmenter != "masks":
        advice.append("painted masks (`content_seg`, `style_seg`)")
    return [f"The picture may look broken: {seen}. Try {', '.join(advice[:-1])} or {advice[-1]}."]


def _peak_memory() -> int | None:
    """The process's peak resident memory in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
