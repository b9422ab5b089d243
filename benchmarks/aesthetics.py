"""What the aesthetic term does: score, edge SSIM and style distance of the same pairs under several weights.

    python benchmarks/aesthetics.py PAIRS CHECKPOINT -o OUT [--pairs 30 34] [--size 256] [--weights 0 0.03 0.1 0.5]

PAIRS as pairs.py tells; CHECKPOINT a NIMA file of any supported format. Results already in OUT are kept, so that
an interrupted run goes on where it stopped. Everything is measured at the working size with the hand-made masks; style
distance is divided by the untouched content's.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from pairs import Pair

from jpst import aesthetics, caching, image, pipeline, weights
from jpst.presets import preset
from jpst.recipe import Recipe
from jpst.total import Networks

COLUMNS = ("score", "deviation", "edge SSIM", "style distance", "newly clipped")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer pairs of PAIRS with several weights of the aesthetic term and measure the results."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    pairs: tuple[str, ...] = ("02", "30", "34", "44")
    """names of the pairs"""
    size: int = 256
    """working size, at which everything is measured"""
    weights: tuple[float, ...] = (0.0, 0.03, 0.1, 0.5)
    """values of nima_weight; the other terms keep the default preset's weights"""


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    print(f"device: {jax.devices()[0].device_kind}; {arguments.checkpoint.name}, {arguments.size} px")
    arguments.output.mkdir(parents=True, exist_ok=True)
    networks = Networks(weights.load("vgg19").variables, aesthetics.load(arguments.checkpoint).variables)
    table: dict[str, list[tuple[float, ...]]] = {}
    for name in arguments.pairs:
        pair = Pair(arguments.folder / name, arguments.size, networks.vgg19)
        pictures = {"content": pair.content, "published": image.read(pair.folder / "published.png").pixels}
        pictures |= {
            f"weight {weight:g}": _transferred(arguments, name, weight, networks) for weight in arguments.weights
        }
        for what, picture in pictures.items():
            rated = aesthetics.score(networks.nima, pair.at_size(picture))
            table.setdefault(what, []).append((rated.mean, rated.deviation, *pair.measure(picture)))
            print(name, f"{what:<12}", _text(table[what][-1]), flush=True)
    print(f"mean of {len(arguments.pairs)}: {' / '.join(COLUMNS)}")
    for what, rows in table.items():
        print(f"{what:<12}", _text(np.mean(rows, axis=0)))


def _transferred(arguments: Arguments, name: str, weight: float, networks: Networks) -> np.ndarray:
    path = arguments.output / f"{name}-{arguments.size}-{weight:g}.png"
    if not path.is_file():
        pair, recipe = arguments.folder / name, Recipe(size=arguments.size, output_size="working")
        hyper = preset(recipe.name)[1]._replace(nima_weight=weight)
        used = networks if weight else networks._replace(nima=None)
        run = pipeline.stylize(pair / "content.png", pair / "style.png", recipe=recipe, hyper=hyper, networks=used)
        image.write(path, run.photograph.pixels)
        print(f"{path}: {run.record['seconds']:.0f} s, {run.record['status']}", flush=True)
    return image.read(path).pixels


def _text(numbers: np.ndarray | tuple[float, ...]) -> str:
    return " / ".join(f"{number:.3f}" for number in numbers)


if __name__ == "__main__":
    main()
