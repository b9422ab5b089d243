"""The scene head fitted to the teacher's answers: resumable; the same data and settings give the same head."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import augmentation
import jax
import jax.numpy as jnp
import numpy as np
import optax
from answers import Answered
from flax import serialization
from jax import Array

from jpst.models import scene_head, vgg19
from jpst.models.unfinished import replacing

CELL = scene_head.CELL
WARM_UP = 0.05  # of all steps
JUDGES = 48  # photographs of a shape, at most, that are measured on the way
AVERAGED = 0.998  # of the parameters' running mean, which is what is kept
SEEN = 8 / 9
"""of a picture's sides, what the head sees at least when it sees all of it"""
NEAREST = 1.8  # times larger than that, a part of a picture may be seen
STRETCH = 0.12  # of one side against the other, in the logarithm: pictures are squeezed to few shapes


class Settings(NamedTuple):
    steps: int = 1000 if jax.default_backend() == "cpu" else 7000
    batch: int = 4 if jax.default_backend() == "cpu" else 32
    rate: float = 1e-3
    decay: float = 0.03
    """of AdamW"""
    dropout: float = 0.15


class State(NamedTuple):
    params: Any
    optimiser: Any
    mean: Any
    """the running mean of the parameters"""
    step: int


def fit(
    network: Any,
    train: list[Answered],
    judges: list[Answered],
    settings: Settings,
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The head after all steps; `judges` are measured at intervals, and decide nothing."""
    path = folder / f"scene-{_digest(train, settings)}.msgpack"
    params = scene_head.init(jax.random.key(7))["params"]
    state = State(params, _optimiser(settings).init(params), params, 0)
    if path.is_file():
        state = serialization.from_bytes(state, path.read_bytes())
        tell(f"goes on from step {int(state.step)} ({path})")
    groups = [Answered(*map(jnp.asarray, group)) for group in train]
    judges = [Answered(pictures[:JUDGES], answers[:JUDGES]) for pictures, answers in judges]
    order = _order(train, settings)
    interval = max(1, settings.steps // 14)
    while int(state.step) < settings.steps:
        until, losses = min(int(state.step) + interval, settings.steps), []
        for number in range(int(state.step), until):
            group = groups[order[number]]
            params, optimiser, mean, loss = _step(*state[:3], number, network, group, settings)
            state, losses = State(params, optimiser, mean, number + 1), [*losses, loss]
        labels, scores = judged({"params": state.mean, "calibration": {"temperature": 1.0}}, network, judges)
        right = np.mean(scores.argmax(1) == labels)
        tell(f"step {state.step}: loss {np.mean([float(each) for each in losses]):.4f}, agrees on {right:.4f}")
        with replacing(path) as file:
            file.write(serialization.to_bytes(jax.tree.map(np.asarray, state)))
    return {"params": jax.tree.map(jnp.asarray, state.mean), "calibration": {"temperature": jnp.float32(1)}}


def judged(variables: Any, network: Any, found: list[Answered]) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's labels [n] and the head's scores [n, 31] of every cell of photographs seen whole."""
    labels, scores = [], []
    for group in found:
        for picture, answer in zip(*group, strict=True):
            target, ours = _judged(variables["params"], network, picture, answer)
            labels.append(np.asarray(target).ravel())
            scores.append(np.asarray(ours).reshape(-1, scene_head.CLASSES))
    return np.concatenate(labels), np.concatenate(scores)


@jax.jit
def _judged(params: Any, network: Any, picture: Array, answer: Array) -> tuple[Array, Array]:
    picture, answer = _part(picture / 255, answer / 255, jnp.float32([SEEN, SEEN]), jnp.zeros(2))
    features = vgg19.features(network, picture, scene_head.LAYERS)
    return jnp.argmax(answer, -1), scene_head.logits({"params": params}, features)


@partial(jax.jit, static_argnums=6)
def _step(params: Any, optimiser: Any, mean: Any, number: Array, network: Any, group: Answered, settings: Settings):
    """One update -> parameters, the optimiser's state, the running mean, the loss. Draws depend on the number alone."""
    which, *keys = jax.random.split(jax.random.fold_in(jax.random.key(17), number), settings.batch + 1)
    rows = jax.random.randint(which, (settings.batch,), 0, len(group.pictures))
    pictures, targets = jax.vmap(_drawn)(jnp.stack(keys), group.pictures[rows], group.answers[rows])
    features = jax.vmap(lambda picture: vgg19.features(network, picture, scene_head.LAYERS))(pictures)

    def loss_of(params: Any) -> Array:
        def one(features: Any, key: Array) -> Array:
            return scene_head.logits({"params": params}, features, dropout=settings.dropout, key=key)

        scores = jax.vmap(one)(features, jnp.stack(keys))
        return jnp.mean(optax.softmax_cross_entropy(scores, targets))

    loss, slope = jax.value_and_grad(loss_of)(params)
    change, optimiser = _optimiser(settings).update(slope, optimiser, params)
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


def _optimiser(settings: Settings) -> optax.GradientTransformation:
    warm = int(WARM_UP * settings.steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.rate, warm, settings.steps, settings.rate / 100)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=settings.decay))


def _order(train: list[Answered], settings: Settings) -> np.ndarray:
    """Which shape each step takes, as often as there are photographs of it."""
    shares = np.array([len(group.pictures) for group in train], float)
    return np.random.default_rng(19).choice(len(train), settings.steps, p=shares / shares.sum())


def _digest(train: list[Answered], settings: Settings) -> str:
    sources = [Path(str(module.__file__)).read_bytes() for module in (augmentation, scene_head)]
    seen = hashlib.sha256(b"".join([*sources, Path(__file__).read_bytes(), repr(settings).encode()]))
    for group in train:
        seen.update(np.ascontiguousarray(group.answers).tobytes())
    return seen.hexdigest()[:12]
