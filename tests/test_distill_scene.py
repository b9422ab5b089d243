"""How the scene head is made: the teacher's answers, what VGG19 sees, and a fitting that goes on where it stopped."""

import answers
import jax
import jax.numpy as jnp
import numpy as np
import photographs
import pytest
import scene
import scene_fitting
from flax import serialization

from jpst import image
from jpst.models import deeplab, scene_head
from jpst.weights import Loaded, Provenance

SETTINGS = scene_fitting.Settings(steps=8, batch=2)


@pytest.fixture
def folder(tmp_path, photograph):
    for number, part in enumerate(photographs.FOLDERS):
        (tmp_path / part).mkdir()
        image.write(tmp_path / part / "wide.jpg", photograph(40, 60, seed=number))
        image.write(tmp_path / part / "high.jpg", photograph(60, 40, seed=number))
    return tmp_path


@pytest.fixture
def teacher(monkeypatch):
    """In place of DeepLab: class 0 for what is dark and class 1 for what is bright, by fours."""

    def of_square(_, square):
        bright = square.reshape(square.shape[0] // 4, 4, square.shape[1] // 4, 4, 3).mean((1, 3, 4))
        return jnp.stack([1 - bright, bright] + [jnp.zeros_like(bright)] * 29, -1)

    monkeypatch.setattr(answers, "_likely", jax.jit(jax.vmap(of_square, (None, 0))))
    return Loaded({}, Provenance("fake", "3" * 64))


def test_answers_are_the_mean_over_the_views_of_one_photograph(folder, teacher):
    paths = [folder / "bsds500" / "wide.jpg", folder / "labelmefacade" / "high.jpg"]
    found = answers.mean_answers({}, paths, ((512, False), (256, True)))
    assert [each.shape for each in found] == [(31, 86, 128), (31, 128, 86)]
    for path, each in zip(paths, found, strict=True):
        np.testing.assert_allclose(each.sum(0), 1, atol=1e-4)
        bright = image.read(path).pixels.mean(-1)
        assert abs(each[1].mean() - bright.mean()) < 0.02
        half = bright.shape[1] // 2
        left = each[1][:, : each.shape[2] // 2].mean() - each[1][:, each.shape[2] // 2 :].mean()
        assert abs(left - (bright[:, :half].mean() - bright[:, half:].mean())) < 0.03, "mirrored back"


def test_photographs_are_answered_once_in_two_shapes(folder, teacher, monkeypatch):
    names = photographs.listing(folder)
    found = answers.answered(folder, names, teacher, ((128, False),), folder / "cache")
    assert [each.pictures.shape for each in found] == [(3, 288, 432, 3), (3, 432, 288, 3)]
    assert [each.answers.shape for each in found] == [(3, 36, 54, 31), (3, 54, 36, 31)]
    for each in found:
        assert each.answers.dtype == np.uint8
        assert np.abs(each.answers.astype(int).sum(-1) - 255).max() <= 2
        bright = each.pictures.reshape(3, -1).mean(1) / 255
        np.testing.assert_allclose(each.answers[..., 1].reshape(3, -1).mean(1) / 255, bright, atol=0.02)
    monkeypatch.setattr(answers, "mean_answers", lambda *_: pytest.fail("answered again"))
    again = answers.answered(folder, names, teacher, ((128, False),), folder / "cache")
    np.testing.assert_array_equal(again[1].answers, found[1].answers)


def test_photographs_kept_apart_are_neither_read_nor_answered(folder, teacher):
    (folder / "pairs.tsv").write_text("content\tstyle\nbsds500/wide.jpg\timagenet-sample/high.jpg\n")
    kept = photographs.excluded(folder / "pairs.tsv")
    for name in kept:
        (folder / name).write_bytes(b"would be damaged if it were read")
    parts = photographs.split(photographs.listing(folder, kept))
    found = [
        each
        for chosen in parts.values()
        for each in answers.answered(folder, chosen, teacher, ((64, False),), folder / "cache")
    ]
    assert sum(len(each.pictures) for each in found) == 4


@pytest.fixture(scope="module")
def answered(photograph):
    """Two pictures of 72 x 144 with a dark and a bright class."""
    pictures = np.stack([np.round(255 * photograph(72, 144, seed=seed)).astype(np.uint8) for seed in (0, 1)])
    bright = pictures.reshape(2, 9, 8, 18, 8, 3).mean((2, 4, 5)) / 255
    planes = np.zeros((2, 9, 18, 31))
    planes[..., 0], planes[..., 1] = 1 - bright, bright
    return answers.Answered(pictures, np.round(255 * planes).astype(np.uint8))


def test_copies_differ_and_copy_0_is_the_photograph(answered, vgg19_tiny, tmp_path, monkeypatch):
    plain, changed = (scene_fitting.seen(vgg19_tiny, answered, copy, tmp_path) for copy in (0, 1))
    for each in (plain, changed):
        assert each.answers.dtype == np.uint8 and each.answers.shape == (2, 8, 16, 31)
        assert np.abs(each.answers.astype(int).sum(-1) - 255).max() <= 2
        assert {name: x.shape for name, x in each.features.items()} == {
            "relu4_4": (2, 8, 16, 8),
            "relu5_4": (2, 4, 8, 8),
        }
    np.testing.assert_allclose(plain.answers[..., 1].mean(), answered.answers[..., 1].mean(), atol=10)
    assert not np.allclose(plain.features["relu4_4"], changed.features["relu4_4"])
    monkeypatch.setattr(scene_fitting, "_seen", lambda *_: pytest.fail("seen again"))
    again = scene_fitting.seen(vgg19_tiny, answered, 1, tmp_path)
    np.testing.assert_array_equal(again.features["relu5_4"], changed.features["relu5_4"])


def test_fitting_goes_on_where_it_stopped_to_the_same_head(answered, vgg19_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_fitting, "CHUNK", 4)
    train = [scene_fitting.seen(vgg19_tiny, answered, copy, tmp_path) for copy in (0, 1)]
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    lines = []
    whole = scene_fitting.fit(train, SETTINGS, tmp_path / "whole", lines.append)
    assert [line.split(":")[0] for line in lines] == ["step 4", "step 8"]
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[1] < losses[0]
    real = serialization.to_bytes

    def stop_after_writing(state):
        if int(state.step) > 4:
            raise KeyboardInterrupt
        return real(state)

    monkeypatch.setattr(serialization, "to_bytes", stop_after_writing)
    with pytest.raises(KeyboardInterrupt):
        scene_fitting.fit(train, SETTINGS, tmp_path / "parts", str)
    monkeypatch.setattr(serialization, "to_bytes", real)
    lines.clear()
    parts = scene_fitting.fit(train, SETTINGS, tmp_path / "parts", lines.append)
    assert lines[0].startswith("goes on from step 4") and len(lines) == 2
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(one, other)
    labels, scores = scene_fitting.judged(whole, train)
    assert labels.shape == (4 * 8 * 16,) and scores.shape == (len(labels), 31)
    assert set(np.unique(labels)) <= {0, 1}


def test_each_picture_comes_once_in_an_epoch_in_another_order_each_time():
    sizes = (7, 3)
    epochs = [[scene_fitting._batch(sizes, 2, epoch * 4 + step) for step in range(4)] for epoch in range(2)]
    for batches in epochs:
        rows = {group: np.concatenate([each for g, each in batches if g == group]).tolist() for group in (0, 1)}
        assert {group: len(set(each)) for group, each in rows.items()} == {0: 6, 1: 2}
    assert str(epochs[0]) != str(epochs[1])


def test_calibration_finds_the_temperature_that_was_hidden(monkeypatch):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (4000, 31)).astype(np.float32)
    likely = np.asarray(jax.nn.softmax(jnp.asarray(honest)))
    labels = (likely.cumsum(1) > rng.uniform(0, 1, (4000, 1))).argmax(1)
    monkeypatch.setattr(scene_fitting, "judged", lambda *_: (labels, 2.5 * honest))
    found = scene.calibrated({"params": {}}, [])
    temperature = float(found["calibration"]["temperature"])
    assert 2.2 < temperature < 2.8
    before, after = (scene.agreement(labels, 2.5 * honest / t) for t in (1, temperature))
    assert before[0] == after[0] and after[1] < 0.05 < before[1]


def test_agreement_of_scores_that_are_sure_and_right_or_wrong():
    scores = np.zeros((4, 31), np.float32)
    scores[np.arange(4), [1, 2, 3, 4]] = 100
    assert scene.agreement(np.array([1, 2, 3, 4]), scores) == pytest.approx((1, 0), abs=1e-6)
    assert scene.agreement(np.array([1, 2, 0, 0]), scores) == pytest.approx((0.5, 0.5), abs=1e-6)


def test_classes_of_teacher_and_head_are_the_same():
    assert scene_head.CLASSES == deeplab.CLASSES
