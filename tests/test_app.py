"""`jpst app`: a transfer as a page sees it, the files that it gives away, and the page in a real browser."""

import shlex
import socket
import sys
import threading
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

import jpst as library
from jpst import estimate, image, loading, pyramid
from jpst.app import server, session, theme, words
from jpst.app.session import Asked, Line, Upload, Work
from jpst.app.visit import Visit
from jpst.commands.app import App
from jpst.errors import JpstError
from jpst.estimate import Room
from jpst.presets import preset
from jpst.regions import semantics

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
    before, after = (np.asarray(Image.open(path), float) for path in here.shown(strength))
    assert np.abs(after - written).mean() < 3, "a JPEG of it"
    assert np.abs(before - np.asarray(Image.open(folder / "content.png"))).mean() < 3


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


def test_names_are_quoted_and_stay_names(here, uploads, narrow_network):
    for which, upload, name in zip(words.PHOTOGRAPHS, uploads, ("my $(day).png", "it's.jpg"), strict=True):
        here.take(which, upload._replace(name=name))
    assert [*here.transfer("preview", {"segmenter": "none"}, Line())][-1].finished
    assert shlex.split(here.command(1))[2:6] == ["my $(day).png", "it's.jpg", "-o", "my $(day)_it's.png"]


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


def test_ports(jpst):
    with pytest.raises(JpstError, match="port is 70000"):
        App(port=70000)
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server._free(port) > port
