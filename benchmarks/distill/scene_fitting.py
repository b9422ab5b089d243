"""The scene head fitted to the teacher's answers: resumable; the same data and settings give the same head.

VGG19 is not trained. So each copy of a photograph (a part of it, in other light, other colours, ... by `augmentation`)
goes through VGG19 once, and its features lie in files. Copy 0 is the photograph itself.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import augmentation
import jax
import jax.numpy as jnp
import numpy as np
import optax
import training
from answers import Answered
from flax import serialization
from jax import Array

from jpst.models import scene_head, vgg19
from jpst.weights.unfinished import replacing

CELL = scene_head.CELL
CHUNK = 250  # steps from one file to go on from to the next
AVERAGED = 0.998  # of the parameters' running mean, which is what is kept
SEEN = 8 / 9
"""of a picture's sides, what the head sees at least when it sees all of it"""
NEAREST = 1.8  # times larger than that, a part of a picture may be seen
STRETCH = 0.12  # of one side against the other, in the logarithm: pictures are squeezed to few shapes


class Settings(NamedTuple):
    steps: int = 4500
    batch: int = 4
    """pictures"""
    rate: float = 1e-3
    decay: float = 0.05
    """of AdamW"""
    dropout: float = 0.15


class Seen(NamedTuple):
    """Of n pictures of one shape: what VGG19 sees, float16, and the teacher's answers, uint8."""

    features: dict[str, np.ndarray]
    answers: np.ndarray


class State(NamedTuple):
    params: Any
    optimiser: Any
    mean: Any
    """the running mean of the parameters"""
    step: int


def seen(network: Any, found: Answered, copy: int, cache: Path) -> Seen:
    """One copy of all photographs, computed or from its files in `cache`."""
    path = cache / f"seen-{_digest_of(found)}-{copy}"
    names = [*scene_head.LAYERS, "answers"]
    if not (path / "answers.npy").is_file():
        path.mkdir(parents=True, exist_ok=True)
        out: dict[str, np.ndarray] = {}
        keys = jax.random.split(jax.random.fold_in(jax.random.key(13), copy), len(found.pictures))
        for row, (key, picture, answer) in enumerate(zip(keys, *found, strict=True)):
            features, target = _seen(network, key, picture, answer, copy == 0)
            for name, values in {**features, "answers": target}.items():
                if name not in out:
                    shape = (len(keys), *values.shape)
                    part = path / f"{name}.part.npy"
                    out[name] = np.lib.format.open_memmap(part, "w+", np.dtype(values.dtype), shape)
                out[name][row] = values
        for name in names:  # the answers last: they tell that all is there
            (path / f"{name}.part.npy").rename(path / f"{name}.npy")
    arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in names}
    return Seen({name: arrays[name] for name in scene_head.LAYERS}, arrays["answers"])


@partial(jax.jit, static_argnums=4)
def _seen(network: Any, key: Array, picture: Array, answer: Array, plain: bool) -> tuple[dict[str, Array], Array]:
    if plain:
        picture, answer = _part(picture / 255, answer / 255, jnp.float32([SEEN, SEEN]), jnp.zeros(2))
    else:
        picture, answer = _drawn(key, picture, answer)
    features = vgg19.features(network, picture, scene_head.LAYERS)
    target = jnp.round(255 * answer / jnp.sum(answer, -1, keepdims=True)).astype(jnp.uint8)
    return {name: x.astype(jnp.float16) for name, x in features.items()}, target


def fit(train: list[Seen], settings: Settings, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """The head after all steps, its parameters averaged over the last of them."""
    path = folder / f"scene-{_digest(train, settings)}.msgpack"
    params = scene_head.init(jax.random.key(7), train[0].features[scene_head.LAYERS[0]].shape[-1])["params"]
    state = State(params, training.adamw(settings).init(params), params, 0)
    if path.is_file():
        state = cast(State, serialization.from_bytes(state, path.read_bytes()))
        tell(f"goes on from step {int(state.step)} ({path})")
    sizes = tuple(len(group.answers) for group in train)
    while int(state.step) < settings.steps:
        until, losses = min(int(state.step) + CHUNK, settings.steps), []
        for number in range(int(state.step), until):
            group, rows = _batch(sizes, settings.batch, number)
            features = {name: jnp.asarray(x[rows]) for name, x in train[group].features.items()}
            answers = jnp.asarray(train[group].answers[rows])
            params, optimiser, mean, loss = _step(*state[:3], number, features, answers, settings)
            state, losses = State(params, optimiser, mean, number + 1), [*losses, loss]
        tell(f"step {state.step}: loss {np.mean([float(each) for each in losses]):.4f}")
        with replacing(path) as file:
            file.write(serialization.to_bytes(jax.tree.map(np.asarray, state)))
    return {"params": jax.tree.map(jnp.asarray, state.mean), "calibration": {"temperature": jnp.float32(1)}}


def _batch(sizes: tuple[int, ...], size: int, number: int) -> tuple[int, np.ndarray]:
    """The group and rows of the batch of a step: every picture comes once in each epoch."""
    epoch, place = divmod(number, sum(count // size for count in sizes))
    return _epoch(sizes, size, epoch)[place]


@lru_cache(2)
def _epoch(sizes: tuple[int, ...], size: int, epoch: int) -> list[tuple[int, np.ndarray]]:
    random = np.random.default_rng((17, epoch))
    batches = []
    for group, count in enumerate(sizes):
        rows = random.permutation(count)[: count // size * size].reshape(-1, size)
        batches += [(group, np.sort(each)) for each in rows]
    return [batches[i] for i in random.permutation(len(batches))]


def judged(variables: Any, found: list[Seen]) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's labels [n] and the head's scores [n, 31] of every cell."""
    labels, scores = [], []
    for group in found:
        for row, answer in enumerate(group.answers):
            features = {name: jnp.asarray(x[row]) for name, x in group.features.items()}
            labels.append(np.argmax(answer, -1).ravel())
            scores.append(np.asarray(_scores(variables, features)).reshape(-1, scene_head.CLASSES))
    return np.concatenate(labels), np.concatenate(scores)


_scores = jax.jit(scene_head.logits)


@partial(jax.jit, static_argnums=6)
def _step(
    params: Any,
    optimiser: Any,
    mean: Any,
    number: Array,
    features: dict[str, Array],
    answers: Array,
    settings: Settings,
) -> tuple:
    """One update -> parameters, the optimiser's state, the running mean, the loss. Draws depend on the number alone.

    Half of the pictures are mirrored: VGG19's features of a mirrored picture are nearly the mirrored features.
    """
    targets = answers / jnp.sum(answers.astype(jnp.float32), -1, keepdims=True)
    turns, drops = jax.random.split(jax.random.fold_in(jax.random.key(17), number))
    keys = jax.random.split(turns, len(answers)), jax.random.split(drops, len(answers))

    def loss_of(params: Any, features: dict[str, Array], target: Array, turn: Array, drop: Array) -> Array:
        features, target = jax.tree.map(partial(augmentation.flip, turn), (features, target))
        scores = scene_head.logits({"params": params}, features, dropout=settings.dropout, key=drop)
        return jnp.mean(optax.softmax_cross_entropy(scores, target))

    def mean_loss(params: Any) -> Array:
        return jnp.mean(jax.vmap(loss_of, (None, 0, 0, 0, 0))(params, features, targets, *keys))

    loss, slope = jax.value_and_grad(mean_loss)(params)
    change, optimiser = training.adamw(settings).update(slope, optimiser, params)
    params = optax.apply_updates(params, change)
    kept = jnp.minimum(AVERAGED, (number + 1) / (number + 10))
    return params, optimiser, optax.incremental_update(params, mean, 1 - kept), loss


def _drawn(key: Array, picture: Array, answer: Array) -> tuple[Array, Array]:
    """A part of a picture, in other light and colours, and the answer for that part."""
    zoom, stretch, place, turn, change = jax.random.split(key, 5)
    sides = jnp.exp(jnp.array([-0.5, 0.5]) * STRETCH * jax.random.normal(stretch, ()))
    nearer = jnp.exp(jax.random.uniform(zoom, (), maxval=np.log(NEAREST)))
    picture, answer = _part(picture / 255, answer / 255, SEEN * nearer * sides, jax.random.uniform(place, (2,)))
    answer = augmentation.flip(turn, answer)
    return augmentation.augment(change, augmentation.flip(turn, picture)), answer / jnp.sum(answer, -1, keepdims=True)


def _part(picture: Array, answer: Array, scale: Array, place: Array) -> tuple[Array, Array]:
    """What is seen of a picture enlarged by `scale` [2], at `place` in 0..1 of what there is to spare."""
    found = []
    for planes, unit in ((picture, 1), (answer, CELL)):
        size = [round(SEEN * side) for side in planes.shape[:2]]
        shift = -place * (scale * jnp.array(planes.shape[:2]) - jnp.array(size))
        shape = (*size, planes.shape[-1])
        found.append(jax.image.scale_and_translate(planes, shape, (0, 1), scale, shift, "linear", antialias=unit == 1))
    return found[0], jnp.maximum(found[1], 1e-6)


def _digest(train: list[Seen], settings: Settings) -> str:
    sources = (Path(str(module.__file__)).read_bytes() for module in (augmentation, training, scene_head))
    seen = hashlib.sha256(b"".join([*sources, repr(settings).encode()]))
    for group in train:
        seen.update(np.ascontiguousarray(group.answers).tobytes())
    return seen.hexdigest()[:12]


def _digest_of(found: Answered) -> str:
    seen = hashlib.sha256(np.ascontiguousarray(found.answers).tobytes())
    seen.update(np.ascontiguousarray(found.pictures[:8]).tobytes())
    return seen.hexdigest()[:12]
