"""The loop: what chunks, batches, new numbers and failures do to it, and the reference's own trajectory."""

import dataclasses
import pickle
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jpst import colours, matting, optimise, pixels, preparation, total
from jpst.errors import JpstError
from jpst.models import nima
from jpst.optimise import Status
from jpst.presets import preset
from jpst.recipe import Hyperparameters, Recipe
from jpst.total import Networks

# Two of five blocks, and the sparse Laplacian: inside a scan XLA takes a second to compile each convolution,
# and three for the stencil. The real network and the stencil run at the end.
RECIPE = dataclasses.replace(
    Recipe(), content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"), laplacian="bcoo", optimiser="adam"
)
STENCIL = dataclasses.replace(RECIPE, laplacian="stencil")
HYPER = preset("balanced")[1]


@pytest.fixture(scope="module")
def networks(vgg19_tiny) -> Networks:
    return Networks(vgg19_tiny)


@pytest.fixture(scope="module")
def scene(photograph, soft_masks):
    """Content, style and their masks, of different sizes."""
    arrays = photograph(32, 40), photograph(36, 33, seed=1), soft_masks(32, 40), soft_masks(36, 33, seed=1)
    return tuple(map(jnp.asarray, arrays))


@pytest.fixture(scope="module")
def targets(scene, networks):
    return preparation.prepare(*scene, networks, recipe=RECIPE)


@pytest.fixture(scope="module")
def state(targets):
    return optimise.init(targets, HYPER, recipe=RECIPE)


run = partial(optimise.transfer, recipe=RECIPE)
jitted = jax.jit(run, static_argnames="steps")  # the same loop as one scan


def equal(a, b) -> None:
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, rtol: float) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6), a, b)


# ---- Chunks


@pytest.mark.parametrize("way", [run, jitted], ids=["from Python", "as a scan"])
def test_n_steps_and_then_m_equal_n_plus_m(way, state, targets, networks):
    whole = way(state, targets, HYPER, networks, steps=6)
    first = way(state, targets, HYPER, networks, steps=3)
    second = way(first.state, targets, HYPER, networks, steps=3)
    equal(second.state, whole.state)
    equal(second.image, whole.image)
    equal(jax.tree.map(lambda *parts: jnp.concatenate(parts), first.history, second.history), whole.history)
    assert whole.state.step == 6


def test_the_scan_equals_the_steps_driven_from_python(state, targets, networks):
    # Not bit for bit: XLA's CPU backend computes a convolution inside a loop by another routine than outside.
    direct, scanned = (way(state, targets, HYPER, networks, steps=3) for way in (run, jitted))
    close(scanned.history, direct.history, rtol=1e-4)
    np.testing.assert_allclose(scanned.state.image, direct.state.image, atol=0.1 / 255)


def test_double_precision_of_the_user_changes_no_type(scene, networks):
    recipe = dataclasses.replace(STENCIL, optimiser="lbfgs")
    lbfgs = partial(optimise.transfer, recipe=recipe)
    with jax.enable_x64(True):
        targets = preparation.prepare(*scene, networks, recipe=recipe)
        assert {leaf.dtype for leaf in jax.tree.leaves(targets)} <= {np.dtype("float32"), np.dtype("int32")}
        state = optimise.init(targets, HYPER, recipe=recipe)
        for way in (lbfgs, jax.jit(lbfgs, static_argnames="steps")):
            assert way(state, targets, HYPER, networks, steps=2).image.dtype == np.float32


def test_no_steps_change_nothing(state, targets, networks):
    result = run(state, targets, HYPER, networks, steps=0)
    equal(result.state, state)
    assert {name: values.shape for name, values in result.history.items()} == dict.fromkeys(
        ("content", "style", "photorealism", "coherence", "edges", "clipping", "total"), (0,)
    )
    assert result.status == Status.FINE


def test_single_steps_equal_a_transfer(state, targets, networks):
    whole = run(state, targets, HYPER, networks, steps=3)
    history = []
    for _ in range(3):
        state, terms = optimise.step(state, targets, HYPER, networks)
        history.append(terms)
    equal(state, whole.state)
    equal(jax.tree.map(lambda *values: jnp.stack(values), *history), whole.history)


@pytest.mark.parametrize("way", [run, jitted], ids=["from Python", "as a scan"])
def test_a_state_restored_as_numpy_arrays_goes_on(way, state, targets, networks):
    whole = way(state, targets, HYPER, networks, steps=6)
    first = way(state, targets, HYPER, networks, steps=3)
    restored = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, first.state)))
    second = way(restored, targets, HYPER, networks, steps=3)
    equal(second.state, whole.state)


def test_a_restored_state_compiles_nothing(state, targets, networks, no_compilation):
    first = run(state, targets, HYPER, networks, steps=3)
    with no_compilation():
        run(jax.tree.map(np.asarray, first.state), targets, HYPER, networks, steps=3)


@pytest.mark.parametrize("steps", [-1, 10**7])
def test_steps_that_are_no_count_are_refused(steps, state, targets, networks):
    with pytest.raises(JpstError, match=r"^steps is .*a whole number, at least 0"):
        run(state, targets, HYPER, networks, steps=steps)


def test_a_state_of_another_pair_is_refused(state, targets, networks):
    other = state._replace(image=jnp.zeros((20, 30, 3)))
    with pytest.raises(JpstError, match=r"state\.image has the shape \(20, 30, 3\), and targets\.start \(32, 40, 3\)"):
        run(other, targets, HYPER, networks, steps=1)


def test_the_coherence_term_looks_at_so_many_halves_as_have_a_window(scene, networks):
    content = scene[0]
    assert [p.shape[:2] for p in preparation._octaves(content, 2)] == [(32, 40), (16, 20), (8, 10)]
    assert [p.shape[:2] for p in preparation._octaves(content, 9)][-1] == (4, 5)
    assert [p.shape[:2] for p in preparation._octaves(content, 0)] == [(32, 40)]


# ---- Batches


WEIGHTS = (0.3, 1.0, 5.0)


@pytest.fixture(scope="module")
def separate(state, targets, networks):
    """The final images of three style weights, one call each."""
    return [run(state, targets, HYPER._replace(style_weight=w), networks, steps=3) for w in WEIGHTS]


def test_vmap_over_style_weights_equals_separate_calls(separate, state, targets, networks):
    hypers = jax.tree.map(lambda x: jnp.full(3, x), HYPER)._replace(style_weight=jnp.float32(WEIGHTS))
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), state)
    batch = jax.vmap(partial(run, steps=3), in_axes=(0, None, 0, None))(states, targets, hypers, networks)
    for i, alone in enumerate(separate):
        # Not exact: a batched convolution sums in another order, and where a gradient is near 0 Adam's first
        # steps, as large there as anywhere, make shares of a step of it.
        close({name: values[i] for name, values in batch.history.items()}, alone.history, rtol=1e-4)
        np.testing.assert_allclose(batch.image[i], alone.image, atol=0.1 / 255)
    assert (batch.status == Status.FINE).all()


@pytest.mark.parametrize("transformed", [jax.jit, jax.vmap])
def test_a_sweep_over_the_numbers_alone_is_one_scan_too(transformed, state, targets, networks):
    def sweep(style_weight):  # the state is an ordinary array here: only the numbers are traced
        return run(state, targets, HYPER._replace(style_weight=style_weight), networks, steps=3).image

    program = str(jax.make_jaxpr(transformed(sweep))(jnp.ones(3) if transformed is jax.vmap else 1.0))
    assert program.count("scan[") == 1, "the loop was unrolled from Python: the program grows with the number of steps"


# ---- What must not compile again


OTHER = Hyperparameters(0.5, 2.0, 10.0, 0.0, 0.5, 1.5, 0.8, 0.99, 1e-7)


@pytest.fixture
def other_networks(networks):
    """Other parameters of the same shapes."""
    params = jax.tree.map(lambda x: 1.1 * x, networks.vgg19["params"])
    return Networks({**networks.vgg19, "params": params})


@pytest.mark.parametrize("way", [run, jitted], ids=["from Python", "as a scan"])
def test_new_numbers_and_new_parameters_compile_nothing(way, state, targets, networks, other_networks, no_compilation):
    before = way(state, targets, HYPER, networks, steps=3)
    with no_compilation():
        by_numbers = way(state, targets, OTHER, networks, steps=3)
        by_parameters = way(state, targets, HYPER, other_networks, steps=3)
        way(before.state, targets, HYPER, networks, steps=3)
    # and both took effect: nothing was closed over
    assert jnp.abs(by_numbers.image - before.image).max() > 1e-4
    assert jnp.abs(by_parameters.history["style"] - before.history["style"]).max() > 1e-4


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, jnp.float32])
def test_the_numbers_may_be_of_any_kind_without_another_compilation(kind, state, targets, networks, no_compilation):
    run(state, targets, HYPER, networks, steps=3)
    with no_compilation():
        run(state, targets, jax.tree.map(kind, OTHER), networks, steps=3)


def test_another_number_of_steps_from_python_compiles_no_further_step(state, targets, networks):
    run(state, targets, HYPER, networks, steps=3)
    compiled = optimise._step._cache_size()
    run(state, targets, HYPER, networks, steps=4)
    assert optimise._step._cache_size() == compiled


def test_preparing_another_pair_of_the_same_sizes_compiles_nothing(
    scene, targets, networks, other_networks, no_compilation
):
    del targets  # compiled by it
    content, style, *masks = scene
    flipped = content[::-1], style[:, ::-1]
    with no_compilation():
        preparation.prepare(*flipped, *masks, other_networks, recipe=RECIPE)


def test_the_compiled_step_holds_no_parameters_or_targets(state, targets, networks):
    hyper = jax.tree.map(jnp.float32, HYPER)
    text = optimise._step.lower(state, targets, hyper, networks).as_text()
    literals = re.findall(r'stablehlo\.constant dense<(["\[][^>]*)>', text)  # those that are not one repeated number
    assert sum(map(len, literals)) < 200, "an array was closed over and written into the program"


# ---- The best image, and the loss


def test_the_loss_falls(state, targets, networks):
    total = run(state, targets, HYPER._replace(learning_rate=0.5), networks, steps=12).history["total"]
    assert total[-1] < 0.9 * total[0]


def test_the_total_is_the_sum_of_the_terms(state, targets, networks):
    history = dict(run(state, targets, HYPER, networks, steps=3).history)
    total = history.pop("total")
    assert set(history) == {"content", "style", "photorealism", "coherence", "edges", "clipping"}
    np.testing.assert_allclose(sum(history.values()), total, rtol=1e-5)


def test_the_best_image_is_the_one_that_had_the_best_loss(state, targets, networks):
    # A rate at which the loss goes up and down: pairing a loss with the image one update later would show.
    wild = HYPER._replace(learning_rate=40.0)
    result = run(state, targets, wild, networks, steps=6)
    total = result.history["total"]
    assert total.min() < total[-1]
    assert result.state.best_loss == total.min()
    again = run(result.state._replace(image=result.image), targets, wild, networks, steps=1)
    assert again.history["total"][0] == result.state.best_loss


def test_the_best_of_a_run_survives_worse_chunks(state, targets, networks):
    good = run(state, targets, HYPER, networks, steps=6)
    worse = run(good.state, targets, HYPER._replace(learning_rate=200.0), networks, steps=3)
    assert worse.history["total"][1:].min() > good.history["total"].min()
    assert worse.state.best_loss <= good.history["total"].min()


def test_the_steps_are_adams_in_8_bit_levels(state, targets, networks):
    numbers = HYPER._replace(learning_rate=1.5, beta1=0.8, beta2=0.95, epsilon=1e-3)

    def gradient(levels):  # of the total by 8-bit levels, at an image in 8-bit levels
        chunk = run(state._replace(image=jnp.float32(levels / 255)), targets, numbers, networks, steps=1)
        return chunk.state.opt_state[0].mu / (1 - numbers.beta1) / 255

    expected = reference.adam(255 * np.asarray(state.image), gradient, 4, 1.5, 0.8, 0.95, 1e-3)
    actual = 255 * run(state, targets, numbers, networks, steps=4).state.image
    np.testing.assert_allclose(actual, expected, atol=0.02)


# ---- L-BFGS


LBFGS = dataclasses.replace(RECIPE, optimiser="lbfgs")


@pytest.fixture(scope="module")
def searching(targets):
    """The state of a transfer by L-BFGS before its first step."""
    return optimise.init(targets, HYPER, recipe=LBFGS)


@pytest.mark.parametrize("way", [run, jitted], ids=["from Python", "as a scan"])
def test_n_steps_of_l_bfgs_and_then_m_equal_n_plus_m(way, searching, targets, networks):
    whole = way(searching, targets, HYPER, networks, steps=6)
    first = way(searching, targets, HYPER, networks, steps=3)
    second = way(first.state, targets, HYPER, networks, steps=3)
    equal(second.state, whole.state)
    equal(jax.tree.map(lambda *parts: jnp.concatenate(parts), first.history, second.history), whole.history)
    assert whole.state.best_loss == whole.history["total"].min()
    assert whole.status == Status.FINE


def test_l_bfgs_comes_lower_than_adam_in_the_same_steps(state, searching, targets, networks):
    slow = run(state, targets, HYPER, networks, steps=25).state.best_loss
    fast = run(searching, targets, HYPER, networks, steps=25).state.best_loss
    assert fast < 0.95 * slow


def test_vmap_of_l_bfgs_over_style_weights_equals_separate_calls(searching, targets, networks):
    hypers = jax.tree.map(lambda x: jnp.full(3, x), HYPER)._replace(style_weight=jnp.float32(WEIGHTS))
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), searching)
    batch = jax.vmap(partial(run, steps=3), in_axes=(0, None, 0, None))(states, targets, hypers, networks)
    for i, weight in enumerate(WEIGHTS):
        alone = run(searching, targets, HYPER._replace(style_weight=weight), networks, steps=3)
        close({name: values[i] for name, values in batch.history.items()}, alone.history, rtol=1e-3)


def test_l_bfgs_reports_what_is_not_finite_and_can_go_on(searching, targets, networks):
    good = run(searching, targets, HYPER, networks, steps=3)
    broken = run(good.state, without_a_loss(targets), HYPER, networks, steps=2)
    assert broken.status == Status.NOT_FINITE
    equal(broken.state, good.state)
    assert run(broken.state, targets, HYPER, networks, steps=2).status == Status.FINE


# ---- Failures as data


def without_a_loss(targets):
    """Targets whose total is not a number."""
    return targets._replace(laplacian_weight=jnp.float32(jnp.nan))


def without_an_update(state):
    """A state whose total is finite, and Adam's next update is not."""
    adam, *others = state.opt_state
    return state._replace(opt_state=(adam._replace(mu=jnp.full_like(adam.mu, jnp.inf)), *others))


NUMBERS = [{"learning_rate": jnp.inf}, {"style_weight": jnp.nan}, {"content_weight": jnp.inf}, {"beta1": jnp.nan}]


@pytest.mark.parametrize("way", [run, jitted], ids=["from Python", "as a scan"])
@pytest.mark.parametrize("broken", ["loss", "update"])
def test_what_is_not_finite_is_reported_and_the_best_image_kept(way, broken, state, targets, networks):
    good = way(state, targets, HYPER, networks, steps=3)
    if broken == "loss":
        result = way(good.state, without_a_loss(targets), HYPER, networks, steps=3)
    else:
        result = way(without_an_update(good.state), targets, HYPER, networks, steps=3)
    assert result.status == Status.NOT_FINITE
    assert jnp.isfinite(result.image).all()
    assert jnp.isfinite(result.state.best_loss)
    assert result.state.best_loss <= good.state.best_loss


@pytest.mark.parametrize("broken", NUMBERS, ids=lambda broken: str(*broken))
def test_traced_numbers_that_are_not_finite_are_reported_and_the_best_image_kept(broken, state, targets, networks):
    good = jitted(state, targets, HYPER, networks, steps=3)
    result = jitted(good.state, targets, HYPER._replace(**broken), networks, steps=3)
    assert result.status == Status.NOT_FINITE
    assert jnp.isfinite(result.image).all()
    assert jnp.isfinite(result.state.best_loss)
    assert result.state.best_loss <= good.state.best_loss


@pytest.mark.parametrize("broken", [*NUMBERS, {"style_weight": -1.0}, {"edge_weight": np.float32("nan")}], ids=str)
def test_numbers_that_cannot_be_are_refused_by_name_where_they_are_known(broken, state, targets, networks):
    ((name, _),) = broken.items()
    numbers = HYPER._replace(**broken)
    calls = (
        lambda: run(state, targets, numbers, networks, steps=1),
        lambda: optimise.step(state, targets, numbers, networks),
        lambda: optimise.init(targets, numbers, recipe=RECIPE),
    )
    for call in calls:
        with pytest.raises(JpstError, match=f"^{name} is .*Give `{name}` a number"):
            call()


def test_several_numbers_want_a_vmap(state, targets, networks):
    with pytest.raises(JpstError, match=r"^style_weight has the shape \(3,\).*jax\.vmap"):
        run(state, targets, HYPER._replace(style_weight=jnp.ones(3)), networks, steps=1)


@pytest.mark.parametrize("broken", NUMBERS[:2], ids=lambda broken: str(*broken))
def test_a_run_can_go_on_after_what_was_not_finite(broken, state, targets, networks):
    # "the picture stopped changing there": it must not have become the NaN itself
    result = jitted(state, targets, HYPER._replace(**broken), networks, steps=3)
    assert jnp.isfinite(result.state.image).all()
    again = run(result.state, targets, HYPER, networks, steps=3)
    assert again.status == Status.FINE


def test_a_single_infinite_step_is_reported_by_itself(state, targets, networks):
    # A command line that shows progress calls one step at a time.
    assert run(without_an_update(state), targets, HYPER, networks, steps=1).status == Status.NOT_FINITE


def test_a_failure_in_one_run_of_a_batch_leaves_the_others_alone(separate, state, targets, networks):
    hypers = jax.tree.map(lambda x: jnp.full(3, x), HYPER)._replace(style_weight=jnp.float32([0.3, jnp.nan, 5.0]))
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), state)
    batch = jax.vmap(partial(run, steps=3), in_axes=(0, None, 0, None))(states, targets, hypers, networks)
    np.testing.assert_array_equal(batch.status, [Status.FINE, Status.NOT_FINITE, Status.FINE])
    np.testing.assert_array_equal(batch.image[1], state.image)
    np.testing.assert_allclose(batch.image[2], separate[2].image, atol=0.1 / 255)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_sentence(status):
    assert len(status.sentence) > 10


# ---- The first image


def start_of(name: str, scene, networks, key=None):
    recipe = dataclasses.replace(RECIPE, start=name)
    return optimise.init(preparation.prepare(*scene, networks, recipe=recipe), HYPER, recipe=recipe, key=key).image


def test_the_start_can_be_the_content(scene, networks):
    np.testing.assert_array_equal(start_of("content", scene, networks), scene[0])


def test_the_start_can_be_the_content_in_the_styles_colours(scene, networks):
    bounds = RECIPE.matched_noise, None, RECIPE.matched_gains
    np.testing.assert_allclose(start_of("matched", scene, networks), colours.base_look(*scene, *bounds), atol=1e-5)


def test_the_start_can_be_the_style_at_the_contents_size(scene, networks):
    np.testing.assert_allclose(start_of("style", scene, networks), pixels.resize(scene[1], 32, 40), atol=1e-5)


def test_the_start_can_be_noise_of_1e_4_levels_around_the_networks_mean_colour(scene, networks, key):
    image = 255 * start_of("noise", scene, networks, key)
    np.testing.assert_allclose(image, jnp.broadcast_to(jnp.float32([123.68, 116.779, 103.939]), image.shape), atol=1e-3)
    spread = np.std(np.asarray(image - image.mean((0, 1), keepdims=True), np.float64))
    assert 0.5e-4 < spread < 2e-4


def test_noise_follows_its_seed_and_needs_one(scene, networks, key):
    first, again, other = (start_of("noise", scene, networks, k) for k in (key, key, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match=r"key=jax\.random\.key"):
        start_of("noise", scene, networks)


# ---- Forms and settings


def test_the_stencil_gives_the_same_trajectory_as_the_sparse_laplacian(scene, state, targets, networks):
    stencil = targets._replace(laplacian=matting.laplacian(scene[0], RECIPE.matting_epsilon))
    expected = run(state, targets, HYPER, networks, steps=3)
    close(run(state, stencil, HYPER, networks, steps=3).history, expected.history, rtol=1e-4)


def test_prepare_builds_the_form_that_the_recipe_names(scene, targets, networks):
    stencil = preparation.prepare(*scene, networks, recipe=STENCIL).laplacian
    np.testing.assert_array_equal(stencil, matting.stencil(np.asarray(scene[0]), RECIPE.matting_epsilon))
    expected = matting.bcoo(stencil)
    equal((targets.laplacian.indices, targets.laplacian.data), (expected.indices, expected.data))


def test_parts_that_are_the_masks_change_no_target(scene, targets, networks):
    equal(preparation.prepare(*scene, networks, recipe=RECIPE, content_parts=scene[2]), targets)


def test_parts_change_where_a_region_starts_and_what_it_weighs_and_no_gram(scene, targets, networks):
    content, style, masks, style_masks = scene
    measured = masks.at[2].set(masks.sum(0)), style_masks.at[2].set(style_masks.sum(0))
    prepared = preparation.prepare(content, style, *measured, networks, recipe=RECIPE, content_parts=masks)
    alone = jnp.ones((1, 32, 40)), jnp.ones((1, 36, 33))
    whole = preparation.prepare(content, style, *alone, networks, recipe=RECIPE)
    expected = colours.base_look(content, style, *measured, RECIPE.matched_noise, masks, RECIPE.matched_gains)
    np.testing.assert_allclose(prepared.start, expected, atol=1e-5)
    for name, target in prepared.style.items():
        before = targets.style[name]
        np.testing.assert_allclose(target.grams[2], whole.style[name].grams[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(target.grams[:2], before.grams[:2], rtol=1e-6)
        shares, shares_before = (each.weights * jnp.mean(each.grams**2, (1, 2)) for each in (target, before))
        np.testing.assert_allclose(shares, shares_before, rtol=1e-4)
    equal(prepared.content, targets.content)


def test_prepare_under_jit_equals_the_direct_call(scene, networks):
    inside = jax.jit(partial(preparation.prepare, recipe=STENCIL))(*scene, networks)
    close(inside, preparation.prepare(*scene, networks, recipe=STENCIL), rtol=1e-3)


# ---- The reference


@pytest.fixture(scope="module")
def trajectory(golden, vgg19_real):
    """Ours and the reference's first gradient, terms and last image over 40 Adam steps on pair 30."""
    values, networks = golden("trajectory_30"), Networks(vgg19_real)
    recipe, hyper = preset("paper")[0], Hyperparameters(nima_weight=0.0)
    np.testing.assert_array_equal(values["weights"], hyper[:3])
    images = (jnp.asarray(values[name] / np.float32(255)) for name in ("content", "style"))
    masks = (jnp.asarray(values[name].transpose(2, 0, 1)) for name in ("content_masks", "style_masks"))
    targets = preparation.prepare(*images, *masks, networks, recipe=recipe)
    state = optimise.init(targets, hyper, recipe=recipe)
    first = optimise.transfer(state, targets, hyper, networks, recipe=recipe, steps=1)
    rest = optimise.transfer(first.state, targets, hyper, networks, recipe=recipe, steps=39)
    return values, first, rest


def test_the_references_terms_come_out_at_every_step(trajectory):
    values, *chunks = trajectory
    for column, term in enumerate(("content", "style", "photorealism")):
        ours = np.concatenate([chunk.history[term] for chunk in chunks])
        # The content term of the first step is the rounding noise of a zero.
        np.testing.assert_allclose(ours, values["losses"][:, column], rtol=5e-3, atol=1e-6, err_msg=term)


def test_the_references_first_gradient_comes_out(trajectory):
    values, first, _ = trajectory
    gradient = first.state.opt_state[0].mu / (1 - 0.9) / 255  # Adam's first moment after one step; per 8-bit level
    error = np.linalg.norm(gradient - values["gradient0"]) / np.linalg.norm(values["gradient0"])
    assert error < 1e-3


def test_the_references_last_image_comes_out(trajectory):
    values, _, rest = trajectory
    assert np.abs(255 * rest.state.image - values["result"]).mean() < 1


def test_the_whole_transfer_lowers_for_gpu_and_tpu(vgg19_tiny, photograph, soft_masks):
    """Without such a device: `jax.export` lowers for any platform, and fails where an operation has no rule there."""
    recipe = Recipe(size=32)
    networks, masks = Networks(vgg19_tiny), jnp.asarray(soft_masks(32, 48))
    content, style = (jnp.asarray(photograph(32, 48, seed)) for seed in (0, 1))
    targets = preparation.prepare(content, style, masks, masks, networks, recipe=recipe)
    state = optimise.init(targets, HYPER, recipe=recipe)
    whole = jax.jit(partial(optimise.transfer, recipe=recipe, steps=3))
    arguments = (state, targets, jax.tree.map(jnp.float32, HYPER), networks)
    exported = jax.export.export(whole, platforms=("cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize("wanted, precision", [("float32", "HIGHEST"), ("tensorfloat32", "HIGH")])
def test_convolutions_keep_the_precision_asked_for(wanted, precision, state, targets, networks):
    """On GPU and TPU JAX's own default rounds their factors."""
    whole = jax.jit(partial(optimise.transfer, recipe=dataclasses.replace(RECIPE, feature_precision=wanted), steps=1))
    text = whole.lower(state, targets, jax.tree.map(jnp.float32, HYPER), networks).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert convolutions
    assert all(
        f"[#stablehlo<precision {precision}>, #stablehlo<precision {precision}>]" in line for line in convolutions
    )


# ---- Aesthetics


def test_the_aesthetic_term_is_swept_like_any_other(scene, networks):
    """Zero weight among others: as good as no network, but for the term itself."""
    scoring = networks._replace(nima=nima.init(jax.random.key(4), "mobilenet", 0.0625))
    recipe = dataclasses.replace(RECIPE, nima_size=32)
    targets = preparation.prepare(*scene, scoring, recipe=recipe)
    assert targets.view is not None
    sweep = jnp.float32([0.0, 0.5, 2.0])

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def evaluate(nima_weight, image):
        objective = jax.value_and_grad(total.objective, has_aux=True)
        return objective(image, targets, HYPER._replace(nima_weight=nima_weight), scoring)

    (totals, terms), gradients = evaluate(sweep, targets.start)
    plain = jax.jit(total.objective)(targets.start, targets._replace(view=None), HYPER, networks)[0]
    loss = terms["aesthetics"][1] / 0.5
    assert 0 < loss < 9
    np.testing.assert_allclose(terms["aesthetics"], sweep * loss, rtol=1e-6)
    np.testing.assert_allclose(totals, plain + sweep * loss, rtol=1e-5)
    np.testing.assert_allclose(gradients[2] - gradients[0], 4 * (gradients[1] - gradients[0]), rtol=1e-3, atol=1e-6)
    assert np.abs(gradients[1] - gradients[0]).max() > 0


def test_without_a_network_there_is_no_aesthetic_term_and_nothing_to_look_at(targets):
    assert targets.view is None
