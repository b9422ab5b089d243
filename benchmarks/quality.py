"""How good the pictures are, beside others': a table of edge SSIM, style distance and newly clipped pixels.

    python benchmarks/quality.py PAIRS RESULTS [--size 350]

PAIRS as for contact_sheet.py, and RESULTS the folder that it wrote. Every picture is measured at the same size with
the hand-made masks: the published result, the closed-form colour match alone, and ours. Style distance is divided by
that of the untouched content, so content itself reads 1 / 1 / 0.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jpst
from jpst import image, metrics, pipeline, pixels, pyramid, semantics
from jpst.cli import keep_compilations

Picture = np.ndarray


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure RESULTS, the published pictures and the colour match of every pair of PAIRS."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    results: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RESULTS")]
    size: int = 350
    """longest side at which everything is measured"""


class Pair:
    """One pair at the measuring size, with what its pictures are measured against."""

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

    def measure(self, picture: Picture) -> tuple[float, float, float]:
        picture = self.at_size(picture)
        return (
            metrics.edge_ssim(self.content, picture),
            self.distance(picture) / self.untouched,
            metrics.newly_clipped(self.content, picture),
        )

    def colour_match(self) -> Picture:
        content, style = jnp.float32(self.content), jnp.float32(self.style)
        matched = pixels.match_colours(content, style, jnp.asarray(self.masks), jnp.asarray(self.style_masks))
        return np.clip(np.asarray(matched), 0, 1)


def main() -> None:
    arguments = tyro.cli(Arguments)
    keep_compilations()
    print(f"device: {jax.devices()[0].device_kind}; edge SSIM / style distance / newly clipped at {arguments.size} px")
    variables = jpst.load_networks().vgg19
    table: dict[str, list[tuple[float, float, float]]] = {"published": [], "colour match": [], "ours": []}
    for result in sorted(arguments.results.glob("*.png")):
        folder = arguments.folder / result.stem
        if not (folder / "published.png").is_file():
            continue
        pair = Pair(folder, arguments.size, variables)
        table["published"].append(pair.measure(image.read(folder / "published.png").pixels))
        table["colour match"].append(pair.measure(pair.colour_match()))
        table["ours"].append(pair.measure(image.read(result).pixels))
        print(folder.name, *(f"{who} {_text(rows[-1])}" for who, rows in table.items()), sep="   ", flush=True)
    for who, rows in table.items():
        print(f"mean of {len(rows)}: {who:<14}{_text(np.mean(rows, axis=0))}")


def _text(numbers: np.ndarray | tuple[float, ...]) -> str:
    return " / ".join(f"{number:.3f}" for number in numbers)


if __name__ == "__main__":
    main()
