"""Metrics against their definitions and against what they must say of plain cases."""

import numpy as np
import pytest
from skimage import filters
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from jpst import metrics


def test_edge_ssim_is_scikit_images_ssim_of_sobel_magnitudes(photograph):
    content, other = photograph(40, 50), photograph(40, 50, seed=1)
    edges = [
        filters.sobel(image @ np.array([0.2126, 0.7152, 0.0722]).astype(image.dtype)) for image in (content, other)
    ]
    expected = structural_similarity(*edges, data_range=1.0)
    assert metrics.edge_ssim(content, other) == pytest.approx(expected, abs=1e-5)
    assert metrics.edge_ssim(content, content) == pytest.approx(1.0)


def test_style_distance_is_zero_for_the_style_itself_and_follows_its_definition(photograph, soft_masks, vgg19_tiny):
    content, style, masks = photograph(48, 64), photograph(48, 64, seed=1), soft_masks(48, 64)
    own, target = (metrics.region_grams(image, masks, vgg19_tiny) for image in (content, style))
    assert metrics.style_distance(target, target) == 0.0
    expected = np.mean(
        [
            np.mean((np.asarray(a) - np.asarray(b)) ** 2) / np.mean(np.asarray(b) ** 2)
            for name in own
            for a, b in zip(own[name], target[name], strict=True)
        ]
    )
    assert metrics.style_distance(own, target) == pytest.approx(expected, rel=1e-4)


def test_a_regions_gram_does_not_depend_on_its_area(photograph, vgg19_tiny):
    image = np.tile(np.full((1, 1, 3), 0.4, np.float32) + photograph(1, 1) * 0, (64, 96, 1))
    small, large = (np.stack([np.arange(96) < edge] * 64).astype(np.float32)[None] for edge in (32, 64))
    grams = [metrics.region_grams(image, masks, vgg19_tiny)["relu1_1"] for masks in (small, large)]
    np.testing.assert_allclose(grams[0], grams[1], rtol=0.1)  # the image's border is a larger part of the small one


def test_newly_clipped_counts_pixels_that_the_content_had_not_clipped():
    content, picture = np.full((10, 10, 3), 0.5), np.full((10, 10, 3), 0.5)
    picture[0, :, 0] = 1.0
    picture[1, :4] = 0.0
    content[1, :2, 1] = 0.001  # rounds to 0 in 8 bits: was clipped before
    assert metrics.newly_clipped(content, picture) == pytest.approx(0.12)
    assert metrics.newly_clipped(picture, picture) == 0.0


def test_one_look_keeps_together_what_was_alike_and_different_looks_do_not(photograph):
    """By dE2000 of flat colours, where means are the colours themselves."""
    grey, wall = np.full((20, 30, 3), 0.5), np.full((20, 30, 3), (0.7, 0.4, 0.3))
    first, second = np.concatenate([grey, wall]), np.concatenate([wall, grey[:10]])
    warm, cold = np.array([0.1, 0.0, -0.1]), np.array([-0.1, 0.0, 0.1])
    same = metrics.consistency([first, second], [first + warm, second + warm])
    assert same == pytest.approx((0.0, 0.0, 1.0), abs=1e-9)
    found = metrics.consistency([first, second], [first + warm, second + cold])
    apart = [deltaE_ciede2000(rgb2lab(each[0, 0] + warm), rgb2lab(each[0, 0] + cold)) for each in (grey, wall)]
    assert found.before == pytest.approx(0, abs=1e-9)
    assert found.after == pytest.approx((300 * apart[0] + 600 * apart[1]) / 900)
    series = metrics.consistency([first, second, second], [first + warm, second + cold, second + cold])
    assert series.after == pytest.approx(found.after / 2), "the other two neighbours are alike"
    assert metrics.consistency([grey, wall], [grey, wall]) is None
    assert metrics.consistency([grey, np.concatenate([grey, wall])], [grey, first]).shared == pytest.approx(2 / 3)


def test_a_lut_is_as_consistent_as_the_photographs(photograph):
    """Two halves of a photograph share colours, though no two pixels need be equal."""
    whole = photograph(120, 160).astype(np.float64)
    halves = [whole[:, ::2], whole[:, 1::2]]
    curve = lambda picture: 0.1 + 0.8 * picture[..., [1, 0, 2]] ** 1.2  # noqa: E731
    one = metrics.consistency(halves, [curve(each) for each in halves])
    assert 0 < one.after < 1.5 * one.before + 0.1
    other = metrics.consistency(halves, [curve(halves[0]), 0.9 * curve(halves[1])])
    assert other.before == one.before and other.after > one.after + 2
