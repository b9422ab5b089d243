"""What the aesthetic head learns from: statistics of photographs and of changed copies, and the teacher's ratings.

VGG19 is not trained. So each copy of a photograph (other light, other colours, ... by `augmentation`) goes through
VGG19 and through the teacher once, and only 2,944 statistics and ten probabilities are kept, in one file a copy of all
photographs. Copy 0 is the photograph itself. Files that are there are not computed again.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import augmentation
import jax
import jax.numpy as jnp
import numpy as np
import photographs
from jax import Array

from jpst import weights
from jpst.models import aesthetic_head, nima, vgg19
from jpst.weights.unfinished import replacing

DECODED = (448, 448)
SHAPES = ((224, 224), (192, 256), (224, 224), (320, 320))
"""of the copies, in turn: the head shall rate any size and ratio of sides as the teacher rates its square"""
CROPPED, SMALLEST = 0.75, 0.4
"""share of the changed copies that show a part of the photograph, and the least of its sides: more to learn from"""


class Rated(NamedTuple):
    """Of n pictures."""

    statistics: np.ndarray
    """float16 [n, 2944]"""
    ratings: np.ndarray
    """float32 [n, 10]: the teacher's distributions"""


class Networks(NamedTuple):
    """What copies are seen with."""

    features: weights.Loaded
    teacher: weights.Loaded


def load_networks(teacher: Path) -> Networks:
    """VGG19 in its fastest form, and the teacher."""
    features = weights.load("vgg19")
    if jax.default_backend() == "cpu":
        features = features._replace(variables=vgg19.accelerate(features.variables))
    return Networks(features, weights.load("nima", teacher))


def rated(
    folder: Path, names: Sequence[str], number: int, networks: Networks, cache: Path, batch: int, shape: tuple = ()
) -> Rated:
    """One copy of all photographs `names` of a folder, computed or from its file in `cache`.

    The same number gives the same copy. `shape`: other than the copy's own.
    """
    shape = shape or SHAPES[number % len(SHAPES)]
    path = cache / f"copy-{_digest(folder, names, networks, shape)}-{number}.npz"
    if not path.is_file():
        pictures = photographs.decoded(folder, names, DECODED, cache)
        found = _computed(pictures, number, networks, batch, shape)
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, statistics=found.statistics, ratings=found.ratings)
    with np.load(path) as arrays:
        return Rated(arrays["statistics"], arrays["ratings"])


def _computed(pictures: np.ndarray, number: int, networks: Networks, batch: int, shape: tuple) -> Rated:
    features, teacher = (each.variables for each in networks)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(13), number), len(pictures))
    parts = []
    for start in range(0, len(pictures), batch):  # nothing waits for the device before the end
        which = np.arange(start, start + batch) % len(pictures)  # the last batch is filled up: one program
        parts.append(_batch(features, teacher, keys[which], jnp.asarray(pictures[which]), shape, number == 0))
    statistics, ratings = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2))
    return Rated(statistics[: len(pictures)], ratings[: len(pictures)])


@partial(jax.jit, static_argnums=(4, 5))
def _batch(features: dict, teacher: dict, keys: Array, pictures: Array, shape: tuple, plain: bool) -> tuple:
    def one(key: Array, picture: Array) -> tuple[Array, Array]:
        cut, turn, change = jax.random.split(key, 3)
        part = jnp.array([0.0, 0.0, 1.0, 1.0]) if plain else _part(cut)
        x = _cropped(picture / 255.0, part, shape)
        if not plain:
            x = augmentation.augment(change, augmentation.flip(turn, x))
        statistics = aesthetic_head.statistics(features, x).astype(jnp.float16)
        square = (nima.TRAINED_SIZE, nima.TRAINED_SIZE, 3)
        seen = x if x.shape == square else jnp.clip(jax.image.resize(x, square, "cubic"), 0, 1)
        return statistics, nima.distribution(teacher, seen)

    return jax.vmap(one)(keys, pictures)


def _part(key: Array) -> Array:
    """Top, left, height and width of a part of a picture, or of all of it; its sides are one."""
    on, size, ratio, place = jax.random.split(key, 4)
    side = jax.random.uniform(size, (), minval=SMALLEST, maxval=1.0)
    sides = jnp.minimum(side * jnp.exp(jax.random.uniform(ratio, (2,), minval=-0.15, maxval=0.15)), 1.0)
    sides = jnp.where(jax.random.bernoulli(on, CROPPED), sides, 1.0)
    return jnp.concatenate([jax.random.uniform(place, (2,)) * (1 - sides), sides])


def _cropped(picture: Array, part: Array, shape: tuple) -> Array:
    """That part of a picture at a shape."""
    scale = jnp.array(shape) / (part[2:] * jnp.array(picture.shape[:2]))
    shift = -part[:2] * jnp.array(picture.shape[:2]) * scale
    return jnp.clip(jax.image.scale_and_translate(picture, (*shape, 3), (0, 1), scale, shift, "cubic"), 0, 1)


def _digest(folder: Path, names: Sequence[str], networks: Networks, shape: tuple) -> str:
    """Changes with all that a copy is made from, the code included."""
    sources = [Path(file).read_bytes() for file in (__file__, str(augmentation.__file__), aesthetic_head.__file__)]
    parts = [*names, *(each.provenance.sha256 for each in networks), folder.name, shape, *sources]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
