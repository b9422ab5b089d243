"""Odd command lines, names and terminals: each ends with its status and a sentence, and costs nobody a file."""

import io
import json
import os
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from jpst import pipeline, terminal, weights
from jpst.models import nima
from jpst.weights import Loaded, Provenance

SMALL = ["--size", "32", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]
TRANSFER = ["transfer", "content.png", "style.jpg", "-o", "out.png"]
MINE = "mine.npz"

FAILS = [
    *(
        [*TRANSFER, *option.split(" ")]
        for option in (
            "--style-weight nan",
            "--style-weight inf",
            "--style-weight -1",
            "--content-weight -inf",
            "--regularization-weight 1e300",
            "--nima-weight nan",
            "--coherence-weight -0.1",
            "--edge-weight 1e13",
            "--clipping-weight nan",
            "--optimiser adam --learning-rate -1",
            "--optimiser adam --beta1 1",
            "--optimiser adam --beta2 -0.5",
            "--optimiser adam --epsilon 0",
            "--learning-rate nan",
            "--matting-epsilon nan",
            "--matting-epsilon -1",
            "--matting-epsilon 0",
            "--coherence-octaves -1",
            "--coherence-octaves 40",
            "--save-every -3",
            "--save-every 99999999999999999999",
            "--seed -1",
            "--seed 99999999999999999999",
            "--seed 4294967296",
            "--strength -0.1",
            "--strength 1.6",
            "--strength nan",
            "--size 1000000000",
            "--size -384",
            "--size 0",
            "--size-multiple 0",
            "--size-multiple 100000",
            "--iterations",
            "--iterations -1",
            "--iterations 99999999999",
            "--iterations 1 1 1 1 1 1 1 1 1",
            "--nima-size -1",
            "--nima-size 1",
            "--plateau-tolerance 1",
            "--plateau-tolerance nan",
            "--similarity-threshold nan",
            "--similarity-threshold -1",
            "--minimum-share 2",
            "--minimum-share nan",
            "--style-layers",
            "--content-layers",
            "--style-layers relu9_9",
            "--content-seg style.jpg",
            "--style-seg absent.png",
            "--content-seg absent.png --style-seg absent.png",
            "--content-seg folder --style-seg folder",
        )
    ),
    ["transfer", "", "style.jpg", "-o", "out.png"],
    ["transfer", "content.png", ".", "-o", "out.png"],
    ["transfer", "/", "style.jpg", "-o", "out.png"],
    ["transfer", "content.png", "style.jpg", "-o", ""],
    ["transfer", "content.png", "style.jpg", "-o", "/"],
    ["transfer", "content.png", "style.jpg", "-o", ".png"],
    ["transfer", "content.png", "style.jpg", "-o", ".."],
    ["transfer", "content.png", "style.jpg", "-o", "style.jpg/out.png"],
    ["transfer", "content.png", "style.jpg", "-o", "folder"],
    ["transfer", "content.png", "style.jpg", "-o", "folder.png"],
    ["transfer", "content.png", "style.jpg", "-o", "a" * 300 + ".png"],
    ["transfer", "a" * 300 + ".png", "style.jpg", "-o", "out.png"],
    ["transfer", MINE, "style.jpg", "-o", "out.png"],
    ["demo", "-o", "nowhere/demo.jpg"],
    ["demo", "-o", "demo"],
    ["segment", "content.png", "-o", "content.png"],
    ["segment", "content.png", "-o", "labels.jpg"],
    ["segment", "content.png", "-o", "labels.png", "--overlay", "seen"],
    ["segment", "content.png", "-o", "labels.png", "--overlay", "folder.png"],
    ["segment", "absent.png", "-o", "labels.png"],
    ["segment", "folder", "-o", "labels.png"],
    ["segment", MINE, "-o", "labels.png"],
    ["segment", "", "-o", "labels.png"],
    ["score", "content.png", "--checkpoint", "absent.npz"],
    ["score", "content.png", "--size", "-5"],
    ["score", "content.png", "--size", "5"],
    ["score", "content.png", "--size", "1000000"],
    ["score", "content.png", "--checkpoint", "vgg19-keras"],
    ["score", "content.png", "--checkpoint", "nima-vgg16-pyiqa"],
    ["weights", "convert", MINE, "-o", MINE],
    ["weights", "convert", MINE, "-o", "folder"],
    ["weights", "convert", MINE, "-o", "folder.npz"],
    ["weights", "convert", MINE, "-o", "out.h5"],
    ["weights", "convert", MINE, "-o", "style.jpg/out.npz"],
    ["weights", "convert", MINE, "-o", "out.npz"],
    ["weights", "convert", MINE, "-o", "out.npz", "--network", "[red]"],
    ["weights", "convert", "absent.h5", "-o", "out.npz"],
    ["weights", "convert", "style.jpg", "-o", "out.npz"],
    ["weights", "convert", "folder", "-o", "out.npz"],
    ["weights", "fetch", "[red]nothing[/]"],
    ["weights", "fetch", ""],
]
WRONG = [
    [],
    ["nothing"],
    ["[red]"],
    ["transfer"],
    ["transfer", "content.png"],
    ["transfer", "content.png", "style.jpg"],
    ["transfer", "content.png", "style.jpg", "-o"],
    [*TRANSFER, "third.jpg"],
    [*TRANSFER, "--nonsense"],
    [*TRANSFER, "--nonsense", "[/red] 你"],
    [*TRANSFER, "--preset", "[/red]"],
    [*TRANSFER, "--preset=nothing"],
    [*TRANSFER, "--preset"],
    [*TRANSFER, "--size", "3.5"],
    [*TRANSFER, "--size", "1e3"],
    [*TRANSFER, "--size", "[/]"],
    [*TRANSFER, "--size", "9" * 5000],
    [*TRANSFER, "--seed", "one"],
    [*TRANSFER, "--seed", "nan"],
    [*TRANSFER, "--save-every", "0.5"],
    [*TRANSFER, "--iterations", "nan"],
    [*TRANSFER, "--style-weight", "much"],
    [*TRANSFER, "--segmenter", "masks"],
    [*TRANSFER, "--hard-masks", "yes"],
    ["demo", "extra"],
    ["demo", "--seed", "1"],
    ["segment", "content.png"],
    ["segment", "content.png", "-o", "labels.png", "--segmenter", "none"],
    ["score", "content.png", "--size", "large"],
    ["score", "content.png", "--size", "nan"],
    ["weights"],
    ["weights", "nothing"],
    ["weights", "list", "extra"],
    ["weights", "verify", "extra"],
    ["weights", "convert", MINE],
]


@pytest.fixture
def crowded(folder, jpst, monkeypatch):
    """The folder with more in it, no checkpoints, and no work allowed."""
    from jpst.weights import downloads

    monkeypatch.undo()  # the real loading, which finds nothing to load
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JPST_CHECKPOINTS", str(folder / "networks"))
    monkeypatch.setattr("jpst.caching.enable", lambda: None)
    monkeypatch.setattr(terminal, "fetch_if_missing", lambda *_: None)
    monkeypatch.setattr(downloads, "_fetch_from", lambda *_: pytest.fail("a download was started"))
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pytest.fail("work was done"))
    (folder / "folder").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "folder.npz").mkdir()
    (folder / MINE).write_bytes(b"PK\3\4 but no more")
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shortened(command):
    return " ".join(word if len(word) < 50 else f"{word[:3]}...{len(word)}" for word in command) or "nothing"


@pytest.mark.parametrize("command", FAILS, ids=shortened)
def test_what_cannot_be_done_is_one_message_and_status_1(jpst, crowded, command):
    before = contents(crowded)
    status, text, new = jpst(*command)
    assert (status, new) == (1, set()), text
    assert jpst.errors.startswith("jpst: ")
    assert [line.startswith("jpst: ") for line in jpst.errors.splitlines()].count(True) == 1
    assert "Traceback" not in text and "Errno" not in jpst.errors.split("(")[0]
    assert contents(crowded) == before


@pytest.mark.parametrize("command", WRONG, ids=shortened)
def test_wrong_use_is_told_by_the_parser_with_status_2(jpst, crowded, command):
    before = contents(crowded)
    status, text, new = jpst(*command)
    assert (status, new) == (2, set()), text
    assert jpst.errors.strip() and "Traceback" not in text and "jpst: " not in jpst.errors
    assert contents(crowded) == before


@pytest.mark.parametrize("command", [["score"], ["eval"], ["look", "apply", "look.cube", "-o", "out"]], ids=shortened)
def test_what_names_no_files_is_wrong_use_and_told_in_a_line(jpst, command):
    status, text, new = jpst(*command)
    assert (status, new) == (2, set())
    assert text == jpst.errors and text.startswith("jpst: There is nothing to ") and text.count("\n") == 1


@pytest.mark.parametrize("option", ["--style-weight", "--seed", "--matting-epsilon", "--coherence-octaves"])
def test_a_number_out_of_range_is_told_with_its_option_and_range(jpst, option):
    status, text, _ = jpst(*TRANSFER, option, "-1")
    assert status == 1
    assert f"Give {option} " in text and "at least" in text and "at most" in text


def test_a_preset_is_read_from_words_not_from_file_names(jpst, folder):
    name = "a --preset fast.png"
    (folder / name).write_bytes((folder / "content.png").read_bytes())
    for arguments, preset in (([], "balanced"), (["--preset", "quality"], "quality"), (["--preset=fast"], "fast")):
        assert jpst("transfer", name, "style.jpg", "-o", "out.png", *SMALL, *arguments)[0] == 0
        record = json.loads((folder / "out.json").read_text())
        assert record["recipe"]["name"] == preset
        assert record["hyperparameters"]["edge_weight"] == (0.3 if preset == "quality" else 0.2)


ODD = "sunset [edited] [red] [b] :smile: 你é.png"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "cp437"])
def test_names_are_printed_as_they_are_or_in_escapes(folder, jpst, monkeypatch, encoding):
    (folder / ODD).write_bytes((folder / "content.png").read_bytes())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    out = f"out {ODD}"
    status, _, new = jpst("transfer", ODD, ODD, "-o", out, *SMALL)
    assert status == 0
    assert new == {out, out.replace(".png", ".json")}
    written = out.encode(encoding, "backslashreplace") + b" written, 80 x 60"
    assert written in sys.stdout.buffer.getvalue()


def test_the_names_of_masks_are_printed_as_they_are(folder, jpst):
    for name, height, width in (("[red]a.png", 60, 80), ("[b]b.png", 48, 64)):
        bands = np.repeat(np.uint8([0, 255]), height // 2)
        PIL.Image.fromarray(np.repeat(bands[:, None], width, axis=1)).save(folder / name)
    status, text, _ = jpst(*TRANSFER, "--content-seg", "[red]a.png", "--style-seg", "[b]b.png", "--dry-run")
    assert status == 0
    assert "Regions from the masks [red]a.png and [b]b.png." in text


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_and_messages_survive_any_encoding(folder, jpst, monkeypatch, encoding):
    (folder / ODD).write_bytes((folder / "content.png").read_bytes())
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
        monkeypatch.setattr(sys, name, stream)
    assert jpst("transfer", ODD, ODD, "-o", f"out {ODD}", *SMALL, "--json")[0] == 0
    assert json.loads(sys.stdout.buffer.getvalue())["content"]["path"] == ODD
    assert jpst("transfer", ODD, "absent 你.png", "-o", f"out {ODD}", *SMALL)[0] == 1
    assert b"jpst: absent \\u4f60.png: there is no such file" in sys.stderr.buffer.getvalue()


@pytest.mark.parametrize(("encoding", "letter"), [("utf-8", "█"), ("cp1252", "#")])
@pytest.mark.parametrize("count", [1, 2])
def test_scores_are_drawn_with_letters_that_there_are(folder, jpst, monkeypatch, encoding, letter, count):
    variables = nima.init(jax.random.key(0), "mobilenet", 0.0625)
    loaded = Loaded(variables, Provenance("[red]", "0" * 64))
    monkeypatch.setattr(weights, "load", lambda network, path=None: loaded)
    monkeypatch.setattr(weights, "find", lambda network: object())
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    (folder / "[b].png").write_bytes((folder / "content.png").read_bytes())
    assert jpst("score", *["[b].png", "style.jpg"][:count], "--size", "32")[0] == 0
    shown = sys.stdout.buffer.getvalue().decode(encoding)
    assert "[red]: licence not known" in shown and "[b].png" in shown
    assert letter in shown and "\\u" not in shown


def test_the_registry_is_printed_without_markup(jpst):
    status, text, _ = jpst("weights", "list")
    assert status == 0
    assert "vgg19-caffe-codebook (vgg19): " in text and "[bold]" not in text


class Closed(io.TextIOWrapper):
    """A pipe whose reader has left."""

    def __init__(self):
        reading, writing = os.pipe()
        os.close(reading)
        super().__init__(os.fdopen(writing, "wb"), encoding="utf-8")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_transfer_goes_on_when_its_reader_has_left(jpst, monkeypatch, more):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Closed())
    status, _, new = jpst(*TRANSFER, *SMALL, *more)
    assert (status, new) == (0, {"out.png", "out.json"})
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize("command", [["weights", "list"], ["weights", "list", "--json"], ["transfer", "--help"], []])
def test_a_closed_pipe_ends_quietly(command):
    program = "from jpst.cli import main; main()"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program, *command], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == (0 if command else 2)
    assert not done.stderr or not command


def test_without_any_standard_output_a_command_still_works(jpst, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert jpst("weights", "list")[0] == 0
    assert jpst(*TRANSFER, *SMALL, "--json")[2] == {"out.png", "out.json"}


def test_losses_that_are_not_finite_are_null_in_the_record(jpst, folder, monkeypatch):
    from jpst import chunks

    real = chunks.transfer

    def spoilt(*arguments, **options):
        result = real(*arguments, **options)
        history = {name: values * float("nan") for name, values in result.history.items()}
        return result._replace(history=history)

    monkeypatch.setattr(chunks, "transfer", spoilt)
    status, text, _ = jpst(*TRANSFER, *SMALL, "--json")
    assert status == 0
    for told in (text[text.index("{\n") :], (folder / "out.json").read_text()):
        record, _ = json.JSONDecoder(parse_constant=pytest.fail).raw_decode(told)
        assert record["levels"][0]["losses"]["total"] == [None, None]
