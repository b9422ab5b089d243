"""Regions given other partners by hand: names, label maps and reasons as they are worked out by hand."""

import numpy as np
import pytest
from segmentations import alike, random_labels, random_similarity, stripes
from test_trust import assert_trusted, sure, told

import jpst
from jpst import regions
from jpst.errors import JpstError
from jpst.regions import Found, pairing, semantics, trust


def parts_of(content, style, similarity=None):
    similarity = similarity or alike({})
    known = trust.known(content), trust.known(style)
    return pairing.parts(*known, trust.trusted(content, style, similarity))


@pytest.fixture
def parts():
    """Sky goes with sky; a mountain, a person and a sliver of grass with nothing; water and wall of the style, too."""
    content = sure(stripes(("sky", 400), ("mountain", 300), ("person", 295), ("grass", 5)))
    style = sure(stripes(("sky", 300), ("water", 500), ("wall", 200)))
    return parts_of(content, style)


def areas(made):
    """Shares of content and style by region."""
    return dict(zip(made.names, zip(made.content_share, made.style_share, strict=True), strict=True))


def test_what_can_be_paired_is_what_was_and_what_is_large_enough(parts):
    assert parts.names("content") == ["sky", "mountain", "person"]
    assert parts.names("style") == ["water", "sky", "wall"]
    assert parts.partners == {"sky": "sky", "mountain": None, "person": None}
    rest = parts.content.names.index(semantics.REST)
    np.testing.assert_array_equal(np.unique(parts.content.labels[995:]), [rest])


def test_a_region_gets_the_partner_that_it_is_given(parts):
    made = pairing.repaired(parts, ["mountain=water"])
    assert made.names == ("mountain like water", "sky", "everything else") and made.whole == 2
    assert areas(made) == {
        "mountain like water": pytest.approx((0.3, 0.5)),
        "sky": pytest.approx((0.4, 0.3)),
        "everything else": pytest.approx((0.3, 0.2)),
    }
    np.testing.assert_array_equal(made.content[:, 0], np.repeat([1, 0, 2], (400, 300, 300)))
    np.testing.assert_array_equal(made.style[:, 0], np.repeat([1, 0, 2], (300, 500, 200)))
    assert told(made)["content", "mountain"] == ("mountain like water", "chosen by hand")
    assert told(made)["style", "water"] == ("mountain like water", "chosen by hand")
    things = "people, vehicles and things have colours of their own"
    assert told(made)["content", "person"] == ("everything else", things)


def test_regions_with_one_partner_are_one_region(parts):
    made = pairing.repaired(parts, ["mountain=sky", "person = wall"])
    assert made.names == ("mountain + sky like sky", "person like wall", "everything else")
    assert areas(made)["mountain + sky like sky"] == pytest.approx((0.7, 0.3))
    assert areas(made)["everything else"] == pytest.approx((0.005, 0.5))


def test_none_gives_a_region_the_look_of_the_whole(parts):
    made = pairing.repaired(parts, ["sky=none", "mountain=sky"])
    assert made.names == ("mountain like sky", "everything else")
    assert areas(made)["mountain like sky"] == pytest.approx((0.3, 0.3))
    assert told(made)["content", "sky"] == ("everything else", "chosen by hand")
    alone = pairing.repaired(parts, ["sky=none"])
    assert alone.names == ("whole image",) and alone.whole is None
    assert not alone.content.any() and not alone.style.any()
    assert told(alone)["content", "sky"] == ("whole image", "chosen by hand")


def test_what_was_joined_stays_joined():
    content = sure(stripes(("tree", 30), ("plant", 30), ("sky", 40)))
    style = sure(stripes(("tree", 60), ("sky", 40)))
    made = pairing.repaired(parts_of(content, style, alike({("plant", "tree"): 0.9})), ["plant + tree=sky", "sky=none"])
    assert made.names == ("plant + tree like sky", "everything else")
    assert areas(made)["plant + tree like sky"] == pytest.approx((0.6, 0.4))
    assert told(made)["content", "plant"] == ("plant + tree like sky", "like tree (0.90)")


def test_what_is_not_sure_cannot_be_paired():
    content = sure(stripes(("sky", 50), ("sea", 50)), sea=trust.KNOWN - 0.01)
    assert parts_of(content, sure(stripes(("sky", 100)))).names("content") == ["sky"]


def test_clusters_can_be_paired_otherwise(photograph):
    """Where every label has a partner there is no rest until a region is given up."""
    content, style = stripes(("region 1", 60), ("region 2", 40)), stripes(("region 1", 30), ("region 2", 70))
    parts = pairing.parts(content, style, semantics.match(content, style, lambda *_: 0.0))
    made = pairing.repaired(parts, ["region 1=region 2", "region 2=region 1"])
    assert made.names == ("region 1 like region 2", "region 2 like region 1", "everything else")
    assert areas(made)["region 1 like region 2"] == pytest.approx((0.6, 0.7))
    assert pairing.repaired(parts, ["region 1=none"]).names == ("region 2", "everything else")


def test_no_pairs_are_the_automatic_ones_and_changes_say_only_what_differs(parts):
    same = pairing.repaired(parts, ["sky=sky", "mountain=none"])
    assert same.names == parts.automatic.names and set(same.moves) == set(parts.automatic.moves)
    np.testing.assert_array_equal(same.content, parts.automatic.content)
    np.testing.assert_array_equal(same.style, parts.automatic.style)
    assert pairing.changes(parts, parts.partners) == ()
    assert pairing.changes(parts, parts.partners | {"sky": None, "person": "sky"}) == ("person=sky", "sky=none")


@pytest.mark.parametrize("seed", range(40))
def test_any_pairs_of_any_labels_are_sound(seed):
    rng = np.random.default_rng(seed)
    names = ("sky", "tree", "grass", "person", "wall", "water")
    content, style = (sure(random_labels(rng, names)) for _ in range(2))
    parts = parts_of(content, style, random_similarity(seed, names))
    partners = {name: rng.choice([*parts.names("style"), None]) for name in parts.names("content")}
    made = pairing.repaired(parts, pairing.changes(parts, partners))
    assert_trusted(made, content, style)
    for name, partner in partners.items():
        [home] = np.unique(made.content[parts.content.labels == parts.content.names.index(name)])
        if partner is None:
            assert made.names[home] in ("everything else", "whole image")
        else:
            [other] = np.unique(made.style[parts.style.labels == parts.style.names.index(partner)])
            assert home == other and home != made.whole
    assert semantics.table(made)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (("see=sky",), r"the content photograph has no region 'see'; its regions are sky, mountain, person\."),
        (("mountin=sky",), r"Did you mean mountain\?"),
        (("sky=lake",), r"the style photograph has no region 'lake'; its regions are water, sky, wall"),
        (("sky=wall", "sky=none"), "sky is given two partners"),
    ],
)
def test_impossible_pairs_are_refused(parts, pairs, words):
    with pytest.raises(JpstError, match=words):
        pairing.repaired(parts, pairs)


def test_painted_masks_and_no_regions_cannot_be_paired(parts):
    for segmenter, words in (("masks", "There are masks and `pairs`"), ("none", "there are no regions to pair")):
        with pytest.raises(JpstError, match=words):
            regions.repaired(Found(parts.automatic, segmenter, "Each photograph is one region."), ("sky=none",))


def test_a_transfer_takes_pairs_and_stays_projected(folder, narrow_network):
    """Through the public interface: the job's regions are the changed ones."""
    paths = folder / "content.png", folder / "style.jpg"
    recipe, _ = jpst.preset("preview", segmenter="cluster", size=96)
    found = jpst.plan(*paths, recipe=recipe).found
    first = found.parts.names("content")[0]
    changed, _ = jpst.preset("preview", segmenter="cluster", size=96, pairs=(f"{first}=none",))
    job = jpst.plan(*paths, recipe=changed)
    assert job.projected and first not in job.found.regions.names
    assert job.found.note == found.note
    made, usual = (jpst.stylize(*paths, recipe=each).photograph.pixels for each in (changed, recipe))
    assert np.abs(made - usual).max() > 1 / 255
