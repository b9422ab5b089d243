"""What a command writes never costs the user a file: inputs, other outputs, records of other pictures."""

import json
import os
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from jpst import image, outputs
from jpst.errors import JpstError
from jpst.recipe import Recipe
from jpst.weights import downloads, registry

SMALL = ["--size", "32", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]
TRANSFER = ["transfer", "content.png", "style.jpg"]
MASKS = ["--content-seg", "mask.png", "--style-seg", "painted.tif"]


@pytest.fixture
def crowded(folder, monkeypatch):
    """The folder with masks, links and checkpoints in it, and no work allowed."""
    monkeypatch.setattr(image, "read", lambda *_, **__: pytest.fail("work was done"))
    monkeypatch.setenv("JPST_CHECKPOINTS", str(folder / "networks"))
    for name in ("mask.png", "painted.tif", "content_seg.png", "style_seg.png"):
        PIL.Image.fromarray(np.uint8([[0, 255]] * 2)).save(folder / name)
    (folder / "x-step0002.png").write_bytes((folder / "content.png").read_bytes())
    os.link(folder / "content.png", folder / "hard.png")
    os.link(folder / "content.png", folder / "Content.PNG")  # what a file system that knows no case shows
    (folder / "soft.png").symlink_to("content.png")
    (folder / "here").symlink_to(".")
    (folder / "linked.json").symlink_to("style.jpg")
    (folder / "y-step0001.png").symlink_to("content.png")
    (folder / "networks").mkdir()
    network = folder / "networks" / registry.REGISTRY["vgg19-caffe-codebook"].filename
    network.write_bytes(b"weights")
    os.link(network, folder / "network.png")
    np.savez(folder / "mine.npz", a=1)
    os.link(folder / "mine.npz", folder / "mine2.npz")
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "content.png", "-o", "content.png"],
        ["segment", "content.png", "-o", "labels.png", "--overlay", "content.png"],
        ["segment", "style.jpg", "-o", "labels.png", "--overlay", "./style.jpg"],
        ["segment", "content.png", "-o", "hard.png"],
        ["segment", "content.png", "-o", "network.png"],
        [*TRANSFER, "-o", "content.png"],
        [*TRANSFER, "-o", "style.jpg"],
        [*TRANSFER, "-o", "here/style.jpg"],
        [*TRANSFER, "-o", "hard.png"],
        [*TRANSFER, "-o", "Content.PNG"],
        [*TRANSFER, "-o", "soft.png"],
        [*TRANSFER, "-o", "network.png"],
        [*TRANSFER, "-o", "linked.png"],
        [*TRANSFER, "-o", "mask.png", *MASKS],
        [*TRANSFER, "-o", "painted.tif", *MASKS],
        [*TRANSFER, "-o", "content_seg.png"],
        [*TRANSFER, "-o", "style_seg.png"],
        [*TRANSFER, "-o", "style.jpg", "--dry-run"],
        [*TRANSFER, "-o", "mask.png", "--nima-checkpoint", "mask.png"],
        ["transfer", "x-step0002.png", "style.jpg", "-o", "x.png", "--save-every", "1"],
        ["transfer", "content.png", "x-step0002.png", "-o", "x.png", "--save-every", "2"],
        [*TRANSFER, "-o", "y.png", "--save-every", "1"],
        ["weights", "convert", "mine.npz", "-o", "mine.npz"],
        ["weights", "convert", "mine.npz", "-o", "here/mine2.npz"],
    ],
    ids=" ".join,
)
def test_an_input_is_refused_as_output_before_the_work(jpst, crowded, command):
    before = contents(crowded)
    status, text, new = jpst(*command, *(SMALL if command[0] == "transfer" and MASKS[0] not in command else ()))
    assert (status, new) == (1, set())
    assert jpst.errors.startswith("jpst: ") and "this would overwrite an input" in text
    assert jpst.errors.count("\n") == 1
    assert contents(crowded) == before


def test_a_preview_that_the_run_will_not_reach_is_no_output(crowded):
    outputs.check_transfer(crowded / "x.png", [crowded / "x-step0002.png"] * 2, Recipe(iterations=(1,)), previews=True)
    with pytest.raises(JpstError, match="overwrite"):
        outputs.check_transfer(
            crowded / "x.png", [crowded / "x-step0002.png"] * 2, Recipe(iterations=(1, 1)), previews=True
        )


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "content.png", "-o", "a.png", "--overlay", "a.png"],
        ["segment", "content.png", "-o", "a.png", "--overlay", "./a.png"],
        ["segment", "content.png", "-o", "a.png", "--overlay", "dangling.png"],
        [*TRANSFER, "-o", "b.png", *SMALL],
        [*TRANSFER, "-o", "c.png", "--save-every", "1", *SMALL],
    ],
    ids=" ".join,
)
def test_two_outputs_are_two_files(jpst, folder, command):
    (folder / "dangling.png").symlink_to("a.png")
    (folder / "b.json").symlink_to("b.png")
    (folder / "c-step0001.png").symlink_to("c.json")
    status, text, new = jpst(*command)
    assert (status, new) == (1, set())
    assert "Give each output its own file" in text


def a_folder(path):
    path.mkdir()
    return "got a folder"


def a_pipe(path):
    os.mkfifo(path)
    return "got a device or a pipe"


def protected(path):
    path.write_bytes(b"{}")
    path.chmod(0o400)
    return "is not writable"


@pytest.mark.parametrize("spoil", [a_folder, a_pipe, protected])
@pytest.mark.parametrize("name", ["out.png", "out.json", "out-step0002.png"])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_cannot_be_replaced_is_told_before_the_work(jpst, crowded, monkeypatch, spoil, name, dry):
    expected = spoil(crowded / name)
    real = os.access  # a superuser may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and os.stat(path).st_mode & 0o200 != 0)
    status, text, new = jpst(*TRANSFER, "-o", "out.png", *SMALL, "--save-every", "1", *dry)
    assert (status, new) == (1, set())
    assert name in text and expected in text


@pytest.mark.parametrize("name", ["e" * 251 + ".png", "e" * 246 + ".png"])
def test_a_name_that_gets_too_long_for_record_or_preview_is_told_before_the_work(jpst, crowded, name):
    status, text, _ = jpst(*TRANSFER, "-o", name, *SMALL, "--save-every", "1")
    assert status == 1
    assert "too long" in text.lower()


@pytest.mark.parametrize("out", ["labels.jpg", "labels", "labels.tif"])
def test_a_label_map_that_is_no_png_is_told_before_the_work(jpst, monkeypatch, out):
    monkeypatch.setattr(image, "read", lambda _: pytest.fail("work was done"))
    status, text, new = jpst("segment", "content.png", "-o", out)
    assert (status, new) == (1, set())
    assert ".png" in text


def test_a_converted_checkpoint_is_an_npz(jpst, crowded):
    status, text, new = jpst("weights", "convert", "mine.npz", "-o", "mine.h5")
    assert (status, new) == (1, set())
    assert ".npz" in text


@pytest.mark.parametrize(
    "command",
    [
        ["transfer", "wide.png", "style.jpg", "-o", "out.webp", *SMALL, "--dry-run"],
        ["transfer", "wide.png", "style.jpg", "-o", "out.webp", *SMALL],
        ["segment", "wide.png", "-o", "labels.png", "--overlay", "seen.webp"],
    ],
    ids=" ".join,
)
def test_a_picture_too_long_for_its_format_is_told_before_the_work(jpst, crowded, command):
    PIL.Image.new("L", (16384, 16)).save(crowded / "wide.png")
    status, text, new = jpst(*command)
    assert (status, new) == (1, set())
    assert "16383" in text and "16384 x 16" in text


def test_the_size_of_the_result_is_known_beforehand(folder):
    content = folder / "content.png"
    assert outputs.result_size(content, Recipe()) == (60, 80)
    assert outputs.result_size(content, Recipe(size=32, size_multiple=8, output_size="working")) == (24, 32)


@pytest.mark.parametrize("quality", [0, 101, -5, float("nan")])
def test_a_quality_out_of_range_is_refused(tmp_path, photograph, quality):
    with pytest.raises(JpstError, match=r"quality is .* 1 to 100"):
        image.write(tmp_path / "out.jpg", photograph(8, 8), quality=quality)
    assert not list(tmp_path.iterdir())


def test_a_pipe_among_the_inputs_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    outputs.check([tmp_path / "out.png"], [tmp_path / "pipe"])
    with pytest.raises(JpstError, match="pipe"):
        outputs.check([tmp_path / "pipe"], [tmp_path / "pipe"])


def test_a_run_replaces_the_record_of_the_same_picture(jpst, folder):
    for seed in (1, 2):
        status, text, _ = jpst(*TRANSFER, "-o", "out.png", *SMALL, "--seed", seed)
        assert status == 0, text
        record = json.loads((folder / "out.json").read_text())
        assert (record["output"], record["seed"]) == ("out.png", seed)
    (folder / "link").symlink_to(".")
    assert jpst(*TRANSFER, "-o", "link/out.png", *SMALL, "--seed", 3)[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "no JSON",
        "[" * 100_000,
        '{"output": "out.png"}',
        '{"output": "other.jpg", "versions": {"jpst": "0.1.0"}}',
        '{"output": "out.jpg", "versions": {"jpst": "0.1.0"}}',
        '{"output": "", "versions": {"jpst": "0.1.0"}}',
        '{"output": "../out.png", "versions": {"jpst": "0.1.0"}}',
        '{"output": "a\\u0000", "versions": {"jpst": "0.1.0"}}',
        '{"output": 3, "versions": {"jpst": "0.1.0"}}',
        '{"output": "out.png", "versions": {"other program": "0.1.0"}}',
        '{"output": "out.png", "versions": ["jpst"]}',
        "\udcff\udcfe",
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_json_file_of_anything_else_stays(jpst, crowded, text, dry):
    before = text.encode("utf-8", "surrogateescape")
    (crowded / "out.json").write_bytes(before)
    status, told, new = jpst(*TRANSFER, "-o", "out.png", *SMALL, *dry)
    assert (status, new) == (1, set())
    assert "out.json: is " in told and "would replace it" in told
    assert (crowded / "out.json").read_bytes() == before


def test_pictures_that_differ_in_suffix_only_keep_their_records(jpst, folder):
    assert jpst(*TRANSFER, "-o", "out.jpg", *SMALL)[0] == 0
    before = (folder / "out.json").read_bytes()
    status, text, new = jpst(*TRANSFER, "-o", "out.png", *SMALL)
    assert (status, new) == (1, set())
    assert "out.json: is the record of out.jpg" in text
    assert (folder / "out.json").read_bytes() == before


def test_the_demo_keeps_a_foreign_record(jpst, crowded):
    (crowded / "demo.json").write_text("{}")
    status, text, new = jpst("demo")
    assert (status, new) == (1, set())
    assert "demo.json" in text and (crowded / "demo.json").read_text() == "{}"


@pytest.fixture
def run(photograph):
    """As much of a finished transfer as is written."""
    found = image.Photograph(photograph(8, 8), None, 8)
    return SimpleNamespace(photograph=found, record={"losses": [1.0, float("nan"), (float("-inf"),)], "n": 3})


def test_a_record_is_strict_json(tmp_path, run):
    told = outputs.write_result(tmp_path / "你.png", run)

    def refused(constant):
        raise AssertionError(constant)

    text = (tmp_path / "你.json").read_bytes()
    expected = {"output": "你.png", "losses": [1.0, None, [None]], "n": 3, "metadata": [], "left_out": []}
    assert json.loads(text, parse_constant=refused) == expected
    assert text.isascii()
    assert told["output"] == "你.png"


def test_a_record_that_cannot_be_put_in_place_leaves_no_half_of_it(tmp_path, run, monkeypatch):
    (tmp_path / "out.json").write_text("the one before")
    real = os.replace

    def replace(source, target):
        if str(target).endswith(".json"):
            raise OSError("no space left")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(JpstError, match=r"out\.json.*no space left"):
        outputs.write_result(tmp_path / "out.png", run)
    assert {path.name for path in tmp_path.iterdir()} == {"out.png", "out.json"}
    assert (tmp_path / "out.json").read_text() == "the one before"


def test_a_record_that_is_no_json_is_found_before_the_picture_is_written(tmp_path, run):
    run.record["odd"] = object()
    with pytest.raises(TypeError):
        outputs.write_result(tmp_path / "out.png", run)
    assert not list(tmp_path.iterdir())


def test_the_checkpoints_that_are_here_are_inputs(crowded):
    found = {path.name for path in outputs.checkpoints()}
    assert found == {registry.REGISTRY["vgg19-caffe-codebook"].filename}
    assert downloads.directory() == crowded / "networks"
    assert crowded / "mine.npz" in outputs.checkpoints(str(crowded / "mine.npz"))
