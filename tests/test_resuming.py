"""Transfers that are ended and go on: the same bytes as in one go, and never from a state that is not theirs."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jpst import image, outputs, pipeline, presets, resuming
from jpst.errors import JpstError
from jpst.total import Networks

BALANCED = presets.preset(
    "balanced", size=48, size_multiple=8, iterations=(4, 3), segmenter="none", projection="none"
)  # fmt: skip
PAPER = presets.preset("paper", size=48, iterations=(6,), segmenter="none", nima_weight=0)
NOISE = presets.preset("balanced", size=48, size_multiple=8, iterations=(3,), segmenter="none", start="noise")
ADAM = dataclasses.replace(BALANCED[0], optimiser="adam"), BALANCED[1]
FLAT = dataclasses.replace(BALANCED[0], optimiser="adam", iterations=(25, 3), plateau_tolerance=0.9), BALANCED[1]
OPTIONS = ["--size", "48", "--size-multiple", "8", "--iterations", "3", "2", "--segmenter", "none"]
TRANSFER = ["transfer", "content.png", "style.jpg", "-o", "out.png", *OPTIONS]


@pytest.fixture
def place(tmp_path, photograph):
    """A folder with the photographs; states are written after every step."""
    image.write(tmp_path / "content.png", photograph(60, 80))
    image.write(tmp_path / "portrait.png", photograph(80, 60))
    image.write(tmp_path / "style.png", photograph(48, 64, seed=1))
    return tmp_path


@pytest.fixture
def stylize(place, vgg19_tiny):
    """stylize(settings, stop=None, **options) -> Run; Ctrl-C comes during the report of step `stop`."""

    def run(settings=BALANCED, stop=None, content="content.png", **options):
        def on_step(now):
            steps.append(now.step)
            if now.step == stop:
                raise KeyboardInterrupt

        steps = run.steps = []
        usual = {"networks": Networks(vgg19_tiny), "on_step": on_step, "recipe": settings[0], "hyper": settings[1]}
        return pipeline.stylize(place / content, place / "style.png", **usual | options)

    return run


@pytest.fixture
def job(place, vgg19_tiny):
    """`BALANCED`, planned."""
    options = {"recipe": BALANCED[0], "hyper": BALANCED[1], "networks": Networks(vgg19_tiny)}
    return pipeline.plan(place / "content.png", place / "style.png", **options)


def curves(run):
    return [level["losses"] for level in run.record["levels"]]


def same(one, other):
    """Whether two runs have the same picture, to the last bit, and the same losses."""
    return np.array_equal(one.photograph.pixels, other.photograph.pixels) and curves(one) == curves(other)


@pytest.mark.parametrize(
    ("settings", "content", "stops"),
    [
        (BALANCED, "content.png", [2, 4, 5, 7]),
        (BALANCED, "portrait.png", [3, 6]),
        (ADAM, "content.png", [3, 6]),
        (PAPER, "content.png", [2, 5]),
        (NOISE, "content.png", [2]),
        (FLAT, "content.png", [21, 23]),
    ],
    ids=["balanced", "portrait", "adam", "paper", "projected noise", "plateau"],
)
def test_what_was_ended_goes_on_to_the_same_picture(place, stylize, settings, content, stops):
    whole, path = stylize(settings, content=content), place / "a.resume"
    done = 0
    for stop in stops:
        ended = stylize(settings, stop, content=content, resume=path)
        assert ended.interrupted and stylize.steps == list(range(done + 1, stop + 1))
        done = stop - 1  # the report of a step comes before its state is noted
    last = stylize(settings, content=content, resume=path)
    assert not last.interrupted and stylize.steps[0] == done + 1
    assert same(last, whole)
    assert [each["plateau"] for each in last.record["levels"]] == [each["plateau"] for each in whole.record["levels"]]
    last.save(place / "out.png")
    assert not path.exists()


def test_an_interrupted_picture_is_the_best_so_far_and_its_state_stays(place, stylize):
    with_state, without = (stylize(stop=3, resume=resume) for resume in (place / "a.resume", None))
    assert same(with_state, without)
    with_state.save(place / "out.png")
    assert (place / "a.resume").exists()


def test_the_state_is_written_while_it_runs(place, stylize, monkeypatch):
    monkeypatch.setattr(resuming, "EVERY", 0.0)
    monkeypatch.setattr(resuming, "LONGEST_SHARE", 1e9)
    seen = []

    def look(now):
        if now.step > 1:
            saved, _ = resuming.read(place / "a.resume")
            seen.append(sum(len(one.losses["total"]) for one in saved.done) + saved.steps)

    stylize(resume=place / "a.resume", on_step=look)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_an_error_on_the_way_costs_no_step(place, stylize):
    def fail(now):
        if now.step == 6:
            raise OSError("the disk of the previews is full")

    with pytest.raises(OSError, match="previews"):
        stylize(resume=place / "a.resume", on_step=fail)
    last = stylize(resume=place / "a.resume")
    assert stylize.steps == [6, 7] and same(last, stylize())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": (BALANCED[0], BALANCED[1]._replace(style_weight=2.5))}, "style_weight"),
        ({"settings": (dataclasses.replace(BALANCED[0], iterations=(4, 4)), BALANCED[1])}, "iterations"),
        ({"settings": ADAM}, "optimiser"),
        ({"seed": 3}, "seed"),
        ({"content": "portrait.png"}, "content"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_state_of_another_transfer_is_refused_and_stays(place, stylize, changed, named):
    stylize(stop=3, resume=place / "a.resume")
    before = (place / "a.resume").read_bytes()
    with pytest.raises(JpstError, match=rf"a\.resume: is the state of another transfer: it differs in .*{named}"):
        stylize(**changed, resume=place / "a.resume")
    assert not stylize.steps and (place / "a.resume").read_bytes() == before


def test_a_state_of_other_networks_or_another_version_is_refused(place, stylize, vgg19_tiny, monkeypatch):
    stylize(stop=3, resume=place / "a.resume")
    other = {"params": jax.tree.map(lambda leaf: leaf * 2, vgg19_tiny["params"])}
    with pytest.raises(JpstError, match="it differs in networks"):
        stylize(networks=Networks(vgg19_tiny | other), resume=place / "a.resume")
    saved, belongs = resuming.read(place / "a.resume")
    resuming.write(place / "a.resume", saved, belongs | {"version of jpst": "0.0.1"})
    with pytest.raises(JpstError, match="it differs in version of jpst"):
        stylize(resume=place / "a.resume")


def test_another_strength_goes_on_from_the_same_state(place, stylize):
    stylize(stop=6, resume=place / "a.resume")
    half = stylize(strength=0.5, resume=place / "a.resume")
    assert stylize.steps == [6, 7] and same(half, stylize(strength=0.5))


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:-9000] + bytes([data[-9000] ^ 1]) + data[-8999:]


def emptied(_):
    return b""


@pytest.mark.parametrize("spoil", [cut, flipped, emptied])
def test_a_damaged_state_is_told_in_a_line_and_the_transfer_starts_anew(place, job, stylize, spoil):
    stylize(stop=3, resume=place / "a.resume")
    (place / "a.resume").write_bytes(spoil((place / "a.resume").read_bytes()))
    said = []
    run = pipeline.run(job, resume=place / "a.resume", tell=said.append)
    assert len(said) == 1 and "\n" not in said[0]
    assert "the state in it is damaged" in said[0] and "starts anew" in said[0]
    assert same(run, stylize())


def test_a_file_of_something_else_is_refused_and_stays(place, stylize):
    np.savez(place / "mine.npz", weights=np.ones(3))
    before = (place / "mine.npz").read_bytes()
    with pytest.raises(JpstError, match=r"mine\.npz: expected the state of a transfer, got another file"):
        stylize(resume=place / "mine.npz")
    assert (place / "mine.npz").read_bytes() == before


def test_a_state_that_cannot_be_written_does_not_end_the_transfer(place, job, monkeypatch):
    monkeypatch.setattr(resuming, "EVERY", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    said = []
    run = pipeline.run(job, resume=place / "a.resume", tell=said.append)
    assert said and "No space left on device" in said[0]
    assert not run.interrupted and not list(place.glob("*.resume*"))


def test_no_step_is_compiled_anew_for_a_state_from_a_file(place, stylize, no_compilation):
    stylize(stop=3, resume=place / "a.resume")
    with no_compilation():
        stylize(resume=place / "a.resume")


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from jpst import resuming
from jpst.weights import unfinished
saved, belongs = resuming.read(Path(sys.argv[1]))
real = np.savez
def savez(file, **arrays):  # half of it, and then the end
    real(file, **dict(list(arrays.items())[:3]))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
np.savez = savez
resuming.write(Path(sys.argv[1]), saved, belongs)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_process_killed_while_it_writes_leaves_the_state_before_and_the_next_removes_the_rest(place, stylize):
    path = place / "a.resume"
    stylize(stop=3, resume=path)
    before = path.read_bytes()
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=os.environ | {"PYTHONPATH": root})
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before and len(list(place.glob("a.resume.*"))) == 1
    last = stylize(resume=path)
    assert stylize.steps[0] == 3 and same(last, stylize()) and not list(place.glob("a.resume.*"))


@pytest.fixture
def interrupted(monkeypatch):
    """interrupted(step, level=0, with_=KeyboardInterrupt): what ends the command before it takes that step."""
    from jpst import chunks

    real = chunks.transfer

    def at(stop, end):
        count = []

        def transfer(*arguments, **options):
            count.append(1)
            if len(count) == stop:
                end()
            return real(*arguments, **options)

        monkeypatch.setattr(chunks, "transfer", transfer)

    return at


def ctrl_c():
    raise KeyboardInterrupt


def test_the_command_goes_on_to_the_same_bytes(jpst, folder, interrupted):
    assert jpst(*TRANSFER)[0] == 0
    whole, curve = (folder / "out.png").read_bytes(), json.loads((folder / "out.json").read_text())["levels"]
    interrupted(2, ctrl_c)
    status, text, new = jpst(*TRANSFER, "--resume")
    assert (status, new) == (130, {"out.png.resume"}) and (folder / "out.png").read_bytes() != whole
    assert "Interrupted: this is the best picture so far." in text
    assert "out.png.resume holds the state: the same command with --resume goes on from there." in text
    interrupted(100, ctrl_c)
    status, text, new = jpst(*TRANSFER, "--resume")
    assert status == 0 and "out.png.resume: going on after step 1." in text
    assert (folder / "out.png").read_bytes() == whole and not (folder / "out.png.resume").exists()
    found = json.loads((folder / "out.json").read_text())
    assert [level["losses"] for level in found["levels"]] == [level["losses"] for level in curve]
    assert not found["interrupted"]


def test_without_resume_a_state_is_pointed_out_and_left(jpst, folder, interrupted):
    interrupted(2, ctrl_c)
    jpst(*TRANSFER, "--resume")
    before = (folder / "out.png.resume").read_bytes()
    interrupted(100, ctrl_c)
    status, text, _ = jpst(*TRANSFER)
    assert status == 0 and "out.png.resume is of a run that was ended. --resume goes on with it." in text
    assert (folder / "out.png.resume").read_bytes() == before


def test_ctrl_c_where_there_is_no_picture_yet_says_how_to_go_on(jpst, folder, interrupted, monkeypatch):
    interrupted(2, ctrl_c)
    jpst(*TRANSFER, "--resume")
    monkeypatch.setattr(pipeline, "run_all", lambda *_, **__: ctrl_c())
    status, text, _ = jpst(*TRANSFER, "--resume")
    assert status == 130 and "interrupted. out.png.resume holds the state" in text


@pytest.mark.parametrize("name", ["content.png", "style.jpg"])
def test_the_state_never_replaces_an_input(jpst, folder, name):
    (folder / "out.png.resume").symlink_to(name)
    before = (folder / name).read_bytes()
    status, text, _ = jpst(*TRANSFER, "--resume")
    assert status == 1 and "would overwrite an input" in text and (folder / name).read_bytes() == before


def test_the_picture_that_cannot_be_written_leaves_the_state(jpst, folder, interrupted, monkeypatch):
    monkeypatch.setattr(resuming, "EVERY", 0.0)

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "write_result", full)
        assert jpst(*TRANSFER, "--resume")[0] == 1
    assert (folder / "out.png.resume").exists() and not (folder / "out.png").exists()
    interrupted(5, lambda: pytest.fail("steps were repeated"))
    assert jpst(*TRANSFER, "--resume")[0] == 0


PROGRAM = """
import json, sys
import jax
from jpst import caching, chunks, cli, weights
from jpst.models import vgg19
from jpst.weights import Loaded, Provenance
variables = vgg19.init(jax.random.key(19), channels=(4, 6, 6, 8, 8))
weights.load = lambda *_: Loaded(variables, Provenance("tiny", "0" * 64))
weights.find = lambda name: object() if name == "vgg19" else None
caching.enable = lambda: None
real = chunks.transfer
def transfer(state, *arguments, **options):
    if int(state.step) == 2 and sys.argv[1] == "wait":
        print("the second step is done", flush=True)
        sys.stdin.read()
    return real(state, *arguments, **options)
chunks.transfer = transfer
for command in json.loads(sys.argv[2]):
    cli.main(command)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_sigterm_leaves_the_state_and_another_process_goes_on(folder):
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    environment = {f"JAX_{name.upper()}": str(getattr(jax.config, f"jax_{name}")) for name in names}
    environment |= os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    options = {"cwd": folder, "env": environment, "text": True, "stdout": subprocess.PIPE}
    whole = ["transfer", "content.png", "style.jpg", "--size", "32", "--size-multiple", "8", "--iterations", "3"]
    whole += ["--segmenter", "none", "-o", "whole.png"]
    parts = [*whole[:-1], "out.png", "--resume"]
    command = [sys.executable, "-c", PROGRAM, "wait", json.dumps([parts])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, **options) as process:
        assert any("the second step is done" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == -signal.SIGTERM
    assert "holds the state" in said
    assert {path.name for path in folder.iterdir()} == {"content.png", "style.jpg", "out.png.resume"}
    command = [sys.executable, "-c", PROGRAM, "go", json.dumps([parts, whole])]
    assert "going on after step 2" in subprocess.run(command, check=True, **options).stdout
    assert (folder / "out.png").read_bytes() == (folder / "whole.png").read_bytes()
    assert not (folder / "out.png.resume").exists()
