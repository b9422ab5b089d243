"""Sweeps: many settings of one pair are what single runs with each are, and their files say which is which."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jpst as library
from jpst import command_line, estimate, pipeline, preparation, stacking
from jpst.errors import JpstError
from jpst.estimate import Room
from jpst.many import sheet, sweep
from jpst.presets import preset
from jpst.total import Networks

SMALL = {"size": 48, "size_multiple": 8, "iterations": (6, 2), "segmenter": "none", "start": "content"}
WEIGHTS = (0.01, 1.0, 100.0)
LEVEL = 1 / 255


@pytest.fixture
def pair(photograph):
    return photograph(40, 56), photograph(36, 48, seed=1)


@pytest.fixture
def networks(vgg19_tiny):
    return Networks(vgg19_tiny)


def hypers(**values):
    return [preset()[1]._replace(**dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]


def test_settings_are_every_combination_or_side_by_side():
    base = preset()[1]
    grid = sweep.settings(base, {"style_weight": [1, 2], "edge_weight": [0.1, 0.3]})
    assert grid == hypers(style_weight=(1.0, 1.0, 2.0, 2.0), edge_weight=(0.1, 0.3, 0.1, 0.3))
    side = sweep.settings(base, {"style_weight": [1, 2], "edge_weight": [0.1, 0.3], "beta1": [0.5]}, zipped=True)
    assert side == hypers(style_weight=(1.0, 2.0), edge_weight=(0.1, 0.3), beta1=(0.5, 0.5))
    assert sweep.settings(base, {"style_weight": [2, 2.0, 1]}) == hypers(style_weight=(2.0, 1.0))
    assert sweep.settings(base, {}) == sweep.settings(base, {}, zipped=True) == [base]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"stile_weight": [1]}, r"There is no number stile_weight\. Did you mean style_weight\?"),
        ({"style_weight": []}, "style_weight has no values"),
        ({"style_weight": [1, 2], "edge_weight": [1, 2, 3]}, "style_weight has 2, edge_weight has 3"),
        ({"style_weight": [1, -2]}, "style_weight is -2"),
        ({"learning_rate": [1, 3]}, "learning_rate: only Adam reads it"),
    ],
)
def test_values_that_cannot_be(pair, networks, values, reason):
    with pytest.raises(JpstError, match=reason):
        library.sweep(*pair, networks=networks, zipped=True, recipe=preset(**SMALL)[0], **values)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("projection", ["grid", "none"])
def test_one_after_the_other_they_are_single_runs_bit_for_bit(pair, networks, projection, turned):
    content, style = (np.swapaxes(each, 0, 1) if turned else each for each in pair)
    recipe, hyper = preset(**SMALL, projection=projection)
    runs = library.sweep(content, style, recipe=recipe, networks=networks, style_weight=WEIGHTS)
    assert [run.record["hyperparameters"]["style_weight"] for run in runs] == list(WEIGHTS)
    for weight, run in zip(WEIGHTS, runs, strict=True):
        alone = library.stylize(
            content, style, recipe=recipe, hyper=hyper._replace(style_weight=weight), networks=networks
        )
        np.testing.assert_array_equal(run.photograph.pixels, alone.photograph.pixels)
        for one, other in zip(run.record["levels"], alone.record["levels"], strict=True):
            assert one["losses"] == other["losses"] and len(one["losses"]["total"]) > 1
        assert run.record["faults"] == alone.record["faults"]
    assert np.abs(runs[0].photograph.pixels - runs[-1].photograph.pixels).max() > LEVEL / 4


@pytest.mark.parametrize("together", [2, 3])
@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_at_once_they_are_single_runs_within_a_level(pair, networks, together, optimiser):
    """Two at once run on both devices that these tests have, three on one; the third is filled up, or alone."""
    recipe, hyper = preset(**SMALL, projection="none", optimiser=optimiser)
    hyper = hyper._replace(learning_rate=1.0)  # of Adam; the longer its steps, the more they make of rounding
    runs = library.sweep(*pair, recipe=recipe, hyper=hyper, networks=networks, together=together, style_weight=WEIGHTS)
    assert len(runs) == 3
    for weight, run in zip(WEIGHTS, runs, strict=True):
        alone = library.stylize(*pair, recipe=recipe, hyper=hyper._replace(style_weight=weight), networks=networks)
        assert np.abs(run.photograph.pixels - alone.photograph.pixels).max() < LEVEL
        for one, other in zip(run.record["levels"], alone.record["levels"], strict=True):
            np.testing.assert_allclose(one["losses"]["total"], other["losses"]["total"], rtol=1e-3)
    assert np.abs(runs[0].photograph.pixels - runs[-1].photograph.pixels).max() > LEVEL


def test_each_setting_ends_at_its_own_plateau(pair, networks):
    """By Adam, whose steps rounding does not change much."""
    small = SMALL | {"iterations": (60, 2), "optimiser": "adam"}
    recipe, hyper = preset(**small, projection="none", plateau_tolerance=0.4)
    weights = (1.0, 100.0)
    runs = library.sweep(*pair, recipe=recipe, networks=networks, together=2, style_weight=weights)
    steps = []
    for weight, run in zip(weights, runs, strict=True):
        alone = library.stylize(*pair, recipe=recipe, hyper=hyper._replace(style_weight=weight), networks=networks)
        ends, expected = ([each["plateau"] for each in one.record["levels"]] for one in (run, alone))
        assert ends == expected and ends[0], "this is about plateaus"
        steps.append(len(run.record["levels"][0]["losses"]["total"]))
        assert abs(steps[-1] - len(alone.record["levels"][0]["losses"]["total"])) <= 1
        assert np.abs(run.photograph.pixels - alone.photograph.pixels).max() < LEVEL
    assert steps[0] != steps[1]


def test_what_settings_share_is_done_once_and_new_values_compile_nothing(pair, networks, monkeypatch, no_compilation):
    recipe, _ = preset(**SMALL, projection="none")
    for together in (1, 2):
        library.sweep(*pair, recipe=recipe, networks=networks, together=together, style_weight=(0.5, 2.0))
    prepared, real = [], preparation.prepare
    monkeypatch.setattr(preparation, "prepare", lambda *a, **b: prepared.append(1) or real(*a, **b))
    for together in (1, 2):
        with no_compilation():
            library.sweep(*pair, recipe=recipe, networks=networks, together=together, style_weight=WEIGHTS)
    assert len(prepared) == 2 * 2, "two levels for each sweep"


def test_ctrl_c_gives_what_there_is(pair, networks):
    def stop(now):
        if (now.setting, now.step) == (1, 2):
            raise KeyboardInterrupt

    options = {"recipe": preset(**SMALL, projection="none")[0], "networks": networks, "style_weight": WEIGHTS}
    runs = library.sweep(*pair, **options, on_step=stop)
    assert [run.interrupted for run in runs] == [False, True]
    runs = library.sweep(*pair, **options, on_step=stop, together=2)
    assert [run.interrupted for run in runs] == [True, True]


def test_ctrl_c_at_the_command_writes_what_there_is_and_exits_with_130(jpst, ctrl_c_in_the_second_step):
    status, _, new = jpst("sweep", "content.png", "style.jpg", "-o", "out", *TINY, "--style-weight", "1", "2")
    assert (status, new) == (130, {"out"}) and jpst.errors == "jpst: interrupted, 1 of 2 pictures were written.\n"


def test_without_steps_there_is_a_base_look_for_each(pair):
    runs = library.sweep(*pair, recipe=preset("preview", segmenter="none")[0], style_weight=(1, 2))
    np.testing.assert_array_equal(runs[0].photograph.pixels, runs[1].photograph.pixels)


def test_how_many_at_once(pair, networks, monkeypatch):
    recipe, hyper = preset("balanced", segmenter="none")
    job = library.plan(*pair, recipe=recipe, hyper=hyper, networks=networks)
    assert sweep.at_once(job) == 1, "on a CPU"
    (one,) = (estimate._device_bytes(job.levels, recipe),)
    fits = [estimate.fitting_a_device(job.levels, recipe, Room(None, int(free))) for free in (0, 3.5 * one, 1e15)]
    assert fits == [1, 3, estimate.MOST_AT_ONCE]
    assert estimate.fitting_a_device(job.levels, recipe, Room(10**12, None)) == 1
    asked = []
    monkeypatch.setattr(pipeline, "run_all", lambda jobs, together, on_step: asked.append(together))
    monkeypatch.setattr(sweep, "at_once", lambda _: 6)
    for count in (1, 2, 5, 7, 13):
        sweep.run(job, hypers(style_weight=np.linspace(1, 2, count).tolist()))
    assert asked == [2, 2, 6, 4, 6], "groups of one size, which both devices share"


PROGRAM = """
import sys, jax, numpy as np
jax.config.update("jax_compilation_cache_dir", sys.argv[2] or None)
import jpst
from jpst import optimise
from jpst.models import vgg19
from jpst.total import Networks
seen, real = set(), optimise.cached.__call__
def call(self, *arguments):
    if self is optimise._step_all:
        seen.add(len(arguments[0].image.sharding.device_set))
    return real(self, *arguments)
optimise.cached.__call__ = call
y, x = np.mgrid[0:1:40j, 0:1:56j]
content, style = np.stack([x, y, x * y], -1), np.stack([1 - x, x * y, 0.3 + 0 * x], -1)
variables = vgg19.init(jax.random.key(19), channels=(4, 6, 6, 8, 8))
preprocessing = {"scale": jax.numpy.full(3, 255.0), "offset": jax.numpy.full(3, -110.0)}
networks = Networks({"params": variables["params"], "preprocessing": preprocessing})
small = {"size": 48, "size_multiple": 8, "iterations": (6, 2), "segmenter": "none", "start": "content"}
recipe, _ = jpst.preset("balanced", **small, projection="none")
weights = [0.01, 0.1, 1, 2, 4, 20, 100]
runs = jpst.sweep(content, style, recipe=recipe, networks=networks, together=4, style_weight=weights)
np.save(sys.argv[1], np.stack([run.photograph.pixels for run in runs]))
print(len(jax.local_devices()), *seen)
"""


def test_four_devices_give_what_one_gives(tmp_path):
    found = []
    for devices in (4, 1):
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(Path(__file__).parents[1])}
        out, cache = tmp_path / f"{devices}.npy", jax.config.jax_compilation_cache_dir or ""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(out), cache], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(devices)] * 2, "the settings were not spread over all devices"
        found.append(np.load(out))
    assert found[0].shape[0] == 7
    assert np.abs(found[0] - found[1]).max() < LEVEL
    assert np.abs(found[0][0] - found[0][-1]).max() > LEVEL


def test_what_cannot_be_shared_out_stays_on_one_device():
    assert len(jax.local_devices()) == 2, "as conftest.py asks for"
    (odd,), (shared,) = stacking.spread((np.zeros((3, 2)),), (np.zeros(5),))
    assert isinstance(odd, np.ndarray) and isinstance(shared, np.ndarray)
    (even,), (shared,) = stacking.spread((np.zeros((4, 2)),), (np.zeros(5),))
    assert [shard.data.shape for shard in even.addressable_shards] == [(2, 2)] * 2
    assert [shard.data.shape for shard in shared.addressable_shards] == [(5,)] * 2


# ---- The command


TINY = ["--size", "48", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]
SWEEP = ["sweep", "content.png", "style.jpg", "-o", "looks", *TINY]


def test_the_command_writes_a_picture_for_each_setting_and_a_sheet(jpst, folder):
    values = ["--style-weight", "0.3", "1", "--edge-weight", "0.1", "0.3", "0.25", "--strength", "0.9"]
    status, printed, _ = jpst(*SWEEP, *values)
    assert status == 0, printed
    names = {f"content_style-weight-{a}_edge-weight-{b}" for a in ("0.3", "1") for b in ("0.1", "0.3", "0.25")}
    written = {path.name for path in (folder / "looks").iterdir()}
    assert written == {f"{name}{suffix}" for name in names for suffix in (".png", ".json")} | {"sheet.jpg"}
    made = Image.open(folder / "looks" / "sheet.jpg")
    step = (made.width - 12) / 3
    assert step == 180 + 12, "a column for each edge weight"
    content = np.asarray(Image.open(folder / "content.png")).astype(int)
    assert np.abs(np.asarray(made)[12:72, 12:92].astype(int) - content).mean() < 4
    last = np.asarray(Image.open(folder / "looks" / "content_style-weight-1_edge-weight-0.25.png")).astype(int)
    bottom = 12 + 2 * (made.height - 12) // 3
    assert np.abs(np.asarray(made)[bottom : bottom + 60, -192:-112].astype(int) - last).mean() < 4


def test_the_recorded_command_makes_the_same_picture(jpst, folder):
    status, printed, _ = jpst(
        *SWEEP, "--style-weight", "0.3", "1e-07", "--matched-gains", "None", "--hard-masks", "--json"
    )
    assert status == 0, printed
    record = json.loads((folder / "looks" / "content_style-weight-1e-07.json").read_text())
    assert record["hyperparameters"]["style_weight"] == 1e-7 and record["recipe"]["matched_gains"] is None
    command = shlex.split(record["command"])
    assert command[:2] == ["jpst", "transfer"] and "looks/content_style-weight-1e-07.png" in command
    before = (folder / "looks" / "content_style-weight-1e-07.png").read_bytes()
    status, printed, _ = jpst(*command[1:])
    assert status == 0, printed
    assert (folder / "looks" / "content_style-weight-1e-07.png").read_bytes() == before
    again = json.loads((folder / "looks" / "content_style-weight-1e-07.json").read_text())
    assert again["recipe"] == record["recipe"] and again["hyperparameters"] == record["hyperparameters"]


def test_the_recorded_command_runs_for_names_that_look_like_options(jpst, folder):
    (folder / "content.png").rename(folder / "-day.png")
    status, printed, _ = jpst("sweep", "./-day.png", "style.jpg", "-o", "./-looks", "--preset", "preview", *TINY)
    assert status == 0, printed
    command = json.loads((folder / "-looks" / "-day.json").read_text())["command"]
    status, printed, _ = jpst(*shlex.split(command)[1:])
    assert status == 0, printed


def test_on_windows_the_command_is_quoted_as_its_shell_reads_it(monkeypatch):
    paths, settings = (Path("my day.jpg"), Path("it's.jpg"), Path("out.jpg")), preset()
    with monkeypatch.context() as windows:  # pathlib looks at it, too
        windows.setattr(os, "name", "nt")
        command = command_line.command(*paths, *settings, {})
    assert command.startswith('jpst transfer "my day.jpg" it\'s.jpg -o out.jpg ')


def test_side_by_side(jpst, folder):
    status, printed, _ = jpst(*SWEEP, "--style-weight", "1", "2", "--edge-weight", "0.1", "0.3", "--zip")
    assert status == 0, printed
    pictures = sorted(path.name for path in (folder / "looks").glob("*.png"))
    assert pictures == ["content_style-weight-1_edge-weight-0.1.png", "content_style-weight-2_edge-weight-0.3.png"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--style-weight", "1", "-2"], "style_weight is -2"),
        (["--style-weight", "1", "2", "--edge-weight", "1", "2", "3", "--zip"], "leave --zip out"),
        (["--learning-rate", "1", "3"], "only Adam reads it"),
        (["--together", "-1"], "together is -1"),
        (["-o", "style.jpg"], "style.jpg: cannot be made"),
        (["--content-seg", "style.jpg"], "There is no mask for the style photograph"),
    ],
)
def test_a_sweep_that_cannot_be_says_so_and_writes_nothing(jpst, folder, options, reason):
    status, printed, _ = jpst(*SWEEP, *options)
    assert status == 1 and reason in printed and "Traceback" not in printed
    assert not (folder / "looks").exists() or not list((folder / "looks").iterdir())


def test_no_input_is_overwritten(jpst, folder):
    status, printed, _ = jpst("sweep", "content.png", "style.jpg", "-o", ".", *TINY)
    assert status == 1 and "would overwrite an input" in printed


@pytest.mark.parametrize("name", ["content.png", "sheet.jpg"])
def test_what_jpst_did_not_write_stays(jpst, folder, name):
    (folder / "looks").mkdir()
    (folder / "looks" / name).write_bytes(mine := (folder / "style.jpg").read_bytes())
    status, printed, _ = jpst(*SWEEP)
    assert status == 1 and f"looks/{name}: this is" in printed and "Choose another folder, or move it." in printed
    assert [path.name for path in (folder / "looks").iterdir()] == [name]
    assert (folder / "looks" / name).read_bytes() == mine


def test_the_same_sweep_again_replaces_what_it_wrote(jpst, folder):
    for _ in range(2):
        status, printed, _ = jpst(*SWEEP, "--preset", "preview")
        assert status == 0, printed


def test_captions_are_wrapped_and_numbers_exact():
    (hyper,) = hypers(style_weight=(1 / 3,), edge_weight=(1e-7,))
    assert sheet.caption(hyper, ["style_weight", "edge_weight"]) == "style weight 0.3333333333333333, edge weight 1e-07"
    made = sheet.sheet([(", ".join(["many words"] * 9), Image.new("RGB", (90, 60)))] * 5, 99)
    assert made.width == 8 * (180 + 12) + 12 and made.height > 2 * (60 + 12 + 5 * 20), "five lines of words"
