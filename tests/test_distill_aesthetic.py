"""How the aesthetic head is made: its data and its fitting go on where they stopped, and are the same each time."""

import copies
import fitting
import jax
import numpy as np
import pytest
from flax import serialization

from jpst import image
from jpst.models import nima
from jpst.weights import Loaded, Provenance

SETTINGS = fitting.Settings(hidden=8, steps=1000, batch=32, dropout=0.1)


@pytest.fixture(scope="module")
def data():
    """Ratings that depend on the first of six numbers: 300 to learn from, 100 to check."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(2, 1, (400, 6)).astype(np.float16)
    apart = np.arange(1, 11) - (5 + numbers[:, :1].astype(np.float32) - 2)
    ratings = np.exp(-(apart**2) / 4)
    ratings = (ratings / ratings.sum(1, keepdims=True)).astype(np.float32)
    return copies.Rated(numbers[:300], ratings[:300]), copies.Rated(numbers[300:], ratings[300:])


def test_the_head_learns_the_teachers_order(data, tmp_path):
    lines = []
    variables = fitting.fit(*data, SETTINGS, tmp_path, lines.append)
    told = fitting.agreement(variables, data[1])
    assert told.rank > 0.95 and told.error < 0.3
    assert told.lowest < 4 < 6 < told.highest
    assert len(lines) == 2 and lines[-1].startswith("step 1000")


def test_fitting_goes_on_where_it_stopped_to_the_same_head(data, tmp_path, monkeypatch):
    whole = fitting.fit(*data, SETTINGS, tmp_path / "whole", str)
    real = serialization.to_bytes
    (tmp_path / "parts").mkdir()

    def stop_after_writing(state):
        if int(state.step) > 500:
            raise KeyboardInterrupt
        return real(state)

    monkeypatch.setattr(serialization, "to_bytes", stop_after_writing)
    with pytest.raises(KeyboardInterrupt):
        fitting.fit(*data, SETTINGS, tmp_path / "parts", str)
    monkeypatch.setattr(serialization, "to_bytes", real)
    lines = []
    parts = fitting.fit(*data, SETTINGS, tmp_path / "parts", lines.append)
    assert lines[0].startswith("goes on from step 500") and len(lines) == 2
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_copies_are_made_once_differ_and_are_the_same_each_time(tmp_path, photograph, vgg19_tiny, monkeypatch):
    names = [f"{number}.png" for number in range(3)]
    for number, name in enumerate(names):
        image.write(tmp_path / name, photograph(40, 60, seed=number))
    monkeypatch.setattr(copies, "DECODED", (48, 48))
    monkeypatch.setattr(copies, "SHAPES", ((32, 32), (32, 40)))
    teacher = nima.init(jax.random.key(0), "mobilenet", 0.0625)
    networks = copies.Networks(*(Loaded(each, Provenance("tiny", "0" * 64)) for each in (vgg19_tiny, teacher)))
    made = [copies.rated(tmp_path, names, number, networks, tmp_path / "a", 2) for number in (0, 1)]
    for each in made:
        assert each.statistics.shape == (3, 64) and each.statistics.dtype == np.float16
        assert each.ratings.shape == (3, 10)
        np.testing.assert_allclose(each.ratings.sum(1), 1, rtol=1e-4)
    assert not np.allclose(made[0].ratings, made[1].ratings, atol=1e-6)
    again = copies.rated(tmp_path, names, 1, networks, tmp_path / "b", 2)
    np.testing.assert_array_equal(again.statistics, made[1].statistics)
    monkeypatch.setattr(copies, "_computed", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(
        copies.rated(tmp_path, names, 1, networks, tmp_path / "a", 2).ratings, made[1].ratings
    )
