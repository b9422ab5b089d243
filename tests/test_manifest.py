"""Manifests and folders: what each row asks for, where its picture goes, and which rows cannot be done."""

import csv
import json
import os

import pytest

from jpst.errors import JpstError
from jpst.many import manifest
from jpst.many.manifest import Defaults
from jpst.presets import preset

DEFAULTS = Defaults(*preset("preview", style_weight=2.0))


@pytest.fixture
def place(tmp_path):
    """A folder with photographs, as far as their names go."""
    for name in ("a.jpg", "a.png", "A.JPG", "b.bmp", "sub/a.jpg", "style.jpg", "m_seg.png", "m.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path


@pytest.fixture
def rows(place):
    """rows(text, suffix=".csv"): the rows of such a manifest in that folder, their outputs in out/."""

    def read(text, suffix=".csv"):
        path = place / "in" / f"rows{suffix}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return manifest.rows(manifest.read(path), path.parent, place / "out", DEFAULTS)

    return read


def outputs(found, place):
    return [row.output and str(row.output.relative_to(place / "out")) for row in found]


def test_a_table_as_spreadsheets_write_it(rows, place):
    text = "\ufeffcontent;style;output;preset;style_weight;iterations;matched_gains;hard_masks;seed\r\n"
    text += '"a.jpg";style.jpg;"x, y.png";fast;3;5 2;none;yes;7\r\n;;;;;;;;\r\nsub/a.jpg;style.jpg;;;;;;;\r\n'
    first, second = rows(text)
    assert first.problem is None and second.problem is None
    assert (first.where, second.where) == ("line 2", "line 4")
    assert first.content == place / "in" / "a.jpg" and first.style == place / "in" / "style.jpg"
    asked = {"style_weight": 3.0, "iterations": (5, 2), "matched_gains": None, "hard_masks": True}
    assert (first.recipe, first.hyper) == preset("fast", **asked)
    assert (first.seed, second.seed) == (7, 0)
    assert (second.recipe, second.hyper) == preset("preview", style_weight=2.0)
    assert outputs([first, second], place) == ["x, y.png", "sub/a.jpg"]


def test_pairs_of_regions_whose_names_have_spaces(rows):
    (row,) = rows('content,style,pairs\na.jpg,style.jpg,"swimming pool=water; plant + tree=none"\n')
    assert row.problem is None and row.recipe.pairs == ("swimming pool=water", "plant + tree=none")


def test_the_same_rows_as_json_lines(rows, place):
    asked = {"style_weight": 3, "iterations": [5, 2], "matched_gains": [0.5, 1, 1.5], "hard_masks": True}
    lines = [{"content": "a.jpg", "style": "style.jpg", "output": None, **asked}, {"content": "a.jpg"}]
    first, second = rows("\n".join(map(json.dumps, lines)) + "\nnot JSON\n[1]\n", ".jsonl")[:2]
    assert first.problem is None
    asked |= {"iterations": (5, 2), "matched_gains": (0.5, 1, 1.5)}
    assert (first.recipe, first.hyper) == preset("preview", **asked)
    assert "There is no style" in second.problem


def test_a_preset_of_a_row_keeps_what_the_batch_changes_from_its_own(rows):
    (row,) = rows("content,style,preset\na.jpg,style.jpg,quality\n")
    assert row.recipe == preset("quality")[0]
    assert row.hyper == preset("quality")[1]._replace(style_weight=2.0)


GOOD = {"content": "a.jpg", "style": "style.jpg"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"content": "absent.jpg"}, r"absent\.jpg: there is no such file"),
        ({"content": "sub"}, r"sub: it is a folder"),
        ({"content": "sub/.."}, r"sub/\.\.: it is a folder"),
        ({"content": ".."}, r"\.\.: it is a folder"),
        ({"content": "a\0b.jpg"}, r"there is no such file"),
        ({"content": "x" * 400}, r"there is no such file"),
        ({"content": "._a.jpg"}, r"\._a\.jpg: macOS keeps this file beside a\.jpg"),
        ({"content": 3}, r"content is 3\. Give `content` a path"),
        ({"content": ""}, r"There is no content\. Give `content` a path"),
        ({"style": ""}, r"There is no style\. Give `style` a path"),
        ({"style_seg": "absent.png"}, r"absent\.png: there is no such file"),
        ({"colour": "red"}, r"There is no column 'colour'"),
        ({"stile_weight": "3"}, r"There is no column 'stile_weight'\. Did you mean style_weight\?"),
        ({"name": "fast"}, r"There is no column 'name'"),
        ({"style_weight": "much"}, r"style_weight is 'much'"),
        ({"style_weight": "nan"}, r"style_weight is nan"),
        ({"size": "12"}, r"size is 12\. Give `size` a whole number, at least 32"),
        ({"size": "384.5"}, r"size is '384\.5'"),
        ({"iterations": "3 x"}, r"iterations is \(3, 'x'\)"),
        ({"preset": "fats"}, r"There is no preset 'fats'.*Did you mean fast\?"),
        ({"hard_masks": "maybe"}, r"hard_masks is 'maybe'"),
        ({"learning_rate": "1"}, r"learning_rate: only Adam reads it"),
        ({"seed": "-1"}, r"seed is -1"),
        ({"strength": "2"}, r"strength is 2"),
        ({"output": "../x.png"}, r"The output \.\./x\.png is outside of"),
        ({"output": "/x.png"}, r"The output /x\.png is outside of"),
        ({"output": "x/../../x.png"}, r"is outside of"),
        ({"output": "."}, r"is outside of"),
        ({"output": "link/x.png"}, r"The output link/x\.png is outside of"),
        ({"output": "good.jpg"}, r"The output good\.jpg belongs to line 1, with its record"),
        ({"output": "GOOD.PNG"}, r"belongs to line 1"),
        ({"output": 3}, r"output is 3"),
    ],
)
def test_a_bad_row_says_why_and_the_others_stay(rows, place, bad, reason):
    (place / "out").mkdir()
    (place / "out" / "link").symlink_to(place)
    lines = [GOOD | {"output": "good.png"}, GOOD | bad, GOOD | {"output": "last.png"}]
    first, row, last = rows("\n".join(map(json.dumps, lines)), ".jsonl")
    assert first.problem is None and last.problem is None
    assert outputs([first, last], place) == ["good.png", "last.png"]
    with pytest.raises(JpstError, match=reason):
        raise JpstError(row.problem)
    assert "\n" not in row.problem
    if "output" in bad:
        assert row.output is None
    if all(isinstance(value, str) and "\0" not in value for value in bad.values()):  # the same row as CSV
        columns = list(dict.fromkeys(["output", *lines[1]]))
        with open(place / "in" / "rows.csv", "w", newline="") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(lines)
        first, row, last = rows((place / "in" / "rows.csv").read_bytes())
        assert first.problem is None and last.problem is None and row.problem


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("content,style\na.jpg,style.jpg,3\n", ".csv", r"line 2 has more cells than there are columns \(3\)"),
        ("not JSON\n", ".jsonl", r"line 1 is not JSON"),
        ("[" * 100_000, ".jsonl", r"line 1 is not JSON"),
        ("[1]\n", ".jsonl", r"line 1 is not a JSON object"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_bad_row(rows, text, suffix, reason):
    (row,) = rows(text, suffix)
    with pytest.raises(JpstError, match=reason):
        raise JpstError(row.problem)


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("", ".csv", "the first line has nothing; expected names of columns"),
        ("content,style\n", ".csv", "there are no rows"),
        ("photo,style\na.jpg,style.jpg\n", ".csv", "the first line has photo, style; expected"),
        ("content,content\na.jpg,style.jpg\n", ".csv", "the column content is there twice"),
        (b"content,style\n\xe4.jpg,style.jpg\n", ".csv", "the text is not UTF-8"),
        ('content,style\n"a.jpg,style.jpg\n', ".csv", "line 2 is not CSV"),
        ("\n\n", ".jsonl", "there are no rows"),
        ("content,style\na.jpg,style.jpg\n", ".xlsx", r"a table with the suffix \.csv"),
    ],
)
def test_what_is_no_manifest_is_refused_as_a_whole(rows, text, suffix, reason):
    with pytest.raises(JpstError, match=reason):
        rows(text, suffix)


def test_names_are_kept_and_made_longer_only_where_they_would_collide(rows, place):
    (place / "elsewhere.jpg").touch()
    contents = ["a.jpg", "b.bmp", "sub/a.jpg", "a.png", "A.JPG", "../elsewhere.jpg", str(place / "in/m.jpg")]
    found = rows("content,style\n" + "".join(f"{each},style.jpg\n" for each in contents))
    assert [row.problem for row in found] == [None] * 7
    kept = [name for name in outputs(found, place) if not name.lower().startswith("a-")]
    assert kept == ["b.png", "sub/a.jpg", "elsewhere.jpg", "m.jpg"]
    assert len({str(row.output.with_suffix("")).casefold() for row in found}) == 7, "two of them have one record"


def test_a_content_on_another_drive_gives_its_name(rows, place, monkeypatch):
    """As Windows tells of one; every other row is named as ever."""
    (place / "elsewhere.jpg").touch()
    real = os.path.relpath

    def relpath(path, start):
        if "elsewhere" in str(path):
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return real(path, start)

    monkeypatch.setattr(os.path, "relpath", relpath)
    found = rows(f"content,style\n{place / 'elsewhere.jpg'},style.jpg\nsub/a.jpg,style.jpg\n")
    assert [row.problem for row in found] == [None] * 2
    assert outputs(found, place) == ["elsewhere.jpg", "sub/a.jpg"]


def test_one_content_with_several_styles_is_named_after_both(rows, place):
    (place / "in" / "dusk.jpg").touch()
    found = rows("content,style,output\nb.bmp,style.jpg,\nb.bmp,dusk.jpg,\nm.jpg,dusk.jpg,b-bmp.png\n")
    assert outputs(found, place) == ["b-style.png", "b-dusk.png", "b-bmp.png"]


def test_a_row_that_names_its_output_has_it(rows, place):
    found = rows("content,style,output\na.jpg,style.jpg,\nsub/a.jpg,style.jpg,a.jpg\n")
    assert outputs(found, place) == ["a-jpg.jpg", "a.jpg"]
    assert [row.problem for row in found] == [None, None]


def test_a_folder_of_contents(place):
    for name in (".DS_Store", "._a.jpg", "notes.txt", ".hidden/a.jpg", "out/old.jpg", "lone_seg.png"):
        (place / "in" / name).parent.mkdir(exist_ok=True)
        (place / "in" / name).touch()
    entries, left = manifest.paired(place / "in", place / "in" / "style.jpg", place / "in" / "out")
    contents = ["A.JPG", "a.jpg", "a.png", "b.bmp", "lone_seg.png", "m.jpg", "style.jpg", "sub/a.jpg"]
    assert [entry.where for entry in entries] == contents
    assert [str(path) for path in left] == [".DS_Store", "._a.jpg", "notes.txt"]
    found = manifest.rows(entries, place / "in", place / "in" / "out", DEFAULTS)
    assert [row.problem for row in found] == [None] * 8
    assert len({str(row.output.with_suffix("")).casefold() for row in found}) == 8
    (place / "empty").mkdir()
    with pytest.raises(JpstError, match="there are no photographs"):
        manifest.paired(place / "empty", place / "in" / "style.jpg", place / "out")


def test_two_folders_are_paired_by_name(place):
    for name in ("a.jpg", "b.tif", "sub/a.webp", "m.png", "m.webp", "spare.jpg"):
        (place / "styles" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "styles" / name).touch()
    (place / "in" / "A.JPG").unlink()
    entries, _ = manifest.paired(place / "in", place / "styles", place / "out")
    found = {row.where: row for row in manifest.rows(entries, place / "in", place / "out", DEFAULTS)}
    styles = {"a.jpg": "a.jpg", "a.png": "a.jpg", "b.bmp": "b.tif", "sub/a.jpg": "sub/a.webp"}
    assert {
        name: str(row.style.relative_to(place / "styles")) for name, row in found.items() if not row.problem
    } == styles
    assert "has m.png, m.webp for it" in found["m.jpg"].problem
    assert "has no photograph of this name" in found["style.jpg"].problem
