"""Reports: what a browser and a parser find on the page, whatever lies in the folder."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jpst as library
from jpst import faults, image
from jpst.errors import JpstError
from jpst.many import report, thumbnails
from jpst.presets import preset

SMALL = ["--size", "48", "--size-multiple", "8", "--iterations", "5", "--projection", "none"]
EVIL = "<script>alert(1)</script>&\"'.png"
VOID = {"meta", "link", "img", "input", "br", "line"}


class Page(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its texts; fails on tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, kind=None):
        return [
            each for name, each in self.elements if name == tag and (not kind or kind in each.get("class", "").split())
        ]


def record(**changed):
    """A record as a transfer writes it, of 40 x 30 pixels and two levels."""
    recipe, numbers = preset("balanced")
    losses = [{"total": [2.0, 1.0, 0.5], "style": [1.5, 0.9, 0.4], "clipping": [0.0, 1e-3, None]}]
    losses += [{"total": [0.25, 0.2], "style": [0.2, 0.15], "clipping": [0.0, 0.0]}]
    level = {"size": [24, 16], "style_size": [24, 16], "steps_planned": 3, "seconds": 1.25, "plateau": False}
    told = {
        "output": "out.png",
        "content": {"path": "day.png", "size": [40, 30], "bit_depth": 8},
        "style": {"path": "dusk.png", "size": [20, 30], "bit_depth": 8},
        "regions": [
            {"name": "sky", "content": 61.5, "style": 40.25, "remark": "with cloud: alike; with <b>sea</b>: small"},
            {"name": "everything else", "content": 38.5, "style": 59.75, "remark": ""},
        ],
        "segmenter": "deeplab",
        "notes": ["Regions from DeepLab."],
        "working_sizes": [[24, 16], [40, 30]],
        "recipe": dataclasses.asdict(recipe),
        "hyperparameters": numbers._asdict(),
        "seed": 0,
        "strength": 1.0,
        "versions": {"python": "3.11.7", "jpst": "0.1.0"},
        "device": "cpu",
        "checkpoints": {"vgg19": {"name": "vgg19", "sha256": None}},
        "scene_checkpoint": None,
        "terms_absent": {},
        "levels": [{**level, "losses": each} for each in losses],
        "status": "every step was finite",
        "interrupted": False,
        "finished": "2030-01-02T03:04:05+00:00",
        "faults": {"edges_lost": 0.124, "spread": 2.0, "halo": 1.05, "new_edges": 0.0, "banding": 0.0},
        "warnings": ["The picture may look broken: 12% of edges are lost. Try another style or `strength=0.7`."],
        "output_size": [40, 30],
        "seconds": 83.4,
        "peak_memory_bytes": 2**31,
    }
    return json.loads(json.dumps(told)) | changed


def put(folder, name="out.png", seed=0, **changed):
    """Writes a picture and its record."""
    picture(folder / name, (30, 40), seed)
    (folder / name).with_suffix(".json").write_text(json.dumps(record(output=name, **changed)))


def picture(path, size, seed=0):
    """Writes a smooth picture of random colours, of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3)).astype(np.uint8)
    Image.fromarray(corners).resize(size[::-1], Image.Resampling.BILINEAR).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with day.png, dusk.png and an empty folder results/, in which commands run."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "day.png", (30, 40), 1)
    picture(tmp_path / "dusk.png", (30, 20), 2)
    (tmp_path / "results").mkdir()
    return tmp_path


def made(place):
    return Page(library.report(place / "results"))


# ---- What is on the page


def test_a_page_has_all_that_the_record_tells(place):
    put(place / "results")
    page = made(place)
    for told in (
        "1 result.",
        "out.png",
        "sky 61.5 % 40.2 %",
        "everything else 38.5 % 59.8 %",
        "edges lost share of the photograph's edges that are lost 0.124 ! 0.03",
        "halos and ghost edges: contrast beside edges, 1 is as before 1.05 1.3",
        "12% of edges are lost. Try another style or --strength 0.7.",
        "All as in the preset.",
        "1 min 23 s",
        "24 x 16: 3 of 3 steps in 1.2 s",
        "2.0 GiB",
        "python 3.11.7, jpst 0.1.0",
        "2030-01-02 03:04",
        "total 2 to 0.2",
    ):
        assert told in page.text
    assert "What could not be read" not in page.text and "Failed rows" not in page.text
    assert len(page.all("input")) == 1 and page.all("input")[0]["type"] == "range"


def test_the_pictures_are_those_of_the_files(place):
    put(place / "results")
    page = made(place)
    uris = re.findall(r"data:image/webp;base64,([\w+/=]+)", page.source)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))), float) for uri in uris]
    files = [np.asarray(Image.open(place / name), float) for name in ("results/out.png", "day.png", "dusk.png")]
    assert sorted(each.shape for each in shown) == sorted(each.shape for each in files)
    for one in files:
        assert min(np.abs(one - each).mean() for each in shown if each.shape == one.shape) < 4


def test_large_pictures_are_reduced_and_many_share_the_room_of_a_hundred(place):
    picture(place / "results" / "big.png", (1000, 1500))
    (place / "results" / "big.json").write_text(json.dumps(record(output="big.png", output_size=[1500, 1000])))
    (result,) = made(place).all("img", "after")
    assert (result["width"], result["height"]) == ("720", "480")
    assert thumbnails.side(100) == 720
    for count in (101, 400, 1000):
        assert 0.98 < count * thumbnails.side(count) ** 2 / (100 * 720**2) <= 1


def test_curves_are_the_losses_on_a_logarithmic_axis(place):
    put(place / "results")
    page = made(place)
    lines = [[tuple(map(float, pair.split(","))) for pair in each["points"].split()] for each in page.all("polyline")]
    clipping, style, total = sorted(lines, key=len)[0], *sorted(lines, key=lambda points: -points[0][1])[1:]
    assert [len(line) for line in (total, style, clipping)] == [5, 5, 4], "a null is left out"
    xs, ys = np.array(total).T
    np.testing.assert_allclose(np.diff(xs), np.diff(xs)[0], atol=0.11)
    slope = (ys[1] - ys[0]) / np.log10(1 / 2)
    np.testing.assert_allclose(ys - ys[0], slope * np.log10(np.array([2, 1, 0.5, 0.25, 0.2]) / 2), atol=0.4)
    floor = max(y for line in lines for _, y in line)
    assert [y == floor for _, y in clipping] == [True, False, True, True] or clipping[1][1] <= floor
    (dashed,) = page.all("line", "level")
    assert xs[2] < float(dashed["x1"]) < xs[3]
    assert "drawn there" in page.text


def test_many_steps_are_thinned_and_no_steps_have_no_curve(place):
    level = record()["levels"][0]
    steps = np.geomspace(5, 1, 5000).tolist()
    put(place / "results", "long.png", levels=[{**level, "losses": {"total": steps}}])
    put(place / "results", "none.png", levels=[{**level, "losses": {}}])
    put(place / "results", "one.png", levels=[{**level, "losses": {"total": [0.5]}}])
    long, one = made(place).all("polyline")
    points = long["points"].split()
    assert 100 <= len(points) <= 201
    ends = [float(points[at].split(",")[0]) for at in (0, -1)]
    assert ends[1] - ends[0] > 500
    assert len(one["points"].split()) == 2


def test_settings_that_are_not_the_presets_and_a_command_that_makes_the_picture(place):
    told = record()
    told["recipe"] |= {"iterations": [10], "segmenter": "none"}
    told["hyperparameters"] |= {"style_weight": 3.0, "learning_rate": 1.0}
    put(place / "results", **{name: told[name] for name in ("recipe", "hyperparameters")}, strength=0.6)
    text = made(place).text
    assert "--iterations 10 30, 15 --segmenter none auto --style-weight 3 1 --strength 0.6 1" in text
    assert "learning-rate" not in text, "only Adam reads it"
    command = f"jpst transfer day.png dusk.png -o {place}/results/out.png --preset balanced --iterations 10"
    assert f"{command} --segmenter none --style-weight 3 --strength 0.6" in text


def test_painted_masks_are_in_no_record_so_no_command_is_made_up(place):
    put(place / "results", segmenter="masks")
    assert "jpst transfer" not in made(place).text


def test_a_sweep_is_a_grid_in_order_with_one_slider(place):
    for weight in (10.0, 0.3, 2.0):
        numbers = record()["hyperparameters"] | {"style_weight": weight}
        command = f"jpst transfer day.png dusk.png --style-weight {weight:g}"
        put(place / "results", f"day_{weight:g}.png", hyperparameters=numbers, command=command)
    put(place / "results", "other.png")
    page = made(place)
    assert len(page.all("article", "cell")) == 3 and len(page.all("article", "result")) == 1
    assert "day.png with dusk.png: style weight" in page.text
    places = [page.text.index(f"style weight {weight} ") for weight in ("0.3", "2", "10")]
    assert places == sorted(places)
    assert "jpst transfer day.png dusk.png --style-weight 0.3" in page.text
    assert page.source.count("data:image/webp") == 4 + 2, "each picture once: four results, day.png, dusk.png"


def test_failed_rows_are_in_a_table_with_their_reason(place):
    put(place / "results" / "sub", batch={"row": "line 1", "state": "done", "reason": None, "identity": "x"})
    failed = {
        "output": "b.png",
        "content": {"path": "days/<b>.jpg"},
        "versions": {"jpst": "0.1.0"},
        "batch": {
            "row": "line 2",
            "state": "failed",
            "reason": "days/<b>.jpg: there is no such file.",
            "identity": None,
        },
    }
    (place / "results" / "b.json").write_text(json.dumps(failed))
    page = made(place)
    assert "1 result, 1 failed row." in page.text and "sub/out.png" in page.text
    assert "line 2 days/<b>.jpg days/<b>.jpg: there is no such file." in page.text
    assert "What could not be read" not in page.text


def test_the_failures_of_a_real_batch(place):
    rows = [{"content": name, "style": "dusk.png"} for name in ("gone.jpg", "broken.png")]
    (place / "broken.png").write_bytes(b"no picture")
    (place / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    outcomes = library.batch(place / "rows.jsonl", place / "results")
    page = made(place)
    assert "0 results, 2 failed rows." in page.text
    for outcome in outcomes:
        assert outcome.state == "failed" and f"{outcome.row.where} {outcome.row.content}" in page.text
        assert outcome.reason in page.text


# ---- What may lie in the folder


def test_names_and_texts_stay_text(place):
    evil = place / "results" / f"evil{EVIL.replace('/', '')}"
    picture(evil, (30, 40))
    told = record(output=evil.name, segmenter=EVIL, notes=[EVIL], command="</code><script>alert(2)</script>")
    told["regions"][0] |= {"name": "<img src=x onerror=alert(3)>", "remark": "{{ 7 * 7 }}"}
    told["levels"][0]["losses"]['"><script>'] = [1.0, 2.0, 3.0]
    evil.with_suffix(".json").write_text(json.dumps(told))
    page = made(place)
    assert len(page.all("script")) == 1 and not page.all("b") and len(page.all("img")) == 1
    for told in (evil.name, EVIL, "</code><script>alert(2)</script>", "<img src=x onerror=alert(3)>", "{{ 7 * 7 }}"):
        assert told in page.text
    assert not [each for _, each in page.elements if any(name.startswith("on") for name in each)]


def test_it_asks_for_nothing_and_its_policy_allows_nothing(place):
    put(place / "results")
    page = made(place)
    for _, each in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert each.get(name, "data:").startswith(("data:", "#"))
        assert "style" not in each, "the policy forbids it"
    assert not re.search(r"url\((?!data:)|@import|https?:", page.source)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    blocks = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page.source, re.S)
    assert len(blocks) == 3
    for block in blocks:
        assert base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() in policy


@pytest.mark.parametrize("spoilt", ["levels", "recipe", "regions", "faults", "versions.python", "hyperparameters"])
@pytest.mark.parametrize("value", [None, 3, "text", [], {}, [[]], {"a": {}}, float("nan"), [None], 10**400])
def test_a_damaged_record_loses_what_is_damaged_and_no_more(place, spoilt, value):
    told = record()
    if spoilt == "versions.python":
        told["versions"]["python"] = value
    else:
        told[spoilt] = value
    picture(place / "results" / "out.png", (30, 40))
    (place / "results" / "out.json").write_text(json.dumps(told))
    page = made(place)
    assert len(page.all("img", "after")) == 1 and len(page.all("input")) == 1
    if spoilt == "faults":
        assert "damaged, or of another version: no faults." in page.text
    assert "sky" in page.text or spoilt == "regions"


@pytest.mark.parametrize("name", [name for name in record() if name != "versions"])
def test_any_field_may_be_absent_or_of_another_kind(place, name):
    for value in ("absent", None, 7, "text", "..", [1], {"path": 3}, {"path": "\0"}, {"path": "x" * 5000}):
        told = record(**{name: value})
        if value == "absent":
            del told[name]
        picture(place / "results" / "out.png", (30, 40))
        (place / "results" / "out.json").write_text(json.dumps(told))
        assert len(made(place).all("img", "after")) == (
            name != "output" or not isinstance(value, str) or value == "absent"
        )


def test_foreign_and_damaged_files_are_told_and_not_touched(place, jpst_report):
    put(place / "results")
    foreign = {
        "package.json": '{"name": "x"}',
        "list.json": "[1]",
        "cut.json": '{"versions": {"jp',
        "deep.json": "[" * 10**5,
    }
    foreign["bytes.json"] = "\udcff"
    for name, text in foreign.items():
        (place / "results" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    (place / "results" / ".hidden.json").write_text("no")
    status, text = jpst_report("results")
    page = Page(place / "results" / "report.html")
    assert status == 0 and "1 result, " in text and "Traceback" not in text
    for name in foreign:
        assert f"{name}: is not" in page.text and f"{name}: is not" in text
    assert "hidden" not in page.text


def test_a_photograph_that_was_moved_or_changed_is_told_in_a_line(place, jpst_report):
    for number in (1, 2):
        put(place / "results", f"{number}.png")
    (place / "day.png").rename(place / "moved.png")
    status, text = jpst_report("results")
    page = Page(place / "results" / "report.html")
    line = "The content cannot be shown. day.png: there is no such file. Check the path."
    assert status == 0 and text.count(line) == 1 and line in page.text
    assert len(page.all("img", "after")) == 2 and not page.all("input")
    picture(place / "day.png", (10, 40))
    assert "day.png: this is another picture, 40 x 10; the record tells of 40 x 30." in made(place).text


def test_a_relative_path_may_start_beside_the_record(place, monkeypatch):
    put(place / "results")
    for name in ("day.png", "dusk.png"):
        (place / name).rename(place / "results" / name)
    monkeypatch.chdir("/")
    assert len(made(place).all("input")) == 1


def test_a_missing_or_damaged_result_is_told_in_a_line(place):
    put(place / "results", "gone.png")
    (place / "results" / "gone.png").unlink()
    put(place / "results", "cut.png")
    (place / "results" / "cut.png").write_bytes((place / "results" / "cut.png").read_bytes()[:90])
    put(place / "results", "small.png")
    picture(place / "results" / "small.png", (15, 20))
    page = made(place)
    assert "The result cannot be shown." in page.text and "gone.png: there is no such file" in page.text
    assert "cut.png: truncated or damaged" in page.text
    assert "small.png: it is 20 x 15 now, not as its record tells." in page.text
    assert len(page.all("img", "after")) == 1


def test_a_record_leads_to_no_file_outside_of_what_it_names(place, monkeypatch):
    put(place / "results", "out.png")
    read, real = [], image.read
    monkeypatch.setattr(image, "read", lambda path: read.append(str(path)) or real(path))
    picture(place / "secret.png", (30, 40))
    for name in ("../secret.png", str(place / "secret.png"), "/etc/passwd", "sub/x.png"):
        (place / "results" / "a.json").write_text(json.dumps(record(output=name)))
        assert "a.png: there is no such file" in made(place).text
    assert set(read) == {str(place / "results" / "out.png"), "day.png", "dusk.png"}


def test_a_name_that_is_no_text_and_letters_without_a_code(place):
    put(place / "results", "a.png", notes=["half a letter: \ud800"])
    try:
        shutil.copy(place / "results" / "a.png", place / "results" / "b\udcff.png")
    except OSError:
        pytest.skip("this file system refuses such names")
    (place / "results" / "b\udcff.json").write_text(json.dumps(record(output="b\udcff.png")))
    (place / "results" / ("n" * 250 + ".json")).write_text(json.dumps(record(output=None)))
    page = made(place)
    assert "half a letter: \\ud800" in page.text and "b\\udcff.png" in page.text
    assert len(page.all("img", "after")) == 2


@pytest.mark.parametrize("size", ["text", [None, 3], {"a": 1}])
def test_a_size_that_is_none(place, size):
    put(place / "results", content={"path": "day.png", "size": size})
    made(place)


# ---- What is refused


def test_a_folder_without_a_record_is_refused_in_a_sentence(place, jpst_report):
    for folder, reason in (("results", "there is no record of jpst in it"), ("nowhere", "expected a folder")):
        status, text = jpst_report(folder)
        assert status == 1 and f"jpst: {folder}: {reason}" in text and "Traceback" not in text
    (place / "results" / "x.json").write_text("{}")
    status, text = jpst_report("results")
    assert status == 1 and "x.json: is not a record of jpst." in text
    assert not list(place.rglob("*.html"))


def test_nothing_but_a_page_of_its_own_is_replaced(place):
    put(place / "results")
    (place / "results" / "report.html").write_text("<p>mine</p>")
    with pytest.raises(JpstError, match="this is not a report of jpst"):
        library.report("results")
    for name, reason in (("day.png", "Use the suffix .html"), ("page", "suffix"), ("results", "suffix")):
        with pytest.raises(JpstError, match=reason):
            library.report("results", name)
    (place / "day.html").symlink_to(place / "day.png")
    with pytest.raises(JpstError, match=r"this would overwrite an input, day\.png"):
        library.report("results", "day.html")
    assert (place / "results" / "report.html").read_text() == "<p>mine</p>"
    page = library.report("results", "new/page.html")
    assert page == Path("new/page.html") and library.report("results", page) == page


def test_a_page_that_cannot_be_finished_leaves_the_one_before(place, monkeypatch):
    put(place / "results")
    before = library.report("results").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(JpstError, match="disk full"):
        library.report("results")
    assert (place / "results" / "report.html").read_bytes() == before
    assert sorted(path.name for path in (place / "results").iterdir()) == ["out.json", "out.png", "report.html"]


def test_more_results_than_a_page_holds_are_counted(place, monkeypatch):
    monkeypatch.setattr(report, "MOST", 2)
    for number in (10, 9, 1):
        put(place / "results", f"{number}.png")
    page = made(place)
    assert "1 of 3 results are left out" in page.text
    assert "1.png" in page.text and "9.png" in page.text and "10.png" not in page.text


# ---- On the command line


@pytest.fixture
def jpst_report(place, capsys, monkeypatch):
    """jpst_report(*arguments) -> exit status and what was printed."""
    from jpst import cli

    monkeypatch.setattr("jpst.caching.enable", lambda: None)

    def run(*arguments):
        try:
            cli.main(["report", *map(str, arguments)])
            status = 0
        except SystemExit as ended:
            status = 1 if isinstance(ended.code, str) else ended.code
            print(f"{ended.code}")
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def test_a_real_transfer(jpst, folder):
    status, text, _ = jpst("transfer", "content.png", "style.jpg", "-o", "out.png", *SMALL, "--segmenter", "none")
    assert status == 0, text
    status, text, new = jpst("report", ".")
    assert status == 0 and new == {"report.html"} and text.startswith("report.html written, 1 result, ")
    page = Page(folder / "report.html")
    told = json.loads((folder / "out.json").read_text())
    terms = set(told["levels"][0]["losses"])
    assert len(page.all("polyline")) == len(terms) and {"total", "style"} <= terms
    assert all(len(each["points"].split()) == 5 for each in page.all("polyline"))
    assert "whole image 100.0 % 100.0 %" in page.text and "What could not be read" not in page.text
    assert "--size 48 384" in page.text and len(page.all("input")) == 1
    for name, bound in faults.BOUNDS._asdict().items():
        assert re.search(rf"{name.replace('_', ' ')} .*? {told['faults'][name]:.3g} (! )?{bound:g}", page.text)
    (command,) = re.findall(r"jpst transfer .*? --segmenter none", page.text)
    first = (folder / "out.png").read_bytes()
    status, text, _ = jpst(*command.split()[1:])
    assert status == 0 and (folder / "out.png").read_bytes() == first, "the command makes the same picture"


def test_a_real_sweep_and_its_json(jpst, folder):
    small = ["--preset", "preview", "--size", "48", "--segmenter", "none"]
    status, text, _ = jpst("sweep", "content.png", "style.jpg", "-o", "sweep", "--edge-weight", "0.1", "1", *small)
    assert status == 0, text
    status, text, _ = jpst("report", "sweep", "-o", "page.html", "--json")
    assert status == 0
    assert json.loads(text) == {"page": "page.html", "results": 2, "failed": 0, "problems": []}
    page = Page(folder / "page.html")
    assert len(page.all("article", "cell")) == 2 and page.text.count("jpst transfer content.png style.jpg") == 2


# ---- In a browser


@pytest.fixture
def opened(browser):
    """opened(path, width): the page in the browser; fails at the end if it complained or asked for anything."""
    complaints, pages = [], []

    def open_page(path, width=1100, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith("data:") or pages.append(asked.url))
        page.goto(path.resolve().as_uri())
        return page

    yield open_page
    assert complaints == []
    assert all(url.startswith("file:") and url.endswith(".html") for url in pages), pages


def red(page, number=0):
    """Percent of a frame's width that shows the content, which is red: counted in what the browser draws."""
    drawn = page.locator(".frame").nth(number).screenshot()
    row = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"), int)[5]
    return 100 * np.mean((row[:, 0] > 150) & (row[:, 2] < 100))


@pytest.fixture
def painted(place):
    """A folder with a sweep of three blue pictures of a red photograph, and another picture of it."""
    Image.new("RGB", (400, 300), "red").save(place / "day.png")
    size = {"content": {"path": "day.png", "size": [400, 300]}, "output_size": [400, 300]}
    for weight in (0.3, 2.0, 10.0):
        numbers = record()["hyperparameters"] | {"style_weight": weight}
        put(place / "results", f"day_{weight:g}.png", hyperparameters=numbers, command="jpst transfer", **size)
    put(place / "results", "long" + "-name" * 30 + ".png", **size)
    for path in (place / "results").glob("*.png"):
        Image.new("RGB", (400, 300), "blue").save(path)
    return library.report(place / "results")


def test_the_slider_follows_the_mouse(painted, opened):
    page = opened(painted)
    frame = page.locator(".frame").nth(3)
    assert red(page, 3) == pytest.approx(50, abs=1)
    box = frame.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    for share in (0.4, 0.2):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
        assert red(page, 3) == pytest.approx(100 * share, abs=1)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 20)
    assert red(page, 3) == pytest.approx(20, abs=1)
    assert red(page, 0) == pytest.approx(50, abs=1), "that of the sweep is another"


def test_the_slider_follows_the_keyboard_and_says_where_it_is(painted, opened):
    page = opened(painted)
    slider = page.get_by_role("slider", name="long-name")
    slider.focus()
    for key, percent in (("ArrowLeft", 49), ("ArrowRight", 50), ("ArrowRight", 51), ("Home", 0), ("End", 100)):
        page.keyboard.press(key)
        assert red(page, 3) == pytest.approx(percent, abs=0.8)
        assert slider.get_attribute("aria-valuetext") == f"{percent} % content"
    assert (
        page.locator(".frame")
        .nth(3)
        .locator(".line")
        .evaluate("line => getComputedStyle(line, '::after').outlineStyle")
        == "solid"
    ), "focus can be seen"


def test_the_slider_follows_a_finger(painted, opened):
    page = opened(painted, 390, has_touch=True)
    page.locator(".frame").nth(3).scroll_into_view_if_needed()
    box = page.locator(".frame").nth(3).bounding_box()
    page.touchscreen.tap(box["x"] + 0.7 * box["width"], box["y"] + 20)
    assert red(page, 3) == pytest.approx(70, abs=1)


def test_one_slider_moves_a_whole_sweep(painted, opened):
    page = opened(painted)
    page.locator(".cell input").nth(1).focus()
    page.keyboard.press("Home")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert [red(page, number) for number in range(4)] == pytest.approx([10, 10, 10, 50], abs=1)
    assert page.locator(".cell input").evaluate_all("all => all.map(each => each.value)") == ["10"] * 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_curves_are_seen(painted, opened, width, scheme):
    page = opened(painted, width, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    wide = """all => all.filter(each => {
      const box = each.getBoundingClientRect();
      return box.width && !each.closest(".wide, svg") && (box.right > innerWidth || box.left < 0);
    }).map(each => each.outerHTML.slice(0, 80))"""
    assert page.locator("body *").evaluate_all(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for line in page.locator("polyline").all():
        box = line.evaluate("each => { const box = each.getBBox(); return [box.width, getComputedStyle(each).stroke] }")
        assert box[0] > 100 and box[1] != "none"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_a_page_of_hostile_names_runs_nothing(place, opened):
    told = record(notes=["<img src=x onerror=console.log(1)>"], device="<svg onload=console.log(2)>")
    told["content"]["path"] = "</style><script>console.log(3)</script>"
    picture(place / "results" / "out.png", (30, 40))
    (place / "results" / "out.json").write_text(json.dumps(told))
    page = opened(library.report(place / "results"))
    assert page.locator("script").count() == 1 and page.locator("img[src='x']").count() == 0


def test_the_policy_is_in_force(painted, browser):
    page, refused = browser.new_page(), []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(painted.resolve().as_uri())
    page.evaluate("""() => {
      document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/x.png"}));
      document.body.append(Object.assign(document.createElement("script"), {textContent: "window.ran = 1"}));
      return fetch("http://127.0.0.1:9/").catch(() => 0);
    }""")
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in refused) >= 3
    page.close()
