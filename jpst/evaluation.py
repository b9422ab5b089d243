"""How good a result is, in numbers: the metrics and faults of a picture, given its content and style photographs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, PyTree

from jpst import aesthetics, faults, image, metrics, pixels
from jpst.records import Entry

SIZE = faults.SIZE
"""longest side in pixels at which everything is measured"""


class Quality(NamedTuple):
    """A result's metrics, of the whole picture, at a longest side of `SIZE` pixels and 8 bits."""

    edge_ssim: float
    """`metrics.edge_ssim` with the content; higher is better"""
    luminance_ssim: float
    """`metrics.luminance_ssim` with the content, which falls with each change of light that was asked for, too"""
    style_distance: float
    """of Grams, as a part of the untouched content's; lower is better"""
    covariance_distance: float
    """the same of covariances"""
    newly_clipped: float
    """share of pixels"""
    faults: faults.Faults
    nima: float | None
    """mean rating of the picture at its own size, 1 to 10; None without a network"""


Picture = Float[np.ndarray, "h w 3"]


def measure(
    content: Picture, style: Picture, picture: Picture, vgg19: PyTree, rating: aesthetics.Rater | None = None
) -> Quality:
    """Measures a picture that a transfer, by whatever program, made of a content and a style photograph.

    Args:
      content, style, picture: sRGB-encoded RGB in [0, 1], each of its own size; the first and last of one shape.
      vgg19: variables of VGG19.
      rating: a NIMA network, as `jpst.rater` loads it.
    """
    size = pixels.working_size(*picture.shape[:2], SIZE)  # pyright: ignore[reportCallIssue]
    before, after, look = faults.small(content, size), faults.small(picture, size), faults.small(style)
    score = aesthetics.score(rating.variables, picture) if rating else None
    return Quality(
        metrics.edge_ssim(before, after),
        metrics.luminance_ssim(before, after),
        _left(before, after, look, lambda each: metrics.region_grams(each, _whole(each), vgg19)),
        _left(before, after, look, lambda each: metrics.region_covariances(each, _whole(each), vgg19)),
        metrics.newly_clipped(before, after),
        faults.measure(before, after),
        score and score.mean,
    )


def of_record(record: Entry, vgg19: PyTree, rating: aesthetics.Rater | None = None) -> Quality:
    """`measure` for the picture, content and style of a transfer's record.

    Raises:
      JpstError: it does not name them, or one of them cannot be read.
    """
    paths = record.source("content"), record.source("style"), record.picture
    content, style, picture = (image.seen(image.read(path)) for path in paths)
    return measure(content, style, picture, vgg19, rating)


def series(entries: Sequence[Entry]) -> dict[str, metrics.Apart]:
    """How consistent the results are that share a style, by its path: one for each of several photographs, in order.

    Several results of one photograph, as of a sweep, are no series. Nor is what has no colours in common.

    Raises:
      JpstError: a picture cannot be read.
    """
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        together.setdefault(str(entry.source("style")), []).append(entry)
    found = {style: _consistency(each) for style, each in together.items()}
    return {style: apart for style, apart in found.items() if apart}


def _consistency(entries: Sequence[Entry]) -> metrics.Apart | None:
    contents = [entry.source("content") for entry in entries]
    if len(entries) < 2 or len(set(contents)) < len(contents):
        return None
    before = [faults.small(image.seen(image.read(path))) for path in contents]
    results = zip((entry.picture for entry in entries), (each.shape[:2] for each in before), strict=True)
    return metrics.consistency(before, [faults.small(image.seen(image.read(path)), size) for path, size in results])


def numbers(quality: Quality) -> dict[str, Any]:
    """All metrics and faults by their names."""
    flat = quality._asdict() | quality.faults._asdict()
    return {name: value for name, value in flat.items() if name != "faults"}


def _left(before: Picture, after: Picture, style: Picture, statistics: Callable[[Picture], dict[str, Array]]) -> float:
    """The part of the distance between content and style that is left."""
    ours, theirs, target = (statistics(each) for each in (before, after, style))
    whole = metrics.style_distance(ours, target)
    return metrics.style_distance(theirs, target) / whole if whole else float("nan")


def _whole(picture: Picture) -> Float[np.ndarray, "1 h w"]:
    return np.ones((1, *picture.shape[:2]), np.float32)
