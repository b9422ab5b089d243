"""Pairs of photographs, what is measured of their pictures, and sheets of them: for quality.py, wild.py and blind.py.

A pair with masks is a folder with content.png, style.png, their masks content_seg.png and style_seg.png and, where
there is one, the picture published.png that another method made of it. Pairs without are lines of a table: `listed`.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps
from skimage import color
from skimage.exposure import match_histograms

import jpst
from jpst import colours, errors, metrics, pixels
from jpst.masks import of_labels

WIDTH = 360  # of a picture on a sheet
EMPTY = Image.new("RGB", (1, 1), "white")

Picture = np.ndarray
Measures = tuple[float, float, float]


class Pair:
    """A pair at the measuring size, with what its pictures are measured against: always the hand-made masks."""

    def __init__(self, folder: Path, size: int, variables: object) -> None:
        self.folder, self.variables = folder, variables
        recipe = jpst.Recipe(size=size, shape="own", size_multiple=1, iterations=(0,))
        networks = jpst.Networks(variables)  # so that it loads none
        job = jpst.plan(folder / "content.png", folder / "style.png", recipe=recipe, networks=networks)
        pair, level = job.pair, job.levels[0]
        self.size = level.content
        self.content, self.style = self.at_size(pair.content.pixels), pixels.at_size(pair.style.pixels, level.style)
        self.masks = of_labels(pair.content.labels, len(pair.names), *level.content)
        self.style_masks = of_labels(pair.style.labels, len(pair.names), *level.style)
        self.target = metrics.region_grams(self.style, self.style_masks, variables)
        self.untouched = self.distance(self.content)

    def at_size(self, picture: Picture) -> Picture:
        return np.round(255 * np.asarray(pixels.at_size(picture.astype(np.float32), self.size))) / 255

    def distance(self, picture: Picture) -> float:
        return metrics.style_distance(metrics.region_grams(picture, self.masks, self.variables), self.target)

    def measure(self, picture: Picture) -> Measures:
        """Edge SSIM, style distance over the untouched content's, share of newly clipped pixels."""
        picture = self.at_size(picture)
        return (
            metrics.edge_ssim(self.content, picture),
            self.distance(picture) / self.untouched,
            metrics.newly_clipped(self.content, picture),
        )

    def closed_forms(self) -> dict[str, Picture]:
        """The content with its colours matched to the style's in closed form, by each of the usual ways."""
        content, style = jnp.float32(self.content), jnp.float32(self.style)
        masks, style_masks = jnp.asarray(self.masks), jnp.asarray(self.style_masks)
        one, style_one = (jnp.ones((1, *image.shape[:2])) for image in (content, style))
        ways = {
            "colour match per region": colours.match_colours(content, style, masks, style_masks),
            "colour match": colours.match_colours(content, style, one, style_one),
            "Reinhard": reinhard(self.content, np.asarray(self.style)),
            "histogram matching": match_histograms(self.content, np.asarray(self.style), channel_axis=-1),
        }
        return {name: np.clip(np.asarray(picture), 0, 1) for name, picture in ways.items()}


def reinhard(content: Picture, style: Picture) -> Picture:
    """The content with the style's mean and standard deviation in each channel of CIELAB."""
    ours, theirs = color.rgb2lab(content), color.rgb2lab(style)
    standard = (ours - ours.mean((0, 1))) / np.maximum(ours.std((0, 1)), 1e-6)
    return color.lab2rgb(standard * theirs.std((0, 1)) + theirs.mean((0, 1)))


class Listed(NamedTuple):
    """Two photographs that a table puts together."""

    name: str
    content: Path
    style: Path


def listed(table: Path, photographs: Path, names: Sequence[str] = ()) -> list[Listed]:
    """The pairs of a tab-separated table with the columns number, content and style, files relative to `photographs`.

    All of them in the table's order, or those of `names`. Raises JpstError for a column or a pair that it lacks.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if missing := {"number", "content", "style"} - set(rows.fieldnames or ()):
            lacking = ", ".join(sorted(missing))
            raise errors.JpstError(f"{table}: expected the columns number, content and style; {lacking} is missing.")
        pairs = [Listed(row["number"], photographs / row["content"], photographs / row["style"]) for row in rows]
    if unknown := sorted(set(names) - {pair.name for pair in pairs}):
        raise errors.JpstError(f"{table}: has no pair {', '.join(unknown)}; give numbers as they stand in it.")
    return [pair for pair in pairs if not names or pair.name in names]


def sheet(rows: Sequence[Sequence[Path]], width: int = WIDTH) -> Image.Image:
    """Pictures `width` wide in rows as high as the first of each; a place stays empty where there is no such file."""
    strips = []
    for row in rows:
        pictures = [Image.open(path).convert("RGB") if path.is_file() else EMPTY for path in row]
        height = round(width * pictures[0].height / pictures[0].width)
        strip = Image.new("RGB", (width * len(row), height), "white")
        for column, picture in enumerate(pictures):
            strip.paste(ImageOps.contain(picture, (width, height)), (column * width, 0))
        strips.append(strip)
    whole = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    return whole
