"""The static choices: what is refused, and with which words."""

import ast
import dataclasses
import inspect

import numpy as np
import pytest

from jpst import ranges
from jpst import recipe as module
from jpst.errors import JpstError
from jpst.models import vgg19
from jpst.presets import PRESETS
from jpst.recipe import Hyperparameters, Recipe


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
        ({"pairs": "sky=sea"}, ("pairs is 'sky=sea'", 'Did you mean ("sky=sea",)?')),
        ({"pairs": ("sky",)}, ("`pairs`", "CONTENT=STYLE")),
        ({"pairs": ("=sea",)}, ("`pairs`", "CONTENT=none")),
        ({"pairs": ("a=b=c",)}, ("`pairs`", "as a tuple")),
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


def test_every_choice_and_number_is_explained():
    tree = ast.parse(inspect.getsource(module))  # the command line takes its help from these strings
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, after in zip(owner.body, [*owner.body[1:], ast.Pass()], strict=True):
            if isinstance(field, ast.AnnAssign):
                explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert explained, f"{owner.name}.{field.target.id} is not explained"  # type: ignore
