"""Batches on Ray: the same pictures as of the local engine, also where workers are killed, and nothing left behind."""

import importlib.util
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import jpst as library
from jpst import image
from jpst.errors import JpstError
from jpst.many import ray_driver
from jpst.presets import preset

RECIPE, HYPER = preset("preview", segmenter="none")
ROOT = str(Path(__file__).parents[1])
needs_ray = pytest.mark.skipif(
    os.name != "posix" or any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow", "pandas")),
    reason='Ray is not installed: pip install "jpst[ray]"',
)
# Its standard input keeps it alive.
CLUSTER = """
import sys, ray
told = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
print(told.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
PRIVATE = ("seconds", "finished", "peak_memory_bytes")


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory):
    """Workers find this checkout and share their compiled programs; clusters and who joins them share a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        patch.setenv("JPST_CACHE", str(tmp_path_factory.mktemp("programs")))
        patch.setenv("PYTHONPATH", ROOT)
        for name, value in {
            "USAGE_STATS_ENABLED": "0",
            "AUTH_MODE": "token",
            "AUTH_TOKEN": secrets.token_hex(32),
        }.items():
            patch.setenv(f"RAY_{name}", value)
        yield


@pytest.fixture(scope="module")
def address(settings):
    """Of a Ray cluster with two processors."""
    command = [sys.executable, "-c", CLUSTER]
    quiet = {"stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **quiet) as cluster:
        yield cluster.stdout.readline().strip()
        cluster.stdin.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory, photograph):
    """A folder in/ with four rows in rows.jsonl, the second of which fails in a worker, and local/, made by the other
    engine."""
    place = tmp_path_factory.mktemp("place")
    (place / "in").mkdir()
    for seed, name in enumerate(("a.png", "b.png", "c.png", "style.jpg")):
        image.write(place / "in" / name, photograph(60, 80, seed=seed))
    (place / "in" / "cut.png").write_bytes((place / "in" / "b.png").read_bytes()[:3000])
    rows = [{"content": "a.png", "size": 64}, {"content": "cut.png"}, {"content": "b.png"}, {"content": "c.png"}]
    write(place / "in" / "rows.jsonl", rows)
    do(place / "in" / "rows.jsonl", place / "local", workers=2)
    return place


def write(path, rows):
    path.write_text("\n".join(json.dumps({"style": "style.jpg", **row}) for row in rows))
    return path


def do(source, folder, **options):
    return library.batch(source, folder, recipe=RECIPE, hyper=HYPER, **options)


def contents(folder):
    """Bytes of pictures, and records without times and memory, by name; hidden files too."""

    def public(told):
        if isinstance(told, dict):
            return {name: public(each) for name, each in told.items() if name not in PRIVATE}
        return list(map(public, told)) if isinstance(told, list) else told

    files = [path for path in folder.rglob("*") if path.is_file()]
    return {p.name: public(json.loads(p.read_text())) if p.suffix == ".json" else p.read_bytes() for p in files}


def workers_in(folder):
    """The processes that are making a row of a batch into this folder."""
    return {int(path.name.split(".")[-2].partition("@")[0]) for path in folder.glob(".jpst-*/.jpst-*.part")}


class Killer(threading.Thread):
    """Kills the first so many workers that begin a row."""

    def __init__(self, folder, most):
        super().__init__(daemon=True)
        self.folder, self.most, self.killed, self.over = folder, most, [], False

    def run(self):
        while not self.over and len(self.killed) < self.most:
            for process in workers_in(self.folder) - {*self.killed}:
                os.kill(process, signal.SIGKILL)
                self.killed.append(process)
                break
            time.sleep(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


def parts(outcomes):
    return [(each.row.where, each.state, each.reason) for each in outcomes]


@needs_ray
def test_both_engines_make_the_same_and_a_bad_row_is_one_line(place, address):
    seen = []
    outcomes = do(
        place / "in" / "rows.jsonl", place / "ray", workers=2, engine="ray", address=address, on_row=seen.append
    )
    assert [each.state for each in outcomes] == ["done", "failed", "done", "done"]
    assert "cut.png" in outcomes[1].reason and sorted(parts(seen)) == parts(outcomes)
    made, local = contents(place / "ray"), contents(place / "local")
    assert made == local and made["cut.json"]["batch"]["reason"] == outcomes[1].reason
    kept = do(place / "in" / "rows.jsonl", place / "local", workers=2)
    assert [each.state for each in kept] == ["kept", "failed", "kept", "kept"]


@needs_ray
def test_a_killed_worker_changes_nothing_but_the_time(place, address):
    with Killer(place / "killed", 1) as killer:
        outcomes = do(place / "in" / "rows.jsonl", place / "killed", workers=2, engine="ray", address=address)
    assert len(killer.killed) == 1
    assert [each.state for each in outcomes] == ["done", "failed", "done", "done"]
    assert contents(place / "killed") == contents(place / "local")


@needs_ray
def test_a_row_that_always_ends_its_worker_fails_with_a_sentence(place, address):
    source = write(place / "in" / "one.jsonl", [{"content": "a.png"}])
    with Killer(place / "lost", 10) as killer:
        (outcome,) = do(source, place / "lost", engine="ray", address=address)
    assert outcome.state == "failed" and len(killer.killed) == 2
    assert outcome.reason.startswith("Its process ended twice, perhaps out of memory.")
    assert contents(place / "lost")["a.json"]["batch"]["reason"] == outcome.reason


@needs_ray
def test_it_stops_after_so_many_failures(place, address):
    rows = [{"content": "cut.png"}, *({"content": "a.png", "output": f"{number}.png"} for number in range(100))]
    source = write(place / "in" / "many.jsonl", rows)
    outcomes = do(source, place / "stopped", engine="ray", address=address, max_failures=1)
    states = [each.state for each in outcomes]
    assert states[0] == "failed" and states.count("left") > 50
    assert not list((place / "stopped").glob(".*"))


@needs_ray
def test_ctrl_c_ends_all_of_ray_that_was_started(place):
    rows = [{"content": "a.png", "output": f"{number}.png"} for number in range(300)]
    source, out = write(place / "in" / "endless.jsonl", rows), place / "endless"
    command = [sys.executable, "-m", "jpst", "batch", str(source), "-o", str(out), "--engine", "ray"]
    mark = f"ended-{os.getpid()}"
    with subprocess.Popen(
        [*command, "--preset", "preview", "--segmenter", "none"],
        env={**os.environ, "JPST_TEST": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while process.poll() is None and not list(out.rglob("*.json")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
        said, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "jpst: interrupted. The same command goes on where it was."
    assert "Traceback" not in errors and "raylet" not in said + errors
    assert not list(out.glob(".*"))
    end = time.monotonic() + 20
    while (left := marked(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def marked(mark):
    """The command lines of processes with this text in their environment, on Linux."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes())
        except OSError:  # it has ended, or is another user's
            continue
    return found


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_an_address_that_does_not_answer(place, address):
    with pytest.raises(JpstError, match=f"{address}: no Ray cluster can be joined there"):
        do(place / "in" / "rows.jsonl", place / "unmade", engine="ray", address=address)
    assert not [path for path in (place / "unmade").rglob("*") if path.suffix != ".json"]


def test_without_ray_it_says_what_to_install(place, monkeypatch):
    from jpst import cli

    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["batch", str(place / "in" / "rows.jsonl"), "-o", str(place / "without"), "--engine", "ray"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--preset", "preview"])
    assert str(ended.value) == 'jpst: The engine "ray" needs Ray Data. Install it: pip install "jpst[ray]".'
    assert not (place / "without").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "rya"}, "engine is 'rya'. Give `engine` one of local, ray. Did you mean ray?"),
        ({"address": "auto"}, "address is auto, and engine is local. Give `engine` as ray, or no `address`."),
    ],
)
def test_engines_that_cannot_be(place, options, reason):
    with pytest.raises(JpstError) as error:
        do(place / "in" / "rows.jsonl", place / "unmade", **options)
    assert str(error.value) == reason


def test_a_worker_never_raises(place):
    absent = ray_driver.Maker(place / "absent", place, 2, "lost")({"number": 3, "row": b""})
    assert absent["number"] == 3 and absent["reason"].startswith(f"{place / 'absent'} is not on {platform.node()}.")
    damaged = ray_driver.Maker(place, place, 2, "lost")({"number": 4, "row": b"no pickle"})
    assert damaged["reason"].startswith(f"On {platform.node()}: UnpicklingError: ")


def test_processors_and_devices_are_shared_out_by_machine():
    shares = {((2,), 2): 1, ((8,), 3): 2, ((4, 4), 1): 4, ((4, 4), 2): 4, ((4, 4), 3): 2, ((4, 1), 4): 1, ((2,), 9): 1}
    assert {each: ray_driver.threads_each(list(each[0]), each[1]) for each in shares} == shares
    assert [ray_driver.device_each(devices, 3) for devices in (0, 1, 2, 4)] == [0, 1 / 3, 1 / 2, 1]
