import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segmentations import alike, random_labels, random_similarity, shuffled, stripes

from jpst.masks import of_labels
from jpst.regions import ade20k, appearance, segment, semantics, wordnet
from jpst.regions.segment import Segmentation
from jpst.regions.semantics import Regions

PAIRS = Path(__file__).parents[2] / "shared" / "dpst"

# Shared regions and (orphan, side, new home) of the public pairs where the two masks differ.
MOVES = {
    "02": ("black white", [("green", "style", "black")]),
    "03": ("black white", [("green", "style", "white")]),
    "30": ("blue green red yellow", [("white", "content", "blue"), ("black", "style", "green")]),
}


def likeness(pairs):
    """Similarity from a table {orphan + candidate: value}; 0 elsewhere."""
    return lambda side, orphan, candidate: pairs.get((orphan, candidate), 0.0)


def no_similarity(side, orphan, candidate):
    raise AssertionError("nothing needs to be compared")


def assert_sound(regions: Regions, content, style):
    """What holds whatever came in: the same regions on both sides, every pixel in one of them."""
    count = len(regions.names)
    assert count >= 1
    assert list(regions.names) == sorted(set(regions.names))
    assert regions.content.shape == content.labels.shape
    assert regions.style.shape == style.labels.shape
    for labels, shares in ((regions.content, regions.content_share), (regions.style, regions.style_share)):
        assert labels.dtype == np.int32
        assert len(shares) == count
        if labels.size:
            assert set(np.unique(labels)) == set(range(count))
            np.testing.assert_allclose(shares, [np.mean(labels == number) for number in range(count)])


def test_equal_regions_need_no_comparison():
    content = stripes(("sky", 4), ("sea", 3), ("sand", 3))
    style = stripes(("sand", 5), ("sky", 2), ("sea", 3))
    regions = semantics.match(content, style, no_similarity)
    assert_sound(regions, content, style)
    assert regions.names == ("sand", "sea", "sky")
    assert regions.content_share == pytest.approx((0.3, 0.3, 0.4))
    assert regions.style_share == pytest.approx((0.5, 0.3, 0.2))
    assert regions.moves == ()
    assert regions.content[:, 0].tolist() == [2] * 4 + [1] * 3 + [0] * 3


def test_orphans_of_both_sides_go_to_what_is_most_like_them():
    content = stripes(("sky", 4), ("tree", 3), ("sand", 3))
    style = stripes(("sand", 5), ("sky", 2), ("cloud", 3))
    similarity = likeness({("tree", "sand"): 0.3, ("tree", "sky"): 0.2, ("cloud", "sky"): 0.9})
    regions = semantics.match(content, style, similarity)
    assert_sound(regions, content, style)
    assert regions.names == ("sand", "sky")
    assert regions.content_share == pytest.approx((0.6, 0.4))
    assert regions.style_share == pytest.approx((0.5, 0.5))
    tree, cloud = regions.moves
    assert tree == (
        "tree",
        "content",
        pytest.approx(0.3),
        "sand",
        "only in the content, and most like sand (0.30)",
    )
    assert cloud == (
        "cloud",
        "style",
        pytest.approx(0.3),
        "sky",
        "only in the style, and most like sky (0.90)",
    )


def test_similarity_is_asked_about_the_side_of_the_orphan():
    content = stripes(("a", 5), ("b", 5), ("x", 5))
    style = stripes(("a", 5), ("b", 5), ("y", 5))
    asked = set()

    def similarity(side, orphan, candidate):
        asked.add((side, orphan, candidate))
        return 0.5

    semantics.match(content, style, similarity)
    assert asked == {("content", "x", "a"), ("content", "x", "b"), ("style", "y", "a"), ("style", "y", "b")}


def test_a_region_too_small_on_one_side_is_merged_on_both():
    content = stripes(("sky", 50), ("bird", 20), ("sea", 30))
    style = stripes(("sky", 50), ("bird", 4), ("sea", 46))
    similarity = likeness({("bird", "sky"): 1.0})
    assert semantics.match(content, style, similarity).names == ("bird", "sea", "sky")
    regions = semantics.match(content, style, similarity, minimum_share=0.05)
    assert_sound(regions, content, style)
    assert regions.names == ("sea", "sky")
    assert [(move.side, move.target) for move in regions.moves] == [("content", "sky"), ("style", "sky")]
    assert all("4 % of the style is less than 5 %" in move.reason for move in regions.moves)


def test_a_region_may_go_to_another_home_on_each_side():
    both = stripes(("sky", 9), ("bird", 1), ("sea", 10))
    regions = semantics.match(
        both,
        both,
        lambda side, orphan, candidate: float((side == "content") == (candidate == "sky")),
        minimum_share=0.1,
    )
    assert [(move.side, move.target) for move in regions.moves] == [("content", "sky"), ("style", "sea")]
    assert regions.content_share == pytest.approx((0.5, 0.5))
    assert regions.style_share == pytest.approx((0.55, 0.45))
    assert regions.content[9, 0] == regions.names.index("sky")
    assert regions.style[9, 0] == regions.names.index("sea")


def test_a_share_at_the_minimum_is_enough():
    content = stripes(("sky", 999), ("bird", 1))
    assert semantics.match(content, content, no_similarity).names == ("bird", "sky")
    assert semantics.MINIMUM_SHARE == 0.001


def test_nothing_in_common_is_one_region():
    content, style = stripes(("sky", 4), ("sea", 3)), stripes(("wall", 2), ("floor", 4), width=7)
    regions = semantics.match(content, style, no_similarity)
    assert_sound(regions, content, style)
    assert regions.names == ("whole image",)
    assert regions.content_share == regions.style_share == (1.0,)
    assert {move.name for move in regions.moves} == {"sky", "sea", "wall", "floor"}
    assert all("there is no shared region" in move.reason for move in regions.moves)
    assert {move.target for move in regions.moves} == {"whole image"}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_names_and_labels_has_no_influence(seed):
    content = stripes(("sky", 4), ("tree", 3), ("sand", 3), ("dog", 2))
    style = stripes(("sand", 5), ("sky", 2), ("cloud", 3), ("sea", 2))
    similarity = likeness({("tree", "sand"): 0.5, ("tree", "sky"): 0.5, ("cloud", "sky"): 0.9})
    expected = semantics.match(content, style, similarity)
    regions = semantics.match(shuffled(content, seed), shuffled(style, seed + 50), similarity)
    assert_sound(regions, content, style)
    np.testing.assert_array_equal(regions.content, expected.content)
    np.testing.assert_array_equal(regions.style, expected.style)
    assert (regions.names, regions.moves) == (expected.names, expected.moves)
    assert {move.name: move.target for move in regions.moves}["tree"] == "sand"


def test_labels_of_the_same_name_count_together():
    content = Segmentation(np.array([[0, 1, 2, 2]], np.int32), ("tree", "tree", "sky"))
    regions = semantics.match(content, stripes(("tree", 1), ("sky", 1)), no_similarity)
    assert regions.content.tolist() == [[1, 1, 0, 0]]
    assert regions.content_share == (0.5, 0.5)


EMPTY = Segmentation(np.zeros((0, 5), np.int32), ())
PIXEL = np.zeros((40, 50), np.int32)
PIXEL[3, 4] = 1


@pytest.mark.parametrize(
    ("content", "style", "names"),
    [
        (segment.whole(3, 4), segment.whole(5, 6), ("whole image",)),
        (segment.whole(1, 1), segment.whole(1, 1), ("whole image",)),
        (segment.whole(3, 4), stripes(("sky", 2), ("sea", 3)), ("whole image",)),
        (stripes(("sky", 1)), stripes(("sky", 2), ("sea", 3)), ("sky",)),
        (stripes(("sky", 1)), stripes(("sky", 1)), ("sky",)),
        (Segmentation(PIXEL, ("sky", "bird")), stripes(("sky", 2), ("bird", 3)), ("sky",)),
        (Segmentation(PIXEL[3:4], ("sky", "bird")), stripes(("sky", 2), ("bird", 3)), ("bird", "sky")),
        (Segmentation(PIXEL, ("sky", "bird")), Segmentation(PIXEL, ("sky", "bird")), ("sky",)),
        (Segmentation(PIXEL, ("sky", "bird")), Segmentation(PIXEL, ("bird", "sky")), ("whole image",)),
        (EMPTY, stripes(("sky", 2)), ("whole image",)),
        (stripes(("sky", 2)), EMPTY, ("whole image",)),
        (EMPTY, EMPTY, ("whole image",)),
    ],
)
def test_degenerate_segmentations(content, style, names):
    regions = semantics.match(content, style, lambda *_: 0.0)
    assert_sound(regions, content, style)
    assert regions.names == names
    assert len(semantics.table(regions)) == len(names)


# --- grouping by the meaning of labels


def slow_groups(content, style, similarity, threshold):
    """Steps 1 to 3 of the reference, pixel by pixel: for each side a list of (pixel's name, pixel's group)."""
    before = [[side.names[label] for label in side.labels.ravel()] for side in (content, style)]
    c, s = ([*side] for side in before)

    def adopt(pixels, own, other):
        renamed = []
        for name in pixels:
            if name in other:
                renamed.append(name)
            else:
                best = max(similarity(name, candidate) for candidate in other)
                renamed.append(min(candidate for candidate in other if similarity(name, candidate) == best))
        return renamed

    s = adopt(s, {*s}, {*c})
    c = adopt(c, {*c}, {*s})
    assert {*c} == {*s}
    names = sorted({*c})
    reach = {a: {b for b in names if a == b or similarity(a, b) >= threshold} for a in names}
    for _ in names:
        reach = {a: set.union(*(reach[b] for b in reach[a])) for a in names}
    return [[frozenset(reach[name]) for name in side] for side in (c, s)]


def test_three_steps():
    content = stripes(("building", 4), ("sky", 4), ("tree", 2), ("sea", 2))
    style = stripes(("house", 3), ("sky", 3), ("building", 2), ("palm", 1), ("lake", 1))
    similarity = alike({("building", "house"): 0.82, ("palm", "tree"): 0.9, ("sea", "lake"): 0.6, ("sea", "sky"): 0.1})
    regions = semantics.group(content, style, similarity)
    assert_sound(regions, content, style)
    assert regions.names == ("building", "sea", "sky", "tree")
    assert [(move.name, move.side, move.target) for move in regions.moves] == [
        ("house", "style", "building"),
        ("lake", "style", "sea"),
        ("palm", "style", "tree"),
    ]
    assert regions.moves[0].reason == "only in the style, and most like building (0.82)"
    both = stripes(("building", 4), ("house", 2), ("sky", 4))
    regions = semantics.group(both, both, similarity)
    assert regions.names == ("building + house", "sky")
    assert [(m.name, m.side, m.target, m.reason) for m in regions.moves] == [
        ("building", "content", "building + house", "like house (0.82)"),
        ("house", "content", "building + house", "like building (0.82)"),
        ("building", "style", "building + house", "like house (0.82)"),
        ("house", "style", "building + house", "like building (0.82)"),
    ]
    assert semantics.group(both, both, similarity, threshold=0.83).names == ("building", "house", "sky")


def test_what_only_the_content_has_goes_to_what_the_style_now_has():
    """Step 2 may not choose a label of the content that the style did not come to have."""
    content = stripes(("sky", 4), ("cloud", 3), ("mist", 3))
    style = stripes(("sky", 4), ("smoke", 3))
    similarity = alike({("smoke", "mist"): 0.7, ("cloud", "mist"): 0.5, ("cloud", "sky"): 0.1, ("mist", "sky"): 0.1})
    regions = semantics.group(content, style, similarity)
    assert regions.names == ("mist", "sky")
    assert [(move.name, move.target) for move in regions.moves] == [("cloud", "mist"), ("smoke", "mist")]


def test_no_label_in_common_makes_the_style_take_the_contents():
    content, style = stripes(("sky", 4), ("sea", 4), ("sand", 2)), stripes(("wall", 3), ("floor", 5), ("bed", 2))
    similarity = alike({("wall", "sky"): 0.2, ("floor", "sand"): 0.3, ("bed", "sand"): 0.1, ("sea", "sand"): 0.4})
    regions = semantics.group(content, style, similarity)
    assert_sound(regions, content, style)
    assert regions.names == ("sand", "sky")
    assert regions.style_share == pytest.approx((0.7, 0.3))
    assert regions.content_share == pytest.approx((0.6, 0.4))


def test_likeness_is_passed_on():
    both = stripes(("a", 1), ("b", 1), ("c", 1), ("d", 1))
    regions = semantics.group(both, both, alike({("a", "c"): 0.8, ("c", "d"): 0.9}))
    assert regions.names == ("a + c + d", "b")
    assert {move.name: move.reason for move in regions.moves} == {
        "a": "like c (0.80)",
        "c": "like d (0.90)",
        "d": "like c (0.90)",
    }


def test_small_regions_go_to_the_most_similar_of_the_others_first():
    content = stripes(("sky", 600), ("tree", 390), ("bird", 6), ("plane", 4), width=2)
    style = stripes(("sky", 500), ("tree", 400), ("bird", 100), width=2)
    similarity = alike({("bird", "plane"): 0.9, ("bird", "tree"): 0.3, ("plane", "sky"): 0.2, ("bird", "sky"): 0.1})
    regions = semantics.group(content, style, similarity, minimum_share=0.01)
    assert_sound(regions, content, style)
    assert regions.names == ("sky", "tree")
    assert [(m.name, m.side, m.target, m.reason) for m in regions.moves] == [
        ("bird", "content", "tree", "0.6 % of the content is less than 1 %, and most like tree (0.30)"),
        ("plane", "content", "sky", "0.4 % of the content is less than 1 %, and most like sky (0.20)"),
        ("bird", "style", "tree", "only in the style, and most like tree (0.30)"),
    ]
    unchanged = semantics.group(content, style, similarity, minimum_share=0)
    assert unchanged.names == ("bird", "sky", "tree")
    assert [(move.name, move.target) for move in unchanged.moves] == [("plane", "bird")]


def test_a_chain_of_moves_is_told_in_full():
    content = stripes(("sky", 600), ("house", 200), ("building", 190), ("hut", 5), width=2)
    style = stripes(("sky", 600), ("building", 300), ("house", 100), width=2)
    similarity = alike({("hut", "house"): 0.7, ("building", "house"): 0.82})
    regions = semantics.group(content, style, similarity, minimum_share=0.01)
    hut = next(move for move in regions.moves if move.name == "hut")
    assert hut.target == "building + house"
    assert hut.reason == (
        "0.5 % of the content is less than 1 %, and most like house (0.70); then house: like building (0.82)"
    )
    sky, building = semantics.table(regions)
    assert sky.remark == ""
    assert building.remark.startswith(
        "with building (19.10 % of the content, 30.00 % of the style): like house (0.82); with house (20.10 % of"
    )


def test_the_table_warns_of_regions_too_small_for_a_look():
    content = stripes(("sky", 1999), ("bird", 1))
    regions = semantics.group(content, content, alike({}), minimum_share=0)
    assert [row.remark for row in semantics.table(regions)] == [
        "",
        "only 0.05 % of the content: too small for a style of its own; "
        "only 0.05 % of the style: too small for a style of its own",
    ]
    assert semantics.group(content, content, alike({})).names == ("sky",)


@pytest.mark.parametrize("seed", range(60))
def test_group_equals_a_slow_grouping(seed):
    rng = np.random.default_rng(seed)
    names = [f"n{number}" for number in range(rng.integers(1, 9))]
    content, style = random_labels(rng, names), random_labels(rng, names)
    similarity, threshold = random_similarity(seed, names), float(rng.choice([0.3, 0.8, 1.0, 2.0]))
    regions = semantics.group(content, style, similarity, threshold=threshold, minimum_share=0)
    assert_sound(regions, content, style)
    expected = slow_groups(content, style, similarity, threshold)
    for labels, groups in zip((regions.content, regions.style), expected, strict=True):
        ours = [frozenset(regions.names[label].split(" + ")) for label in labels.ravel()]
        assert ours == groups


@pytest.mark.parametrize("seed", range(30))
def test_group_does_not_depend_on_order_and_accounts_for_every_pixel(seed):
    rng = np.random.default_rng(1000 + seed)
    names = [f"n{number}" for number in range(8)]
    content, style = random_labels(rng, names), random_labels(rng, names)
    similarity, minimum = random_similarity(seed, names), float(rng.choice([0, 0.05, 0.3, 1.0]))
    regions = semantics.group(content, style, similarity, minimum_share=minimum)
    assert_sound(regions, content, style)
    again = semantics.group(shuffled(content, seed), shuffled(style, seed + 7), similarity, minimum_share=minimum)
    np.testing.assert_array_equal(again.content, regions.content)
    np.testing.assert_array_equal(again.style, regions.style)
    assert (again.names, again.moves) == (regions.names, regions.moves)
    for side, segmentation, labels in (("content", content, regions.content), ("style", style, regions.style)):
        homes = {move.name: move.target for move in regions.moves if move.side == side}
        counts = Counter(segmentation.names[label] for label in segmentation.labels.ravel())
        for move in regions.moves:
            if move.side == side:
                assert move.share == pytest.approx(counts[move.name] / segmentation.labels.size)
                assert move.reason
        before = segmentation.labels.ravel()
        for old, new in zip(before, labels.ravel(), strict=True):
            name = segmentation.names[old]
            assert regions.names[new] == homes.get(name, name)


@pytest.mark.parametrize(
    ("content", "style", "names"),
    [
        (stripes(("sky", 1)), stripes(("sky", 3)), ("sky",)),
        (stripes(("sky", 1)), stripes(("sea", 3)), ("sky",)),
        (stripes(("sky", 1), width=1), stripes(("sea", 1), width=1), ("sky",)),
        (stripes(("sky", 1)), stripes(("sea", 3), ("wall", 3)), ("sky",)),
        (stripes(("sea", 3), ("wall", 3)), stripes(("sky", 1)), ("sea",)),
        (Segmentation(PIXEL, ("sky", "person")), stripes(("person", 2), ("sky", 3)), ("sky",)),
        (Segmentation(PIXEL[3:4], ("sky", "person")), stripes(("person", 2), ("sky", 3)), ("person", "sky")),
        (segment.whole(3, 4), stripes(("sky", 2), ("sea", 3)), ("whole image",)),
        (stripes(("sky", 2), ("sea", 3)), segment.whole(3, 4), ("whole image",)),
        (segment.whole(3, 4), segment.whole(1, 1), ("whole image",)),
        (EMPTY, stripes(("sky", 2)), ("whole image",)),
        (stripes(("sky", 2)), EMPTY, ("whole image",)),
        (EMPTY, EMPTY, ("whole image",)),
    ],
)
def test_group_of_degenerate_segmentations(content, style, names):
    regions = semantics.group(content, style, wordnet.by_name())
    assert_sound(regions, content, style)
    assert regions.names == names
    assert len(semantics.table(regions)) == len(names)


def ade20k_labels(path):
    """The classes that people marked in a picture of ADE20K; what they left unmarked is a class of its own."""
    ids = np.array(Image.open(path)).astype(np.int32)
    return Segmentation(ids, ("unlabelled", *ade20k.NAMES))


@pytest.mark.parametrize("measure", ["li", "wup", "wpath"])
def test_labelled_pictures(shared, measure):
    paths = sorted((shared / "ade20k" / "sample" / "annotations").glob("*.png"))
    assert len(paths) == 3
    similarity = wordnet.by_name(measure)

    def with_unlabelled(a, b):
        return 0.0 if "unlabelled" in (a, b) else similarity(a, b)

    for content in map(ade20k_labels, paths):
        for style in map(ade20k_labels, paths):
            regions = semantics.group(content, style, with_unlabelled)
            assert_sound(regions, content, style)
            assert min(*regions.content_share, *regions.style_share) >= semantics.MINIMUM_SHARE


def overlap(labels, number, top, bottom, left, right):
    """The part of a rectangle of the picture, in pixels of the label map, that one label covers: slowly."""
    area = 0.0
    for row, column in np.argwhere(labels == number):
        height = min(bottom, row + 1) - max(top, row)
        width = min(right, column + 1) - max(left, column)
        area += max(height, 0) * max(width, 0)
    return area / ((bottom - top) * (right - left))


@pytest.mark.parametrize("size", [(8, 6), (4, 3), (5, 4), (1, 1), (7, 2), (16, 12), (11, 9)])
def test_masks_are_the_covered_part_of_each_pixel(size):
    labels = np.random.default_rng(0).integers(0, 3, (8, 6)).astype(np.int32)
    masks = of_labels(labels, 4, *size)
    assert masks.dtype == np.float32
    assert masks.shape == (4, *size)
    assert masks.min() >= 0
    np.testing.assert_allclose(masks.sum(axis=0), 1, atol=1e-6)
    assert not masks[3].any()
    y, x = 8 / size[0], 6 / size[1]
    for number in range(3):
        for row, column in np.ndindex(size):
            box = (row * y, (row + 1) * y, column * x, (column + 1) * x)
            assert masks[number, row, column] == pytest.approx(overlap(labels, number, *box), abs=1e-6)


def test_masks_keep_every_region_and_its_share():
    labels = np.random.default_rng(1).integers(0, 6, (131, 97)).astype(np.int32)
    masks = of_labels(labels, 6, 37, 29)
    np.testing.assert_allclose(masks.mean(axis=(1, 2)), np.bincount(labels.ravel()) / labels.size, rtol=1e-5)
    np.testing.assert_allclose(of_labels(labels, 6, 393, 291)[labels[60, 40], 181, 121], 1)


def test_table():
    content = stripes(("sky", 3), ("tree", 2), ("sand", 5), ("dog", 1))
    style = stripes(("sand", 5), ("sky", 5))
    regions = semantics.match(content, style, likeness({("tree", "sand"): 0.25, ("dog", "sand"): 0.5}))
    sand, sky = semantics.table(regions)
    assert sky == ("sky", 27.27, 50.0, "")
    assert sand[:3] == ("sand", 72.73, 50.0)
    assert sand.remark == (
        "with dog (9.09 % of the content): only in the content, and most like sand (0.50); "
        "with tree (18.18 % of the content): only in the content, and most like sand (0.25)"
    )
    assert json.loads(json.dumps([sand._asdict()]))[0]["content"] == 72.73


def read(path):
    return np.array(Image.open(path).convert("RGB"))


def match_pair(folder):
    painted = segment.from_painted(read(folder / "content_seg.png"), read(folder / "style_seg.png"))
    photos = [np.float32(read(folder / f"{side}.png")) / 255 for side in ("content", "style")]
    sides = []
    for segmentation, photo in zip(painted, photos, strict=True):
        labels = segment.fit(segmentation.labels, *photo.shape[:2], source=folder)
        sides.append(segmentation._replace(labels=labels))
    similarity = appearance.similarity(photos[0], sides[0], photos[1], sides[1])
    return sides, semantics.match(*sides, similarity)


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"the public pairs are not at {PAIRS}")
def test_public_pairs_end_with_the_same_regions_on_both_sides():
    folders = sorted(PAIRS.iterdir())
    assert len(folders) >= 24
    for folder in folders:
        sides, regions = match_pair(folder)
        assert_sound(regions, *sides)
        moves = [(move.name, move.side, move.target) for move in regions.moves]
        names, expected = MOVES.get(folder.name, (None, []))
        assert moves == expected, folder.name
        assert names is None or regions.names == tuple(names.split())
        assert min(*regions.content_share, *regions.style_share) >= semantics.MINIMUM_SHARE
