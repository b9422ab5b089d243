"""Random walks give what is not sure to what it runs into."""

import numpy as np
import pytest
from skimage.segmentation import random_walker

from jpst.regions import walks


def test_between_two_labels_a_share_falls_evenly(monkeypatch):
    """A walk on a line arrives at either side in proportion to the other's distance (the gambler's ruin)."""
    monkeypatch.setattr(walks, "ENDS", 1e-12)
    labels = np.repeat([0, 1, 2], 40)[:, None].repeat(24, 1)
    found = walks.filled(labels, labels == 1, np.full((120, 24, 3), 0.5))
    assert set(np.unique(found)) == {0, 1, 2}
    for label in (0, 2):
        assert np.mean(found[40:80] == label) == pytest.approx(1 - walks.ARRIVED, abs=0.05)


def test_arrivals_are_scikit_images(monkeypatch):
    """But for walks that end on their way, which it does not have."""
    monkeypatch.setattr(walks, "ENDS", 1e-12)
    rng = np.random.default_rng(4)
    picture = rng.uniform(0.4, 0.5, (20, 30, 3))
    seeds = np.full((20, 30), -1)
    seeds[:3], seeds[15:, :8], seeds[9:12, 20:] = 0, 1, 2
    found, share = walks._arrivals(seeds, picture)
    beta = walks.EDGES_STOP * 10 * picture.std() * np.sqrt(3)  # it divides by that
    expected = random_walker(picture, seeds + 1, beta, mode="bf", return_full_prob=True, channel_axis=-1)
    np.testing.assert_allclose(share, np.asarray(expected).max(0), atol=1e-3)
    np.testing.assert_array_equal(found, np.asarray(expected).argmax(0))


def test_a_walk_may_end_on_its_way():
    """On a line the share that arrives is a ratio of hyperbolic cosines."""
    seeds = np.where(np.arange(300) > 5, -1, 0)[None].repeat(20, 0)
    _, share = walks._arrivals(seeds, np.full((20, 300, 3), 0.5))
    decay = np.arccosh(1 + walks.ENDS / 2)
    expected = np.cosh(decay * (299.5 - np.arange(5, 300))) / np.cosh(decay * 294.5)
    np.testing.assert_allclose(share[:, 5:], expected[None].repeat(20, 0), rtol=1e-3)


def test_what_edges_surround_stays_what_it_is():
    labels = np.zeros((40, 60), int)
    labels[10:20, 20:36] = 1
    picture = np.where((labels == 1)[..., None], np.float32([0.3, 0.2, 0.1]), np.float32([0.5, 0.7, 0.9]))
    np.testing.assert_array_equal(walks.filled(labels, labels == 1, picture), labels)
    assert (walks.filled(labels, labels == 1, np.full_like(picture, 0.5)) == 0).all()


@pytest.mark.parametrize("shape", [(7, 9), (2, 2), (31, 16), (1, 5), (1, 1)])
def test_any_size_and_nothing_sure(shape):
    labels, picture = np.arange(np.prod(shape)).reshape(shape) % 2, np.full((*shape, 3), 0.5)
    for unsure in (np.ones(shape, bool), np.zeros(shape, bool), labels == 1):
        found = walks.filled(labels, unsure, picture)
        assert found.shape == shape and (found[~unsure] == labels[~unsure]).all()
