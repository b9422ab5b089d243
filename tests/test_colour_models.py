"""Class probabilities corrected by colour: what changes hands, what does not, and how sure it then is."""

import numpy as np
import pytest
from sklearn.naive_bayes import CategoricalNB

from jpst.regions import colour_models
from jpst.regions.trust import KNOWN

SKY, TREE, REST = range(3)
BLUE, GREEN, BROWN = np.float32([[0.5, 0.7, 0.95], [0.2, 0.4, 0.1], [0.5, 0.35, 0.2]])


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(5).normal(0, 0.02, picture.shape)
    return np.clip(picture + noise, 0, 1).astype(np.float32)


@pytest.fixture
def landscape():
    """A sky over trees with a brown pole in both; the network takes the pole's top for sky, and a gap for tree."""
    picture = np.empty((60, 80, 3), np.float32)
    picture[:30], picture[30:] = BLUE, GREEN
    picture[10:55, 38:42] = BROWN
    picture[40:44, 10:16] = BLUE
    answers = np.empty((3, 60, 80), np.float32)
    answers[:, :30], answers[:, 30:] = (
        np.float32([[0.9], [0.05], [0.05]])[..., None],
        np.float32([[0.05], [0.9], [0.05]])[..., None],
    )
    answers[:, 30:55, 38:42] = np.float32([0.1, 0.2, 0.7])[:, None, None]
    answers[:, 10:30, 38:42] = np.float32([0.8, 0.05, 0.15])[:, None, None]
    answers[:, 40:44, 10:16] = np.float32([0.35, 0.5, 0.15])[:, None, None]
    return noisy(picture), answers


def test_a_thing_in_front_of_a_sky_is_no_sky(landscape):
    found = colour_models.corrected(landscape[1], landscape[0])
    labels = found.probabilities.argmax(0)
    assert np.mean(labels[10:55, 38:42] == REST) > 0.95
    assert found.confidence(labels)[10:30, 38:42].mean() < KNOWN  # the network was against it


def test_a_gap_between_branches_is_sky_and_known_to_be(landscape):
    found = colour_models.corrected(landscape[1], landscape[0])
    labels = found.probabilities.argmax(0)
    gap = labels[40:44, 10:16]
    assert np.mean(gap == SKY) > 0.95
    assert np.mean(found.confidence(labels)[40:44, 10:16] > KNOWN) > 0.95


def test_what_both_agree_on_stays(landscape):
    found = colour_models.corrected(landscape[1], landscape[0])
    labels = found.probabilities.argmax(0)
    assert (labels[:30, :30] == SKY).all() and (labels[46:, 50:] == TREE).all()


def test_colours_that_do_not_tell_change_nothing():
    rng = np.random.default_rng(3)
    answers = rng.dirichlet([2, 2, 2], (20, 30)).transpose(2, 0, 1).astype(np.float32)
    found = colour_models.corrected(answers, np.full((20, 30, 3), 0.4, np.float32))
    np.testing.assert_allclose(found.probabilities, answers, atol=1e-5)


def test_a_label_is_on_average_no_surer_than_the_network_was(landscape):
    picture, answers = landscape
    found = colour_models.corrected(answers, picture)
    labels = found.probabilities.argmax(0)
    sure = found.confidence(labels)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, rtol=1e-5)
    assert sure.min() >= 0 and sure.max() <= 1
    for label in range(3):
        assert sure[labels == label].mean() <= answers[label][labels == label].mean() + 1e-5


def test_one_round_is_naive_bayes(monkeypatch, landscape):
    """scikit-learn's, on the histogram's bins; both start from the network's probabilities as soft labels."""
    picture, answers = landscape
    monkeypatch.setattr(colour_models, "BLUR", 0.0)
    monkeypatch.setattr(colour_models, "ROUNDS", 1)
    monkeypatch.setattr(colour_models, "RARE", 1e-12)
    levels = np.minimum((picture * colour_models.LEVELS).astype(int), colour_models.LEVELS - 1).reshape(-1, 3)
    used, bins = np.unique(levels, axis=0, return_inverse=True)
    model = CategoricalNB(alpha=1e-10, min_categories=len(used), force_alpha=True)
    features, labels = np.tile(bins.reshape(-1, 1), (3, 1)), np.repeat(range(3), bins.size)
    model.fit(features, labels, sample_weight=answers.ravel())
    likelihoods = np.exp(model.feature_log_prob_[0])[:, bins.ravel()].reshape(answers.shape)
    expected = answers * likelihoods / (answers * likelihoods).sum(0)
    found = colour_models.corrected(answers, picture)
    np.testing.assert_allclose(found.probabilities, expected, atol=2e-4)
