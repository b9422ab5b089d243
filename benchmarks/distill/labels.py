"""How well the networks that name regions agree: with each other, and with labels made by hand.

    python benchmarks/distill/labels.py PHOTOS --exclude PAIRS.tsv --teacher DEEPLAB [--pairs PAIRS] [--limit N]

PHOTOS and the split into parts as photographs.py tells: only photographs that the scene head has not learned
from. Agreement is the share of pixels with the same label at a quarter of 512 pixels; the calibration error is that of
the scene head's confidence, in 15 bins. Labelled facades: PHOTOS/labelmefacade-labels, for the kinds of FACADES.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import answers
import jax
import numpy as np
import photographs
import tyro
from PIL import Image

from jpst import caching, image, pixels, weights
from jpst.models import framing, scene_head, vgg19
from jpst.regions import ade20k
from jpst.weights import shipped

FACADES = {
    (128, 0, 0): ("building", "house"),
    (0, 128, 128): ("sky",),
    (0, 128, 0): ("tree", "grass", "plant", "field"),
    (128, 64, 0): ("road", "sidewalk", "earth"),
    (128, 128, 128): ("road", "sidewalk", "earth"),
    (128, 0, 128): ("car",),
}
"""colours of the labelled facades, and the classes that are right there"""
BINS = 15


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare the scene head with its teacher and with hand-made labels."""

    photographs: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    teacher: Path
    """DeepLab file"""
    exclude: Path | None = None
    """TSV file with columns content and style: photographs that are left out"""
    pairs: Path | None = None
    """folder of pairs, content.png and style.png each"""
    limit: int = 0
    """use so many photographs of each set only (0: all)"""


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    teacher = weights.load("deeplab", arguments.teacher).variables
    network, head = weights.load("vgg19").variables, shipped.scene_head().variables
    if jax.default_backend() == "cpu":
        network = vgg19.accelerate(network)
    kept = photographs.excluded(arguments.exclude) if arguments.exclude else ()
    held = photographs.split(photographs.listing(arguments.photographs, kept))["held-out"]
    sets = {"held-out photographs": [arguments.photographs / name for name in held]}
    if arguments.pairs:
        sets["pairs"] = sorted(arguments.pairs.glob("*/content.png")) + sorted(arguments.pairs.glob("*/style.png"))
    hand = arguments.photographs / "labelmefacade-labels"
    if hand.is_dir():
        known = {path.stem: path for path in sorted(hand.glob("*.png"))}
        facades = [path for path in (arguments.photographs / name for name in held) if path.stem in known]
        labelled = [arguments.photographs / "labelmefacade" / f"{stem}.jpg" for stem in known]
        sets["labelled facades"] = facades or [path for path in labelled if path.is_file()]
    for title, paths in sets.items():
        step = max(1, len(paths) // arguments.limit) if arguments.limit else 1
        rows = [_compared(path, teacher, network, head, hand) for path in paths[::step]]
        _tell(title, rows)


def _compared(path: Path, teacher: Any, network: Any, head: Any, hand: Path) -> dict[str, np.ndarray]:
    """Of one photograph, pixel by pixel: both networks' labels, the head's confidence, which kinds are right."""
    photograph = image.seen(image.read(path))
    theirs = answers.mean_answers(teacher, [path] * answers.BATCH, answers.VIEWS)[0]
    size = pixels.common_size(photograph.shape[0], photograph.shape[1], scene_head.SIZE, 16)
    ours = np.asarray(_likely(head, network, pixels.at_size(photograph, (size[0], size[1]))))
    ours = framing.resized(np.moveaxis(ours, 0, -1), theirs.shape[1], theirs.shape[2])
    row = {"teacher": theirs.argmax(0), "head": ours.argmax(-1), "confidence": ours.max(-1)}
    labels = hand / f"{path.stem}.png"
    if path.parent.name == "labelmefacade" and labels.is_file():
        with Image.open(labels) as picture:
            colours = picture.convert("RGB").resize(theirs.shape[:0:-1], Image.Resampling.NEAREST)
        row["hand"] = np.asarray(colours)
    return row


_likely: Any = jax.jit(scene_head.probabilities)


def _tell(title: str, rows: list[dict[str, np.ndarray]]) -> None:
    right = np.concatenate([(row["head"] == row["teacher"]).ravel() for row in rows])
    confidence = np.concatenate([row["confidence"].ravel() for row in rows])
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = np.abs(np.bincount(bins, confidence - right, BINS)).sum() / len(right)
    print(
        f"{title} ({len(rows)}): the head has the teacher's label on {right.mean():.3f}, calibration error {error:.3f}"
    )
    marked = [row for row in rows if "hand" in row]
    if marked:
        accuracy = {who: _accuracy(marked, who) for who in ("teacher", "head")}
        print(f"  hand-made labels ({len(marked)}): teacher {accuracy['teacher']:.3f}, head {accuracy['head']:.3f}")


def _accuracy(rows: list[dict[str, np.ndarray]], who: str) -> float:
    good = total = 0
    for row in rows:
        for colour, names in FACADES.items():
            at = (row["hand"] == colour).all(-1)
            good += np.isin(row[who][at], [ade20k.NAMES.index(name) for name in names]).sum()
            total += at.sum()
    return float(good / max(total, 1))


if __name__ == "__main__":
    main()
