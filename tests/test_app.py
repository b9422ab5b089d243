"""`jpst app`: a transfer as a page sees it, the files that it gives away, and the page in a real browser."""

import base64
import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import pickle
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from urllib.parse import urlsplit

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image, features
from scipy import ndimage

import jpst as library
from jpst import estimate, image, loading, lut, lut_files, pyramid
from jpst.app import events, server, session, theme, words
from jpst.app.pairs import Pairs
from jpst.app.session import Asked, Line, Upload, Work
from jpst.app.visit import Visit
from jpst.commands import app
from jpst.commands.app import App
from jpst.errors import JpstError
from jpst.estimate import Room
from jpst.presets import preset
from jpst.regions import pairing, semantics
from jpst.regions.segment import Segmentation

SMALL = {"size": 96, "size_multiple": 8, "iterations": (6, 2), "segmenter": "none"}
ENDLESS = SMALL | {"iterations": (100_000, 1)}
LEVEL = 1 / 255


@pytest.fixture
def uploads(folder):
    return Upload(folder / "content.png", "content.png"), Upload(folder / "style.jpg", "style.jpg")


@pytest.fixture
def asked(uploads, narrow_network):
    return lambda name="balanced", **choices: Asked(*uploads, name, SMALL | choices)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


# ---- A transfer, state by state


def test_the_first_answer_is_the_base_look_and_the_last_one_what_stylize_gives(uploads, asked):
    paths = [upload.path for upload in uploads]
    states = [state for state in Work(asked(), Line()).states() if state.after or state.told]
    looks = [state for state in states if state.after]
    preview = library.stylize(*paths, recipe=preset("preview", **SMALL | {"size": 48, "iterations": (0,)})[0])
    np.testing.assert_array_equal(np.asarray(looks[0].after), np.asarray(preview.image))
    np.testing.assert_array_equal(np.asarray(looks[0].before), np.asarray(Image.open(paths[0])))
    job = library.plan(*paths, recipe=asked().settings()[0])
    assert looks[0].rows == semantics.table(job.found.regions) and looks[0].notes

    last = states[-1]
    whole = library.stylize(*paths, recipe=asked().settings()[0])
    np.testing.assert_array_equal(last.finished.run.photograph.pixels, whole.photograph.pixels)
    np.testing.assert_array_equal(np.asarray(last.after), np.asarray(whole.image))
    assert last.over and not any(state.over for state in states[:-1])
    shares = [state.share for state in states if state.share is not None]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_what_grows_is_the_photograph_with_the_colours_of_the_best_so_far(uploads, asked, monkeypatch):
    monkeypatch.setattr(session, "SHOWN_EVERY", 0)
    _, hyper = asked().settings()
    paths = [upload.path for upload in uploads]
    best = []
    recipe_alone = preset(**SMALL | {"size": 48, "iterations": (6,)}, projection="none")[0]
    library.stylize(*paths, recipe=recipe_alone, hyper=hyper, on_step=lambda now: best.append(np.asarray(now.best)))
    grown = [state.after for state in Work(asked(), Line()).states() if state.after][1:-1]
    assert len(grown) == len(best) == 6
    for shown, small in zip(grown, best, strict=True):
        shrunk = np.asarray(shown.resize(small.shape[1::-1], Image.Resampling.BOX), np.float32) / 255
        assert np.abs(shrunk - small).mean() < 6 * LEVEL


def test_cancel_finishes_the_best_so_far(asked):
    work, last = Work(asked(**ENDLESS), Line()), None
    for state in work.states():
        if state.share:
            work.cancel()
        last = state
    assert last.over and last.told.startswith("Cancelled: this is the best result so far")
    assert last.finished.run.interrupted and 0 < len(last.finished.run.record["levels"][0]["losses"]["total"]) < 100_000


def test_cancel_while_the_steps_are_compiled_gives_the_base_look(uploads, asked, monkeypatch):
    compiled, real = threading.Event(), pyramid.compile_transfer
    monkeypatch.setattr(pyramid, "compile_transfer", lambda *a, **b: (compiled.wait(60), real(*a, **b)))
    line = Line()
    work, last = Work(asked(), line), None
    for state in work.states():
        if state.after:
            work.cancel()
        last = state
    assert last.over and last.told == "Cancelled: this is the base look."
    preview = library.stylize(
        *(upload.path for upload in uploads), recipe=preset("preview", **SMALL | {"size": 48, "iterations": (0,)})[0]
    )
    np.testing.assert_array_equal(last.finished.run.photograph.pixels, preview.photograph.pixels)
    compiled.set()
    assert [*Work(asked("preview", iterations=(0,)), line).states()][-1].finished, "the line moved on"


def test_one_at_a_time_in_the_order_in_which_they_came(asked):
    line = Line()
    first, second, third = (Work(asked(**ENDLESS), line), Work(asked(), line), Work(asked(), line))
    running = first.states()
    while not next(running).share:
        pass
    waiting, behind = second.states(), third.states()
    assert next(waiting).told.startswith("Another transfer is running")
    assert next(behind).told.startswith("2 other transfers are running")
    third.cancel()
    assert [state.told for state in behind][-1] == "Cancelled before there was anything to show."
    running.close()  # the first visitor's page is gone
    assert [*waiting][-1].finished
    wait_for(lambda: not first._thread.is_alive())


def test_who_leaves_without_a_word_does_not_block_the_others(asked):
    """Gradio does not go on with a generator whose page is gone: it is told to leave from elsewhere."""
    line = Line()
    gone = Work(asked(**ENDLESS), line)
    abandoned = gone.states()
    while not next(abandoned).share:
        pass
    gone.leave()
    assert [*Work(asked("preview", iterations=(0,)), line).states()][-1].finished


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "There was not enough memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "There was not enough memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("odd\nshape"), "Unexpected ValueError: odd shape"),
    ],
)
def test_whatever_fails_is_told_in_a_sentence(asked, monkeypatch, error, sentence):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(loading, "load", fail)
    with pytest.raises(JpstError, match=sentence):
        [*Work(asked(), Line()).states()]


# ---- A visit: its photographs and files


@pytest.fixture
def here(tmp_path):
    visit = Visit(tmp_path / "visit")
    yield visit
    visit.close()
    assert not (tmp_path / "visit").exists()


@pytest.fixture
def made(here, uploads, narrow_network):
    """made(preset, **choices): the visit after a transfer."""

    def make(name="balanced", **choices):
        for which, upload in zip(words.PHOTOGRAPHS, uploads, strict=True):
            here.take(which, upload)
        for state in here.transfer(name, SMALL | choices, Line()):
            here.pictures(state)
        return here

    return make


@pytest.mark.parametrize("strength", [0, 0.6, 1, 1.5])
def test_another_strength_is_what_blend_gives(made, folder, strength):
    here = made()
    recipe, _ = preset(**SMALL)
    whole = library.stylize(folder / "content.png", folder / "style.jpg", recipe=recipe)
    expected = library.blend(folder / "content.png", whole.full_strength, strength)
    written = np.asarray(Image.open(here.written(strength)))
    np.testing.assert_array_equal(written, np.rint(expected.pixels * 255))
    print(
        np.abs(np.asarray(Image.open(here.shown(strength)[1]), float) - written).mean(),
        np.abs(
            np.asarray(Image.open(here.shown(strength)[0]), float) - np.asarray(Image.open(folder / "content.png"))
        ).mean(),
    )
    before, after = (np.asarray(Image.open(path), float) for path in here.shown(strength))
    for shown, picture in ((after, written), (before, np.asarray(Image.open(folder / "content.png")))):
        assert np.abs(shown - picture).mean() < 4, "a JPEG of it"
        assert np.abs(shown.mean((0, 1)) - picture.mean((0, 1))).max() < 0.5


def test_sixteen_bits_and_metadata_are_kept(here, folder, photograph, narrow_network):
    wide = np.rint(photograph(60, 80) * 65535).astype(np.uint16)
    tifffile.imwrite(folder / "raw.tif", wide, photometric="rgb", extratags=[(271, "s", 0, "A Camera", True)])
    here.take(words.CONTENT, Upload(folder / "raw.tif", "holiday.TIF"))
    here.take(words.STYLE, Upload(folder / "style.jpg", "style.jpg"))
    assert [*here.transfer("balanced", SMALL, Line())][-1].finished
    written = here.written(0.5)
    assert written.name == "holiday_style.TIF"
    samples = tifffile.imread(written)
    assert samples.dtype == np.uint16 and len(np.unique(samples % 257)) > 100
    with Image.open(written) as picture:
        assert picture.getexif()[271] == "A Camera"


def test_the_command_makes_the_same_picture(made, folder, jpst):
    here = made("fast", style_weight=2.5)
    command = shlex.split(here.command(0.8))
    assert command[:2] == ["jpst", "transfer"] and command[2:5] == ["content.png", "style.jpg", "-o"]
    status, printed, new = jpst(*command[1:])
    assert status == 0, printed
    assert "content_style.png" in new
    assert (folder / "content_style.png").read_bytes() == here.written(0.8).read_bytes()


def test_the_look_turns_the_photograph_into_the_result(made, folder):
    pytest.importorskip("colour", reason="looks need colour-science, of the extra lut")
    here = made()
    written = here.look(1.0)
    assert written.name == "content_style.cube"
    content, result = (image.read(path).pixels for path in (folder / "content.png", here.written(1.0)))
    coloured = lut.apply(lut_files.read(written), content)
    assert np.abs(coloured - result).mean() < np.abs(content - result).mean() / 3


def test_names_are_quoted_and_stay_names(here, uploads, narrow_network):
    for which, upload, name in zip(words.PHOTOGRAPHS, uploads, ("my $(day).png", "it's.jpg"), strict=True):
        here.take(which, upload._replace(name=name))
    assert [*here.transfer("preview", {"segmenter": "none"}, Line())][-1].finished
    assert shlex.split(here.command(1))[2:6] == ["my $(day).png", "it's.jpg", "-o", "my $(day)_it's.png"]


def test_a_transfer_that_waits_keeps_its_photographs(here, folder, uploads, asked, photograph, narrow_network):
    """Others may be dropped meanwhile. What no transfer needs any more is removed."""
    for which, upload in zip(words.PHOTOGRAPHS, uploads, strict=True):
        here.take(which, upload)
    line = Line()
    first = Work(asked(**ENDLESS), line)
    running = first.states()
    while not next(running).share:
        pass
    waiting = here.transfer("preview", SMALL | {"iterations": (0,)}, line)
    assert next(waiting).told.startswith("Another transfer is running")
    image.write(folder / "other.png", photograph(48, 80, seed=5))
    here.take(words.CONTENT, Upload(folder / "other.png", "other.png"))
    running.close()
    assert [*waiting][-1].finished.run.photograph.pixels.shape == (60, 80, 3)
    assert shlex.split(here.command(1))[2] == "content.png"
    kept = [path.name for path in sorted((folder / "visit").iterdir()) if not path.name.startswith("shown")]
    assert len(kept) == 2 and kept[0].startswith("content") and kept[1].startswith("style")


def test_a_visitor_who_asks_twice_at_once_has_one_visit(tmp_path, monkeypatch):
    together = threading.Barrier(2)

    class Slow(Visit):
        def __init__(self, folder):
            with contextlib.suppress(threading.BrokenBarrierError):  # one alone waits in vain
                together.wait(0.5)
            super().__init__(folder)

    monkeypatch.setattr(events, "Visit", Slow)
    handlers = events.Events(None, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: handlers._visit(SimpleNamespace(session_hash="a")), range(2))
    assert first is second


def test_a_result_of_two_long_names_can_be_written(here, uploads, narrow_network):
    for which, upload, letter in zip(words.PHOTOGRAPHS, uploads, "aé", strict=True):
        here.take(which, upload._replace(name=f"{letter * 140}.png"))
    assert [*here.transfer("preview", {"segmenter": "none"}, Line())][-1].finished
    written = here.written(1)
    assert written.is_file() and written.name.startswith("aaa") and "_ééé" in written.name


def test_bad_photographs_are_refused_by_their_own_name(here, folder, uploads, monkeypatch):
    (folder / "upload").mkdir()
    bad = folder / "upload" / "blob.jpg"
    bad.write_text("no picture")
    with pytest.raises(JpstError, match=r"^notes\.jpg: ") as caught:
        here.take(words.CONTENT, Upload(bad, "notes.jpg"))
    assert str(folder) not in str(caught.value)
    monkeypatch.setattr(image, "MAX_PIXELS", 1000)
    with pytest.raises(JpstError, match=r"pixels"):
        here.take(words.CONTENT, uploads[0])
    with pytest.raises(JpstError, match=r"No picture yet: Your photograph \(content\), The look \(style\)"):
        next(here.transfer("balanced", SMALL, Line()))
    with pytest.raises(JpstError, match="There is no result yet"):
        here.written(1)


def test_short_memory_is_told_in_the_pages_words(here, uploads, narrow_network, monkeypatch):
    for which, upload in zip(words.PHOTOGRAPHS, uploads, strict=True):
        here.take(which, upload)
    monkeypatch.setattr(estimate.Room, "here", staticmethod(lambda: Room(10**9, None)))
    with pytest.raises(JpstError, match="`size`") as caught:
        [*here.transfer("balanced", SMALL, Line())]
    assert "Working size" in words.told(str(caught.value), {}) and "`" not in words.told(str(caught.value), {})


def test_what_is_shown_is_escaped():
    row = semantics.Row("<b>sky</b>", 50.0, 20.0, "with <i>sea</i>: why; and <u>more</u>")
    shown = theme.regions([row]) + theme.notes(["<script>"]) + theme.failed("<img>")
    assert not any(tag in shown for tag in ("<b>", "<i>", "<u>", "<script>", "<img>"))
    assert "50.0 %" in shown and "20.0 %" in shown


def test_every_name_on_the_page_is_of_a_field_and_every_default_in_its_range():
    for _, name in words.PRESET_CHOICES:
        for field, value in words.defaults(name, [*words.NUMBERS]).items():
            least, most, *_ = words.NUMBERS[field]
            assert least <= value <= most, (name, field)
    for _, name in words.SEGMENTER_CHOICES:
        preset(segmenter=name)


def test_without_gradio_the_command_says_what_to_install(monkeypatch, jpst):
    monkeypatch.setitem(sys.modules, "gradio", None)
    status, printed, _ = jpst("app", "--no-open")
    assert status == 1 and printed == 'jpst: The page needs Gradio. Install it: pip install "jpst[app]".\n'


def test_warming_up_tells_what_fails_in_a_sentence(monkeypatch):
    def fail(*_, **__):
        raise JpstError("There is no VGG19.")

    monkeypatch.setattr(server.pipeline, "plan", fail)
    told = SimpleQueue()
    server.warm_up(told.put)
    assert told.get(timeout=30) == "There is no VGG19."


def test_ctrl_c_is_heard_on_windows_too(monkeypatch, jpst):
    """There a wait without an end cannot be interrupted."""
    waits = []

    def wait(timeout=None):
        waits.append(timeout)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(app, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait)))
    monkeypatch.setattr(server, "check", lambda: None)
    monkeypatch.setattr(server, "warm_up", lambda _: None)
    monkeypatch.setattr(server, "serving", lambda _: contextlib.nullcontext("http://127.0.0.1:7860/"))
    status, printed, _ = jpst("app", "--no-open")
    assert status == 0 and printed.endswith("The page is closed.\n")
    assert len(waits) == 3 and None not in waits


def test_on_windows_no_port_that_is_taken_is_shared(monkeypatch):
    class Socket(socket.socket):
        def setsockopt(self, *_):
            pytest.fail("there SO_REUSEADDR would share it")

    monkeypatch.setattr(socket, "socket", Socket)
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        port = server._free(17000)
    assert port >= 17000


def test_ports(jpst):
    with pytest.raises(JpstError, match="port is 70000"):
        App(port=70000)
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server._free(port) > port


# ---- Pairs given by hand

CLUSTERS = {"segmenter": "cluster", "iterations": (2,)}


def test_other_pairs_are_shown_at_once_and_used_by_the_next_transfer(made, folder, jpst):
    here = made("balanced", **CLUSTERS)
    automatic = here.shown(1)[1]
    assert here.pairs.changes == () and "--pairs" not in here.command(1)
    picked = here.pairs.picked
    assert here.pairs.partner != pairing.NONE
    here.give(pairing.NONE)
    (_, look), rows, finished = here.first_look()
    assert not finished and here.shown(1) is None and here.command(1) == ""
    with pytest.raises(JpstError, match="There is no result yet"):
        here.written(1)
    changed = SMALL | CLUSTERS | {"pairs": (f"{picked}=none",)}
    paths = folder / "content.png", folder / "style.jpg"
    base = library.stylize(*paths, recipe=preset("balanced", **changed | {"iterations": (0,), "size": 96})[0])
    assert np.abs(np.asarray(Image.open(look), float) - np.asarray(base.image)).mean() < 4
    assert rows == semantics.table(library.plan(*paths, recipe=preset(**changed)[0]).found.regions)
    assert picked not in [row.name for row in rows]

    assert [*here.transfer("balanced", SMALL | CLUSTERS, Line())][-1].finished
    assert here.pairs.changes == (f"{picked}=none",) and here.pairs.picked == picked
    status, printed, _ = jpst(*shlex.split(here.command(1))[1:])
    assert status == 0, printed
    assert (folder / "content_style.png").read_bytes() == here.written(1).read_bytes()
    here.reset()
    assert not here.first_look()[2], "the automatic pairs are no result now"
    here.give(pairing.NONE)
    assert here.first_look()[2] and here.shown(1)
    assert not np.array_equal(np.asarray(Image.open(here.shown(1)[1])), np.asarray(Image.open(automatic)))


def test_a_click_picks_what_lies_there_and_a_partner_for_it(made):
    here = made("preview", **CLUSTERS | {"iterations": (0,)})
    parts = here._finished.job.found.parts
    content, style = (np.asarray(Image.open(path), float) for path in here.region_pictures())
    seen = {}
    for side, picture in (("content", content), ("style", style)):
        labels = getattr(parts, side).labels
        for number, name in enumerate(getattr(parts, side).names):
            if (labels == number).any():
                depth = ndimage.distance_transform_edt(labels == number)  # a place well inside
                place = np.add(np.unravel_index(depth.argmax(), depth.shape), 0.5)
                seen[side, name] = (place * picture.shape[:2] / labels.shape).astype(int)[::-1]
    for name in parts.names("content"):
        assert not here.click("content", *seen["content", name].tolist())
        assert here.pairs.picked == name
    last = parts.names("content")[-1]
    for partner in parts.names("style"):
        assert here.click("style", *seen["style", partner].tolist())
        assert here.pairs.partner == partner
        assert here.pairs.changes == (() if partner == last else (f"{last}={partner}",))


def test_partners_have_one_colour_and_the_rest_is_grey():
    content, style = np.full((40, 60, 3), 0.5, np.float32), np.full((30, 60, 3), 0.5, np.float32)
    labels = [np.repeat(np.int32([0, 1]), size // 2)[:, None].repeat(60, 1) for size in (40, 30)]
    automatic = semantics.match(*(Segmentation(each, ("a", "b")) for each in labels), lambda *_: 0.0)
    parts = pairing.parts(*(Segmentation(each, ("a", "b")) for each in labels), automatic)
    job = library.plan(content, style, recipe=preset("preview", segmenter="none")[0])
    pairs = Pairs(dataclasses.replace(job, found=job.found._replace(parts=parts)))
    pairs.pick("b")
    pairs.give(None)
    shown = [np.asarray(each).astype(int) for each in pairs.pictures()]
    (above, below), (other, free) = ((each[3, 3], each[-4, 3]) for each in shown)
    np.testing.assert_array_equal(above, other)
    assert np.ptp(above) > 30 and np.ptp(below) == np.ptp(free) == 0
    pairs.give("a")
    below = np.asarray(pairs.pictures()[0])[-4, 3]
    np.testing.assert_array_equal(below, above)


def test_pairs_are_not_changed_while_a_transfer_runs_and_are_not_those_of_other_photographs(made, uploads):
    here = made("preview", **CLUSTERS | {"iterations": (0,)})
    here.give(pairing.NONE)
    running = here.transfer("balanced", ENDLESS | {"segmenter": "cluster"}, Line())
    while not next(running).share:
        pass
    for change in (here.reset, lambda: here.give(pairing.NONE), lambda: here.click("style", 5, 5)):
        with pytest.raises(JpstError, match="Cancel it"):
            change()
    assert here.pairs.changes
    here.cancel()
    assert [*running][-1].finished
    here.take(words.CONTENT, uploads[1])
    assert [*here.transfer("preview", SMALL | CLUSTERS | {"iterations": (0,)}, Line())][-1].finished
    assert here.pairs.changes == ()


# ---- The page: what it gives away, and in a browser

LONG = 100_000  # steps of "quality", for what is to be seen while they run

PROGRAM = """
import dataclasses, pickle, sys
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[2] or None)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from jpst import weights
from jpst.app import server
from jpst.commands.app import App
from jpst.presets import PRESETS
from jpst.regions import labelling
vgg19, head = pickle.load(open(sys.argv[1], "rb"))
weights.load = lambda network, path=None: weights.Loaded(vgg19, weights.Provenance("tiny", "0" * 64))
weights.find = lambda network: object() if network == "vgg19" else None
labelling._scene_head = lambda: weights.Loaded(head, weights.Provenance("tiny-head", "1" * 64))
server.LARGEST = "1mb"
for name, steps in (("fast", (4,)), ("quality", (int(sys.argv[3]), 1))):
    recipe, numbers = PRESETS[name]
    PRESETS[name] = dataclasses.replace(recipe, iterations=steps), numbers
App(port=17860, open=False).run()
"""


@pytest.fixture(scope="module")
def address(vgg19_tiny, scene_head_tiny, tmp_path_factory):
    """The page, served by a process of its own with narrow networks and two presets of fewer and of more steps."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the page needs Gradio, of the extra app")
    folder = tmp_path_factory.mktemp("page")
    networks = folder / "networks"
    networks.write_bytes(pickle.dumps(jax.tree.map(np.asarray, (vgg19_tiny, scene_head_tiny.variables))))
    (folder / "temporary").mkdir()
    words = [sys.executable, "-c", PROGRAM, networks, jax.config.jax_compilation_cache_dir or "", str(LONG)]
    changed = {"TMPDIR": str(folder / "temporary"), "PYTHONPATH": str(Path(__file__).parents[1])}
    with open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, env=os.environ | changed, cwd=folder, text=True
        )
    with process:
        first = process.stdout.readline()
        if not first.startswith("The page is at "):
            process.kill()
            pytest.fail((folder / "errors").read_text())
        yield first.split()[4].rstrip(".")
        process.terminate()
    assert not [*(folder / "temporary").iterdir()], "uploads and results are gone"


def fetched(url, data=None, **headers):
    """(status, body) of a request."""
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def uploaded(address, path):
    """Where the page keeps a file that is uploaded to it."""
    form = (
        b"--x\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\n" + path.read_bytes() + b"\r\n--x--"
    )
    status, body = fetched(f"{address}gradio_api/upload", form, **{"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 200
    return json.loads(body)[0]


def taken(address, path):
    """What the page answers if it is told to take a file of this path as a photograph."""
    config = json.loads(fetched(f"{address}config")[1])
    box = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "content")
    event = next(each["id"] for each in config["dependencies"] if [box, "upload"] in each["targets"])
    file = {"path": str(path), "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [file], "fn_index": event, "session_hash": f"test-{time.monotonic_ns()}"}
    status, body = fetched(
        f"{address}gradio_api/queue/join", json.dumps(asked).encode(), **{"Content-Type": "application/json"}
    )
    assert status == 200, body
    _, events = fetched(f"{address}gradio_api/queue/data?session_hash={asked['session_hash']}")
    lines = [json.loads(line[5:]) for line in events.decode().splitlines() if line.startswith("data:")]
    return next(line for line in lines if line["msg"] == "process_completed")


def test_it_answers_this_computer_by_its_own_name_only(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    assert address == f"http://127.0.0.1:{port}/" and fetched(address)[0] == 200
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass
    assert fetched(address, Host="pictures.example")[0] == 400


def test_no_file_of_this_machine_can_be_had(address, folder):
    own = Path.home() / f"jpst-test-{os.getpid()}.png"
    shutil.copy(folder / "content.png", own)
    try:
        for path in ("/etc/passwd", own, folder / "content.png", Path(__file__), "pyproject.toml"):
            for route in (f"file={path}", f"file=/../{path}", f"file=%2e%2e/{path}", f"file%3D{path}"):
                status, body = fetched(f"{address}gradio_api/{route}")
                assert status in (400, 403, 404), (route, body[:80])
        kept = uploaded(address, folder / "content.png")
        assert fetched(f"{address}gradio_api/file={kept}")[0] == 200, "one's own upload"
        assert fetched(f"{address}gradio_api/file={kept}/../../../../../../../../etc/passwd")[0] in (403, 404)
        assert taken(address, kept)["success"]
        for path in ("/etc/passwd", own):
            answer = taken(address, path)
            assert not answer["success"] and "root:" not in json.dumps(answer)
    finally:
        own.unlink()


@pytest.fixture
def tab(browser, address):
    """tab(width): a visitor's page, with `asked`, the addresses that it asked for, which are all of this computer."""
    opened = []

    def tab(width=1280):
        page = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True).new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("websocket", lambda found: page.asked.append(found.url))
        page.goto(address)
        page.wait_for_selector("#start")
        opened.append(page)
        return page

    yield tab
    for page in opened:
        page.context.close()
        hosts = {urlsplit(url).netloc for url in page.asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {urlsplit(address).netloc}


def give(page, folder):
    """Uploads both photographs and waits until they are shown."""
    for which, name in (("content", "content.png"), ("style", "style.jpg")):
        page.set_input_files(f"#{which} input[type=file]", folder / name)
        page.wait_for_selector(f"#{which} img[src*=shown]")


def choose(page, preset):
    page.click(f"#preset input[value={preset}]")


def told(page, text, seconds=120):
    page.wait_for_selector(f"#status :text('{text}')", timeout=1000 * seconds)


def after(page):
    """The picture after the transfer, as it is shown."""
    source = page.locator("#pictures img").last.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(fetched(source)[1])), float)


def test_from_two_photographs_to_a_download(tab, folder):
    page = tab()
    give(page, folder)
    choose(page, "fast")
    page.click("#start")
    page.wait_for_selector("#pictures img")
    page.wait_for_selector("#regions .row")
    told(page, "Done, 80 x 60 pixels.")
    assert page.is_visible("#start") and not page.is_visible("#cancel")
    assert len(page.locator("#regions .row").all()) >= 1
    whole = after(page)
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "content_style.png"
    picture = np.asarray(Image.open(download.value.path()), float)
    assert np.abs(picture - whole).mean() < 4

    content = np.asarray(Image.open(folder / "content.png"), float)
    page.click("text=The same from the command line")
    page.locator("#strength input[type=number]").fill("0")
    page.locator("#strength input[type=number]").press("Enter")
    page.wait_for_function("() => document.querySelector('#command textarea').value.includes('--strength 0')")
    wait_for(lambda: np.abs(after(page) - content).mean() < 4)
    with page.expect_download() as download:
        page.click("#save")
    np.testing.assert_array_equal(np.asarray(Image.open(download.value.path())), content)
    assert page.input_value("#command textarea").startswith("jpst transfer content.png style.jpg -o content_style.png")


def test_cancel_on_the_page(tab, folder):
    page = tab()
    give(page, folder)
    choose(page, "quality")
    page.click("#start")
    told(page, f"of {LONG}")
    page.click("#cancel")
    told(page, "Cancelled: this is the best result so far.")
    assert page.is_visible("#start") and page.is_visible("#save")


def test_the_second_visitor_waits_for_the_first(tab, folder):
    first, second = tab(), tab()
    for page, name in ((first, "quality"), (second, "fast")):
        give(page, folder)
        choose(page, name)
        page.click("#start")
        told(page, f"of {LONG}" if page is first else "Another transfer is running")
    assert second.is_visible("#cancel")
    first.context.close()  # without a word
    told(second, "Done")


def test_what_cannot_be_read_is_told_in_a_sentence(tab, folder):
    (folder / "notes.jpg").write_text("no picture")
    (folder / "large.jpg").write_bytes(b"0" * 1_100_000)
    page = tab()
    page.click("#start")
    told(page, "No picture yet: Your photograph (content), The look (style).")
    page.set_input_files("#content input[type=file]", folder / "notes.jpg")
    page.wait_for_selector(".toast-body :text('notes.jpg')")
    assert "Traceback" not in page.content() and str(folder) not in page.content()
    page.wait_for_selector("#content input[type=file]", state="attached")  # empty again
    page.set_input_files("#content input[type=file]", folder / "large.jpg")
    page.wait_for_selector(".toast-body :text('maximum allowed size')")


@pytest.mark.parametrize("name", ["phone.heic", "phone.HIF", "phone.avif"])
def test_photographs_that_the_browser_may_not_know_are_taken_and_shown(tab, folder, photograph, name):
    """As dropped by a browser without a kind for them; it is given a picture that it can show."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the optional pillow-heif is not installed")
    original = Image.fromarray(np.rint(photograph(48, 64) * 255).astype(np.uint8))
    if name.endswith("avif"):
        if not features.check("avif"):
            pytest.skip("this Pillow reads no AVIF")
        original.save(folder / name, quality=100, subsampling="4:4:4")
    else:
        pillow_heif.from_pillow(original).save(folder / name, quality=-1, chroma=444)
    page = tab()
    data = base64.b64encode((folder / name).read_bytes()).decode()
    dropped = page.evaluate_handle(
        """([data, name]) => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));
            return dropped;
        }""",
        [data, name],
    )
    page.dispatch_event("#content input[type=file]", "drop", {"dataTransfer": dropped})
    page.wait_for_selector("#content img[src*=shown]")
    page.wait_for_function("() => document.querySelector('#content img').naturalWidth == 64")
    source = page.locator("#content img").get_attribute("src")
    shown = np.asarray(Image.open(io.BytesIO(fetched(source)[1])), float)
    assert np.abs(shown - np.asarray(original)).mean() < 4


def test_a_region_is_given_another_partner_by_clicks_and_by_the_list(tab, folder):
    page = tab()
    give(page, folder)
    choose(page, "preview")
    page.click("#more button")
    page.click("#segmenter input")
    page.click("text=Clusters: transfers more")
    page.click("#start")
    told(page, "Done")
    page.wait_for_selector("#content-regions img")
    assert page.is_visible("#save") and not page.is_visible("#reset")
    usual = after(page)
    page.click("#partner input[value=none]")
    told(page, "with your pairs. Press Transfer")
    page.wait_for_selector("#save", state="hidden")
    assert page.is_visible("#reset") and np.abs(after(page) - usual).max() > 8
    page.click("#reset")
    told(page, "Done, with these pairs")
    page.wait_for_selector("#save")
    wait_for(lambda: np.array_equal(after(page), usual))

    picked = page.locator("#picked input:checked").get_attribute("value")
    others = [each.get_attribute("value") for each in page.locator("#picked input").all()]
    for down in np.linspace(5, page.locator("#content-regions img").bounding_box()["height"] - 5, 12):
        page.locator("#content-regions img").click(position={"x": 5, "y": float(down)})
    page.wait_for_function(
        "before => document.querySelector('#picked input:checked').value != before", arg=picked, timeout=20_000
    )
    assert page.locator("#picked input:checked").get_attribute("value") in others
    page.locator("#style-regions img").click(position={"x": 5, "y": 5})
    page.wait_for_selector("#style-regions img")
    page.click("#partner input[value=none]")
    told(page, "with your pairs. Press Transfer")
    page.click("#start")
    told(page, "Done, 80 x 60 pixels.")
    page.click("text=The same from the command line")
    assert "=none" in page.input_value("#command textarea") and "--pairs" in page.input_value("#command textarea")


def test_on_a_phone_nothing_is_wider_than_the_screen(tab, folder):
    page = tab(390)
    wide = "() => document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 390
    page.click("#more button")
    page.wait_for_selector("text=Working size")
    assert page.evaluate(wide) <= 390
    give(page, folder)
    choose(page, "fast")
    page.click("#start")
    told(page, "Done")
    page.click("text=The same from the command line")
    assert page.evaluate(wide) <= 390
