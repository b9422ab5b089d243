"""The command line as a person meets it: files written, messages, exit status; a narrow network stands in for VGG19."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from jpst import cli, image, weights
from jpst.models import aesthetic_head
from jpst.regions import ade20k, labelling
from jpst.regions.segment import Segmentation
from jpst.weights import Loaded, Provenance, registry, shipped

SMALL = ["--size", "32", "--size-multiple", "8", "--iterations", "2"]
WHOLE = ["--segmenter", "none"]  # where regions are not the subject
pytestmark = pytest.mark.usefixtures("narrow_network")


def transfer(jpst, *more, content="content.png", style="style.jpg", out="out.png", regions=WHOLE):
    return jpst("transfer", content, style, "-o", out, *SMALL, *regions, *more)


def test_transfer_writes_the_picture_and_its_record(jpst, folder):
    status, text, new = transfer(jpst)
    assert status == 0, text
    assert new == {"out.png", "out.json"}
    assert image.size(folder / "out.png") == (60, 80)
    record = json.loads((folder / "out.json").read_text())
    assert record["recipe"]["size"] == 32
    assert record["checkpoints"]["vgg19"] == {"name": "tiny", "sha256": "0" * 64}
    assert "out.png written, 80 x 60" in text
    assert "Each photograph is one region" in text


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
def test_the_suffix_chooses_the_format(jpst, folder, suffix):
    status, text, _ = transfer(jpst, out=f"out.{suffix}")
    assert status == 0, text
    with PIL.Image.open(folder / f"out.{suffix}") as opened:
        assert opened.format == {"jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}[suffix]


def test_sixteen_bits_stay_sixteen_bits(jpst, folder, photograph):
    image.write(folder / "deep.tif", photograph(60, 80), bit_depth=16)
    assert transfer(jpst, content="deep.tif", out="out.png")[0] == 0
    assert image.read(folder / "out.png").bit_depth == 16


def test_a_dry_run_tells_the_plan_and_writes_nothing(jpst):
    status, text, new = transfer(jpst, "--dry-run")
    assert (status, new) == (0, set())
    assert "working sizes: 32 x 24 (2 steps)" in text
    assert "GiB of memory" in text


def test_a_dry_run_tells_the_named_regions(jpst, folder, monkeypatch):
    """Above a bright sky, below trees in the one and sand in the other, of which nothing is alike."""
    below = iter(("tree", "sand"))
    texture = np.random.default_rng(4).integers(0, 20, (32, 48, 3))
    for name, sky in (("content.png", (150, 170, 200)), ("style.jpg", (190, 180, 160))):
        pixels = np.where(np.arange(32)[:, None, None] < 16, sky, (70, 60, 40)) + texture
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / name)

    def label(*_, **__):
        labels = np.full((32, 48), ade20k.NAMES.index("sky"), np.int32)
        labels[16:] = ade20k.NAMES.index(next(below))
        found = Segmentation(labels, ade20k.NAMES, np.full((32, 48), 0.9, np.float32))
        return labelling.Labelled(found, "scene", Provenance("made-up", "2" * 64))

    monkeypatch.setattr(labelling, "label", label)
    status, text, _ = transfer(jpst, "--dry-run", regions=[])
    assert status == 0, text
    assert "Regions from the scene head that comes with jpst (made-up)." in text
    assert "JPST_OFFLINE is set" in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert rows["sky"].split()[1:] == ["50.00", "%", "50.00", "%"]
    assert "tree" in text and "sand" in text
    assert rows["everything else"].split()[2:6] == ["50.00", "%", "50.00", "%"]


def test_a_transfer_is_recorded_with_the_regions_and_what_named_them(jpst, folder):
    status, text, _ = transfer(jpst, regions=[])
    assert status == 0, text
    record = json.loads((folder / "out.json").read_text())
    assert record["segmenter"] == "scene"
    assert record["scene_checkpoint"] == {"name": "tiny-scene-head", "sha256": "1" * 64}
    assert sum(row["content"] for row in record["regions"]) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("segmenter", ["auto", "scene", "cluster"])
def test_a_photograph_is_segmented_into_a_label_map_and_a_table(jpst, folder, segmenter):
    asked = () if segmenter == "auto" else ("--segmenter", segmenter)
    status, text, new = jpst("segment", "content.png", "-o", "labels.png", "--overlay", "seen.jpg", *asked)
    assert status == 0, text
    assert new == {"labels.png", "seen.jpg"}
    labels = image.read_labels(folder / "labels.png")
    assert labels.shape == (60, 80)
    assert ("DeepLab is missing, and JPST_OFFLINE is set." in text) == (segmenter == "auto")
    (heads,) = [line for line in text.splitlines() if "region" in line and "share" in line]
    assert "confidence" in heads
    rows = text.splitlines()[text.splitlines().index(heads) + 1 :]
    assert {int(row.split()[0]) for row in rows} == set(np.unique(labels))
    if segmenter == "cluster":
        assert "segmenter: cluster" in text
        assert f"region {labels.max() + 1}" in text and f"region {labels.max() + 2}" not in text
        assert all(row.count("%") == 1 for row in rows), "nobody told how sure they are"
    else:
        assert "segmenter: scene" in text
        for row in rows:
            label, *name, share, _, confidence, _ = row.split()
            assert " ".join(name) == ade20k.NAMES[int(label)] and int(label) < 31
            assert 0 < float(share) <= 100 and 1 <= int(confidence) <= 100


def test_what_is_transparent_is_white_in_an_overlay(jpst, folder):
    pixels = np.full((48, 64, 3), (1.0, 0.0, 1.0), np.float32)
    image.write(folder / "cut.png", pixels, alpha=np.zeros((48, 64)))
    status, text, _ = jpst("segment", "cut.png", "-o", "labels.png", "--overlay", "seen.png")
    assert status == 0, text
    assert image.read(folder / "seen.png").pixels[..., 1].min() >= 0.5


@pytest.mark.parametrize("segmenter", ["scene", "cluster"])
def test_segment_json_lists_the_regions_with_their_shares_and_confidence(jpst, segmenter):
    _, text, _ = jpst("segment", "content.png", "-o", "labels.png", "--json", "--segmenter", segmenter)
    told, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])  # the table, for people, is on standard error
    assert told["segmenter"] == segmenter
    assert sum(region["percent"] for region in told["regions"]) == pytest.approx(100)
    for region in told["regions"]:
        assert region.keys() == {"label", "name", "percent", "confidence"}
        assert (region["confidence"] is None) if segmenter == "cluster" else (0 < region["confidence"] <= 1)


def test_json_is_one_object_on_standard_output(folder, jpst, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    cli.main(["transfer", "content.png", "style.jpg", "-o", "out.png", *SMALL, *WHOLE, "--json"])
    assert json.loads(capsys.readouterr().out)["output_size"] == [80, 60]
    cli.main(["transfer", "content.png", "style.jpg", "-o", "out.png", *SMALL, *WHOLE, "--json", "--dry-run"])
    assert json.loads(capsys.readouterr().out)["memory_bytes"] > 0


def test_pictures_on_the_way_are_saved(jpst):
    status, text, new = jpst(
        "transfer", "content.png", "style.jpg", "-o", "out.jpg", *WHOLE, *SMALL[:-1], "4", "--save-every", 2
    )
    assert status == 0, text
    assert {"out-step0002.jpg", "out-step0004.jpg", "out.jpg"} <= new


def test_previews_that_cannot_be_written_do_not_end_the_transfer(jpst, monkeypatch):
    from jpst.image import encoding

    real = encoding.encode

    def full(file, *arguments):
        if full.calls < 1:
            full.calls += 1
            raise OSError("No space left on device")
        real(file, *arguments)

    full.calls = 0
    monkeypatch.setattr(encoding, "encode", full)
    status, text, new = transfer(jpst, "--save-every", 1)
    assert (status, new) == (0, {"out.png", "out.json"})
    assert text.count("Note: no more previews are written. out-step0001.png: could not be written (No space") == 1


def test_a_preset_moves_every_default(jpst, folder):
    status, text, _ = transfer(jpst, "--preset", "paper", "--content-weight", "3", "--nima-weight", "0")
    assert status == 0, text
    record = json.loads((folder / "out.json").read_text())
    assert record["recipe"]["name"] == "paper"
    assert record["recipe"]["objective"] == "paper"
    assert record["hyperparameters"]["style_weight"] == 100.0
    assert record["hyperparameters"]["content_weight"] == 3.0


@pytest.mark.parametrize("preset", ["paper", "paper-fast"])
def test_the_paper_presets_refuse_to_go_without_nima(jpst, preset):
    status, text, new = transfer(jpst, "--preset", preset)
    assert (status, new) == (1, set())
    assert "jpst weights fetch nima-inception-resnet-v2-titu1994  (MIT)" in text
    assert "--nima-weight 0" in text


def test_numbers_of_adam_are_refused_without_it(jpst):
    status, text, new = transfer(jpst, "--learning-rate", "0.5")
    assert (status, new) == (1, set())
    assert "learning_rate" in text and "--optimiser adam" in text
    assert transfer(jpst, "--learning-rate", "0.5", "--optimiser", "adam")[0] == 0


def test_other_presets_say_that_the_aesthetic_term_is_absent(jpst, folder):
    status, text, _ = transfer(jpst, "--nima-weight", "2")
    assert status == 0, text
    assert "The aesthetics term is missing: no NIMA network is loaded; nima_weight 2 has no effect" in text
    assert "aesthetics" in json.loads((folder / "out.json").read_text())["terms_absent"]


@pytest.fixture
def scorer(monkeypatch):
    """A narrow NIMA in place of a published one."""
    from jpst.models import nima

    variables = nima.init(jax.random.key(0), "mobilenet", 0.0625)
    loaded = Loaded(variables, Provenance("nima-vgg16-pyiqa", "0" * 64))
    monkeypatch.setattr(weights, "load", lambda network, path=None: loaded)
    monkeypatch.setattr(weights, "find", lambda network: object())


def test_score_tells_the_licence_mean_deviation_and_distribution(jpst, scorer):
    status, text, new = jpst("score", "content.png", "--size", "32")
    assert (status, new) == (0, set())
    assert "nima-vgg16-pyiqa: CC-BY-NC-SA-4.0: non-commercial use only" in text
    assert "content.png: " in text and " +- " in text
    assert text.count("%") == 10


def test_one_bad_picture_does_not_stop_the_others(folder, jpst, scorer, capsys, monkeypatch):
    status, text, _ = jpst("score", "content.png", "absent.png", "style.jpg", "--size", "32")
    assert status == 1
    assert "absent.png" in text and "deviation" in text and "style.jpg" in text
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        cli.main(["score", "content.png", "absent.png", "--size", "32", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert list(told["errors"]) == ["absent.png"]
    (score,) = told["scores"]
    assert score["image"] == "content.png" and 1 <= score["mean"] <= 10
    assert abs(sum(score["distribution"]) - 1) < 1e-5


@pytest.fixture
def own_head(monkeypatch):
    """A narrow head in place of the one that ships."""
    from jpst.models import aesthetic_head
    from jpst.weights import shipped

    head = aesthetic_head.init(jax.random.key(0), 4, aesthetic_head.length((4, 6, 6, 8, 8)))
    loaded = Loaded(head, Provenance(aesthetic_head.NAME, "1" * 64))
    monkeypatch.setattr(shipped, "aesthetic_head", lambda: loaded)


@pytest.mark.parametrize("asked", [(), ("--checkpoint", "aesthetic-head")])
def test_without_nima_our_own_head_scores_and_says_so_in_one_line(jpst, own_head, asked):
    status, text, _ = jpst("score", "content.png", "style.jpg", "--size", "32", *asked)
    assert status == 0, text
    first, *others = text.splitlines()
    assert first.startswith("aesthetic-head: made by jpst, distilled" if asked else "There is no NIMA network; using ")
    assert "for research use" in first and "content.png" in text
    assert not any("aesthetic-head" in line for line in others)


def test_scores_of_our_own_head_tell_which_files_they_are_from(jpst, own_head, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    cli.main(["score", "content.png", "--size", "0", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == {"name": "aesthetic-head", "sha256": "1" * 64}
    assert told["vgg19"] == {"name": "tiny", "sha256": "0" * 64}
    assert abs(sum(told["scores"][0]["distribution"]) - 1) < 1e-5


def test_our_own_head_refuses_the_features_of_another_vgg19(jpst, own_head, vgg19_tiny, monkeypatch):
    other = {**vgg19_tiny, "preprocessing": {"scale": np.full(3, 4.4, np.float32), "offset": np.zeros(3, np.float32)}}
    monkeypatch.setattr(weights, "load", lambda *_: Loaded(other, Provenance("vgg19-torchvision", "0" * 64)))
    status, text, _ = jpst("score", "content.png")
    assert status == 1
    assert "vgg19-torchvision" in text and "jpst weights fetch vgg19" in text


@pytest.mark.parametrize("preset", ["paper", "paper-fast"])
def test_our_own_head_never_stands_in_for_nima_in_the_papers_objective(jpst, own_head, preset):
    status, text, new = transfer(jpst, "--preset", preset)
    assert (status, new) == (1, set())
    assert "without NIMA it is not the paper's objective" in text
    status, text, new = transfer(jpst, "--preset", preset, "--nima-checkpoint", "aesthetic-head")
    assert (status, new) == (1, set())
    assert "aesthetic-head is for scoring photographs (`jpst score`); the aesthetic term needs NIMA" in text


def test_one_seed_gives_one_picture_and_is_recorded(jpst, folder):
    pictures = []
    for _ in range(2):
        assert transfer(jpst, "--start", "noise", "--seed", 7)[0] == 0
        pictures.append((folder / "out.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert json.loads((folder / "out.json").read_text())["seed"] == 7


def test_ctrl_c_saves_the_best_picture_so_far_and_says_so(jpst, folder, ctrl_c_in_the_second_step):
    status, text, new = transfer(jpst)
    assert status == 130
    assert new == {"out.png", "out.json"}
    assert jpst.errors == "jpst: interrupted. out.png is whole.\n"
    assert "Interrupted: this is the best picture so far." in text
    assert json.loads((folder / "out.json").read_text())["interrupted"] is True


def test_ctrl_c_before_there_is_a_picture_writes_nothing(jpst, monkeypatch):
    from jpst import pipeline

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "plan", interrupted)
    status, text, new = transfer(jpst)
    assert (status, new) == (130, set())
    assert "nothing was written" in text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9.")])
def test_memory_that_runs_out_is_told_in_one_line(jpst, monkeypatch, error):
    from jpst import pipeline

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    status, _, new = transfer(jpst)
    assert (status, new) == (1, set())
    told = "jpst: There was not enough memory. Choose a smaller photograph or --size, or close other programs.\n"
    assert jpst.errors == told


@pytest.mark.parametrize("interrupted", ["raise KeyboardInterrupt", "exec('raise KeyboardInterrupt')"])
def test_ctrl_c_has_one_exit_status_wherever_it_hits(tmp_path, interrupted):
    """CPython's `-m` ends by a signal if an interrupt passed an `exec` of a string, as imports of dataclasses have."""
    program = f"""
from jpst import cli
def run(_):
    {interrupted}
cli._run = run
cli.main(["cache", "info"])
"""
    (tmp_path / "program.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run([sys.executable, "-m", "program"], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "jpst: interrupted, nothing was written.\n")


def missing(path):
    return "no such file"


def empty(path):
    path.write_bytes(b"")
    return "empty"


def text(path):
    path.write_text("not a picture at all")
    return "not an image"


def truncated(path):
    whole = path.with_name("style.jpg").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return "truncated"


def directory(path):
    path.mkdir()
    return "folder"


def absurdly_large(path):
    PIL.Image.new("1", (30_000, 30_000)).save(path, "PNG")
    return "30000 x 30000"


@pytest.mark.parametrize("spoil", [missing, empty, text, truncated, directory, absurdly_large])
@pytest.mark.parametrize("side", ["content", "style"])
def test_a_bad_photograph_is_named_and_nothing_is_left_behind(jpst, folder, side, spoil):
    expected = spoil(folder / "bad.png")
    status, text, new = transfer(jpst, **{side: "bad.png"})
    assert status == 1
    assert "jpst: " in text
    assert "bad.png" in text
    assert expected in text
    assert "Traceback" not in text
    assert new == set(), "nothing may be written"


@pytest.mark.parametrize(
    ("out", "expected"),
    [("out.xyz", "xyz"), ("nowhere/out.png", "nowhere"), (".", "suffix")],
)
def test_a_bad_output_fails_before_the_work(jpst, monkeypatch, out, expected):
    from jpst import pipeline

    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pytest.fail("work was done"))
    status, text, new = transfer(jpst, out=out)
    assert (status, new) == (1, set())
    assert expected in text


def test_an_input_is_never_overwritten(jpst, folder):
    before = (folder / "content.png").read_bytes()
    status, text, new = transfer(jpst, out="../" + folder.name + "/content.png")
    assert (status, new) == (1, set())
    assert "overwrite" in text
    assert (folder / "content.png").read_bytes() == before


def test_a_photograph_as_mask_is_refused(jpst, folder, photograph):
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / "noise.png")
    status, text, new = transfer(jpst, "--content-seg", "noise.png", "--style-seg", "noise.png", regions=[])
    assert (status, new) == (1, set())
    assert "painted" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["transfer", "content.png"],
        ["transfer", "content.png", "style.jpg", "-o", "out.png", "--preset", "no-such"],
        ["transfer", "content.png", "style.jpg", "-o", "out.png", "--size", "large"],
        ["nothing"],
        [],
    ],
)
def test_wrong_use_exits_with_2(jpst, arguments):
    status, text, new = jpst(*arguments)
    assert (status, new) == (2, set())
    assert "Traceback" not in text


def test_a_size_that_cannot_work_is_explained(jpst):
    status, text, _ = jpst("transfer", "content.png", "style.jpg", "-o", "out.png", "--size", "3")
    assert status in (1, 2)
    assert "at least 32" in text


def test_weights_are_listed_with_licences(jpst, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path / "empty"))
    status, text, _ = jpst("weights", "list")
    assert status == 0
    assert "vgg19-caffe-codebook" in text
    assert "MIT" in text
    assert jpst("weights", "verify")[0] == 0


def test_a_damaged_checkpoint_fails_the_verification(jpst, monkeypatch, tmp_path):
    monkeypatch.setenv("JPST_CHECKPOINTS", str(tmp_path))
    (tmp_path / registry.REGISTRY["vgg19-caffe-codebook"].filename).write_bytes(b"damaged")
    status, text, _ = jpst("weights", "verify")
    assert status == 1
    assert "damaged" in text


def test_the_demo_transfers_the_photographs_that_packages_ship(jpst, monkeypatch):
    seen = []
    monkeypatch.setattr(cli.Transfer, "run", lambda self: seen.extend([self.content.is_file(), self.style.is_file()]))
    assert jpst("demo")[0] == 0
    assert seen == [True, True]


def test_help_offers_only_what_there_is(jpst):
    _, text, _ = jpst("weights", "fetch", "--help")
    words = " ".join(text.replace("│", " ").split())
    assert f"or {' or '.join(registry.AUTOMATIC)}, the networks with a default checkpoint" in words
    assert shipped.file(aesthetic_head.NAME).is_file() == ("aesthetic-head" in jpst("score", "--help")[1])


def test_help_needs_no_jax():
    code = "import sys; from jpst import cli\ntry: cli.main(['--help'])\nexcept SystemExit: print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
