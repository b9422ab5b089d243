"""What TensorBoard is told, as TensorBoard itself reads it, compared with the record."""

import io
import json
import os
import struct
import sys
from itertools import chain

import numpy as np
import PIL.Image
import pytest

from jpst.weights.crc32c import crc32c

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: pip install tensorboardX")

TRANSFER = ["transfer", "content.png", "style.jpg", "-o", "out.png", "--size", "48", "--size-multiple", "8"]
TRANSFER += ["--iterations", "3", "2", "--segmenter", "none", "--projection", "none"]


@pytest.fixture
def told():
    """told(folder): losses as {term: [(step, value)]} and previews as {step: pixels}, by TensorBoard's own reader."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed: pip install tensorboard",
    )

    def read(folder):
        events = accumulator.EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        losses = {tag.removeprefix("losses/"): [(e.step, e.value) for e in each] for tag, each in scalars.items()}
        encoded = {each.step: io.BytesIO(each.encoded_image_string) for each in events.Images("preview")}
        return losses, {step: np.asarray(PIL.Image.open(each)) for step, each in encoded.items()}

    return read


def recorded(folder):
    """The losses in the record, in the form of `told`."""
    levels = [level["losses"] for level in json.loads((folder / "out.json").read_text())["levels"]]
    return {term: list(enumerate(chain(*(level[term] for level in levels)), 1)) for term in levels[0]}


def masked(checksum):
    """As TensorFlow's records store it."""
    return ((checksum >> 15 | checksum << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_file_has_the_losses_of_the_record(jpst, folder):
    """By the framing of TensorFlow's records, so that it needs no TensorBoard."""
    from tensorboardX.proto.event_pb2 import Event

    status, text, _ = jpst(*TRANSFER, "--tensorboard", "runs")
    assert status == 0, text
    [file] = (folder / "runs" / "out").iterdir()
    data, losses, previews = file.read_bytes(), {}, []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        assert check == masked(crc32c(data[:8]))
        event, data = data[12 : 12 + length], data[16 + length :]
        found = Event.FromString(event)
        for value in found.summary.value:
            if value.tag == "preview":
                previews.append((found.step, PIL.Image.open(io.BytesIO(value.image.encoded_image_string)).size))
            else:
                losses.setdefault(value.tag.removeprefix("losses/"), []).append((found.step, value.simple_value))
    assert losses == recorded(folder) and len(losses["total"]) == 5
    assert [step for step, _ in previews] == [1, 2, 3, 4, 5]


def test_it_is_told_every_loss_and_some_pictures(jpst, folder, told):
    status, text, new = jpst(*TRANSFER, "--tensorboard", "runs", "--save-every", "2")
    assert status == 0, text
    assert new == {"out.png", "out.json", "out-step0002.png", "out-step0004.png", "runs"}
    losses, previews = told(folder / "runs" / "out")
    assert losses == recorded(folder) and len(losses["total"]) == 5
    assert sorted(previews) == [2, 4, 5]
    for step in (2, 4):
        saved = np.asarray(PIL.Image.open(folder / f"out-step{step:04d}.png"))
        np.testing.assert_array_equal(previews[step], saved)


def test_it_is_written_while_the_steps_run(jpst, folder, told, monkeypatch):
    from jpst import outputs, tensorboard

    monkeypatch.setattr(tensorboard, "FLUSHED_EVERY", 0.0)
    seen = []
    monkeypatch.setattr(
        outputs, "write_preview", lambda *_: seen.append(len(told(folder / "runs" / "out")[0]["total"]))
    )
    assert jpst(*TRANSFER, "--tensorboard", "runs")[0] == 0
    assert seen == [1, 2, 3, 4, 5]


def test_a_run_that_goes_on_or_is_made_again_has_one_curve(jpst, folder, told, monkeypatch):
    from jpst import chunks

    real, count = chunks.transfer, []

    def transfer(*arguments, **options):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(chunks, "transfer", transfer)
    options = [*TRANSFER, "--resume", "--tensorboard", "runs"]
    assert jpst(*options)[0] == 130 and len(told(folder / "runs" / "out")[0]["total"]) == 2
    assert "going on after step 2" in jpst(*options)[1]
    assert told(folder / "runs" / "out")[0] == recorded(folder)
    assert jpst(*options, "--style-weight", "9")[0] == 0
    assert len(list((folder / "runs" / "out").iterdir())) == 3
    assert told(folder / "runs" / "out")[0] == recorded(folder)


def test_a_full_disk_is_told_once_and_does_not_end_the_transfer(jpst, folder, monkeypatch):
    from jpst import tensorboard

    monkeypatch.setattr(tensorboard, "FLUSHED_EVERY", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    status, text, new = jpst(*TRANSFER, "--tensorboard", "runs")
    assert status == 0 and {"out.png", "out.json"} <= new
    assert text.count("no more is written for TensorBoard (No space left on device)") == 1


def test_without_the_package_it_is_told_before_the_work(jpst, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    status, text, new = jpst(*TRANSFER, "--tensorboard", "runs")
    assert (status, new) == (1, set())
    assert 'Install it: pip install "jpst[tensorboard]"' in text


def test_a_file_in_place_of_the_folder_is_told(jpst, folder):
    (folder / "runs").write_text("mine")
    status, text, new = jpst(*TRANSFER, "--tensorboard", "runs")
    assert (status, new) == (1, set()) and "runs" in text
    assert (folder / "runs").read_text() == "mine"
