"""The parts of benchmarks that decide what is counted: tables of pairs, sheets, blind orders and answers."""

import importlib
import json
from pathlib import Path

import pytest
from PIL import Image

from jpst import errors, image

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = [f"{number:02}" for number in range(1, 12)]


@pytest.fixture
def script(monkeypatch):
    """Imports one of the scripts as running it would: with its folder on the path."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def pictures(tmp_path):
    """A table of pairs, its photographs and two folders of pictures: those of A are red, those of B blue."""
    table = tmp_path / "wild" / "pairs.tsv"
    table.parent.mkdir()
    table.write_text("number\tcontent\tstyle\n" + "".join(f"{name}\tc.png\ts.png\n" for name in NAMES))
    for folder, name, colour in [
        *(("photos", name, "grey") for name in "cs"),
        *(("A", name, "red") for name in NAMES),
        *(("B", name, "blue") for name in NAMES),
    ]:
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), colour).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def make(blind, folder: Path, **more) -> None:
    blind.make(blind.Make(folder / "A", folder / "B", folder / "out", folder / "wild" / "pairs.tsv", **more))


def answer(folder: Path, rows: list[str]) -> Path:
    path = folder / "answers.csv"
    path.write_text("\n".join(["pair,better,broken", *rows]) + "\n")
    return path


def test_a_table_gives_its_pairs_in_order_and_refuses_what_it_lacks(script, pictures):
    pairs, table = script("pairs"), pictures / "wild" / "pairs.tsv"
    assert [pair.name for pair in pairs.listed(table, pictures)] == NAMES
    assert pairs.listed(table, pictures, ["03"]) == [("03", pictures / "c.png", pictures / "s.png")]
    with pytest.raises(errors.JpstError, match="has no pair 77"):
        pairs.listed(table, pictures, ["03", "77"])
    table.write_text("number\tcontent\n01\tc.png\n")
    with pytest.raises(errors.JpstError, match="style is missing"):
        pairs.listed(table, pictures)


def test_a_sheet_is_as_wide_as_asked_and_empty_where_there_is_no_picture(script, pictures):
    sheet = script("pairs").sheet([[pictures / "A" / "01.png", pictures / "none.png"]] * 2, 60)
    assert sheet.size == (120, 80)
    assert sheet.getpixel((30, 20)) == (255, 0, 0)
    assert sheet.getpixel((90, 20)) == (255, 255, 255)


def test_the_orders_are_balanced_and_follow_the_seed(script):
    blind = script("blind")
    order = blind.orders(NAMES, 3)
    assert order == blind.orders(NAMES, 3)
    assert abs(2 * list(order.values()).count("AB") - len(NAMES)) == 1
    assert len({tuple(blind.orders(NAMES, seed).values()) for seed in range(10)}) > 5


def test_a_key_opens_to_the_orders_and_the_sheets_show_them(script, pictures, capsys):
    blind = script("blind")
    make(blind, pictures, seed=5, width=30)
    written = (pictures / "out" / "key.json").read_text()
    order = blind.opened(json.loads(written))
    assert order == blind.orders(NAMES, 5)
    assert "AB" not in written and "BA" not in written
    for name, each in order.items():
        shown = Image.open(pictures / "out" / f"{name}.png")
        assert shown.size == (120, 20)
        assert [{(255, 0, 0): "A", (0, 0, 255): "B"}[shown.getpixel((x, 10))] for x in (75, 105)] == [*each]
    assert str(len(NAMES)) in capsys.readouterr().out
    with pytest.raises(errors.JpstError, match="there already"):
        make(blind, pictures)


def test_pictures_that_only_one_folder_has_are_refused(script, pictures):
    (pictures / "B" / "04.png").unlink()
    with pytest.raises(errors.JpstError, match="has 04"):
        make(script("blind"), pictures)
    assert not (pictures / "out").exists()


def test_answers_that_always_prefer_a_count_for_a_wherever_it_stood(script, pictures, capsys):
    blind = script("blind")
    make(blind, pictures)
    order = blind.opened(json.loads((pictures / "out" / "key.json").read_text()))
    place = {name: {"A": each.index("A") + 1, "B": each.index("B") + 1} for name, each in order.items()}
    rows = [f"{name},{place[name]['A']},{place[name]['B']}" for name in NAMES[:8]]
    rows += [f"{NAMES[8]},{place[NAMES[8]]['B']},both", f"{NAMES[9]},same,none", f"{NAMES[10]},same,none"]
    answers = answer(pictures, rows)
    assert blind.tally(blind.read_answers(answers, NAMES), order) == (11, (8, 1), (1, 9))
    capsys.readouterr()
    blind.score(blind.Score(pictures / "out", answers))
    said = capsys.readouterr().out
    for part in ("A wins 8 of 9: 88.9 %", "56.5 to 98.0", "counted half: 81.8 %", "1 of A, 9 of B"):
        assert part in said


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["01,1,none"], "no answer for 02"),
        (["01,1,none", "02,,none"], "pair 02, better is ''"),
        (["01,1,none", "02,A,none"], "better is 'A'; write 1, 2, same"),
        (["01,1,none", "02,2,maybe"], "broken is 'maybe'; write none, 1, 2, both"),
        (["01,1,none", "01,2,none"], "'01' is there twice"),
        (["01,1,none", "02,2,none", "03,2,none"], "'03' is not in the key"),
        (["01,1", "02,2,none"], "broken is ''"),
        ([], "expected a row for each pair"),
    ],
)
def test_unusable_answers_are_refused_with_a_sentence(script, tmp_path, rows, sentence):
    with pytest.raises(errors.JpstError, match=sentence):
        script("blind").read_answers(answer(tmp_path, rows), ["01", "02"])


@pytest.mark.parametrize(
    ("wins", "count", "expected"),  # of statsmodels' proportion_confint(method="wilson")
    [(0, 0, (0, 1)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (8, 9, (0.5650, 0.9801)), (30, 60, (0.3774, 0.6226))],
)
def test_wilsons_interval(script, wins, count, expected):
    assert script("blind").wilson(wins, count) == pytest.approx(expected, abs=1e-4)


def test_a_row_names_its_numbers(script):
    line = script("wild").text([0.05, 7.0, 1.1, 0.5, 0.25, 0.4, 60.0])
    for part in ("edges_lost   5.00 %", "spread   7.00", "new_edges  50.00 %", "style   0.40", "seconds  60.00"):
        assert part in line


def test_a_pair_without_a_picture_is_counted_and_the_rest_goes_on(script, pictures, monkeypatch, capsys):
    wild, pairs = script("wild"), script("pairs")
    row = wild.Row(wild.faults.Faults(0.0, 1.0, 1.0, 0.0, 0.0), 0.5, 2.0)

    def rows_of(pair, arguments, networks):
        if pair.name == "02":
            raise errors.JpstError("too small")
        yield "ours", row

    monkeypatch.setattr(wild, "rows_of", rows_of)
    monkeypatch.setattr(wild.jpst, "load_networks", lambda: None)
    monkeypatch.setattr(wild.caching, "enable", lambda: None)
    table = pairs.listed(pictures / "wild" / "pairs.tsv", pictures / "photos", ["01", "02", "03"])
    wild.run(table, wild.Arguments(pictures / "wild", pictures / "A", rows=2, width=30))
    said = capsys.readouterr().out
    assert "02 no picture: too small" in said and "1 of 3 pairs gave no picture" in said
    assert "mean of 2, ours" in said
    assert [image.size(pictures / "A" / f"sheet-{number}.png") for number in (1, 2)] == [(40, 120), (20, 120)]
