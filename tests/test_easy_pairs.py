"""Pairs on which a transfer has to do nothing, or nearly: what comes out, from files and by the command's own path."""

import dataclasses

import numpy as np
import pytest

from jpst import image, pipeline
from jpst.recipe import Recipe
from jpst.regions import labelling
from jpst.regions.segment import Segmentation
from jpst.total import Networks
from jpst.weights import Provenance

SIZE = (48, 64)
RECIPE = Recipe(size=64, size_multiple=8, iterations=(6, 3), segmenter="none")


@pytest.fixture
def stylize(vgg19_tiny):
    """Our own preset with few steps at a small size -> the result [H, W, 3], and the run."""

    def run(content, style, **choices):
        recipe = dataclasses.replace(RECIPE, **choices)
        done = pipeline.stylize(np.float32(content), np.float32(style), recipe=recipe, networks=Networks(vgg19_tiny))
        return done.photograph.pixels, done

    return run


@pytest.fixture
def labels(monkeypatch):
    """labels(photograph -> label map and names): what the scene network finds, without a network."""

    def install(found):
        def label(photograph, labeller, network, vgg19=None, *, paper=False):
            numbers, names = found(photograph)
            sure = np.ones(numbers.shape, np.float32)
            return labelling.Labelled(
                Segmentation(numbers.astype(np.int32), names, sure), labeller, Provenance("made", "0" * 64)
            )

        monkeypatch.setattr(labelling, "best", lambda: "scene")
        monkeypatch.setattr(labelling, "fetch_deeplab", lambda *_: "")
        monkeypatch.setattr(labelling, "label", label)

    return install


def level(difference: np.ndarray) -> float:
    """Mean absolute difference in 8-bit levels."""
    return 255 * float(np.abs(difference).mean())


def sky_and_ground(photograph):
    """The upper half, and the lower."""
    rows = np.arange(photograph.shape[0])[:, None] * np.ones(photograph.shape[1])
    return rows >= photograph.shape[0] / 2, ("sky", "earth")


def test_a_photograph_as_its_own_style_stays_as_it_is(stylize, photograph):
    content = photograph(*SIZE)
    result, run = stylize(content, content)
    assert level(result - content) < 1
    assert run.record["warnings"] == []


def test_a_photograph_as_its_own_style_stays_as_it_is_with_regions_by_name(stylize, photograph, labels):
    labels(sky_and_ground)
    content = photograph(*SIZE)
    result, run = stylize(content, content, segmenter="auto")
    assert [row["name"] for row in run.record["regions"] if row["content"] > 0] != ["whole image"]
    assert level(result - content) < 1


def test_a_grey_style_gives_a_grey_picture(stylize, photograph):
    style = np.repeat(photograph(*SIZE, seed=1)[..., :1], 3, -1)
    result, _ = stylize(photograph(*SIZE), style)
    assert np.ptp(result, axis=-1).max() < 1e-6


def test_a_style_of_one_colour_is_a_cast_that_is_the_same_all_over(stylize, photograph):
    content = photograph(*SIZE)
    result, run = stylize(content, np.broadcast_to(np.float32([0.7, 0.5, 0.3]), (*SIZE, 3)))
    assert np.isfinite(result).all()
    change = 255 * (result - content)
    assert change.std((0, 1)).max() < 8
    assert run.record["faults"]["edges_lost"] < 0.03


@pytest.mark.parametrize("shade", [0.0, 0.5, 1.0])
def test_a_flat_photograph_stays_flat(stylize, photograph, shade):
    result, _ = stylize(np.full((*SIZE, 3), shade), photograph(*SIZE, seed=1))
    assert np.isfinite(result).all()
    assert 255 * result.std((0, 1)).max() < 2


@pytest.mark.parametrize("dark", [0.02, 0.1])
def test_a_night_photograph_has_no_blotches(stylize, photograph, dark):
    night = np.round(255 * dark * photograph(*SIZE)) / 255
    result, run = stylize(night, photograph(*SIZE, seed=1))
    assert np.isfinite(result).all()
    assert run.record["faults"]["new_edges"] < 0.03


def test_a_tiny_object_is_no_region_and_leaves_its_surroundings_alone(stylize, photograph, labels):
    def with_boat(photo):
        numbers, names = sky_and_ground(photo)
        numbers = numbers.astype(int)
        numbers[20:22, 30:32] = 2
        return numbers, (*names, "boat")

    content, style = photograph(*SIZE), photograph(*SIZE, seed=1)
    labels(with_boat)
    result, run = stylize(content, style, segmenter="auto")
    assert {"sky", "earth"} <= {row["name"] for row in run.record["regions"]}
    assert "boat" not in {row["name"] for row in run.record["regions"]}
    labels(sky_and_ground)
    without, _ = stylize(content, style, segmenter="auto")
    away = np.ones(SIZE, bool)
    away[12:30, 22:40] = False
    assert level((result - without)[away]) < 2


def test_the_command_leaves_a_photograph_that_is_its_own_style(jpst, folder):
    status, text, _ = jpst(
        *("transfer", "content.png", "content.png", "-o", "out.png"),
        *("--size", "64", "--size-multiple", "8", "--iterations", "6", "3", "--segmenter", "none"),
    )
    assert status == 0, text
    assert level(image.read(folder / "out.png").pixels - image.read(folder / "content.png").pixels) < 1
    assert "broken" not in text


@pytest.mark.parametrize(("who", "healthy"), [("person", True), ("earth", False)])
def test_a_face_is_not_turned_green(stylize, labels, who, healthy):
    """A person of one tone before a wall, in the look of a meadow; the same colours without a person do turn green."""
    texture = np.random.default_rng(8).normal(0, 0.03, (*SIZE, 1))
    middle = np.s_[SIZE[0] // 4 :, SIZE[1] // 3 : 2 * SIZE[1] // 3]
    content = np.full((*SIZE, 3), (0.5, 0.48, 0.45)) + texture
    content[middle] += np.array([0.3, 0.12, 0.05])
    meadow = np.array([0.25, 0.5, 0.1]) + 2 * np.random.default_rng(9).normal(0, 0.03, (*SIZE, 1))

    def found(photograph):
        numbers = np.zeros(photograph.shape[:2], int)
        numbers[middle] = int(np.abs(photograph - content).max() < 1e-3)
        return numbers, ("wall", who)

    labels(found)
    result, _ = stylize(np.clip(content, 0, 1), np.clip(meadow, 0, 1), segmenter="auto")
    red, green, _ = result[middle].mean((0, 1))
    assert (red > green) == healthy
