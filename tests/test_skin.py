"""Skin stays skin, whatever the look; and nothing else changes."""

import numpy as np
import pytest
from scipy.optimize import nnls

from jpst import skin
from jpst.colours import AXES

MONK_SCALE = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
"""the ten tones of the Monk Skin Tone Scale (Google, 2022), sRGB"""
TONES = np.float32([[int(tone[at : at + 2], 16) / 255 for at in (0, 2, 4)] for tone in MONK_SCALE])
PORTRAIT = TONES[3:8]  # neither nearly white nor nearly black


def bands(colours, side=24):
    """A picture with a band for each colour, a little noisy."""
    noise = np.random.default_rng(2).normal(0, 0.004, (side * len(colours), 60, 3))
    return np.float32(np.clip(np.repeat(np.float32(colours), side, 0)[:, None] + noise, 0, 1))


def hues(picture):
    chromas = (picture @ AXES.T)[..., 1:]
    return np.arctan2(chromas[..., 1], chromas[..., 0])


@pytest.fixture
def face():
    """A picture of five tones of skin, and that there are people everywhere."""
    picture = bands(PORTRAIT)
    return picture, np.ones(picture.shape[:2], np.float32)


@pytest.mark.parametrize("gains", [(0.6, 1.1, 0.5), (0.7, 0.75, 1.1), (0.85, 0.7, 1.0)])
def test_green_blue_and_mauve_skin_gets_hues_of_skin(face, gains):
    content, people = face
    grey = np.full_like(content, 0.5)
    people[60:] = 0
    result = np.where(people[..., None] > 0, content * np.float32(gains), grey)
    healthy = skin.kept(content, result, people)
    np.testing.assert_allclose((healthy @ AXES.T)[..., 0], (result @ AXES.T)[..., 0], atol=1e-5)
    margin = np.deg2rad(5)
    least, most = (bound(hue, hues(content)) for bound, hue in zip((np.minimum, np.maximum), skin.HUES, strict=True))

    def share(picture):
        return np.mean(((hues(picture) > least - margin) & (hues(picture) < most + margin))[:50])

    assert share(healthy) > 0.97 and share(result) < 0.1


def test_the_same_photograph_stays_as_it_is(face):
    content, people = face
    np.testing.assert_allclose(skin.kept(content, content, people), content, atol=1e-6)


def test_a_warmer_light_and_a_darker_one_stay(face):
    content, people = face
    for gains in ((1.0, 0.92, 0.8), (0.6, 0.56, 0.5)):
        result = content * np.float32(gains)
        np.testing.assert_allclose(skin.kept(content, result, people), result, atol=0.02)


def test_at_dusk_a_face_may_be_blue(face):
    """Less is changed where the whole picture is blue than where the face alone is."""
    content, people = face
    people[60:] = 0
    blue = content * np.float32([0.7, 0.85, 1.2])
    alone = np.where(people[..., None] > 0, blue, np.full_like(content, 0.4))
    dusk = np.where(people[..., None] > 0, blue, np.float32([0.3, 0.4, 0.6]))
    changes = [np.abs(skin.kept(content, result, people) - result)[:50].mean() for result in (alone, dusk)]
    assert changes[1] < 0.7 * changes[0]


def test_what_is_no_skin_or_no_person_stays(face):
    content, people = face
    result = content * np.float32([0.6, 1.1, 0.5])
    np.testing.assert_array_equal(skin.kept(content, result, np.zeros_like(people)), result)
    clothes = bands([(0.1, 0.4, 0.2), (0.2, 0.2, 0.7), (0.9, 0.9, 0.9), (0.05, 0.04, 0.03), (0.6, 0.3, 0.7)])
    changed = clothes * np.float32([0.6, 1.1, 0.5])
    np.testing.assert_allclose(skin.kept(clothes, changed, people), changed, atol=0.01)


def test_every_tone_of_skin_is_taken_for_skin():
    likeness = skin.likeness((TONES @ AXES.T)[None])[0]
    assert (likeness[3:8] > 0.9).all() and (likeness[:3] > 0).all()


def test_the_nearest_chromas_are_those_of_least_squares():
    """A point of a cone is a non-negative combination of its rays."""
    rng = np.random.default_rng(6)
    chromas = rng.normal(0, 0.2, (200, 1, 2))
    low = rng.uniform(-1, 1, (200, 1))
    high = low + rng.uniform(0.1, 2.5, (200, 1))
    found = skin.nearest(chromas, low, high)
    for chroma, one, other, near in zip(chromas[:, 0], low[:, 0], high[:, 0], found[:, 0], strict=True):
        rays = np.array([[np.cos(one), np.cos(other)], [np.sin(one), np.sin(other)]])
        np.testing.assert_allclose(near, rays @ nnls(rays, chroma)[0], atol=1e-9)


def test_no_edge_grows_where_the_content_has_none():
    """Of one tone in the content: neighbours come nearer or stay as far apart as they were."""
    content = np.broadcast_to(PORTRAIT[2], (40, 60, 3)).astype(np.float32)
    result = np.float32(np.random.default_rng(1).uniform(0.2, 0.8, (40, 60, 3)))
    healthy = skin.kept(content, result, np.ones((40, 60), np.float32))
    for axis in (0, 1):
        before, after = (np.linalg.norm(np.diff(each @ AXES.T, axis=axis), axis=-1) for each in (result, healthy))
        assert (after <= before + 1e-5).all()
