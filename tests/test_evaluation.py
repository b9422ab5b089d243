"""Evaluation of results: metrics against their definitions and plain cases, and `jpst eval` over a folder."""

import json
import weakref

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from jpst import evaluation, faults, image, metrics
from jpst.models import vgg19
from jpst.records import Entry

TINY = ["--size", "48", "--size-multiple", "8", "--iterations", "2", "--segmenter", "none"]


def test_luminance_ssim_is_scikit_images(photograph):
    content, other = photograph(40, 50), photograph(40, 50, seed=1)
    light = [image @ np.float32([0.2126, 0.7152, 0.0722]) for image in (content, other)]
    expected = structural_similarity(*light, data_range=1.0)
    assert metrics.luminance_ssim(content, other) == pytest.approx(expected, abs=1e-5)


def test_covariances_are_numpys(photograph, vgg19_tiny):
    picture, layer = photograph(48, 64), "relu1_1"
    masks = np.zeros((2, 48, 64), np.float32)
    masks[0, :, :40], masks[1, :, 40:] = 1, 1
    features = np.float64(vgg19.features(vgg19_tiny, picture, (layer,))[layer])
    found = metrics.region_covariances(picture, masks, vgg19_tiny)[layer]
    for region, columns in enumerate((slice(0, 40), slice(40, 64))):
        expected = np.cov(features[:, columns].reshape(-1, features.shape[-1]).T, bias=True)
        np.testing.assert_allclose(found[region], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_the_content_itself_and_the_style_itself(photograph, vgg19_tiny):
    content, style = photograph(60, 80), photograph(60, 80, seed=1)
    same = evaluation.measure(content, style, content, vgg19_tiny)
    assert same.edge_ssim == pytest.approx(1) and same.luminance_ssim == pytest.approx(1)
    assert same.style_distance == pytest.approx(1) and same.covariance_distance == pytest.approx(1)
    assert same.newly_clipped == 0 and same.nima is None and same.faults == faults.of_pictures(content, content)
    copied = evaluation.measure(content, style, style, vgg19_tiny)
    assert copied.style_distance == copied.covariance_distance == 0 and copied.edge_ssim < 0.9


def test_a_photograph_that_is_its_own_style(photograph, vgg19_tiny):
    content = photograph(60, 80)
    assert np.isnan(evaluation.measure(content, content, content, vgg19_tiny).style_distance)


def test_a_folder_of_results(jpst, folder):
    for name in ("one", "two"):
        assert jpst("transfer", "content.png", "style.jpg", "-o", f"{name}.png", *TINY)[0] == 0
    (folder / "foreign.json").write_text("{}")
    status, printed, _ = jpst("eval", ".", "--json")
    assert status == 0
    found = json.JSONDecoder().raw_decode(printed)[0]["results"]
    assert list(found) == ["one.json", "two.json"]
    told = json.loads((folder / "one.json").read_text())["faults"]
    assert {name: found["one.json"][name] for name in told} == pytest.approx(told, abs=2e-3)
    content, picture = (image.read(folder / name).pixels for name in ("content.png", "one.png"))
    expected = metrics.edge_ssim(faults.small(content), faults.small(picture))
    assert found["one.json"]["edge_ssim"] == pytest.approx(expected, abs=1e-4)
    status, printed, _ = jpst("eval", ".")
    lines = printed.splitlines()
    assert status == 0 and [line.split(":")[0] for line in lines] == ["one.json", "two.json", "mean"]
    mean = np.mean([each["spread"] for each in found.values()])
    assert f"spread {mean:.3f}" in lines[-1]


def test_a_record_that_is_damaged_is_told_and_the_rest_is_measured(jpst, folder):
    assert jpst("transfer", "content.png", "style.jpg", "-o", "one.png", *TINY)[0] == 0
    (folder / "two.json").write_bytes((folder / "one.json").read_bytes()[:-100])
    status, printed, _ = jpst("eval", ".", "--json")
    assert status == 1 and "\njpst: two.json: is not JSON, or damaged" in jpst.errors
    told = json.JSONDecoder().raw_decode(printed)[0]
    assert list(told["results"]) == ["one.json"] and list(told["errors"]) == ["two.json"]
    status, printed, _ = jpst("eval", "two.json", "one.json")
    assert status == 1 and printed.startswith("one.json:") and jpst.errors.startswith("jpst: two.json: is not JSON")


def test_a_series_with_one_style_is_told_how_consistent_it_is(jpst, folder):
    """The second photograph is the first one turned over, so its colours are all shared."""
    image.write(folder / "next.png", image.read(folder / "content.png").pixels[::-1])
    for name in ("content", "next"):
        assert jpst("transfer", f"{name}.png", "style.jpg", "-o", f"{name}_out.png", *TINY)[0] == 0
    status, printed, _ = jpst("eval", ".", "--json")
    assert status == 0
    series = json.JSONDecoder().raw_decode(printed)[0]["series"]
    names = ("content", "next", "content_out", "next_out")
    small = [faults.small(image.read(folder / f"{name}.png").pixels) for name in names]
    expected = metrics.consistency(small[:2], small[2:])
    assert series == {"style.jpg": pytest.approx(expected._asdict())} and expected.before < 0.1
    assert f"are {expected.after:.1f} dE2000 apart" in jpst("eval", ".")[1].splitlines()[-1]
    assert jpst("transfer", "content.png", "style.jpg", "-o", "again.png", *TINY)[0] == 0
    assert "dE2000 apart" not in jpst("eval", ".")[1], "two results of one photograph are no series"


def test_of_a_series_one_picture_at_a_time_is_in_memory_at_full_size(tmp_path, photograph, monkeypatch):
    entries = []
    for seed, name in enumerate("abcd"):
        image.write(tmp_path / f"{name}.png", photograph(400, 500, seed))
        told = {"output": f"{name}.png", "content": {"path": str(tmp_path / f"{name}.png")}, "style": {"path": "s.jpg"}}
        entries.append(Entry(tmp_path / f"{name}.json", told))
    full, most, real = [], [], image.read

    def read(path):
        most.append(sum(each() is not None for each in full))
        photo = real(path)
        full.append(weakref.ref(photo.pixels))
        return photo

    monkeypatch.setattr(image, "read", read)
    evaluation.series(entries)
    assert len(most) == 8 and max(most) <= 1


def test_what_cannot_be_measured_is_named_and_the_rest_is_done(jpst, folder):
    assert jpst("transfer", "content.png", "style.jpg", "-o", "one.png", *TINY)[0] == 0
    image.write(folder / "gone.png", image.read(folder / "one.png").pixels)
    record = json.loads((folder / "one.json").read_text()) | {"output": "gone.png", "style": {"path": "gone.jpg"}}
    (folder / "gone.json").write_text(json.dumps(record))
    status, printed, _ = jpst("eval", ".")
    assert status == 1 and "one.json" in printed and "gone.jpg" in jpst.errors and "Traceback" not in printed
    for place in ("none.json", "style.jpg"):
        status, printed, _ = jpst("eval", place)
        assert status == 1 and place in printed and "Traceback" not in printed
    (folder / "empty").mkdir()
    assert "no record" in jpst("eval", "empty")[1]
