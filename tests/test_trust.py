"""Only what is surely the same kind of thing in both photographs, and does no harm, is paired."""

import numpy as np
import pytest
from segmentations import alike, random_labels, random_similarity, shuffled, stripes

from jpst.recipe import Recipe
from jpst.regions import segment, semantics, trust

BOUNDS = {"noise": Recipe().matched_noise, "gains": Recipe().matched_gains}


def sure(segmentation, confidence=1.0, **by_name):
    """With a confidence for every pixel, another one for some names."""
    levels = np.array([by_name.get(name, confidence) for name in segmentation.names], np.float32)
    return segmentation._replace(confidence=levels[segmentation.labels])


def assert_trusted(regions, content, style):
    """As `assert_sound`, but the rest stands last and may be empty on either side."""
    assert list(regions.names[:-1]) == sorted(set(regions.names[:-1]))
    assert regions.names[-1] in ("everything else", "whole image")
    for side, labels, shares in (
        (content, regions.content, regions.content_share),
        (style, regions.style, regions.style_share),
    ):
        assert labels.shape == side.labels.shape and labels.dtype == np.int32
        assert sum(shares) == pytest.approx(1)
        np.testing.assert_allclose(shares, [np.mean(labels == number) for number in range(len(regions.names))])


def told(regions):
    return {(move.side, move.name): (move.target, move.reason) for move in regions.moves}


def test_labels_of_both_are_paired_and_all_else_follows_the_whole():
    content = sure(stripes(("sky", 40), ("sea", 35), ("grass", 25)))
    style = sure(stripes(("sea", 50), ("sky", 20), ("wall", 30)))
    regions = trust.trusted(content, style, alike({("grass", "wall"): 0.7}))
    assert_trusted(regions, content, style)
    assert regions.names == ("sea", "sky", "everything else")
    assert regions.whole == 2
    assert regions.content_share == pytest.approx((0.35, 0.4, 0.25))
    assert regions.style_share == pytest.approx((0.5, 0.2, 0.3))
    assert told(regions) == {
        ("content", "grass"): ("everything else", "only in the content"),
        ("style", "wall"): ("everything else", "only in the style"),
    }
    assert [move.share for move in regions.moves] == pytest.approx([0.25, 0.3])


def test_people_and_things_are_not_paired():
    both = sure(stripes(("sky", 40), ("person", 60)))
    regions = trust.trusted(both, both, alike({}))
    assert regions.names == ("sky", "everything else")
    assert told(regions)["content", "person"] == (
        "everything else",
        "people, vehicles and things have colours of their own",
    )


def test_without_a_confidence_labels_are_sure():
    content = stripes(("sky", 40), ("sea", 60))
    assert trust.trusted(content, content, alike({})).names == ("sea", "sky", "everything else")


@pytest.mark.parametrize(("side", "rest"), [("content", "style"), ("style", "content")])
def test_what_is_small_in_one_of_them_is_not_paired(side, rest):
    tiny = round(1000 * trust.TRUSTED_SHARE) - 1
    small = sure(stripes(("sky", 1000 - tiny), ("tree", tiny), width=2))
    large = sure(stripes(("sky", 500), ("tree", 500), width=2))
    pair = (small, large) if side == "content" else (large, small)
    regions = trust.trusted(*pair, alike({}))
    assert regions.names == ("sky", "everything else")
    target, reason = told(regions)[rest, "tree"]
    assert target == "everything else"
    assert f"less than 6 % of the {side}" in reason
    just = sure(stripes(("sky", 999 - tiny), ("tree", tiny + 1), width=2))
    assert "tree" in trust.trusted(just, large, alike({})).names


def test_what_is_not_sure_in_one_of_them_is_not_paired():
    doubtful = (trust.KNOWN + trust.TRUSTED_CONFIDENCE) / 2
    content = sure(stripes(("sky", 50), ("sea", 50)), sea=doubtful)
    style = sure(stripes(("sky", 50), ("sea", 50)))
    for pair, side in (((content, style), "content"), ((style, content), "style")):
        regions = trust.trusted(*pair, alike({}))
        assert_trusted(regions, *pair)
        assert regions.names == ("sky", "everything else")
        assert told(regions)["content", "sea"][1].startswith(f"a confidence below 70 % in the {side}")


def test_pixels_that_are_not_sure_count_as_nothing():
    """They neither fill up a region's share nor lower its confidence."""
    content = sure(stripes(("sky", 50), ("sea", 50)))
    unsure = np.zeros((100, 20), bool)
    unsure[70:] = True
    content = content._replace(confidence=np.where(unsure, trust.KNOWN / 2, 1).astype(np.float32))
    style = sure(stripes(("sky", 50), ("sea", 50)))
    regions = trust.trusted(content, style, alike({}))
    assert regions.names == ("sea", "sky", "everything else")
    assert regions.content_share == pytest.approx((0.2, 0.5, 0.3))
    assert (regions.content[unsure] == regions.whole).all()
    content = content._replace(confidence=np.where(unsure | (content.labels == 1), 0, 1).astype(np.float32))
    regions = trust.trusted(content, style, alike({}))
    assert regions.names == ("sky", "everything else")
    assert told(regions)["style", "sea"] == ("everything else", "only in the style")


def test_alike_labels_are_one_region_across_the_sides_too():
    content = sure(stripes(("building", 30), ("house", 20), ("sky", 50)))
    style = sure(stripes(("house", 60), ("sky", 40)))
    regions = trust.trusted(content, style, alike({("building", "house"): 0.82}))
    assert_trusted(regions, content, style)
    assert regions.names == ("building + house", "sky", "everything else")
    assert regions.content_share == pytest.approx((0.5, 0.5, 0))
    assert told(regions)["content", "house"] == ("building + house", "like building (0.82)")
    across = trust.trusted(sure(stripes(("building", 50), ("sky", 50))), style, alike({("building", "house"): 0.82}))
    assert "building + house" in across.names
    apart = trust.trusted(content, style, alike({("building", "house"): 0.82}), threshold=0.83)
    assert {"house", "sky"} < set(apart.names)
    assert told(apart)["content", "building"] == ("everything else", "only in the content")


@pytest.mark.parametrize(
    ("content", "style"),
    [
        (stripes(("sky", 2), ("sea", 2)), stripes(("wall", 2), ("floor", 2))),
        (sure(stripes(("sky", 2), ("sea", 2)), 0.1), sure(stripes(("sky", 2), ("sea", 2)))),
        (sure(stripes(("sky", 2)), 0.0), sure(stripes(("sky", 2)), 0.0)),
        (stripes(("sky", 2)), stripes(("sea", 2))),
    ],
    ids=["nothing in common", "one unsure", "both unsure", "one label each"],
)
def test_nothing_to_trust_is_the_whole_image(content, style):
    regions = trust.trusted(content, style, alike({}))
    assert_trusted(regions, content, style)
    assert regions.names == ("whole image",)
    assert regions.whole is None
    assert {move.target for move in regions.moves} == {"whole image"}
    assert all(move.reason for move in regions.moves)


def test_one_thing_in_both_is_one_region_and_the_rest_may_be_empty():
    both = sure(stripes(("sky", 4)))
    regions = trust.trusted(both, both, alike({}))
    assert regions.names == ("sky", "everything else")
    assert regions.content_share == regions.style_share == (1, 0)
    assert [row.remark for row in semantics.table(regions)] == ["", ""]


@pytest.mark.parametrize("seed", range(30))
def test_trust_does_not_depend_on_order_and_accounts_for_every_pixel(seed):
    rng = np.random.default_rng(2000 + seed)
    names = [f"n{number}" for number in range(6)]
    sides = []
    for _ in range(2):
        found = random_labels(rng, names)
        confidence = rng.choice([0.1, 0.5, 0.7, 1.0], len(names)).astype(np.float32)
        sides.append(found._replace(confidence=confidence[found.labels] * rng.uniform(0.8, 1)))
    similarity = random_similarity(seed, [*names, "unused"])
    regions = trust.trusted(*sides, similarity, threshold=0.9)
    mixed = [
        shuffled(side, seed + 3 * number)._replace(confidence=side.confidence) for number, side in enumerate(sides)
    ]
    again = trust.trusted(*mixed, similarity, threshold=0.9)
    np.testing.assert_array_equal(again.content, regions.content)
    np.testing.assert_array_equal(again.style, regions.style)
    assert (again.names, again.moves) == (regions.names, regions.moves)
    assert_trusted(regions, *sides)
    for name, share, other in zip(regions.names, regions.content_share, regions.style_share, strict=True):
        if name not in ("everything else", "whole image"):
            assert min(share, other) >= trust.TRUSTED_SHARE
    assert all(move.reason and 0 < move.share <= 1 for move in regions.moves)


# --- only where the look of the counterpart does no harm


def scene(top, bottom, ground="earth"):
    """A photograph [60, 80, 3] of textured sky over ground, of these colours, and its labels."""
    texture = np.random.default_rng(5).normal(0, 0.03, (60, 80, 1))
    colours = np.where(np.arange(60)[:, None, None] < 30, np.float64(top), np.float64(bottom))
    found = sure(stripes(("sky", 30), (ground, 30), width=80))
    return np.float32(np.clip(colours + texture, 0, 1)), found


def pair_of(content, style):
    """The photographs, and their trusted regions."""
    return (content[0], style[0]), trust.trusted(content[1], style[1], alike({}))


DAY = scene((0.6, 0.7, 0.9), (0.4, 0.35, 0.2))


def test_a_look_that_keeps_the_order_of_light_and_dark_is_taken():
    photographs, regions = pair_of(DAY, scene((0.9, 0.6, 0.4), (0.5, 0.4, 0.3)))
    found = trust.plausible(regions, *photographs, **BOUNDS)
    np.testing.assert_array_equal(found.content, regions.content)
    np.testing.assert_array_equal(found.style, regions.style)
    assert (found.names, found.moves) == (regions.names, regions.moves)
    assert found.content_share + found.style_share == pytest.approx(regions.content_share + regions.style_share)
    assert regions.names == ("earth", "sky", "everything else")


def test_a_sky_does_not_become_darker_than_what_it_shines_on():
    photographs, regions = pair_of(DAY, scene((0.02, 0.02, 0.05), (0.6, 0.5, 0.3), ground="person"))
    assert regions.names == ("sky", "everything else")
    found = trust.plausible(regions, *photographs, **BOUNDS)
    assert found.names == ("whole image",)
    assert found.content_share == found.style_share == (1,)
    assert not found.content.any() and not found.style.any()
    reasons = told(found)
    assert all(target == "whole image" for target, _ in reasons.values())
    assert all("lighter, or darker" in reasons[side, "sky"][1] for side in ("content", "style"))


def test_a_bright_sky_is_not_given_what_is_no_lighter_than_its_photograph():
    """Not even where no edge would be lost: such a style's sky is probably something else."""
    photographs, regions = pair_of(DAY, scene((0.5, 0.5, 0.55), (0.5, 0.5, 0.4), ground="person"))
    assert regions.names == ("sky", "everything else")
    assert trust.plausible(regions, *photographs, **BOUNDS).names == ("whole image",)


def test_a_pavement_in_the_sun_is_not_given_the_look_of_one_in_the_shade():
    """What is overexposed takes its look from the whole; a white sky is a sky still."""
    sky, pavement = scene((0.99, 0.99, 0.99), (0.5, 0.5, 0.5), ground="sidewalk")
    sunlit = np.s_[45:55, 10:30]
    sky[:30], sky[sunlit] = 1, 1
    photographs, regions = pair_of((sky, pavement), scene((0.8, 0.8, 0.9), (0.4, 0.4, 0.4), ground="sidewalk"))
    found = trust.plausible(regions, *photographs, **BOUNDS)
    assert found.names == ("sidewalk", "sky", "everything else")
    assert (found.content[sunlit] == found.whole).all() and (found.content == found.whole).sum() == 200
    assert found.content_share == pytest.approx((0.5 - 200 / 4800, 0.5, 200 / 4800))


def test_only_the_region_that_does_the_harm_is_given_up():
    texture = np.random.default_rng(5).normal(0, 0.03, (80, 80, 1))

    def photograph(*grey):
        return np.float32(np.clip(np.repeat(np.float64(grey), 20)[:, None, None] + texture, 0, 1).repeat(3, -1))

    content = (
        photograph(0.8, 0.5, 0.3, 0.5),
        sure(stripes(("sky", 20), ("mountain", 20), ("water", 20), ("car", 20), width=80)),
    )
    style = (
        photograph(0.1, 0.45, 0.25, 0.9),
        sure(stripes(("sky", 20), ("mountain", 20), ("water", 20), ("man", 20), width=80)),
    )
    photographs, regions = pair_of(content, style)
    less = trust.plausible(regions, *photographs, **BOUNDS)
    assert less.names == ("mountain", "water", "everything else")
    assert less.whole == 2
    np.testing.assert_array_equal(less.content[:20], 2)
    assert less.content_share == pytest.approx((0.25, 0.25, 0.5))
    assert ("content", "sky") in told(less) and ("style", "sky") in told(less)


def test_what_is_alike_on_both_sides_of_a_border_is_not_moved_apart():
    lake = scene((0.5, 0.6, 0.55), (0.5, 0.6, 0.55), ground="person")
    photographs, regions = pair_of(lake, scene((0.1, 0.3, 0.9), (0.5, 0.4, 0.3), ground="person"))
    assert regions.names == ("sky", "everything else")
    assert trust.plausible(regions, *photographs, **BOUNDS).names == ("whole image",)


@pytest.mark.parametrize(("side", "names"), [(4, ("whole image",)), (0, ("sky", "everything else"))])
def test_a_piece_of_a_sky_that_is_taken_for_something_else_does_not_stand_out(side, names):
    """Seen beside a dog's head, as a smudge: too small a piece for `SPREAD`."""
    sky, labels = scene((0.5, 0.6, 0.55), (0.5, 0.6, 0.55), ground="sky")
    found = labels.labels.copy()
    found[20 : 20 + side, 20 : 20 + side] = len(labels.names)
    content = sky, labels._replace(labels=found, names=(*labels.names, "person"))
    photographs, regions = pair_of(content, scene((0.5, 0.55, 0.7), (0.55, 0.5, 0.45), ground="person"))
    assert regions.names == ("sky", "everything else")
    assert trust.plausible(regions, *photographs, **BOUNDS).names == names


@pytest.mark.parametrize(("height", "names"), [(0.1, ("whole image",)), (0.001, ("earth", "everything else"))])
def test_a_look_that_makes_edges_in_flat_places_is_not_taken(monkeypatch, height, names):
    """Seen where the darkness between the leaves of a tree got the look of sunlit leaves."""
    flat = np.full((60, 80, 3), 0.5, np.float32), sure(stripes(("person", 30), ("earth", 30), width=80))
    waves = height * np.sin(np.arange(80) / 3)[None, :, None]

    def look(content, style, masks, style_masks, noise, parts, gains):
        return np.asarray(content) + waves * np.asarray(parts[0] * parts[1].any())[..., None]

    photographs, regions = pair_of(flat, flat)
    assert regions.names == ("earth", "everything else")
    monkeypatch.setattr(trust, "_base_look", look)
    monkeypatch.setattr(trust, "SPREAD", 100)
    assert trust.plausible(regions, *photographs, **BOUNDS).names == names


def test_members_of_a_region_that_is_given_up_are_told():
    night = scene((0.02, 0.02, 0.05), (0.6, 0.5, 0.3), ground="person")
    content = DAY[0], sure(stripes(("sky", 20), ("sea", 10), ("person", 30), width=80))
    regions = trust.trusted(content[1], night[1], alike({("sky", "sea"): 0.9}))
    assert regions.names == ("sea + sky", "everything else")
    found = trust.plausible(regions, content[0], night[0], **BOUNDS)
    assert found.names == ("whole image",)
    assert {side + " " + name for side, name in told(found)} >= {"content sky", "content sea", "style sky"}


FIELD, SOMETHING = np.float32([0.5, 0.7, 0.9]), np.float32([0.3, 0.25, 0.1])


def sky_with(confidence, colour):
    """Regions of a photograph of sky in which a square of another label has this confidence and colour."""
    labels = np.zeros((48, 64), np.int32)
    labels[36:] = 1
    labels[10:22, 20:36] = 2
    sureness = np.where(labels == 2, confidence, 1.0).astype(np.float32)
    found = segment.Segmentation(labels, ("sky", "tree", "water"), sureness)
    picture = np.where((labels == 0)[..., None], FIELD, colour)
    picture[36:] = 0.2, 0.4, 0.1
    plain = sure(stripes(("sky", 30), ("tree", 30)))
    regions = trust.trusted(found, plain, alike({}))
    return trust.filled(regions, (trust.known(found), plain), (picture, np.full((*plain.labels.shape, 3), 0.5)))


def test_an_unsure_piece_of_a_sky_belongs_to_it():
    regions = sky_with(0.3, FIELD)
    assert (regions.content[:36] == regions.names.index("sky")).all()
    assert regions.content_share == pytest.approx((0.75, 0.25, 0.0))


@pytest.mark.parametrize(("confidence", "colour"), [(0.9, FIELD), (0.3, SOMETHING)])
def test_what_is_sure_or_behind_an_edge_stays_what_it_was(confidence, colour):
    regions = sky_with(confidence, colour)
    assert (regions.content[10:22, 20:36] == regions.whole).all()
    assert (regions.content[:9] == regions.names.index("sky")).all()


def test_regions_without_a_confidence_stay_as_they_are():
    both = stripes(("sky", 40), ("person", 60))
    regions = trust.trusted(both, both, alike({}))
    grey = np.full((*both.labels.shape, 3), 0.5)
    filled = trust.filled(regions, (trust.known(both), trust.known(both)), (grey, grey))
    np.testing.assert_array_equal(filled.content, regions.content)
    assert filled._replace(content=0, style=0) == regions._replace(content=0, style=0)
