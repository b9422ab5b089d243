"""Programs kept between runs: the same values, nothing traced a second time, and no trust in what does not fit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst import optimise, programs
from jpst.programs import kept
from jpst.recipe import Hyperparameters, Recipe


class Pair(NamedTuple):
    one: jax.Array
    other: dict[str, jax.Array]


class Traced:
    """A function that counts how often Python runs it; two of them are as two runs of a program."""

    def __init__(self):
        self.times = 0

        def scaled(pair: Pair, factor: float, power: int) -> Pair:
            self.times += 1
            return Pair((pair.one * factor) ** power, {"sum": pair.one + pair.other["x"]})

        self.run = kept(scaled, static_argnums=(2,))


PAIR = Pair(jnp.arange(6.0).reshape(2, 3), {"x": jnp.ones(3)[None]})


@pytest.fixture
def folder(tmp_path):
    programs.keep_in(tmp_path / "programs")
    yield tmp_path / "programs"
    programs.keep_in(None)


def check(found: Pair, factor: float, power: int) -> None:
    assert isinstance(found, Pair)
    np.testing.assert_allclose(found.one, (np.asarray(PAIR.one) * factor) ** power, rtol=1e-6)
    np.testing.assert_array_equal(found.other["sum"], np.asarray(PAIR.one) + 1)


def test_a_second_run_traces_nothing(folder):
    first, second = Traced(), Traced()
    check(first.run(PAIR, 2.0, 3), 2.0, 3)
    check(second.run(PAIR, 2.0, 3), 2.0, 3)
    check(second.run(PAIR, 5.0, 3), 5.0, 3)  # the number is an argument, not part of the program
    assert (first.times, second.times) == (1, 0)
    assert len(list(folder.iterdir())) == 1


def test_what_comes_out_goes_in_without_another_compilation(folder, no_compilation):
    traced = Traced()
    once = traced.run(PAIR, 2.0, 1)
    again = Pair(once.one, PAIR.other)
    with no_compilation():
        again = Pair(traced.run(again, 2.0, 1).one, PAIR.other)
    np.testing.assert_array_equal(traced.run(again, 2.0, 1).one, 8 * PAIR.one)


def test_other_static_arguments_shapes_and_settings_are_other_programs(folder):
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    check(traced.run(PAIR, 2.0, 2), 2.0, 2)
    traced.run(jax.tree.map(lambda x: x[:1], PAIR), 2.0, 2)
    with jax.default_matmul_precision("float32"):
        check(traced.run(PAIR, 2.0, 2), 2.0, 2)
    assert traced.times == len(list(folder.iterdir())) == 4


def test_another_source_is_another_program(folder, monkeypatch):
    Traced().run(PAIR, 2.0, 3)
    monkeypatch.setattr(programs, "_source", lambda: b"changed")
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    assert traced.times == 1


@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no program"])
def test_a_damaged_file_is_written_anew(folder, spoil):
    Traced().run(PAIR, 2.0, 3)
    (path,) = folder.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    again, third = Traced(), Traced()
    check(again.run(PAIR, 2.0, 3), 2.0, 3)
    check(third.run(PAIR, 2.0, 3), 2.0, 3)
    assert (again.times, third.times) == (1, 0)


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path):
    (tmp_path / "file").write_text("where a folder would be")
    programs.keep_in(tmp_path / "file" / "programs")
    try:
        check(Traced().run(PAIR, 2.0, 3), 2.0, 3)
    finally:
        programs.keep_in(None)


def test_what_calls_the_host_is_not_kept_but_runs(folder):
    @kept
    def hosted(x):
        return jax.pure_callback(lambda x: np.asarray(x) + 1, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for _ in range(2):
        np.testing.assert_array_equal(hosted(PAIR.one), np.asarray(PAIR.one) + 1)
    assert not folder.exists()


def test_transformations_and_several_devices_are_left_to_jax(folder):
    traced = Traced()
    batched = jax.vmap(lambda factor: traced.run(PAIR, factor, 2).one)(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(batched[1], 4 * PAIR.one**2)
    slope = jax.grad(lambda factor: traced.run(PAIR, factor, 2).one.sum())(3.0)
    np.testing.assert_allclose(slope, 6 * np.sum(np.asarray(PAIR.one) ** 2))
    everywhere = jax.NamedSharding(jax.make_mesh((2,), ("x",)), jax.P())
    check(traced.run(jax.device_put(PAIR, everywhere), 2.0, 2), 2.0, 2)
    assert not folder.exists()


def test_without_a_folder_nothing_is_written_and_it_is_a_jitted_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    traced = Traced()
    check(traced.run(PAIR, 2.0, 3), 2.0, 3)
    assert traced.run.lower(PAIR, 2.0, 3).compile() is not None
    assert not list(tmp_path.iterdir())


def test_a_transfers_second_run_traces_no_network(folder, photograph, soft_masks, vgg19_tiny, monkeypatch):
    recipe, hyper = Recipe(size=32, iterations=(2,)), Hyperparameters.preset("balanced")
    networks = optimise.Networks(vgg19_tiny)
    pictures = (jnp.asarray(make(32, 40, seed=seed)) for make in (photograph, soft_masks) for seed in (0, 1))
    scene = list(pictures)

    def run() -> optimise.Result:
        for function in (optimise._features, optimise._targets, optimise._first, optimise._step):
            function._programs.clear()
        targets = optimise.prepare(*scene, networks, recipe=recipe)
        state = optimise.init(targets, hyper, recipe=recipe)
        return optimise.transfer(state, targets, hyper, networks, recipe=recipe, steps=2)

    first = run()
    monkeypatch.setattr("jpst.models.vgg19.VGG19", None)
    jax.tree.map(np.testing.assert_array_equal, run(), first)
