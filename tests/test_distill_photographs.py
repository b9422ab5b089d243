"""What our networks learn from: which photographs, and how they are changed."""

import augmentation
import jax
import numpy as np
import photographs
import pytest

from jpst import image


@pytest.fixture
def folder(tmp_path, photograph):
    """Three folders of photographs, one of label maps, and a table of photographs that are kept for measurements."""
    for number, part in enumerate((*photographs.FOLDERS, "labelmefacade-labels")):
        (tmp_path / part).mkdir()
        image.write(tmp_path / part / "wide.jpg", photograph(40, 60, seed=number))
        image.write(tmp_path / part / "high.jpg", photograph(60, 40, seed=number))
    (tmp_path / "pairs.tsv").write_text("number\tcontent\tstyle\n01\tbsds500/wide.jpg\timagenet-sample/high.jpg\n")
    return tmp_path


def test_listed_are_photographs_without_label_maps_and_without_those_kept_apart(folder):
    kept = photographs.excluded(folder / "pairs.tsv")
    assert kept == {"bsds500/wide.jpg", "imagenet-sample/high.jpg"}
    assert photographs.listing(folder, kept) == [
        "bsds500/high.jpg",
        "imagenet-sample/wide.jpg",
        "labelmefacade/high.jpg",
        "labelmefacade/wide.jpg",
    ]


def test_a_photograph_to_leave_out_that_is_not_there_is_an_error(folder):
    with pytest.raises(ValueError, match=r"bsds500/nowhere\.jpg"):
        photographs.listing(folder, ["bsds500/nowhere.jpg"])


def test_the_parts_of_a_split_are_disjoint_have_their_shares_and_depend_on_names_alone():
    names = [f"bsds500/{number}.jpg" for number in range(4000)]
    parts = photographs.split(names)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    for part, share in photographs.SHARES.items():
        assert abs(len(parts[part]) / len(names) - share) < 0.02
    fewer = photographs.split(names[::-3])
    assert all(set(fewer[part]) <= set(parts[part]) for part in parts)


def test_photographs_kept_for_measurements_are_in_no_part(shared):
    kept = photographs.excluded(shared / "wild" / "pairs.tsv")
    parts = photographs.split(photographs.listing(shared / "photos", kept))
    seen = {name for part in parts.values() for name in part}
    assert len(kept) > 40 and len(seen) > 2000
    assert not kept & seen
    assert not any("labels" in name for name in seen)


def test_photographs_are_decoded_once_in_the_shape_nearest_theirs(folder, monkeypatch):
    names, shapes = photographs.listing(folder), ((16, 24), (24, 16))
    groups = photographs.by_shape(folder, names, shapes)
    assert {shape: len(group) for shape, group in groups.items()} == dict.fromkeys(shapes, 3)
    first = photographs.decoded(folder, groups[16, 24], (16, 24), folder / "cache")
    assert (first.shape, first.dtype) == ((3, 16, 24, 3), np.uint8)
    assert np.array_equal(first[1], photographs.read(folder / groups[16, 24][1], (16, 24)))
    monkeypatch.setattr(photographs, "read", lambda *_, **__: pytest.fail("decoded again"))
    assert np.array_equal(first, photographs.decoded(folder, groups[16, 24], (16, 24), folder / "cache"))


def test_crop_keeps_the_ratio_of_things_and_squeeze_keeps_all(tmp_path):
    picture = np.zeros((20, 60, 3), np.float32)
    picture[:, 20:40] = 1  # the middle third
    image.write(tmp_path / "a.png", picture)
    assert photographs.read(tmp_path / "a.png", (20, 20), "crop").min() > 200
    assert abs(photographs.read(tmp_path / "a.png", (20, 20)).mean() - 255 / 3) < 5


def test_augmented_pictures_stay_in_range_differ_and_are_the_same_for_the_same_key(key, photograph):
    picture = jax.numpy.asarray(photograph(32, 48))
    keys = jax.random.split(key, 400)
    changed = np.asarray(jax.jit(jax.vmap(augmentation.augment, (0, None)))(keys, picture))
    assert changed.shape == (400, 32, 48, 3) and changed.dtype == np.float32
    assert changed.min() >= 0 and changed.max() <= 1
    same = (changed == np.asarray(picture)).all((1, 2, 3)).mean()
    assert 0.22 < same < 0.36
    assert np.unique(changed.round(4), axis=0).shape[0] > 250
    again = np.asarray(jax.jit(jax.vmap(augmentation.augment, (0, None)))(keys[:8], picture))
    np.testing.assert_allclose(again, changed[:8], atol=1e-6)


def test_augmented_pictures_are_darker_brighter_grey_and_tinted(key, photograph):
    picture = jax.numpy.asarray(photograph(24, 24))
    keys = jax.random.split(key, 400)
    changed = np.asarray(jax.jit(jax.vmap(augmentation.augment, (0, None)))(keys, picture))
    brightness, colour = changed.mean((1, 2, 3)) / picture.mean(), changed.mean((1, 2))
    assert (brightness < 0.6).mean() > 0.05 and (brightness > 1.15).mean() > 0.04
    assert (np.ptp(changed, axis=-1).max((1, 2)) < 1e-5).mean() > 0.02
    warmth = colour[:, 0] - colour[:, 2]
    assert np.ptp(warmth) > 0.3


def test_a_picture_and_its_label_map_are_flipped_and_cropped_alike(photograph):
    picture = jax.numpy.asarray(photograph(20, 30))
    labels = jax.numpy.round(255 * picture[..., 0]).astype(int)
    turned = set()
    for seed in range(12):
        key = jax.random.key(seed)
        moved, map_moved = (augmentation.flip(key, augmentation.crop(key, x, 8, 12)) for x in (picture, labels))
        assert moved.shape == (8, 12, 3) and map_moved.shape == (8, 12)
        np.testing.assert_array_equal(np.round(255 * moved[..., 0]), map_moved)
        turned.add(bool((augmentation.flip(key, picture) != picture).any()))
    assert turned == {True, False}
