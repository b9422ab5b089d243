"""What is told of a picture that may look broken, and where."""

import json
from importlib import metadata

import numpy as np
import pytest

from jpst import cli, faults, image, ranges, record
from jpst.faults import Faults
from jpst.regions import Found, segment, semantics

FAULTLESS = Faults(0.0, 0.0, 1.0, 0.0, 0.0)
SMALL = ["--size", "32", "--size-multiple", "8", "--iterations", "0", "--segmenter", "none"]


def found(*names: str, segmenter="none") -> Found:
    """Regions of these names, as stripes in both photographs."""
    labels = np.arange(len(names), dtype=np.int32)[:, None]
    stripes = segment.Segmentation(labels, names)
    return Found(semantics.match(stripes, stripes, lambda *_: 0.0), segmenter, "")


def test_nothing_is_said_of_a_picture_without_faults():
    assert record.warnings(FAULTLESS, found("whole image"), 1.0) == []
    assert record.warnings(faults.BOUNDS, found("whole image"), 1.0) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"edges_lost": 0.124}, "12% of the photograph's edges are lost"),
        ({"spread": 12.0}, "areas of one colour have drifted apart"),
        ({"halo": 1.5}, "there are halos or ghost edges"),
        ({"new_edges": 0.05}, "5% of its flat areas have new edges"),
        ({"banding": 0.5}, "50% of its smooth areas show banding"),
    ],
)
def test_each_fault_has_its_words(broken, said):
    (warning,) = record.warnings(FAULTLESS._replace(**broken), found("whole image"), 1.0)
    assert warning.startswith(f"The picture may look broken: {said}. Try ")


def test_what_to_try_depends_on_what_was_done():
    worse = FAULTLESS._replace(edges_lost=0.2, spread=20.0)
    (whole,) = record.warnings(worse, found("whole image"), 1.0)
    assert "are lost, areas of one colour have drifted apart. Try another style, `strength=0.7` or painted" in whole
    assert "segmenter" not in whole
    (named,) = record.warnings(worse, found("sky", "tree", segmenter="deeplab"), 1.0)
    assert '`segmenter="none"` or painted masks (`content_seg`, `style_seg`).' in named
    (painted,) = record.warnings(worse, found("blue", "green", segmenter="masks"), 0.5)
    assert painted.endswith('Try another style, `strength=0.35` or `segmenter="none"`.')


# ---- In the files and on the terminal


@pytest.fixture
def broken(monkeypatch):
    """Every result is its content upside down and inverted."""
    from jpst import pipeline

    monkeypatch.setattr(pipeline, "finish", lambda full, *_: np.ascontiguousarray(1 - full[::-1]))


def told(folder) -> dict:
    return json.loads((folder / "out.json").read_text())


def transfer(jpst, *more, content="content.png"):
    status, text, _ = jpst("transfer", content, "style.jpg", "-o", "out.png", *SMALL, *more)
    assert status == 0, text
    return text


def test_the_record_has_the_faults_of_the_picture_that_was_written(jpst, folder):
    text = transfer(jpst)
    record, content, result = (
        told(folder),
        *(image.read(folder / f"{name}.png").pixels for name in ("content", "out")),
    )
    assert record["faults"] == pytest.approx(faults.measure(content, result)._asdict(), abs=1e-3)
    assert ("may look broken" in text) == bool(record["warnings"])


def test_a_package_that_lies_on_the_path_and_is_not_installed_transfers_too(jpst, folder, monkeypatch):
    real = metadata.version

    def without_ours(name):
        if name == "jpst":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without_ours)
    transfer(jpst, "--resume")
    versions = told(folder)["versions"]
    assert versions["jpst"] == "unknown" and versions["jax"] == real("jax")


def test_the_content_as_its_own_style_is_not_warned_of(jpst, folder):
    status, text, _ = jpst("transfer", "content.png", "content.png", "-o", "out.png", *SMALL)
    assert status == 0 and "broken" not in text
    assert told(folder)["warnings"] == []
    assert told(folder)["faults"]["edges_lost"] == 0


def test_a_broken_picture_is_told_in_one_line_and_in_the_record(jpst, folder, broken):
    text = transfer(jpst)
    (line,) = [line for line in text.splitlines() if "broken" in line]
    (warning,) = told(folder)["warnings"]
    assert "edges are lost" in warning and "`strength=0.7`" in warning
    assert line == "Note: " + ranges.as_options(warning, cli._OPTIONS)
    assert "--strength 0.7 or painted masks (--content-seg, --style-seg)." in line
    assert told(folder)["faults"]["edges_lost"] > 0.5


def test_faults_are_of_full_strength_and_the_warning_of_what_is_written(jpst, folder, broken):
    text = transfer(jpst, "--strength", "0.05")
    assert told(folder)["faults"]["edges_lost"] > 0.5
    assert told(folder)["warnings"] == [] and "broken" not in text


def test_a_broken_picture_in_what_is_transparent_is_none(jpst, folder, photograph, monkeypatch):
    from jpst import pipeline

    def spoilt(full, *_):
        result = full.copy()
        result[:, 40:] = 1 - result[::-1, 40:]
        return result

    monkeypatch.setattr(pipeline, "finish", spoilt)
    alpha = np.ones((60, 80), np.float32)
    alpha[:, 38:] = 0
    image.write(folder / "cut.png", photograph(60, 80), alpha=alpha)
    assert "broken" not in transfer(jpst, content="cut.png")
    (folder / "out.json").unlink()
    assert "broken" in transfer(jpst)


def test_the_picture_at_working_size_is_measured_too(jpst, folder):
    transfer(jpst, "--output-size", "working")
    assert set(told(folder)["faults"]) == set(Faults._fields)
