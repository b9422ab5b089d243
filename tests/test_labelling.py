"""A photograph to named regions: by which network, how sure, along which edges; and when DeepLab is fetched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst import pixels, weights
from jpst.models import deeplab, framing, scene_head
from jpst.regions import ade20k, labelling
from jpst.weights import CheckpointError, Loaded, Provenance

SKY, TREE = ade20k.NAMES.index("sky"), ade20k.NAMES.index("tree")


@pytest.fixture
def two_fields():
    """A picture of two colours with a jagged edge, 256 x 384, and where the second is."""
    y, x = np.meshgrid(np.arange(256), np.arange(384), indexing="ij")
    second = y > 90 + 0.2 * x + np.abs(x % 40 - 20)
    picture = np.where(second[..., None], np.float32([0.2, 0.4, 0.1]), np.float32([0.6, 0.7, 0.9]))
    return picture.astype(np.float32), second


def coarse(second: np.ndarray, cell: int) -> np.ndarray:
    """Probabilities [31, h, w] that tell the two fields on coarse cells, nearly sure, and a little of everything."""
    height, width = (side // cell for side in second.shape)
    lower = second[: height * cell, : width * cell].reshape(height, cell, width, cell).mean((1, 3))
    scores = np.full((31, height, width), 0.002, np.float32)
    scores[SKY] += 0.94 * (1 - lower)
    scores[TREE] += 0.94 * lower
    return scores / scores.sum(0)


@pytest.fixture
def networks(monkeypatch, two_fields, vgg19_tiny, scene_head_tiny, narrow_scene_head):
    """All networks answer with cells of eight pixels."""
    answers = coarse(two_fields[1], scene_head.CELL)
    monkeypatch.setattr(weights, "load", lambda name: Loaded(vgg19_tiny, Provenance(name, "0" * 64)))
    monkeypatch.setattr(deeplab, "probabilities", lambda *_: answers)
    monkeypatch.setattr("jpst.models.pspnet.scores", lambda *_: answers)
    monkeypatch.setattr(labelling, "_scene_scores", lambda *_: jnp.asarray(answers))


@pytest.mark.parametrize("labeller", labelling.LABELLERS)
def test_labels_follow_the_edges_of_the_picture(networks, two_fields, labeller):
    picture, second = two_fields
    found, used, checkpoint = labelling.label(picture, labeller, labelling.load(labeller))
    assert used == labeller
    assert checkpoint.name == ("tiny-scene-head" if labeller == "scene" else labeller)
    assert found.labels.shape == found.confidence.shape == (256, 384)
    assert found.labels.dtype == np.int32 and found.names == ade20k.NAMES
    smooth = framing.resized(np.moveaxis(coarse(second, scene_head.CELL), 0, -1), 256, 384).argmax(-1)
    wrong, smoothly_wrong = (np.mean((labels == TREE) != second) for labels in (found.labels, smooth))
    assert wrong < 0.005 and wrong < smoothly_wrong / 2
    assert set(np.unique(found.labels)) == {SKY, TREE}


@pytest.mark.parametrize("labeller", labelling.LABELLERS)
def test_confidence_is_a_probability_and_lower_at_edges(networks, two_fields, labeller):
    found = labelling.label(two_fields[0], labeller, labelling.load(labeller)).segmentation
    assert found.confidence.min() > 0 and found.confidence.max() <= 1 + 1e-6
    far, near = found.confidence[:40, 300:], found.confidence[np.diff(found.labels, axis=0, prepend=SKY) != 0]
    assert far.min() > 0.9 and near.mean() < far.mean()


def test_networks_that_label_compute_in_full_precision_on_a_gpu_too(networks, two_fields, monkeypatch):
    answers, used = deeplab.probabilities(None, None), []  # pyright: ignore
    monkeypatch.setattr(
        deeplab, "probabilities", lambda *_: used.append(jax.config.jax_default_matmul_precision) or answers
    )
    labelling.label(two_fields[0], "deeplab", labelling.load("deeplab"))
    assert used == ["float32"]


def test_only_the_likeliest_classes_are_told_apart(two_fields):
    picture, _ = two_fields
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (31, 8, 12)).astype(np.float32) * np.linspace(1, 2, 31, dtype=np.float32)[:, None, None]
    found = labelling._to_edges(scores / scores.sum(0), picture)
    likeliest = set(np.argsort(-(scores / scores.sum(0)).mean((1, 2)))[: labelling.MOST_CLASSES].tolist())
    assert set(np.unique(found.labels).tolist()) <= likeliest


@pytest.mark.parametrize("shape", [(16, 300), (1, 1)])
def test_the_scene_head_labels_photographs_of_any_shape(photograph, vgg19_tiny, narrow_scene_head, shape):
    found = labelling.label(photograph(*shape), "scene", labelling.load("scene"), vgg19_tiny).segmentation
    assert found.labels.shape == pixels.common_size(*shape, labelling.SIZE, 16)
    assert found.labels.min() >= 0 and found.labels.max() < 31


def test_features_of_another_vgg19_are_refused(photograph, vgg19_tiny, narrow_scene_head):
    preprocessing = jax.tree.map(lambda x: x / 60, vgg19_tiny["preprocessing"])
    with pytest.raises(labelling.FeaturesError, match="expected Oxford's"):
        labelling.label(
            photograph(48, 64), "scene", labelling.load("scene"), {**vgg19_tiny, "preprocessing": preprocessing}
        )


@pytest.mark.parametrize(
    ("here", "best"),
    [({"pspnet", "deeplab"}, "pspnet"), ({"pspnet"}, "pspnet"), ({"deeplab"}, "deeplab"), (set(), "scene")],
)
def test_the_best_network_is_the_first_that_is_here(monkeypatch, here, best):
    monkeypatch.setattr(weights, "find", lambda name: object() if name in here else None)
    assert labelling.best() == best


@pytest.fixture
def fetching(monkeypatch):
    """A fetch that fails unless told otherwise, allowed in this test: `fetching.tried`, `fetching.works`."""

    class Fetching:
        tried, works = 0, False

        def fetch(self, name, *, on_progress):
            self.tried += 1
            if not self.works:
                raise CheckpointError(f"{name} could not be fetched (github.com did not answer).")

    state = Fetching()
    monkeypatch.delenv(labelling.OFFLINE)
    monkeypatch.setattr(labelling, "_failed", [])
    monkeypatch.setattr(weights, "fetch", state.fetch)
    monkeypatch.setattr(
        weights, "find", lambda name: object() if name == "deeplab" and state.tried and state.works else None
    )
    return state


def test_nothing_is_fetched_in_tests_or_where_a_user_says_so(fetching, monkeypatch):
    monkeypatch.setenv(labelling.OFFLINE, "1")
    assert labelling.fetch_deeplab() == "DeepLab is missing, and JPST_OFFLINE is set."
    assert fetching.tried == 0


@pytest.mark.parametrize("here", ["pspnet", "deeplab"])
def test_nothing_is_fetched_where_a_better_network_is_here(fetching, monkeypatch, here):
    monkeypatch.setattr(weights, "find", lambda name: object() if name == here else None)
    assert labelling.fetch_deeplab(lambda _: pytest.fail("told")) == ""
    assert fetching.tried == 0


def test_a_fetch_that_fails_is_told_and_not_tried_again(fetching):
    lines = []
    first, second = (labelling.fetch_deeplab(lines.append) for _ in range(2))
    assert first == second == "deeplab could not be fetched (github.com did not answer)."
    assert fetching.tried == 1
    (line,) = lines
    assert line.startswith("Downloading DeepLab (2.9 MB)") and "Apache-2.0" in line and "deeplab-mobilenet" in line


def test_a_fetch_that_works_brings_deeplab_once(fetching):
    fetching.works = True
    lines = []
    assert [labelling.fetch_deeplab(lines.append) for _ in range(2)] == ["", ""]
    assert fetching.tried == 1 and len(lines) == 1
    assert labelling.best() == "deeplab"
