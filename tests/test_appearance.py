import numpy as np
import pytest
from segmentations import shuffled, stripes

from jpst.regions import appearance, semantics
from jpst.regions.segment import MaskError, Segmentation


def sunset():
    """A photograph in which only the height tells the dark sky from the dark ground."""
    photo = np.full((60, 20, 3), 0.1, np.float32)
    photo[25:35] = (0.9, 0.5, 0.1)
    return photo


def test_colour_and_height_count():
    photo = sunset()
    content = stripes(("sky", 20), ("cloud", 5), ("sun", 10), ("ground", 25))
    similarity = appearance.similarity(photo, content, photo, content)
    assert similarity("content", "sky", "sky") == 1.0
    assert similarity("content", "cloud", "sky") > similarity("content", "cloud", "ground")
    assert similarity("content", "cloud", "ground") > similarity("content", "cloud", "sun")
    # Equal colours: only the heights of the middle rows, 10 / 60 and 47.5 / 60, are apart.
    assert similarity("content", "sky", "ground") == pytest.approx(1 / (1 + 37.5 / 60))


def test_a_tall_photograph():
    both = stripes(("top", 500), ("bottom", 500), width=2)
    similarity = appearance.similarity(np.zeros((1000, 2, 3)), both, np.zeros((1000, 2, 3)), both)
    assert similarity("style", "top", "bottom") == pytest.approx(1 / 1.5)


def test_black_and_white_at_one_height_is_a_half():
    labels = np.repeat(np.array([[0, 1]], np.int32), 300, axis=0)
    photo = np.repeat(labels[..., None], 3, axis=-1).astype(np.float32)
    both = Segmentation(labels, ("left", "right"))
    similarity = appearance.similarity(photo, both, photo, both)
    assert similarity("style", "left", "right") == pytest.approx(0.5, abs=1e-3)


def test_the_photograph_of_the_orphan_is_looked_at():
    content, style = stripes(("sky", 10), ("sea", 10)), stripes(("sky", 10), ("mist", 10), ("sea", 10))
    bright, dark = np.ones((20, 20, 3), np.float32), np.zeros((30, 20, 3), np.float32)
    dark[20:] = 1
    regions = semantics.match(content, style, appearance.similarity(bright, content, dark, style))
    assert regions.moves[0].target == "sky"
    dark[10:20] = 1
    regions = semantics.match(content, style, appearance.similarity(bright, content, dark, style))
    assert regions.moves[0].target == "sea"


def test_photographs_have_the_size_of_the_labels():
    content = stripes(("sky", 10))
    with pytest.raises(MaskError, match=r"style label map: expected \[9, 20\].*got \[10, 20\].*segment\.fit"):
        appearance.similarity(np.ones((10, 20, 3)), content, np.ones((9, 20, 3)), content)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_names_and_labels_has_no_influence(seed):
    random = np.random.default_rng(seed)
    photos = random.random((2, 30, 20, 3)).astype(np.float32)
    labels = random.integers(0, 5, (2, 30, 20)).astype(np.int32)
    content, style = Segmentation(labels[0], tuple("abcde")), Segmentation(labels[1], tuple("cdefg"))
    results = []
    for c, s in ((content, style), (shuffled(content, seed), shuffled(style, seed + 9))):
        results.append(semantics.match(c, s, appearance.similarity(photos[0], c, photos[1], s)))
    np.testing.assert_array_equal(results[0].content, results[1].content)
    assert results[0].moves == results[1].moves
    assert len(results[0].moves) == 4
