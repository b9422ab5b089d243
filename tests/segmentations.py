"""Label maps made up for tests, and how alike their names are."""

import numpy as np

from jpst.regions.segment import Segmentation


def stripes(*names_and_rows, width=20):
    """Horizontal stripes [(name, rows)] from top to bottom."""
    names = tuple(dict.fromkeys(name for name, _ in names_and_rows))
    rows = [names.index(name) for name, count in names_and_rows for _ in range(count)]
    return Segmentation(np.repeat(np.array(rows, np.int32)[:, None], width, axis=1), names)


def shuffled(segmentation, seed):
    """The same segmentation with names in another order and one name that has no pixels."""
    names = (*segmentation.names, "unused")
    order = np.random.default_rng(seed).permutation(len(names))
    labels = np.argsort(order)[segmentation.labels].astype(np.int32)
    return Segmentation(labels, tuple(names[number] for number in order))


def alike(pairs):
    """Symmetric similarity from a table; 1 for equal names, 0 elsewhere."""
    return lambda a, b: 1.0 if a == b else pairs.get((a, b), pairs.get((b, a), 0.0))


def random_similarity(seed, names):
    """Values on a coarse grid, so that many are equal."""
    values = np.random.default_rng(seed).integers(0, 11, (len(names), len(names))) / 10
    number = {name: index for index, name in enumerate(sorted(names))}
    return lambda a, b: 1.0 if a == b else float(values[min(number[a], number[b]), max(number[a], number[b])])


def random_labels(rng, names):
    """A label map of any shape with some of the names, rare ones among them."""
    shape = tuple(rng.integers(1, 12, 2))
    chosen = rng.choice(len(names), rng.integers(1, len(names) + 1), replace=False)
    weights = rng.dirichlet(np.full(len(chosen), 0.5))
    labels = np.searchsorted(np.cumsum(weights)[:-1], rng.random(shape)).astype(np.int32)
    return Segmentation(labels, tuple(names[number] for number in chosen))
