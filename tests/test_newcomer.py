"""What a newcomer wants to do with `import jpst` alone: each a few lines, as they would be written without reading on.

A narrow network stands in for VGG19, two of its blocks for all five.
"""

import ast
import importlib.metadata
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import tifffile

import jpst
from jpst import pyramid

SMALL = {
    "size": 32,
    "size_multiple": 8,
    "segmenter": "auto",
    "iterations": (2,),
    "content_layers": ("relu2_1",),
    "style_layers": ("relu1_1", "relu2_1"),
    "laplacian": "bcoo",  # which a scan compiles in a third of the stencil's time
}


@pytest.fixture(scope="module")
def networks(vgg19_tiny):
    return jpst.Networks(vgg19_tiny)


@pytest.fixture
def files(folder):
    """content.png and style.jpg with painted masks of their upper and lower halves."""
    for name, height, width in (("content", 60, 80), ("style", 48, 64)):
        bands = np.repeat(np.uint8([0, 255]), height // 2)
        PIL.Image.fromarray(np.repeat(bands[:, None], width, axis=1)).save(folder / f"{name}_seg.png")
    return folder / "content.png", folder / "style.jpg"


@pytest.fixture
def scene(files):
    return jpst.load_scene(*files, recipe=jpst.preset(**SMALL)[0])


@pytest.fixture
def begun(scene, networks):
    """recipe, hyper, targets and state of a transfer that is about to begin."""
    recipe, hyper = jpst.preset("balanced", **SMALL)
    targets = jpst.prepare(*scene.arrays, networks, recipe=recipe)
    return recipe, hyper, targets, jpst.init(targets, recipe=recipe)


def test_arrays_from_two_files_with_masks(files):
    recipe, _ = jpst.preset("balanced", **SMALL)
    scene = jpst.load_scene(*files, recipe)
    assert scene.content.shape == (24, 32, 3) and scene.style.shape == (24, 32, 3)
    assert scene.names == ("black", "white") and scene.whole is None
    np.testing.assert_allclose(scene.content_masks.sum(0), 1, atol=1e-5)
    assert scene.content_masks[0, 2].mean() > 0.99 > 0.01 > scene.content_masks[0, -2].mean()


def test_masks_may_be_named_and_photographs_be_arrays(files, photograph):
    masks = {f"{name}_seg": files[0].with_name(f"{name}_seg.png") for name in ("content", "style")}
    given = jpst.load_scene(photograph(60, 80), photograph(48, 64, seed=1), jpst.preset(**SMALL)[0], **masks)
    assert given.names == ("black", "white")


def test_some_steps(scene, networks):
    recipe, hyper = jpst.preset("balanced", **SMALL, style_weight=3)
    targets = jpst.prepare(*scene.arrays, networks, recipe=recipe)
    state = jpst.init(targets, recipe=recipe)
    result = jpst.transfer(state, targets, hyper, networks, recipe=recipe, steps=5)
    assert result.status == jpst.Status.FINE
    assert result.history["total"].min() < result.history["total"][0]


def test_a_sweep_over_four_weights_by_vmap(begun, networks):
    recipe, hyper, targets, state = begun

    def run(weight):
        numbers = hyper._replace(style_weight=weight)
        return jpst.transfer(state, targets, numbers, networks, recipe=recipe, steps=2).image

    images = jax.vmap(run)(jnp.array([0.3, 1.0, 3.0, 10.0]))
    assert images.shape == (4, 24, 32, 3)
    assert jnp.abs(images[0] - images[3]).max() > 1e-4


def test_an_own_schedule_of_the_weights(begun, networks):
    _, hyper, targets, state = begun
    totals = []
    for number in range(5):
        numbers = hyper._replace(content_weight=0.02 / (1 + number))
        state, terms = jpst.step(state, targets, numbers, networks)
        totals.append(float(terms["total"]))
    assert state.step == 5
    assert totals[-1] < totals[0]


def test_the_gradient_of_the_objective(begun, networks):
    _, hyper, targets, state = begun
    gradient, terms = jax.grad(jpst.objective, has_aux=True)(state.image, targets, hyper, networks)
    downhill = state.image - 1e-3 * gradient / jnp.abs(gradient).max()
    assert set(terms) == {"content", "style", "photorealism", "coherence", "edges", "clipping"}
    total, _ = jpst.objective(state.image, targets, hyper, networks)
    assert jpst.objective(downhill, targets, hyper, networks)[0] < total


def test_the_same_networks_for_several_pairs(files, networks):
    recipe, hyper = jpst.preset("balanced", **SMALL)
    runs = [jpst.stylize(*pair, recipe=recipe, hyper=hyper, networks=networks) for pair in (files, files[::-1])]
    assert [run.image.size for run in runs] == [(80, 60), (64, 48)]


def test_a_tiff_of_16_bits_and_alpha_stays_one(files, networks, photograph, tmp_path):
    pixels = np.dstack([photograph(60, 80), np.linspace(0.2, 1, 80) * np.ones((60, 1))])
    tifffile.imwrite(tmp_path / "in.tif", np.uint16(65535 * pixels), photometric="rgb", extrasamples=["unassalpha"])
    recipe, _ = jpst.preset(**{**SMALL, "segmenter": "none"})
    run = jpst.stylize(tmp_path / "in.tif", files[1], recipe=recipe, networks=networks)
    run.save(tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        page = file.pages[0]
        assert page.dtype == np.uint16 and page.shape == (60, 80, 4)
        assert page.iccprofile
        np.testing.assert_allclose(page.asarray()[..., 3] / 65535, pixels[..., 3], atol=1e-4)


def test_pairs_side_by_side_in_one_vmap(files, networks):
    recipe, hyper = jpst.preset("balanced", **SMALL)
    scenes = [jpst.load_scene(*pair, recipe) for pair in (files, files[::-1])]
    targets = jpst.stack([jpst.prepare(*scene.arrays, networks, recipe=recipe) for scene in scenes])
    states = jax.vmap(lambda each: jpst.init(each, recipe=recipe))(targets)
    both = jax.vmap(lambda s, t: jpst.transfer(s, t, hyper, networks, recipe=recipe, steps=2))(states, targets)
    alone = jpst.prepare(*scenes[1].arrays, networks, recipe=recipe)
    expected = jpst.transfer(jpst.init(alone, recipe=recipe), alone, hyper, networks, recipe=recipe, steps=2)
    np.testing.assert_allclose(both.history["total"][1], expected.history["total"], rtol=1e-3)


def test_a_transfer_saved_and_taken_up_again(begun, networks, tmp_path):
    recipe, hyper, targets, state = begun
    state = jpst.transfer(state, targets, hyper, networks, recipe=recipe, steps=2).state
    (tmp_path / "state").write_bytes(pickle.dumps(jax.tree.map(np.asarray, state)))
    restored = pickle.loads((tmp_path / "state").read_bytes())
    result = jpst.transfer(restored, targets, hyper, networks, recipe=recipe, steps=2)
    assert result.state.step == 4


def test_numbers_of_ones_own_with_a_recipe_by_l_bfgs(files, networks):
    run = jpst.stylize(
        *files, recipe=jpst.preset(**SMALL)[0], hyper=jpst.Hyperparameters(style_weight=3), networks=networks
    )
    assert run.record["hyperparameters"]["style_weight"] == 3
    with pytest.raises(jpst.JpstError, match=r"^learning_rate: only Adam reads it"):
        jpst.stylize(*files, hyper=jpst.Hyperparameters(learning_rate=0.5), networks=networks)


@pytest.mark.parametrize("preset", ["paper", "paper-fast"])
def test_the_papers_objective_wants_its_network_among_those_given(files, networks, preset):
    with pytest.raises(jpst.JpstError, match=r"(?s)without NIMA it is not the paper's.*`nima_weight=0`"):
        jpst.stylize(*files, recipe=jpst.preset(preset)[0], networks=networks)


def test_a_job_is_planned_looked_at_and_run(files, networks):
    recipe, hyper = jpst.preset("balanced", **SMALL)
    job = jpst.plan(*files, recipe=recipe, hyper=hyper, networks=networks)
    assert job.levels[-1].content == (24, 32) and job.estimate().memory_bytes > 0
    run = jpst.run(job)
    same = jpst.stylize(*files, recipe=recipe, hyper=hyper, networks=networks)
    np.testing.assert_array_equal(run.photograph.pixels, same.photograph.pixels)


# ---- What a scene is


def test_a_scenes_targets_are_those_of_the_finest_level_of_a_transfer(files, networks, monkeypatch):
    recipe, hyper = jpst.preset("balanced", **SMALL)
    ready = []
    real = pyramid._ready
    monkeypatch.setattr(pyramid, "_ready", lambda *given: ready.append(real(*given)) or ready[-1])
    jpst.stylize(*files, recipe=recipe, hyper=hyper, networks=networks)
    ours = jpst.load_scene(*files, recipe).targets(networks, recipe)
    np.testing.assert_array_equal(ours.start, ready[-1].targets.start)
    total = jpst.objective(ours.start, ours, hyper, networks)[0]
    expected = jpst.objective(ours.start, ready[-1].targets, hyper, networks)[0]
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_what_has_no_counterpart_is_measured_over_the_whole(scene, networks):
    recipe, _ = jpst.preset(**SMALL)
    rest = scene._replace(whole=1)
    targets = rest.targets(networks, recipe)
    everywhere = scene._replace(
        content_masks=scene.content_masks.at[1].set(1), style_masks=scene.style_masks.at[1].set(1)
    )
    expected = jpst.prepare(*everywhere.arrays, networks, recipe=recipe, content_parts=scene.content_masks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), targets.start, expected.start)
    np.testing.assert_array_equal(
        scene.targets(networks, recipe).start, jpst.prepare(*scene.arrays, networks, recipe=recipe).start
    )
    assert jnp.abs(targets.start - scene.targets(networks, recipe).start).max() > 1e-3


# ---- The names


def test_every_public_name_is_there_and_listed():
    for name in (*jpst.__all__, "__version__"):
        assert getattr(jpst, name) is not None
        assert name in dir(jpst)
    assert jpst.__version__ == importlib.metadata.version("jpst")
    with pytest.raises(AttributeError, match="no_such"):
        jpst.no_such  # noqa: B018


def test_type_checkers_are_told_the_same_names():
    tree = ast.parse(Path(jpst.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == set(jpst.__all__)
    assert Path(jpst.__file__).with_name("py.typed").is_file()


def test_no_public_name_is_hidden_by_a_module_of_the_same_name():
    modules = {path.stem for path in Path(jpst.__file__).parent.iterdir()}
    assert not modules & set(jpst.__all__)


def test_importing_jpst_waits_for_nothing():
    program = "import sys, jpst; dir(jpst); jpst.preset('fast', size=64); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_python_m_jpst_is_the_command():
    done = subprocess.run([sys.executable, "-m", "jpst", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "transfer" in done.stdout
