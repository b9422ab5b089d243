"""How good the pictures are, beside others': a table, a contact sheet and the front that one weight traces.

    python benchmarks/quality.py PAIRS -o OUT [--preset balanced] [--segmenter cluster] [--pairs 03 30]
    python benchmarks/quality.py PAIRS -o OUT --preset fast --weight edge_weight --sweep 0.05 0.5

PAIRS holds a folder for each pair, as pairs.py tells. Every picture is measured at one size with the hand-made masks,
also where the transfer found its regions itself: edge SSIM with the content, higher is better; style distance as a part
of the untouched content's, lower is better; share of newly clipped pixels. Beside ours stand the published result and
the closed-form colour match alone. `--sweep` gives other values of one weight, and front.png draws what comes out
beside the points of other methods. Pictures already in OUT are kept, so that an interrupted run goes on.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from pairs import Measures, Pair, sheet

import jpst
from jpst import caching, image, pipeline
from jpst.presets import preset
from jpst.recipe import Hyperparameters, Preset, Recipe

OTHERS: dict[str, tuple[float, float]] = {
    "Deep Photo Style Transfer": (0.682, 0.293),
    "PCA-KD per region": (0.846, 0.441),
    "PCA-KD": (0.888, 0.607),
}
"""edge SSIM and style distance at 350 px with hand-made masks: PCA-KD (CVPR 2022) over all 59 public pairs of Deep
Photo Style Transfer, which themselves were measured over 24 of them"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Transfer every pair of PAIRS with a preset, and measure the pictures beside others'."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    preset: Preset = "balanced"
    segmenter: Literal["auto", "pspnet", "deeplab", "scene", "cluster", "none"] = "auto"
    """auto takes the hand-made masks; the others do not look at them"""
    shape: Literal["common", "own"] = "common"
    """of the working pictures"""
    weight: Literal["style_weight", "regularization_weight", "coherence_weight", "edge_weight"] = "style_weight"
    """which one is swept"""
    sweep: tuple[float, ...] = ()
    """more values of it, each tried on every pair"""
    pairs: tuple[str, ...] = ()
    """names of the pairs wanted (default: all)"""
    size: int = 350
    """longest side at which everything is measured"""
    rows: int = 6
    """pairs on one sheet"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to make pictures, and the folder that keeps them."""

    recipe: Recipe
    hyper: Hyperparameters
    folder: Path

    def picture(self, pair: Path, networks: jpst.Networks) -> np.ndarray:
        """The pair's result, made unless it is there."""
        at = self.folder / f"{pair.name}.png"
        if not at.is_file():
            content, style = pair / "content.png", pair / "style.png"
            run = pipeline.stylize(content, style, recipe=self.recipe, hyper=self.hyper, networks=networks)
            self.folder.mkdir(parents=True, exist_ok=True)
            at.with_suffix(".json").write_text(json.dumps(run.record, indent=1), encoding="utf-8")
            image.write(at, run.photograph.pixels)
        return image.read(at).pixels


def settings(arguments: Arguments) -> list[Setting]:
    """The preset as it is, then with each weight of the sweep."""
    recipe, hyper = preset(arguments.preset, segmenter=arguments.segmenter, shape=arguments.shape)
    weight = arguments.weight
    asked = (arguments.preset, arguments.segmenter, arguments.shape)
    name = "-".join(word for word in asked if word not in ("auto", "common"))
    swept = [
        Setting(recipe, hyper._replace(**{weight: value}), arguments.output / f"{name}-{weight}-{value:g}")
        for value in arguments.sweep
    ]
    return [Setting(recipe, hyper, arguments.output / name), *swept]


def measured(arguments: Arguments, names: list[str], tried: list[Setting]) -> dict[str, list[Measures]]:
    """A row for every pair, of every way to make its picture."""
    networks = jpst.load_networks()
    table: dict[str, list[Measures]] = {}
    for name in names:
        pair = Pair(arguments.folder / name, arguments.size, networks.vgg19)
        pictures = pair.closed_forms() | {each.folder.name: each.picture(pair.folder, networks) for each in tried}
        if (published := pair.folder / "published.png").is_file():
            pictures = {"published": image.read(published).pixels, **pictures}
        for who, picture in pictures.items():
            table.setdefault(who, []).append(pair.measure(picture))
        print(name, *(f"{who} {_text(table[who][-1])}" for who in pictures), sep="   ", flush=True)
    return table


def draw(front: list[tuple[float, float]], others: dict[str, tuple[float, float]], label: str, at: Path) -> None:
    """Our points, in the order of their weights, beside the others': right and down is better."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*front, strict=True), "o-", label=label)
    for name, point in others.items():
        axes.plot(*point, "s", color="grey")
        axes.annotate(name, point, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.margins(0.15)
    axes.set(xlabel="edge SSIM with the content", ylabel="style distance, untouched content = 1")
    axes.legend()
    figure.savefig(at, dpi=120)


def at_edge_ssim(front: list[tuple[float, float]], wanted: float) -> float:
    """Style distance of the front at an edge SSIM, between its points as a straight line; NaN beyond them."""
    ssim, distance = zip(*sorted(front), strict=True)
    return float(np.interp(wanted, ssim, distance, left=np.nan, right=np.nan))


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    print(f"device: {jax.devices()[0].device_kind}; edge SSIM / style distance / newly clipped at {arguments.size} px")
    folders = (at.name for at in arguments.folder.iterdir() if (at / "content.png").is_file())
    names = list(arguments.pairs) or sorted(folders)
    tried = settings(arguments)
    by_weight = sorted(tried, key=lambda each: getattr(each.hyper, arguments.weight))
    table = measured(arguments, names, tried)
    for who, rows in table.items():
        print(f"mean of {len(rows)}: {who:<40}{_text(np.mean(rows, axis=0))}")
    for first in range(0, len(names), arguments.rows):
        at = tried[0].folder / f"sheet-{first // arguments.rows + 1}.png"
        sheet([_row(arguments.folder / name, tried[0].folder) for name in names[first : first + arguments.rows]]).save(
            at
        )
        print(at)
    means = {who: tuple(np.mean(rows, axis=0)[:2]) for who, rows in table.items()}
    front = [means[each.folder.name] for each in by_weight]
    ours = [each.folder.name for each in tried]
    others = OTHERS | {who: point for who, point in means.items() if who not in ours}
    for name, (ssim, distance) in others.items() if arguments.sweep else ():
        print(f"at edge SSIM {ssim:.3f}: {at_edge_ssim(front, ssim):.3f}, {name} {distance:.3f}")
    draw(front, others, tried[0].folder.name, arguments.output / "front.png")
    print(arguments.output / "front.png")


def _row(pair: Path, results: Path) -> list[Path]:
    return [*(pair / f"{name}.png" for name in ("content", "style", "published")), results / f"{pair.name}.png"]


def _text(numbers: np.ndarray | Measures) -> str:
    return " / ".join(f"{number:.3f}" for number in numbers)


if __name__ == "__main__":
    main()
