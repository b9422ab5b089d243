"""Where the regions of a transfer come from, and that both photographs end with the same ones."""

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import reference

from jpst import image, pixels, regions, weights
from jpst.image import Photograph
from jpst.masks import refine
from jpst.masks import soft_masks as soft_masks_of
from jpst.models import pspnet
from jpst.recipe import Recipe
from jpst.regions import ade20k, labelling, segment, semantics
from jpst.regions.segment import MaskError
from jpst.weights import Loaded, Provenance


@pytest.fixture
def photographs(photograph):
    return Photograph(photograph(60, 80), None, 8), Photograph(photograph(48, 64, seed=1), None, 8)


@pytest.fixture
def scene_network(monkeypatch):
    """A narrow PSPNet with random weights in place of a published one."""
    loaded = Loaded(pspnet.init(0, "mmseg", 4), Provenance("narrow", "0" * 64))
    monkeypatch.setattr(weights, "find", lambda network: object() if network == "pspnet" else None)
    monkeypatch.setattr(weights, "load", lambda network, path=None: {"pspnet": loaded}[network])


def find(photographs, masks, recipe, vgg19=None):
    """The regions of a transfer with these choices."""
    way = regions.choose(tuple(each.pixels for each in photographs), masks or (None, None), recipe)
    return regions.find(photographs, way, recipe, vgg19=vgg19)


@pytest.fixture
def no_scene_network(monkeypatch, vgg19_tiny, narrow_scene_head):
    """Nothing is here but VGG19 and the scene head that comes with the package, both narrow."""
    monkeypatch.setattr(weights, "find", lambda network: None)
    loaded = Loaded(vgg19_tiny, Provenance("tiny", "0" * 64))
    monkeypatch.setattr(weights, "load", lambda network, path=None: {"vgg19": loaded}[network])


@pytest.mark.parametrize(
    ("here", "chosen"),
    [
        (("pspnet", "deeplab", "vgg19"), "pspnet"),
        (("deeplab", "vgg19"), "deeplab"),
        (("vgg19",), "scene"),
        ((), "scene"),
    ],
)
def test_auto_takes_masks_then_the_best_scene_network_that_is_here(monkeypatch, here, chosen):
    recipe, masks = Recipe(), (np.zeros((4, 4, 3), np.uint8),) * 2
    monkeypatch.setattr(weights, "find", lambda network: object() if network in here else None)
    assert regions.choose(("a.png", "b.png"), masks, recipe).segmenter == "masks"
    assert regions.choose(("a.png", "b.png"), (None, None), recipe).segmenter == chosen
    for name in ("cluster", "none", "pspnet", "deeplab", "scene"):
        way = regions.choose(("a.png", "b.png"), (None, None), Recipe(segmenter=name))
        assert way.segmenter == name, "asked for by name it is never replaced"


def test_our_own_head_says_so_and_what_keeps_deeplab_away(photographs, no_scene_network):
    found = find(photographs, None, Recipe())
    assert found.segmenter == "scene" and found.checkpoint is not None
    assert found.note == (
        "Regions from the scene head that comes with jpst (tiny-scene-head). DeepLab is missing, and JPST_OFFLINE is "
        "set."
    )
    asked = find(photographs, None, Recipe(segmenter="scene"))
    assert "JPST_OFFLINE" not in asked.note, "who asked for it misses nothing"


def test_features_of_another_vgg19_are_one_region_or_an_error(photographs, no_scene_network, vgg19_tiny):
    other = {**vgg19_tiny, "preprocessing": {"scale": np.full(3, 4.4, np.float32), "offset": np.zeros(3, np.float32)}}
    found = find(photographs, None, Recipe(), other)
    assert (found.segmenter, found.checkpoint) == ("none", None)
    assert found.note.startswith("Each photograph is one region. scene-head: expected Oxford's VGG19")
    with pytest.raises(labelling.FeaturesError, match="jpst weights fetch vgg19"):
        find(photographs, None, Recipe(segmenter="scene"), other)


def test_clusters_are_regions_that_both_photographs_have(photographs, no_scene_network):
    found = find(photographs, None, Recipe(segmenter="cluster"))
    assert found.segmenter == "cluster"
    assert len(found.regions.content_share) == len(found.regions.style_share) == len(found.regions.names)
    assert min(found.regions.content_share + found.regions.style_share) > 0


@pytest.mark.parametrize("mode", ["refined", "paper"])
def test_scene_classes_become_regions_and_their_checkpoint_is_named(photographs, scene_network, mode):
    found = find(photographs, None, Recipe(scene_mode=mode))
    assert found.segmenter == "pspnet"
    assert found.checkpoint == Provenance("narrow", "0" * 64)
    assert found.note == "Regions from PSPNet (narrow)."
    words = {word for name in found.regions.names for word in name.split(" + ")}
    assert words <= {*ade20k.NAMES, semantics.REST, segment.WHOLE}
    for labels, photograph in zip((found.regions.content, found.regions.style), photographs, strict=True):
        assert labels.shape == (photograph.pixels.shape[:2] if mode == "paper" else (256, 384))
        assert labels.min() >= 0 and labels.max() < len(found.regions.names)
    assert (found.people is None) == (mode == "paper")
    assert mode == "paper" or (found.people.shape == (256, 384) and 0 <= found.people.min() <= found.people.max() <= 1)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("shape", [(60, 80), (1, 50)])
def test_pspnets_labels_of_any_photograph(photograph, scene_network, paper, shape):
    found = labelling.label(photograph(*shape), "pspnet", labelling.load("pspnet"), paper=paper).segmentation
    assert found.labels.shape == (shape if paper else pixels.common_size(*shape, 384, 16))
    assert found.names == ade20k.NAMES
    assert (found.confidence is None) == paper


@pytest.mark.parametrize("segmenter", ["pspnet", "cluster"])
def test_one_photograph_alone_is_labelled_at_its_own_size(
    photograph, scene_network, vgg19_tiny, monkeypatch, segmenter
):
    if segmenter == "cluster":
        monkeypatch.setattr(weights, "load", lambda _: Loaded(vgg19_tiny, Provenance("tiny", "0" * 64)))
    found = regions.alone(photograph(60, 80), segmenter)
    assert found.labels.shape == (60, 80) and found.labels.dtype == np.int32
    if segmenter == "pspnet":
        assert found.confidence is not None and found.confidence.shape == (60, 80)
        assert found.confidence.min() > 0 and found.confidence.max() <= 1
    else:
        assert found.confidence is None


def test_none_is_one_region(photographs):
    found = find(photographs, None, Recipe(segmenter="none"))
    assert len(found.regions.names) == 1


def test_one_mask_alone_is_refused():
    with pytest.raises(MaskError, match="no mask for the style"):
        regions.choose(("a.png", "b.png"), ("a_seg.png", None), Recipe())


def test_masks_and_another_segmenter_are_refused():
    with pytest.raises(MaskError, match="which shall it be"):
        regions.choose(("a.png", "b.png"), ("a_seg.png", "b_seg.png"), Recipe(segmenter="cluster"))


def test_masks_beside_the_photographs_do_not_hinder_another_segmenter(tmp_path):
    for name in ("a", "b"):
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / f"{name}_seg.png")
    pair = tmp_path / "a.jpg", tmp_path / "b.jpg"
    way = regions.choose(pair, (None, None), Recipe())
    assert (way.segmenter, way.masks) == ("masks", (tmp_path / "a_seg.png", tmp_path / "b_seg.png"))
    way = regions.choose(pair, (None, None), Recipe(segmenter="cluster"))
    assert (way.segmenter, way.masks) == ("cluster", None)


def halves(path, low, high, mode="L", palette=None):
    """A mask of two halves of such values, 60 x 80."""
    values = np.full((60, 80), low, np.uint8)
    values[:, 40:] = high
    mask = PIL.Image.fromarray(values)
    if mode == "P":
        mask.putpalette(bytes(palette))
    mask.save(path)
    return path


@pytest.mark.parametrize(
    ("low", "high", "mode", "palette"),
    [
        (0, 1, "L", None),
        (0, 255, "L", None),
        (0, 1, "P", bytes(768)),
        (7, 9, "P", bytes(768)),
        (0, 1, "P", b"\0\0\0\3\3\3"),
    ],
)
def test_masks_of_two_values_are_two_regions(photographs, tmp_path, low, high, mode, palette):
    masks = [halves(tmp_path / f"{name}.png", low, high, mode, palette) for name in "ab"]
    photographs = photographs[0], photographs[0]
    found = find(photographs, (masks[0], masks[1]), Recipe())
    assert found.regions.content_share == found.regions.style_share == (0.5, 0.5)
    assert "single region" not in found.note


def test_an_indexed_map_and_a_grey_one_are_matched_by_value(photographs, tmp_path):
    masks = halves(tmp_path / "a.png", 0, 1, "P", bytes(768)), halves(tmp_path / "b.png", 1, 0)
    found = find((photographs[0], photographs[0]), masks, Recipe())
    assert found.regions.names == ("label 0", "label 1")
    np.testing.assert_array_equal(found.regions.content, found.regions.style[:, ::-1])


def test_own_label_maps_are_taken_exactly(photographs, tmp_path):
    labels = np.arange(80)[None].repeat(60, 0) // 20 * 7  # 0, 7, 14, 21
    palette = np.array([each.colour for each in ade20k.CLASSES], np.uint8)
    image.write_labels(tmp_path / "a.png", labels, palette)
    found = find((photographs[0], photographs[0]), (tmp_path / "a.png",) * 2, Recipe())
    assert found.regions.content_share == (0.25,) * 4
    np.testing.assert_array_equal(
        np.unique(found.regions.content + 100 * labels), np.unique(found.regions.content[0] + 100 * labels[0])
    )


def test_masks_of_a_single_region_say_so(photographs, tmp_path):
    masks = halves(tmp_path / "a.png", 9, 9), halves(tmp_path / "b.png", 9, 9)
    assert "They show a single region." in find((photographs[0], photographs[0]), masks, Recipe()).note


def test_a_mask_beside_one_photograph_only_is_told(tmp_path, monkeypatch):
    def told(photographs, masks=(None, None), **choices):
        return regions.choose(photographs, masks, Recipe(**choices)).note

    monkeypatch.setattr(weights, "find", lambda network: object())  # nothing to tell of networks that are missing
    pair = tmp_path / "a.jpg", tmp_path / "b.jpg"
    assert told(pair) == ""
    mask = halves(tmp_path / "a_seg.png", 0, 1)
    assert told(pair) == f"The mask {mask} is not used: there is none for the style photograph."
    assert "none for the content photograph" in told(pair[::-1])
    assert told(pair, segmenter="none") == ""
    assert told(pair, (mask, mask)) == ""
    halves(tmp_path / "b_seg.png", 0, 1)
    assert told(pair) == ""


def edge(position: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.broadcast_to(np.arange(width) >= position, (height, width)).astype(np.float32)


def two(mask: np.ndarray) -> np.ndarray:
    return np.stack([1 - mask, mask])


def test_refined_masks_stay_a_partition_and_unchanged_far_from_their_edges(photograph, soft_masks):
    masks, image = soft_masks(24, 32), photograph(24, 32)
    refined = np.asarray(refine(jnp.asarray(masks), jnp.asarray(image), 2, 1e-3))
    assert refined.min() >= 0
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    hard = two(edge(16))
    refined = np.asarray(refine(jnp.asarray(hard), jnp.asarray(image), 2, 1e-3))
    np.testing.assert_allclose(refined[..., :11], hard[..., :11], atol=1e-5)
    np.testing.assert_allclose(refined[..., 21:], hard[..., 21:], atol=1e-5)


def test_a_mask_a_little_off_moves_to_the_edge_of_the_picture():
    picture = 0.2 + 0.6 * np.repeat(edge(16)[..., None], 3, -1)
    refined = np.asarray(refine(jnp.asarray(two(edge(14))), jnp.asarray(picture), 6, 1e-4))
    np.testing.assert_array_equal(refined[1] > 0.5, edge(16) > 0.5)
    step = refined[1, 12, 16] - refined[1, 12, 15]
    assert step > 0.5, "the step is where the picture's is, and not smeared"


def test_without_a_prior_the_maps_are_the_guided_filters(photograph):
    guide, target, epsilon = photograph(6, 7), photograph(6, 7, seed=1), 1e-3
    windows = [[np.s_[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] for x in range(7)] for y in range(6)]
    solved = [[reference.guided_map(guide[w], target[w], epsilon, prior=0.0) for w in row] for row in windows]
    expected = np.array([[np.array(solved)[w].mean((0, 1)) for w in row] for row in windows])
    actual = pixels.affine_maps(jnp.asarray(guide), jnp.asarray(target), 1, epsilon, jnp.zeros((3, 3)))
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_hard_masks_are_left_alone(photograph):
    labels = (edge(40, 60, 80)).astype(np.int32)
    picture = jnp.asarray(photograph(30, 40))
    hard = soft_masks_of(labels, 2, picture, Recipe(hard_masks=True))
    np.testing.assert_array_equal(np.asarray(hard), two(edge(20, 30, 40)))
    assert np.abs(np.asarray(soft_masks_of(labels, 2, picture, Recipe())) - np.asarray(hard)).max() > 0.01
