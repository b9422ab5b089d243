"""Pairs of photographs, what is measured of their pictures, and sheets of them: for quality.py.

A pair is a folder with content.png, style.png, their masks content_seg.png and style_seg.png and, where there is one,
the picture published.png that another method made of it.
"""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

import jpst
from jpst import metrics, pipeline, pixels, pyramid, semantics

WIDTH = 360  # of a picture on a sheet

Picture = np.ndarray
Measures = tuple[float, float, float]


class Pair:
    """A pair at the measuring size, with what its pictures are measured against: always the hand-made masks."""

    def __init__(self, folder: Path, size: int, variables: object) -> None:
        self.folder, self.variables = folder, variables
        recipe = jpst.Recipe(size=size, size_multiple=1, iterations=(0,))
        job = pipeline.prepare_job(folder / "content.png", folder / "style.png", recipe)
        level = job.levels[0]
        self.size = level.content
        self.content, self.style = self.at_size(job.content.pixels), pyramid.at_size(job.style.pixels, level.style)
        count = len(job.found.regions.names)
        self.masks = semantics.masks(job.found.regions.content, count, *level.content)
        self.style_masks = semantics.masks(job.found.regions.style, count, *level.style)
        self.target = metrics.region_grams(self.style, self.style_masks, variables)
        self.untouched = self.distance(self.content)

    def at_size(self, picture: Picture) -> Picture:
        return np.round(255 * np.asarray(pyramid.at_size(picture.astype(np.float32), self.size))) / 255

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

    def colour_match(self) -> Picture:
        """The content with each region's colours matched in closed form, and nothing else."""
        content, style = jnp.float32(self.content), jnp.float32(self.style)
        matched = pixels.match_colours(content, style, jnp.asarray(self.masks), jnp.asarray(self.style_masks))
        return np.clip(np.asarray(matched), 0, 1)


def sheet(rows: Sequence[Sequence[Path]]) -> Image.Image:
    """Pictures in rows, those of files that are there, each brought to one width."""
    pictures = [[Image.open(path).convert("RGB") for path in row if path.is_file()] for row in rows]
    height = max(round(WIDTH * row[0].height / row[0].width) for row in pictures)
    whole = Image.new("RGB", (WIDTH * max(map(len, rows)), height * len(rows)), "white")
    for number, row in enumerate(pictures):
        for column, picture in enumerate(row):
            picture.thumbnail((WIDTH, height))
            whole.paste(picture, (column * WIDTH, number * height))
    return whole
