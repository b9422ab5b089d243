"""The files of networks that come with the package: written, read again, and refused where they do not fit."""

import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst.weights import CheckpointError, shipped

NAME = "some-head"
VARIABLES = {
    "params": {"layer": {"kernel": jnp.linspace(-2, 2, 6).reshape(2, 3), "bias": jnp.ones(3)}},
    "calibration": {"temperature": jnp.float32(1.25)},
}


def template(_):
    return jax.eval_shape(lambda: VARIABLES)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where the network would lie in the package."""
    monkeypatch.setattr(shipped.resources, "files", lambda _: tmp_path)
    return tmp_path / "data" / "some_head.npz"


def test_what_is_saved_is_loaded_as_float32_and_named(file):
    shipped.save(file, NAME, VARIABLES)
    loaded = shipped.load(NAME, template)
    assert loaded.provenance.name == NAME and len(loaded.provenance.sha256) == 64
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(VARIABLES)
    for ours, theirs in zip(jax.tree.leaves(loaded.variables), jax.tree.leaves(VARIABLES), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_array_equal(ours, np.asarray(theirs, np.float16))
    with np.load(file) as stored:
        assert stored["params/layer/kernel"].dtype == np.float16


def test_the_same_variables_give_the_same_bytes(file, tmp_path):
    for path in (file, tmp_path / "other.npz"):
        shipped.save(path, NAME, VARIABLES)
    assert file.read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_the_template_may_follow_from_the_arrays(file):
    shipped.save(file, NAME, VARIABLES)
    seen = {}
    shipped.load(NAME, lambda found: seen.update(found) or template(found))
    assert set(seen) == {"params/layer/kernel", "params/layer/bias", "calibration/temperature"}


def test_an_absent_file_is_the_packages_fault(file):
    with pytest.raises(CheckpointError, match=r"some-head: there is no .*some_head\.npz, .*install jpst again"):
        shipped.load(NAME, template)


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_damaged_file_is_named(file, share):
    shipped.save(file, NAME, VARIABLES)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"some_head\.npz"):
        shipped.load(NAME, template)


def test_another_networks_file_does_not_fit(file):
    shipped.save(file, "other-head", {"params": {"layer": {"kernel": jnp.ones((2, 3))}}})
    with pytest.raises(CheckpointError, match=r"(?s)some_head\.npz: does not fit.*- params/layer/bias \(3,\)"):
        shipped.load(NAME, template)


def test_a_save_that_fails_leaves_the_file_that_was_there(file):
    shipped.save(file, NAME, VARIABLES)
    before = file.read_bytes()
    with pytest.raises(TypeError):
        shipped.save(file, NAME, {"params": {"layer": object()}})
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_the_files_are_data_of_the_package():
    """So that a wheel has them."""
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert "data/*" in project["tool"]["setuptools"]["package-data"]["jpst"]
    for name in ("scene-head", "aesthetic-head"):
        assert Path(str(shipped.file(name))).parts[-3:] == ("jpst", "data", f"{name.replace('-', '_')}.npz")
