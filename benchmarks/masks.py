"""How well regions found without masks agree with hand-made ones, and with which things they are paired.

    python benchmarks/masks.py PAIRS [-o OUT] [--segmenters deeplab scene cluster]

PAIRS as pairs.py tells. At 1/8 of the working size every region found takes the hand-made region that most of its
pixels (of both photographs) have; the intersection over union is averaged over the hand-made regions. "Paired" is the
share of the content's pixels that take their look from a region of the style: not "everything else", nor a photograph
that is one region. "Mispaired" is the share of them whose region is, in the style, mostly another hand-made region than
theirs. "Labels" are what a network names, before what is not surely the same in both is left unpaired. Beside them a
plain k-means on VGG19's features, with two clusters more than there are hand-made regions.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import jpst
from jpst import caching, image, regions
from jpst.regions import cosegment, labelling, segment
from jpst.regions.ade20k import CLASSES

PALETTE = np.array([each.colour for each in CLASSES[:12]], np.uint8)
CELL = 8
SIZE = 384


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare the regions that are found with the hand-made masks of PAIRS."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """folder for a picture of each pair: photographs, hand-made masks, regions found"""
    segmenters: tuple[Literal["pspnet", "deeplab", "scene", "cluster"], ...] = ("deeplab", "scene", "cluster")


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    print(f"device: {jax.devices()[0].device_kind}; intersection over union with hand-made masks / paired / mispaired")
    variables = jpst.load_networks().vgg19
    rows = []
    for folder in sorted(at for at in arguments.folder.iterdir() if (at / "content_seg.png").is_file()):
        photographs = [image.read(folder / f"{side}.png") for side in ("content", "style")]
        painted = segment.from_painted(*(image.read_colours(folder / f"{s}_seg.png") for s in ("content", "style")))
        shapes = [_cells(photograph.pixels.shape) for photograph in photographs]
        truth = [_sampled(each.labels, *shape) for each, shape in zip(painted, shapes, strict=True)]
        maps = {name: _found(name, photographs, variables) for name in arguments.segmenters}
        for name in labelling.LABELLERS:
            if name in arguments.segmenters:
                maps[f"{name} labels"] = _labelled(name, photographs, variables), None
        maps["k-means"] = _kmeans([each.pixels for each in photographs], variables, 2 + len(painted[0].names)), None
        row = {}
        for name, (found, unpaired) in maps.items():
            sampled = [_sampled(labels, *shape) for labels, shape in zip(found, shapes, strict=True)]
            row[name] = _agreement(sampled, truth), *_pairing(sampled, truth, unpaired)
        rows.append(row)
        text = (f"{name} {iou:.2f} / {paired:.2f} / {bad:.2f}" for name, (iou, paired, bad) in row.items())
        print(folder.name, *text, sep="   ", flush=True)
        if arguments.output:
            ours, _ = maps[arguments.segmenters[0]]
            _draw(
                [each.pixels for each in photographs],
                [each.labels for each in painted],
                ours,
                arguments.output / f"{folder.name}.png",
            )
    for name in rows[0]:
        print(
            "mean of {}: {} {:.3f} / {:.3f} / {:.3f}".format(
                len(rows), name, *np.mean([row[name] for row in rows], axis=0)
            )
        )


def _found(
    segmenter: str, photographs: list[image.Photograph], variables: object
) -> tuple[list[np.ndarray], int | None]:
    """Both label maps, and the label of what is paired with nothing."""
    recipe = jpst.Recipe(segmenter=segmenter)  # pyright: ignore[reportArgumentType]
    pair = photographs[0], photographs[1]
    way = regions.choose((pair[0].pixels, pair[1].pixels), (None, None), recipe)
    found = regions.find(pair, way, recipe, vgg19=variables).regions
    return [found.content, found.style], 0 if len(found.names) == 1 else found.whole


def _labelled(labeller: labelling.Labeller, photographs: list[image.Photograph], variables: object) -> list[np.ndarray]:
    """The class of every pixel of both photographs."""
    network = labelling.load(labeller)
    return [labelling.label(each.pixels, labeller, network, variables).segmentation.labels for each in photographs]


def _cells(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = SIZE / max(shape[:2]) / CELL
    return round(shape[0] * scale), round(shape[1] * scale)


def _pairing(found: list[np.ndarray], truth: list[np.ndarray], unpaired: int | None) -> tuple[float, float]:
    """Shares of the content's cells: those that are paired, and those whose region is mostly another in the style."""
    votes = np.zeros((max(each.max() for each in found) + 1, max(each.max() for each in truth) + 1))
    np.add.at(votes, (found[1].ravel(), truth[1].ravel()), 1)
    paired = found[0] != (-1 if unpaired is None else unpaired)
    return float(np.mean(paired)), float(np.mean(paired & (votes.argmax(1)[found[0]] != truth[0])))


def _sampled(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The labels at the centres of the cells of a coarser grid."""
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip((height, width), labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _agreement(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    ours, theirs = (np.concatenate([each.ravel() for each in maps]) for maps in (found, truth))
    votes = np.zeros((ours.max() + 1, theirs.max() + 1))
    np.add.at(votes, (ours, theirs), 1)
    voted = votes.argmax(1)[ours]
    overlaps = [
        np.sum((voted == region) & (theirs == region)) / np.sum((voted == region) | (theirs == region))
        for region in np.unique(theirs)
    ]
    return float(np.mean(overlaps))


def _kmeans(photographs: list[np.ndarray], variables: object, count: int) -> list[np.ndarray]:
    """Square roots of conv3_4, conv4_4 and conv5_1 after the ReLU, 32 components, both photographs together."""
    small = [cosegment.at_size(each) for each in photographs]
    found = [cosegment.features(variables, each, ("relu3_4", "relu4_4", "relu5_1")) for each in small]
    cells = [np.concatenate([np.asarray(x) for x in each.values()], -1) for each in found]
    both = np.concatenate([each.reshape(-1, each.shape[-1]) for each in cells])
    components = PCA(32, random_state=0).fit_transform(both)
    labels = KMeans(count, n_init=4, random_state=0).fit_predict(components)  # pyright: ignore[reportArgumentType]
    first = cells[0].shape[0] * cells[0].shape[1]
    return [labels[:first].reshape(cells[0].shape[:2]), labels[first:].reshape(cells[1].shape[:2])]


def _draw(photographs: list[np.ndarray], painted: list[np.ndarray], found: list[np.ndarray], path: Path) -> None:
    pictures = []
    for photograph, hand, ours in zip(photographs, painted, found, strict=True):
        pictures.append(np.round(255 * photograph).astype(np.uint8))
        pictures += [PALETTE[labels % len(PALETTE)] for labels in (hand, ours)]
    tiles = [np.asarray(Image.fromarray(each).resize((240, 160), Image.Resampling.NEAREST)) for each in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(tiles, axis=1)).save(path)


if __name__ == "__main__":
    main()
