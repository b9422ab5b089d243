"""Regions without labels: shared, deterministic, blind to which photograph comes first, and at edges."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from jpst import pixels
from jpst.regions import cosegment


def scene(height: int, width: int, horizon: float, photograph, *, seed: int = 0) -> np.ndarray:
    """Smooth blue above, textured green below."""
    noise = photograph(height, width, seed=seed)
    rows = np.arange(height)[:, None, None] / height
    sky, ground = np.float32([0.4, 0.6, 0.95]), np.float32([0.2, 0.45, 0.1]) + 0.3 * (noise - 0.5)
    return np.clip(np.where(rows < horizon, sky, ground), 0, 1).astype(np.float32)


@pytest.fixture
def blobs():
    """Two grids of points around the same four centres in 5 dimensions, in bands of different sizes."""
    generator = np.random.default_rng(0)
    centres = 4 * np.eye(5)[:4]

    def grid(height, width, cuts):
        label = np.searchsorted(cuts, np.arange(height), side="right")
        truth = np.broadcast_to(label[:, None], (height, width)).ravel()
        return centres[truth] + 0.1 * generator.normal(size=(height * width, 5)), (height, width), truth

    return grid(16, 20, [3, 7, 12]), grid(12, 24, [2, 6, 9])


def same_partition(one, other) -> bool:
    return (
        len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist())) == len(set(other.tolist()))
    )


def test_clear_clusters_are_found_with_shared_numbers(blobs, monkeypatch):
    monkeypatch.setattr(cosegment, "UNEXPLAINED", 0.05)  # nearly all of the variance is between these clusters
    (a, a_shape, a_truth), (b, b_shape, b_truth) = blobs
    found = cosegment.cluster([a, b], [np.ones(a_shape, bool), np.ones(b_shape, bool)])
    assert same_partition(np.concatenate(found), np.concatenate([a_truth, b_truth]))


def test_the_largest_region_is_the_first(blobs):
    (a, a_shape, _), (b, b_shape, _) = blobs
    labels = cosegment.cluster([a, b], [np.ones(a_shape, bool), np.ones(b_shape, bool)])
    shares = sum(np.bincount(each, minlength=4) / each.size for each in labels)
    assert list(shares) == sorted(shares, reverse=True)


def test_without_a_discount_merging_is_wards_method(monkeypatch):
    monkeypatch.setattr(cosegment, "SHARING", 0.0)
    points = np.random.default_rng(1).normal(size=(30, 4))
    shares = np.zeros((30, 2))
    shares[:15, 0] = shares[15:, 1] = 1 / 15
    merges = cosegment._merge_all(points, shares)
    tree = linkage(points, "ward")
    for count in (2, 5, 11):
        assert same_partition(cosegment._replay(merges, 30, count), fcluster(tree, count, "maxclust"))
    heights = np.sqrt(2 * 15 * np.array([merge.cost for merge in merges]))  # SciPy's are distances of unit weights
    np.testing.assert_allclose(heights, tree[:, 2], rtol=1e-6)


def test_a_region_of_one_photograph_alone_is_merged(blobs):
    (a, a_shape, _), (b, b_shape, _) = blobs
    a = a.copy()
    a[:40] = 30.0  # two rows like nothing in the other photograph
    labels = cosegment.cluster([a, b], [np.ones(a_shape, bool), np.ones(b_shape, bool)])
    assert set(labels[0].tolist()) == set(labels[1].tolist())


@pytest.mark.parametrize("shapes", [((64, 96), (96, 64)), ((40, 33), (200, 90)), ((1, 90), (90, 1))])
def test_any_sizes_give_shared_regions(vgg19_tiny, photograph, shapes):
    pictures = [photograph(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    content, style = cosegment.cosegment(*pictures, vgg19_tiny)
    assert content.names == style.names
    assert 1 <= len(content.names) <= cosegment.MOST
    for each in (content, style):
        assert each.labels.dtype == np.int32 and 0 <= each.labels.min() <= each.labels.max() < len(each.names)


def test_the_same_pictures_give_the_same_regions(vgg19_tiny, photograph):
    pictures = scene(96, 128, 0.4, photograph), scene(96, 96, 0.6, photograph, seed=1)
    first, second = (cosegment.cosegment(*pictures, vgg19_tiny) for _ in range(2))
    np.testing.assert_array_equal(first[0].labels, second[0].labels)
    np.testing.assert_array_equal(first[1].labels, second[1].labels)


def test_one_flat_colour_is_no_reason_to_fail(vgg19_tiny):
    grey = np.full((64, 64, 3), 0.5, np.float32)
    content, style = cosegment.cosegment(grey, grey, vgg19_tiny)
    assert content.names == style.names


def test_sky_and_ground_are_told_apart_along_the_horizon(vgg19_real, photograph):
    pictures = scene(192, 256, 0.4, photograph), scene(256, 192, 0.6, photograph, seed=1)
    for found, horizon in zip(cosegment.cosegment(*pictures, vgg19_real), (0.4, 0.6), strict=True):
        rows = (np.arange(found.labels.shape[0]) + 0.5) / found.labels.shape[0]
        above = set(found.labels[rows < horizon - 0.05].ravel().tolist())
        below = set(found.labels[rows > horizon + 0.05].ravel().tolist())
        assert not above & below


def test_what_is_transparent_takes_no_part(vgg19_tiny, photograph):
    pictures = scene(96, 128, 0.4, photograph), scene(96, 96, 0.6, photograph, seed=1)
    alpha = np.ones((96, 128), np.float32)
    alpha[:, 40:80] = 0  # cuts the picture in two
    covered = []
    for colour in ((1, 0, 1), (0.5, 0.5, 0.5)):
        content = np.where(alpha[..., None] > 0, pictures[0], np.float32(colour))
        covered.append(cosegment.cosegment(pixels.filled(content, alpha), pictures[1], vgg19_tiny, (alpha, None)))
    for one, other in zip(*covered, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(
        cosegment._visible(alpha, jnp.zeros((96, 128, 3)))[0, [0, 6, 12]], [True, False, True]
    )


def test_a_photograph_that_is_hardly_opaque_anywhere_has_regions(vgg19_tiny, photograph):
    pictures = scene(96, 128, 0.4, photograph), scene(96, 96, 0.6, photograph, seed=1)
    opaque = cosegment.cosegment(*pictures, vgg19_tiny)
    faint = cosegment.cosegment(*pictures, vgg19_tiny, (np.full((96, 128), 0.4, np.float32), None))
    np.testing.assert_array_equal(faint[0].labels, opaque[0].labels)
    dot = np.zeros((96, 128), np.float32)
    dot[50, 60] = 1
    (found, _) = cosegment.cosegment(*pictures, vgg19_tiny, (dot, None))
    assert found.labels.shape == opaque[0].labels.shape
