"""Batches: what a manifest with bad rows, a killed process or a lost worker comes to."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import jpst as library
from jpst import image, outputs, pipeline
from jpst.errors import JpstError
from jpst.many import batch, crew, manifest, worker
from jpst.many.crew import Lost
from jpst.presets import preset

PREVIEW = ["--preset", "preview", "--segmenter", "none"]
RECIPE, HYPER = preset("preview", segmenter="none")
ROOT = str(Path(__file__).parents[1])


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    return str(tmp_path_factory.mktemp("programs"))


@pytest.fixture(autouse=True)
def cached(programs, monkeypatch):
    """Workers share their compiled programs, and those of other tests."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JPST_CACHE", programs)


@pytest.fixture
def place(tmp_path, photograph):
    """A folder in/ with a.png, b.png, sub/c.jpg, style.jpg, and files that are no photographs."""
    for seed, name in enumerate(("a.png", "b.png", "sub/c.jpg", "style.jpg")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        image.write(tmp_path / "in" / name, photograph(60, 80, seed=seed))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "in" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "in" / "._a.png").write_bytes(b"\0\5\26\7")
    return tmp_path


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def record(path):
    return json.loads(path.with_suffix(".json").read_text())


def states(outcomes):
    return [each.state for each in outcomes]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def do(place):
    """do(rows, **options): the outcomes of such a manifest in in/, with the pictures in out/."""

    def run(rows, **options):
        rows = [{"style": "style.jpg", **row} for row in rows]
        return library.batch(
            write(place / "in" / "rows.jsonl", rows), place / "out", recipe=RECIPE, hyper=HYPER, **options
        )

    return run


def no_process(monkeypatch):
    monkeypatch.setattr(crew.subprocess, "Popen", lambda *_, **__: pytest.fail("a worker was started"))


def test_bad_rows_get_a_line_each_and_the_others_are_done(place, capsys):
    from jpst import cli

    Image.new("RGB", (9000, 9000)).save(place / "in" / "huge.png")
    bad = {
        "line 2": ({"content": "missing.jpg"}, "missing.jpg: there is no such file"),
        "line 3": ({"content": "broken.jpg"}, "broken.jpg: "),
        "line 4": ({"content": "._a.png"}, "._a.png: macOS keeps this file beside a.png"),
        "line 5": ({"content": ".DS_Store"}, ".DS_Store: not an image"),
        "line 6": ({"content": "a.png", "colour": "red"}, "There is no column 'colour'"),
        "line 7": ({"content": "a.png", "output": "../x.png"}, "The output ../x.png is outside"),
        "line 8": ({"content": "a.png", "output": "first.jpg"}, "belongs to line 1, with its record"),
        "line 9": (
            {
                "content": "huge.png",
                "style": "huge.png",
                "size": 9000,
                "shape": "own",
                "iterations": [1],
                "projection": "none",
            },
            "The transfer at size 9000 needs about",
        ),
        "line 10": ({"content": "a.png", "output": "x.gif"}, "the suffix .gif is not a format"),
        "line 11": ({"content": "a.png", "output": "../in/b.png"}, "is outside"),
        "line 12": ({"content": "a.png", "content_seg": "b.png"}, "There is no mask for the style photograph"),
    }
    rows = [{"content": "a.png", "output": "first.png"}, *(row for row, _ in bad.values()), {"content": "sub/c.jpg"}]
    manifest = write(place / "in" / "rows.jsonl", [{"style": "style.jpg", **row} for row in rows])
    before = listed(place / "in")
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(manifest), "-o", str(place / "out"), *PREVIEW, "--json"])
    assert str(ended.value) == "jpst: 11 of 13 rows failed. The same command tries them again."
    captured = capsys.readouterr()
    told = {each["row"]: each for each in json.loads(captured.out)}
    table = captured.err.partition("Failed:\n")[2].splitlines()
    assert table[-1] == "13 rows: 2 done, 11 failed." and len(table) == 12
    for (where, (_, reason)), line in zip(bad.items(), table, strict=False):
        assert told[where]["state"] == "failed" and reason in told[where]["reason"], where
        assert line.strip().startswith(f"{where}: ") and reason in line
    assert told["line 1"]["state"] == told["line 13"]["state"] == "done"
    assert {"first.png", "first.json", "sub/c.jpg", "sub/c.json"} <= set(listed(place / "out"))
    pictures = {name for name in listed(place / "out") if not name.endswith(".json")}
    assert pictures == {"first.png", "sub/c.jpg"} and listed(place / "in") == before
    failed = record(place / "out" / "missing.jpg")["batch"]
    assert failed["state"] == "failed" and "there is no such file" in failed["reason"]


def test_a_row_is_what_a_single_run_gives(place, do):
    (first, second) = do([{"content": "a.png", "strength": 0.5}, {"content": "b.png", "matched_noise": 0.2}])
    assert states([first, second]) == ["done", "done"]
    recipe, hyper = preset("preview", segmenter="none", matched_noise=0.2)
    style = place / "in" / "style.jpg"
    runs = [
        pipeline.stylize(place / "in" / "a.png", style, recipe=RECIPE, hyper=HYPER, strength=0.5),
        pipeline.stylize(place / "in" / "b.png", style, recipe=recipe, hyper=hyper),
    ]
    for outcome, run in zip((first, second), runs, strict=True):
        found = np.asarray(Image.open(outcome.row.output)).astype(int)
        assert np.abs(found - np.asarray(run.image)).max() <= 1
        told = record(outcome.row.output)
        assert told["recipe"] == json.loads(json.dumps(run.record["recipe"]))
        assert told["strength"] == run.record["strength"] and told["output"] == outcome.row.output.name
        assert told["batch"]["state"] == "done" and len(told["batch"]["identity"]) == 64


def test_what_is_done_is_kept_and_what_changed_is_done_again(place, do, monkeypatch, photograph):
    rows = [{"content": "a.png"}, {"content": "b.png"}, {"content": "sub/c.jpg"}]
    assert states(do(rows)) == ["done"] * 3
    times = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")}
    with monkeypatch.context() as patched:
        no_process(patched)
        assert states(do(rows)) == ["kept"] * 3
        assert states(do([rows[2], rows[0]])) == ["kept"] * 2, "the order of rows is no part of one"
        assert {path: path.stat().st_mtime_ns for path in times} == times or os.name == "nt"
    (place / "out" / "b.png").unlink()
    image.write(place / "in" / "sub" / "c.jpg", photograph(60, 80, seed=9))
    assert states(do(rows)) == ["kept", "done", "done"]
    assert states(do([rows[0] | {"strength": 0.5}, rows[1], rows[2]])) == ["done", "kept", "kept"]
    image.write(place / "in" / "style.jpg", photograph(60, 80, seed=10))
    assert states(do(rows)) == ["done"] * 3
    assert listed(place / "out") == ["a.json", "a.png", "b.json", "b.png", "sub/c.jpg", "sub/c.json"]


def test_a_failure_that_passes_leaves_the_record_of_a_finished_picture(place, do, monkeypatch):
    rows, style = [{"content": "a.png"}], place / "in" / "style.jpg"
    assert states(do(rows)) == ["done"]
    before = record(place / "out" / "a.png")
    os.rename(style, place / "away.jpg")  # such as a drive that is not mounted
    (failed,) = do(rows)
    assert failed.state == "failed" and "there is no such file" in failed.reason
    assert record(place / "out" / "a.png") == before
    os.rename(place / "away.jpg", style)
    no_process(monkeypatch)
    assert states(do(rows)) == ["kept"]


def test_masks_beside_the_photographs_are_inputs(place):
    row = manifest.Row("line 1", place / "in/a.png", place / "in/b.png", recipe=RECIPE, hyper=HYPER)
    auto = manifest.Row("line 1", row.content, row.style)
    without = worker.identity(row), worker.identity(auto)
    for name in "ab":
        Image.new("RGB", (80, 60), "red").save(place / "in" / f"{name}_seg.png")
    assert worker.identity(row) == without[0], "this recipe looks for no masks"
    assert worker.identity(auto) != without[1]


def test_other_peoples_files_stay(place, do):
    (place / "out").mkdir()
    (place / "out" / "a.json").write_text('{"mine": 1}')
    (place / "out" / "archive.001.part").touch()
    first, second = do([{"content": "a.png"}, {"content": "b.png"}])
    assert (first.state, second.state) == ("failed", "done") and "is not jpst's record" in first.reason
    assert (place / "out" / "a.json").read_text() == '{"mine": 1}' and (place / "out" / "archive.001.part").exists()
    (where,) = library.batch(place / "in" / "sub", place / "in" / "sub", style=place / "in" / "a.png")
    assert "this would overwrite an input" in where.reason and listed(place / "in" / "sub") == ["c.jpg"]


def test_a_picture_that_jpst_did_not_write_stays(place, do):
    """However often, and whatever else is wrong with its row."""
    (place / "out").mkdir()
    for name in ("a.png", "b.png"):
        (place / "out" / name).write_bytes(b"mine")
    rows = [{"content": "a.png"}, {"content": "b.png", "style": "missing.jpg"}, {"content": "sub/c.jpg"}]
    for after in ("done", "kept"):
        outcomes = do(rows)
        assert states(outcomes) == ["failed", "failed", after]
        assert f"{place / 'out' / 'a.png'}: this is there already" in outcomes[0].reason
        assert listed(place / "out") == ["a.png", "b.png", "sub/c.jpg", "sub/c.json"]
        assert {(place / "out" / name).read_bytes() for name in ("a.png", "b.png")} == {b"mine"}


def test_a_picture_of_a_row_that_fails_later_is_replaced(do):
    rows = [{"content": "a.png"}]
    assert states(do(rows)) == ["done"]
    assert states(do([rows[0] | {"style": "missing.jpg"}])) == ["failed"]
    assert states(do([rows[0] | {"strength": 0.5}])) == ["done"]


def test_a_worker_that_ends_between_picture_and_record_leaves_a_row_to_be_done(place, do, monkeypatch):
    row = manifest.Row("line 1", place / "in/a.png", place / "in/style.jpg", output=place / "out/a.png", recipe=RECIPE)
    real = os.replace

    def replace(source, target):
        if row.output.exists() and Path(target) == row.output.with_suffix(".json"):
            raise SystemExit
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(os, "replace", replace)
        worker.make(row, place)
    assert row.output.exists()
    assert states(do([{"content": "a.png"}])) == ["done"]


def test_it_stops_after_so_many_failures(do, monkeypatch):
    rows = [{"content": "a.png"}, *({"content": f"missing{number}.png"} for number in range(3)), {"content": "b.png"}]
    no_process(monkeypatch)
    assert states(do(rows, max_failures=2)) == ["left", "failed", "failed", "left", "left"]


def test_shards_share_the_rows(place):
    write(place / "in" / "rows.jsonl", [{"content": f"{number}.png"} for number in range(7)])
    parts = [batch.plan(place / "in" / "rows.jsonl", place / "out", shard=(part, 3)).rows for part in (1, 2, 3)]
    assert [[row.where for row in part] for part in parts] == [
        ["line 1", "line 4", "line 7"],
        ["line 2", "line 5"],
        ["line 3", "line 6"],
    ]
    for shard in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(JpstError, match="Give `shard` as i/n"):
            batch.plan(place / "in" / "rows.jsonl", place / "out", shard=shard)


@pytest.mark.parametrize(
    ("source", "style", "reason"),
    [
        ("in", None, "a folder of contents needs styles"),
        ("in/rows.jsonl", "in/a.png", "not a folder"),
        ("in", "nowhere", "there is no such file or folder"),
        ("absent.csv", None, "cannot be read"),
    ],
)
def test_sources_that_cannot_be(place, source, style, reason):
    write(place / "in" / "rows.jsonl", [{"content": "a.png"}])
    with pytest.raises(JpstError, match=reason):
        batch.plan(place / source, place / "out", style=style and place / style)
    with pytest.raises(JpstError, match="cannot be made"):
        library.batch(place / "in" / "rows.jsonl", place / "in" / "a.png" / "out")


class Recorded(subprocess.Popen):
    """Processes as they are, remembered."""

    started: ClassVar[list] = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.started.append(self)


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.setattr(Recorded, "started", [])
    monkeypatch.setattr(crew.subprocess, "Popen", Recorded)
    return Recorded.started


posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@posix
def test_a_row_whose_worker_is_killed_is_done_by_another(place, do, processes):
    def kill(outcome):
        if len(processes) == 1:
            processes[0].kill()

    assert (
        states(do([{"content": "a.png"}, {"content": "b.png"}, {"content": "sub/c.jpg"}], on_row=kill)) == ["done"] * 3
    )
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0] or len(processes) == 3
    assert listed(place / "out") == ["a.json", "a.png", "b.json", "b.png", "sub/c.jpg", "sub/c.json"]


@posix
def test_a_row_that_always_ends_its_worker_fails_with_a_sentence(place, do, monkeypatch):
    real, dying = subprocess.Popen, "import os, pickle, sys; pickle.load(sys.stdin.buffer); os.kill(os.getpid(), 9)"
    started = []

    def popen(command, **options):
        started.append(command)
        return real([sys.executable, "-c", dying], **options)

    monkeypatch.setattr(crew.subprocess, "Popen", popen)
    outcomes = do([{"content": "a.png"}, {"content": "b.png"}])
    assert states(outcomes) == ["failed"] * 2 and len(started) == 4
    assert outcomes[0].reason.startswith("The system ended its process twice, probably out of memory.")
    assert "with status 3" in Lost(3).sentence
    assert record(place / "out" / "a.png")["batch"]["reason"] == outcomes[0].reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), worker.OUT_OF_MEMORY),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), worker.OUT_OF_MEMORY),
        (ZeroDivisionError("by\nzero"), "Unexpected ZeroDivisionError: by zero"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_whatever_a_row_raises_is_its_reason(place, monkeypatch, error, reason):
    row = manifest.Row("line 1", place / "in/a.png", place / "in/style.jpg", output=place / "out/a.png", recipe=RECIPE)

    def fail(_job):
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    assert worker.make(row, place) == reason
    assert not (place / "out").exists()


def test_a_row_whose_process_is_interrupted_is_not_done(place, monkeypatch):
    real = pipeline.run
    monkeypatch.setattr(pipeline, "run", lambda job: dataclasses.replace(real(job), interrupted=True))
    row = manifest.Row("line 1", place / "in/a.png", place / "in/b.png", output=place / "out.png", recipe=RECIPE)
    assert worker.make(row, place) == "Its process was interrupted." and not (place / "out.png").exists()


def test_workers_stay_with_a_shape():
    rows = {shape: [f"{shape}{number}" for number in range(3)] for shape in "xy"}
    shared = crew._Shared(rows)
    first, second = shared.next(None), shared.next(None)
    assert (first, second) == (("x", "x0"), ("y", "y0"))
    assert [shared.next("x")[1] for _ in range(2)] == ["x1", "x2"]
    assert shared.next("x") == ("y", "y1"), "when its own are done it helps with others"
    assert shared.next("y")[1] == "y2" and shared.next("y") is None


def test_two_workers_share_the_processors(place, do, processes):
    seen = {}

    def look(_outcome):
        for process in processes:
            if hasattr(os, "sched_getaffinity") and process.poll() is None:
                seen[process.pid] = os.sched_getaffinity(process.pid)

    rows = [{"content": name, "size": size} for name in ("a.png", "b.png", "sub/c.jpg") for size in (192, 64)]
    rows = [row | {"output": f"{number}.png"} for number, row in enumerate(rows)]
    assert states(do(rows, workers=2, on_row=look)) == ["done"] * 6
    assert len(processes) == 2
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        first, second = seen.values()
        assert not first & second and first | second == os.sched_getaffinity(0)


@posix
def test_killed_three_times_it_ends_right(place, programs):
    for number in range(12):
        (place / "in" / "many" / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        path = place / "in" / "many" / f"{number % 3}" / f"{number}.png"
        Image.open(place / "in" / "a.png").rotate(number).resize((80, 60 + number)).save(path)
    out, style = place / "out", place / "in" / "style.jpg"
    command = [sys.executable, "-m", "jpst", "batch", str(place / "in" / "many"), str(style), "-o", str(out), *PREVIEW]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    rng, finished = random.Random(time.time_ns()), {}
    for _ in range(3):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(out.rglob("*.json"))) <= len(finished):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
        time.sleep(0.5)  # its worker ends by itself
        now = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
        assert finished.items() <= now.items(), "a finished row was done again"
        finished = now
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(finished)} done before and kept" in done.stdout or len(finished) == 0
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}.items()
    names = sorted(f"{number % 3}/{number}.{suffix}" for number in range(12) for suffix in ("png", "json"))
    assert listed(out) == names and not list(out.glob(".*"))
    for number in range(12):
        path = out / f"{number % 3}" / f"{number}.png"
        alone = pipeline.stylize(place / "in" / "many" / path.relative_to(out), style, recipe=RECIPE, hyper=HYPER)
        assert np.abs(np.asarray(Image.open(path)).astype(int) - np.asarray(alone.image)).max() <= 1
        assert outputs.record_of(path).is_file() and record(path)["batch"]["state"] == "done"


@posix
def test_ctrl_c_says_that_the_batch_goes_on(place, programs):
    rows = [{"content": "a.png", "style": "style.jpg", "output": f"{number}.png"} for number in range(300)]
    source = write(place / "in" / "rows.jsonl", rows)
    command = [sys.executable, "-m", "jpst", "batch", str(source), "-o", str(place / "out"), *PREVIEW]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": ROOT}, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not list((place / "out").rglob("*.json")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.strip().endswith("jpst: interrupted. The same command goes on where it was."), errors
    assert "Traceback" not in errors and not list((place / "out").glob(".*"))


@posix
def test_ctrl_c_ends_the_batch_also_where_its_exception_is_lost(place, programs):
    """Python only reports what is raised in a callback of the garbage collector, of which JAX has one."""
    rows = [{"content": "a.png", "style": "style.jpg", "output": f"{number}.png"} for number in range(20)]
    seen = []

    def on_row(outcome):
        seen.append(outcome)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        library.batch(
            write(place / "in" / "rows.jsonl", rows), place / "out", recipe=RECIPE, hyper=HYPER, on_row=on_row
        )
    assert len(seen) < len(rows)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
