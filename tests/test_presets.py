"""The presets: what they promise of the paper, and what cannot be changed in them."""

import dataclasses
from typing import get_args

import numpy as np
import pytest

from jpst.errors import JpstError
from jpst.presets import PRESETS, preset
from jpst.recipe import Hyperparameters, Preset, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_hashable_frozen_and_knows_its_name(name):
    recipe = preset(name)[0]
    assert recipe.name == name
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    assert recipe == preset(name)[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.size = 64  # type: ignore[misc]
    assert all(isinstance(number, float) for number in preset(name)[1])


def test_the_default_recipe_is_the_preset_that_it_names():
    assert Recipe() == preset(Recipe().name)[0]


def test_the_names_offered_on_the_command_line_are_the_presets():
    assert get_args(Preset) == tuple(PRESETS)


def test_an_unknown_preset_is_answered_with_the_list():
    with pytest.raises(JpstError) as caught:
        preset("papier")
    assert "papier" in str(caught.value)
    for name in PRESETS:
        assert name in str(caught.value)


def test_overrides_of_a_preset_go_where_the_field_is():
    recipe, hyper = preset("balanced", style_weight=3, size=640)
    before = preset()
    assert recipe == dataclasses.replace(before[0], size=640)
    assert hyper == before[1]._replace(style_weight=3)
    assert preset("paper", learning_rate=0.5)[1].learning_rate == 0.5
    assert preset(optimiser="adam", learning_rate=0.5)[1].learning_rate == 0.5


def test_a_preset_takes_a_sweep_of_numbers():
    weights = np.float32([1, 2])
    assert preset(style_weight=weights)[1].style_weight is weights


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"style_wieght": 3}, ("no field style_wieght", "Did you mean style_weight?", "A recipe has size", "beta1")),
        ({"zzz": 3}, ("no field zzz. A recipe has",)),
        ({"name": "paper"}, ("no field name",)),
        ({"size": 3}, ("size is 3", "32")),
        ({"style_weight": -1}, ("style_weight is -1", "`style_weight`", "at least 0")),
        ({"style_weight": np.float32("nan")}, ("style_weight is nan",)),
        ({"style_weight": "much"}, ("style_weight is 'much'",)),
        ({"learning_rate": 2}, ("learning_rate: only Adam reads it", "lbfgs", '`optimiser="adam"`')),
    ],
)
def test_overrides_that_cannot_be_are_refused_by_name(overrides, words):
    with pytest.raises(JpstError) as caught:
        preset("balanced", **overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_preset_spelt_wrongly_is_answered_with_the_right_one():
    for asked in ("balansed", ["balanced"]):
        with pytest.raises(JpstError, match=r"There is no preset .*the presets are preview"):
            preset(asked)  # type: ignore
    with pytest.raises(JpstError, match="Did you mean balanced"):
        preset("balansed")


def test_paper_fast_has_the_papers_objective_and_only_solves_it_otherwise():
    fast, paper = preset("paper-fast")[0], preset("paper")[0]
    way = ("name", "iterations", "start", "optimiser", "grams", "plateau_tolerance")
    assert dataclasses.replace(fast, **{name: getattr(paper, name) for name in way}) == paper
    assert preset("paper-fast")[1] == preset("paper")[1]
    assert (fast.optimiser, paper.optimiser, paper.plateau_tolerance) == ("lbfgs", "adam", 0.0)


def test_the_paper_preset_is_the_references_table():
    recipe, numbers = preset("paper")
    assert recipe.objective == "paper"
    assert recipe.content_layers == ("conv4_2",)
    assert recipe.style_layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert recipe.matting_epsilon == 1e-5
    assert recipe.start == "content"
    assert recipe.iterations == (4000,)
    assert recipe.size_multiple == 1
    assert numbers == Hyperparameters(
        content_weight=1.0,
        style_weight=100.0,
        regularization_weight=1e4,
        nima_weight=1e5,
        coherence_weight=0.0,
        edge_weight=0.0,
        clipping_weight=0.0,
        learning_rate=1.0,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
    )


def test_the_readme_preset_differs_from_the_paper_where_the_reference_says():
    paper, readme = preset("paper")[0], preset("readme")[0]
    assert (
        dataclasses.replace(readme, name="paper", start="content", similarity="li", similarity_threshold=0.8) == paper
    )
    assert readme.start == "noise"
    changed = preset("paper")[1]._replace(style_weight=5000.0, nima_weight=0.0)
    assert preset("readme")[1] == changed


@pytest.mark.parametrize("name", PRESETS)
def test_only_our_own_presets_are_projected(name):
    assert preset(name)[0].projection == ("none" if "paper" in name or name == "readme" else "grid")
