"""Distils the scene head that comes with the package: photographs and DeepLab's answers -> one file.

    python benchmarks/distill/scene.py PHOTOS --exclude PAIRS.tsv --teacher DEEPLAB -o jpst/data/scene_head.npz

PHOTOS as photographs.py tells; DEEPLAB a file of any supported format. An interrupted run goes on where it stopped: the
teacher's answers, and the fitting every few hundred steps, lie in --cache. The figures at the end are those of the file
written, at an eighth of the size that the head sees.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import answers
import jax
import jax.numpy as jnp
import numpy as np
import photographs
import scene_fitting
import tyro
from scene_fitting import Seen
from scipy.optimize import minimize_scalar

from jpst import caching, weights
from jpst.models import scene_head, vgg19
from jpst.weights import shipped

BINS = 15
"""of confidence, for the calibration error"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Fit the scene head to a teacher's labels of PHOTOS."""

    photographs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    teacher: Path
    """DeepLab file whose answers are learnt"""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    exclude: Path | None = None
    """TSV file with columns content and style: photographs that are never looked at"""
    cache: Path = Path("distill-cache")
    """folder for what a later run can go on from"""
    copies: int = 2
    """of each photograph to learn from: the photograph itself, and changed ones"""
    limit: int = 0
    """use so many photographs only, to try it (0: all)"""
    settings: tyro.conf.OmitArgPrefixes[scene_fitting.Settings] = dataclasses.field(
        default_factory=scene_fitting.Settings
    )


def main() -> None:
    arguments, began = tyro.cli(Arguments), time.perf_counter()
    caching.enable()
    network, teacher = weights.load("vgg19").variables, weights.load("deeplab", arguments.teacher)
    if jax.default_backend() == "cpu":
        network = vgg19.accelerate(network)
    kept = photographs.excluded(arguments.exclude) if arguments.exclude else ()
    names = photographs.listing(arguments.photographs, kept)
    parts = photographs.split(names[:: max(1, len(names) // arguments.limit)] if arguments.limit else names)
    print(f"device: {jax.devices()[0].device_kind}; teacher {teacher.provenance.name}", flush=True)
    seen = {}
    for part, chosen in parts.items():
        found = answers.answered(arguments.photographs, chosen, teacher, answers.VIEWS, arguments.cache)
        print(f"{part}: {len(chosen)} photographs answered, {time.perf_counter() - began:.0f} s", flush=True)
        copies = arguments.copies if part == "train" else 1
        seen[part] = [
            scene_fitting.seen(network, group, copy, arguments.cache) for copy in range(copies) for group in found
        ]
        print(f"{part}: {copies} copies seen, {time.perf_counter() - began:.0f} s", flush=True)
    settings, cache = arguments.settings, arguments.cache
    variables = scene_fitting.fit(seen["train"], settings, cache, lambda text: print(text, flush=True))
    variables = calibrated(variables, seen["calibrate"])
    shipped.save(arguments.output, scene_head.NAME, variables)
    written = shipped.scene_head(arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes, sha256 {written.provenance.sha256}")
    for part in ("calibrate", "held-out"):
        labels, scores = scene_fitting.judged(written.variables, seen[part])
        temperature = float(written.variables["calibration"]["temperature"])
        right, error = agreement(labels, scores / temperature)
        print(f"{part}: agrees with the teacher on {right:.4f}, calibration error {error:.4f}")
    print(f"in all {time.perf_counter() - began:.0f} s")


def calibrated(variables: dict, found: list[Seen]) -> dict:
    """With the temperature that makes the teacher's labels likeliest (Guo et al., arXiv 1706.04599)."""
    labels, scores = scene_fitting.judged(variables, found)

    def surprise(logarithm: float) -> float:
        spread = jax.nn.log_softmax(jnp.asarray(scores / np.exp(logarithm)))
        return float(-jnp.mean(jnp.take_along_axis(spread, jnp.asarray(labels)[:, None], 1)))

    temperature = np.exp(minimize_scalar(surprise, bounds=(-2, 2), method="bounded").x)  # pyright: ignore
    print(f"temperature {temperature:.3f}")
    return {**variables, "calibration": {"temperature": jnp.float32(temperature)}}


def agreement(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Share of cells with the teacher's label, and the expected calibration error, of scores [n, 31]."""
    likely = np.asarray(jax.nn.softmax(jnp.asarray(scores)))
    confidence, right = likely.max(1), likely.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    apart = np.bincount(bins, confidence - right, BINS)
    return float(right.mean()), float(np.abs(apart).sum() / len(labels))


if __name__ == "__main__":
    main()
