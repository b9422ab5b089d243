"""The static choices: presets, what they promise of the paper, and what is refused with which words."""

import ast
import dataclasses
import inspect
from typing import get_args

import numpy as np
import pytest

from jpst import ranges
from jpst import recipe as module
from jpst.errors import JpstError
from jpst.models import vgg19
from jpst.recipe import PRESETS, Hyperparameters, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_hashable_frozen_and_knows_its_name(name):
    recipe = Recipe.preset(name)
    assert recipe.name == name
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    assert recipe == Recipe.preset(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.size = 64  # type: ignore[misc]
    assert all(isinstance(number, float) for number in Hyperparameters.preset(name))


def test_the_default_recipe_is_the_preset_that_it_names():
    assert Recipe() == Recipe.preset(Recipe().name)


def test_the_names_offered_on_the_command_line_are_the_presets():
    assert get_args(module.Preset) == tuple(PRESETS)


@pytest.mark.parametrize("make", [Recipe.preset, Hyperparameters.preset])
def test_an_unknown_preset_is_answered_with_the_list(make):
    with pytest.raises(JpstError) as caught:
        make("papier")
    assert "papier" in str(caught.value)
    for name in PRESETS:
        assert name in str(caught.value)


def test_overrides_of_a_preset_go_where_the_field_is():
    recipe, hyper = module.preset("balanced", style_weight=3, size=640)
    before = module.preset()
    assert recipe == dataclasses.replace(before[0], size=640)
    assert hyper == before[1]._replace(style_weight=3)
    assert module.preset("paper", learning_rate=0.5)[1].learning_rate == 0.5
    assert module.preset(optimiser="adam", learning_rate=0.5)[1].learning_rate == 0.5


def test_a_preset_takes_a_sweep_of_numbers():
    weights = np.float32([1, 2])
    assert module.preset(style_weight=weights)[1].style_weight is weights


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
        module.preset("balanced", **overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_preset_spelt_wrongly_is_answered_with_the_right_one():
    for asked in ("balansed", ["balanced"]):
        with pytest.raises(JpstError, match=r"There is no preset .*the presets are preview"):
            module.preset(asked)  # type: ignore
    with pytest.raises(JpstError, match="Did you mean balanced"):
        module.preset("balansed")


def test_the_command_line_tells_fields_as_options():
    sentence = 'Give `size` 3, ask for `optimiser="adam"` or `nima_weight=0`, and run `jpst weights list`, `other`.'
    options = {"size": "--size", "optimiser": "--optimiser", "nima_weight": "--nima-weight"}
    assert ranges.as_options(sentence, options) == (
        "Give --size 3, ask for --optimiser adam or --nima-weight 0, and run `jpst weights list`, `other`."
    )


@pytest.mark.parametrize(
    "choice, words",
    [
        ({"size": 0}, ("size", "0", "32")),
        ({"size": 31}, ("size", "31", "32")),
        ({"size": -448}, ("size", "-448")),
        ({"iterations": ()}, ("iterations", "()")),
        ({"iterations": (80, -1)}, ("iterations", "(80, -1)")),
        ({"size_multiple": 0}, ("size_multiple", "0")),
        ({"plateau_tolerance": -0.1}, ("plateau_tolerance", "-0.1")),
        ({"plateau_tolerance": 1.0}, ("plateau_tolerance", "1.0")),
        ({"size": 10**9}, ("`size`", "1000000000", "100000")),
        ({"size": 384.5}, ("`size`", "384.5", "whole")),
        ({"size": True}, ("`size`", "True")),
        ({"size": "large"}, ("`size`", "large")),
        ({"size": 10**5000}, ("`size`", "more than 70 digits")),
        ({"size_multiple": 10**6}, ("`size_multiple`", "256")),
        ({"iterations": [60, 20]}, ("`iterations`", "[60, 20]")),
        ({"iterations": 60}, ("`iterations`", "60")),
        ({"iterations": (10**7,)}, ("`iterations`", "10000000", "1000000")),
        ({"iterations": (1,) * 9}, ("`iterations`", "1 to 8")),
        ({"iterations": (2.5,)}, ("`iterations`", "2.5")),
        ({"nima_size": 3}, ("`nima_size`", "0 or", "32")),
        ({"nima_size": -224}, ("`nima_size`", "-224")),
        ({"matting_epsilon": 0.0}, ("`matting_epsilon`", "1e-08")),
        ({"coherence_octaves": -1}, ("`coherence_octaves`", "-1", "at least 0")),
        ({"coherence_octaves": 40}, ("`coherence_octaves`", "40", "16")),
        ({"similarity_threshold": -0.1}, ("`similarity_threshold`", "-0.1")),
        ({"minimum_share": 1.1}, ("`minimum_share`", "1.1", "at most 1")),
        ({"style_layers": ()}, ("`style_layers`", "()", "weight of 0")),
        ({"content_layers": "relu4_2"}, ("`content_layers`", "relu4_2")),
        ({"optimiser": "sgd"}, ("`optimiser`", "sgd", "adam, lbfgs")),
        ({"segmenter": ["none"]}, ("`segmenter`", "none")),
        ({"optimiser": "lbgfs"}, ("optimiser is 'lbgfs'", "adam, lbfgs", "Did you mean lbfgs?")),
        ({"start": "matchd"}, ("`start`", "Did you mean matched?")),
        ({"objective": "papr"}, ("`objective`", "Did you mean paper?")),
        ({"name": "fst"}, ("name is 'fst'", "Did you mean fast?")),
        ({"projection": None}, ("projection is None", "grid, none")),
        ({"output_size": 640}, ("output_size is 640", "native, working")),
        ({"scene_mode": np.array(["paper", "paper"])}, ("`scene_mode`", "refined, paper")),
        ({"size": "96"}, ("size is '96'", "a whole number")),
        ({"iterations": 5}, ("iterations is 5", "as a tuple", "Did you mean (5,)?")),
        ({"iterations": (10**5000,)}, ("iterations is a tuple that cannot be shown",)),
        ({"style_layers": "relu1_1"}, ("style_layers is 'relu1_1'", 'Did you mean ("relu1_1",)?')),
        ({"style_layers": ("relu1_1", "relu6_1")}, ("relu6_1", "conv1_1 to conv5_4", "Did you mean relu")),
        ({"style_layers": ("relu1_1", "relu1_1")}, ("each once",)),
        ({"style_layers": ("relu1_1", 5)}, ("`style_layers`", "5")),
        ({"content_layers": ["relu1_1"]}, ("`content_layers`", "as a tuple")),
        ({"matting_epsilon": -1}, ("matting_epsilon is -1", "at least 1e-08")),
        ({"matched_gains": (3.0, 0.4, 2.0)}, ("matched_gains is (3.0, 0.4, 2.0)", "the smallest first")),
        ({"matched_gains": 2.0}, ("`matched_gains`", "None or three numbers")),
        ({"matched_gains": (float("nan"), 2.0, 2.0)}, ("`matched_gains`", "nan")),
        ({"hard_masks": "no"}, ("hard_masks is 'no'", "True or False")),
        ({"hard_masks": 1}, ("hard_masks is 1", "True or False")),
        ({"nima_checkpoint": None}, ("nima_checkpoint is None", "a text")),
    ],
)
def test_an_impossible_choice_is_refused_and_named(choice, words):
    with pytest.raises(JpstError) as caught:
        Recipe(**choice)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0, 1e30])
@pytest.mark.parametrize("name", module.CHOICES)
def test_no_number_of_a_recipe_is_absurd(name, value):
    with pytest.raises(JpstError, match=rf"^{name} is .*`{name}` .*at least .* and at most "):
        Recipe(**{name: value})


@pytest.mark.parametrize("field", dataclasses.fields(Recipe), ids=lambda field: field.name)
def test_every_field_of_a_recipe_refuses_what_is_of_no_use_by_its_name(field):
    for value in (object(), b"none", [], "no-such", -1, float("nan")):
        if field.name == "nima_checkpoint" and value == "no-such":
            continue  # may be a file
        with pytest.raises(JpstError, match=f"^{field.name} is .*Give `{field.name}` "):
            Recipe(**{field.name: value})


def test_the_layers_known_are_those_of_vgg19():
    assert module.LAYERS == vgg19.LAYERS


def test_every_number_has_a_range_that_holds_the_defaults():
    numbers = {field.name for field in dataclasses.fields(Recipe) if field.type in (int, float)}
    assert module.CHOICES.keys() == numbers
    assert module.NUMBERS.keys() == set(Hyperparameters._fields)
    for _, hyper in PRESETS.values():
        assert all(module.NUMBERS[name].holds(value) for name, value in hyper._asdict().items())


def test_numbers_of_numpy_are_numbers():
    assert Recipe(size=np.int64(64), matting_epsilon=np.float32(0.5)).size == 64


def test_the_smallest_choices_are_allowed():
    recipe = Recipe(size=32, iterations=(0,), size_multiple=1)
    assert (recipe.size, recipe.iterations) == (32, (0,))


def test_paper_fast_has_the_papers_objective_and_only_solves_it_otherwise():
    fast, paper = Recipe.preset("paper-fast"), Recipe.preset("paper")
    way = ("name", "iterations", "start", "optimiser", "grams", "plateau_tolerance")
    assert dataclasses.replace(fast, **{name: getattr(paper, name) for name in way}) == paper
    assert Hyperparameters.preset("paper-fast") == Hyperparameters.preset("paper")
    assert (fast.optimiser, paper.optimiser, paper.plateau_tolerance) == ("lbfgs", "adam", 0.0)


def test_the_paper_preset_is_the_references_table():
    recipe, numbers = Recipe.preset("paper"), Hyperparameters.preset("paper")
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
    paper, readme = Recipe.preset("paper"), Recipe.preset("readme")
    assert (
        dataclasses.replace(readme, name="paper", start="content", similarity="li", similarity_threshold=0.8) == paper
    )
    assert readme.start == "noise"
    changed = Hyperparameters.preset("paper")._replace(style_weight=5000.0, nima_weight=0.0)
    assert Hyperparameters.preset("readme") == changed


def test_every_choice_and_number_is_explained():
    tree = ast.parse(inspect.getsource(module))  # the command line takes its help from these strings
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, after in zip(owner.body, [*owner.body[1:], ast.Pass()], strict=True):
            if isinstance(field, ast.AnnAssign):
                explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert explained, f"{owner.name}.{field.target.id} is not explained"  # type: ignore


@pytest.mark.parametrize("name", PRESETS)
def test_only_our_own_presets_are_projected(name):
    assert Recipe.preset(name).projection == ("none" if "paper" in name or name == "readme" else "grid")
