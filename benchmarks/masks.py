"""How well regions found without labels agree with hand-made masks: intersection over union, pair by pair.

    python benchmarks/masks.py PAIRS [-o OUT]

PAIRS as pairs.py tells. At 1/8 of the working size every region found takes the hand-made region that most of
its pixels (of both photographs) have; the intersection over union is averaged over the hand-made regions. Beside it a
plain k-means on the same network's features, with two clusters more than there are hand-made regions.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import jpst
from jpst import caching, cosegment, image, segment
from jpst.ade20k import CLASSES

PALETTE = np.array([each.colour for each in CLASSES[:12]], np.uint8)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare the regions that `cosegment` finds with the hand-made masks of PAIRS."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PAIRS")]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """folder for a picture of each pair: photographs, hand-made masks, regions found"""


def main() -> None:
    arguments = tyro.cli(Arguments)
    caching.enable()
    print(f"device: {jax.devices()[0].device_kind}; intersection over union with hand-made masks")
    variables = jpst.load_networks().vgg19
    rows = []
    for folder in sorted(at for at in arguments.folder.iterdir() if (at / "content_seg.png").is_file()):
        photographs = [image.read(folder / f"{side}.png").pixels for side in ("content", "style")]
        painted = segment.from_painted(*(image.read_colours(folder / f"{s}_seg.png") for s in ("content", "style")))
        found = cosegment.cosegment(photographs[0], photographs[1], variables)
        shapes = [(each.labels.shape[0] // 8, each.labels.shape[1] // 8) for each in found]
        truth = [_sampled(each.labels, *shape) for each, shape in zip(painted, shapes, strict=True)]
        ours = [_sampled(each.labels, *shape) for each, shape in zip(found, shapes, strict=True)]
        plain = _kmeans(photographs, variables, 2 + len(painted[0].names))
        rows.append((_agreement(ours, truth), _agreement(plain, truth)))
        print(
            f"{folder.name}   {rows[-1][0]:.2f} with {len(found[0].names)} regions   k-means {rows[-1][1]:.2f}",
            flush=True,
        )
        if arguments.output:
            _draw(photographs, painted, found, arguments.output / f"{folder.name}.png")
    print("mean of {}: {:.3f}, k-means {:.3f}".format(len(rows), *np.mean(rows, axis=0)))


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


def _draw(photographs: list[np.ndarray], painted: tuple, found: tuple, path: Path) -> None:
    pictures = []
    for photograph, hand, ours in zip(photographs, painted, found, strict=True):
        pictures.append(np.round(255 * photograph).astype(np.uint8))
        pictures += [PALETTE[each.labels % len(PALETTE)] for each in (hand, ours)]
    tiles = [np.asarray(Image.fromarray(each).resize((240, 160), Image.Resampling.NEAREST)) for each in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(tiles, axis=1)).save(path)


if __name__ == "__main__":
    main()
