"""What `prepare` and `stack` refuse: which argument is named, and with which words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst import arguments, preparation, stacking, total
from jpst.errors import JpstError
from jpst.recipe import Hyperparameters, Recipe
from jpst.total import Networks

RECIPE = Recipe(content_layers=("relu1_1",), style_layers=("relu1_1",), coherence_octaves=0)


@pytest.fixture
def given(photograph, soft_masks):
    """The arguments of `prepare`, as NumPy arrays."""
    return {
        "content": photograph(12, 16),
        "style": photograph(10, 9, seed=1),
        "content_masks": soft_masks(12, 16),
        "style_masks": soft_masks(10, 9, seed=1),
    }


@pytest.fixture
def prepare(given, vgg19_tiny):
    """prepare(content=..., ...): with these in place of the usable arguments."""

    def run(**changed):
        arrays = {**given, **changed}
        parts = arrays.pop("content_parts", None)
        return preparation.prepare(**arrays, networks=Networks(vgg19_tiny), recipe=RECIPE, content_parts=parts)

    return run


def test_numpy_arrays_of_any_kind_of_number_will_do(prepare, given):
    expected = prepare()
    wide = prepare(**{name: np.float64(array) for name, array in given.items()})
    np.testing.assert_allclose(wide.start, expected.start, atol=1e-6)
    whole = np.ones((1, 12, 16), bool), np.ones((1, 10, 9), np.uint8)
    assert prepare(content_masks=whole[0], style_masks=whole[1]).start.dtype == np.float32


SHAPES = {
    "content": [(12, 16), (12, 16, 4), (1, 12, 16, 3), (0, 16, 3)],
    "style": [(10, 9), (3, 10, 9)],
    "content_masks": [(12, 16), (3, 16, 12), (3, 10, 9), (0, 12, 16), (1, 3, 12, 16)],
    "style_masks": [(10, 9), (3, 12, 16)],
    "content_parts": [(3, 10, 9), (12, 16)],
}


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes])
@pytest.mark.parametrize("traced", [False, True], ids=["values", "traced"])
def test_a_wrong_shape_is_named_with_what_is_expected(prepare, name, shape, traced):
    def run(array):
        return prepare(**{name: array}).start

    with pytest.raises(JpstError, match=rf"^{name} has the shape {re.escape(str(shape))}: expected \["):
        (jax.jit(run) if traced else run)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["content", "style"])
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "1 values that are inf"), (np.inf, "infinite"), (255, "from 0 to 1"), (-8, "from -8")]
)
def test_a_photograph_with_values_that_cannot_be_is_named(prepare, given, name, value, words):
    broken = given[name].copy()
    broken[3, 4, 1] = value
    with pytest.raises(JpstError, match=rf"^{name} has .*{words}"):
        prepare(**{name: broken})


@pytest.mark.parametrize("name", ["content_masks", "style_masks", "content_parts"])
@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not a number"), (-0.5, "down to -0.5"), (1.4, "sum to as much")]
)
def test_masks_that_are_no_shares_are_named(prepare, given, name, value, words):
    broken = given.get(name, given["content_masks"]).copy()
    broken[:, 2, 3] = 0
    broken[1, 2, 3] = value
    with pytest.raises(JpstError, match=rf"^{name}.*{words}"):
        prepare(**{name: broken})


def test_masks_may_sum_to_less_and_with_parts_to_more(prepare, given):
    assert np.isfinite(prepare(content_masks=0.5 * given["content_masks"]).start).all()
    measured = given["content_masks"].copy()
    measured[1] = 1
    assert np.isfinite(prepare(content_masks=measured, content_parts=given["content_masks"]).start).all()


def test_a_rounding_error_is_no_fault(prepare, given):
    masks = given["content_masks"] * np.float32(1 + 5e-4)
    masks[0, 0, 0] = -1e-8
    prepare(content_masks=masks)


def test_masks_of_other_numbers_of_regions_are_refused(prepare, given):
    with pytest.raises(JpstError, match="content_masks 3, style_masks 2"):
        prepare(style_masks=given["style_masks"][:2])
    with pytest.raises(JpstError, match="content_masks 3, style_masks 3, content_parts 2"):
        prepare(content_parts=given["content_masks"][:2])


def test_values_are_not_looked_at_where_they_are_traced(prepare, given):
    negative = jax.jit(lambda masks: prepare(content_masks=masks).start)(-given["content_masks"])
    assert negative.shape == (12, 16, 3)


def test_what_is_no_array_and_no_networks_is_refused(given, vgg19_tiny):
    with pytest.raises(JpstError, match=r"^style is a str: expected an array of numbers"):
        arguments.array("style", "style.jpg")
    with pytest.raises(JpstError, match=r"^networks is a dict: expected Networks"):
        total.check_networks(vgg19_tiny)
    with pytest.raises(JpstError, match=r"^hyper is a dict: expected Hyperparameters"):
        arguments.check_one_each({"style_weight": 1.0})


def test_numbers_that_are_traced_are_not_looked_at():
    @jax.jit
    def run(weight):
        arguments.check_one_each(Hyperparameters(style_weight=weight))
        return weight

    assert run(-1.0) == -1


# ---- Several pairs as one


def test_targets_whose_lists_of_pixels_differ_are_stacked_without_them(photograph, vgg19_tiny):
    recipe, networks = RECIPE, Networks(vgg19_tiny)
    halves = np.zeros((8, 32, 48), np.float32)
    halves[0, :16], halves[1, 16:] = 1, 1
    mixed = np.full((8, 32, 48), 0.125, np.float32)
    each = [
        preparation.prepare(photograph(32, 48), photograph(32, 48, seed=1), masks, masks, networks, recipe=recipe)
        for masks in (halves, mixed)
    ]
    assert each[0].style["relu1_1"].pairs is not None and each[1].style["relu1_1"].pairs is None
    stacked = stacking.stack(each)
    assert stacked.style["relu1_1"].pairs is None
    evaluate = jax.vmap(lambda targets: total.objective(targets.start, targets, Hyperparameters(), networks)[0])
    expected = [total.objective(one.start, one, Hyperparameters(), networks)[0] for one in each]
    np.testing.assert_allclose(evaluate(stacked), jnp.stack(expected), rtol=1e-3)


def test_what_cannot_be_stacked_is_refused_with_the_place(prepare, photograph, soft_masks):
    first = prepare()
    smaller = prepare(content=photograph(8, 16), content_masks=soft_masks(8, 16))
    with pytest.raises(JpstError, match=r"^Number 1 to be stacked has the shape .* number 0 .*one working size"):
        stacking.stack([first, smaller])
    with pytest.raises(JpstError, match=r"^Number 1 to be stacked is of another form"):
        stacking.stack([first, first._replace(coarse=(first.laplacian,))])
    with pytest.raises(JpstError, match="nothing to stack"):
        stacking.stack([])
