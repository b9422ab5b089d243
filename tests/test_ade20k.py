from collections import Counter

import numpy as np
import pytest
from scipy.io import loadmat

from jpst.regions import ade20k
from jpst.regions.ade20k import CLASSES


def test_there_are_150_classes_with_different_names_and_colours():
    assert [entry.id for entry in CLASSES] == list(range(1, 151))
    assert len(set(ade20k.NAMES)) == 150
    assert len({entry.colour for entry in CLASSES}) == 150
    assert len({entry.synset for entry in CLASSES}) == 150
    assert all(0 <= level <= 255 for entry in CLASSES for level in entry.colour)


def test_names_and_colours_are_the_benchmarks(shared):
    rows = (shared / "ade20k" / "objectInfo150.txt").read_text().splitlines()[1:]
    assert [entry.names for entry in CLASSES] == [tuple(row.split("\t")[4].strip().split(", ")) for row in rows]
    colours = loadmat(shared / "ade20k" / "color150.mat")["colors"]
    other = [entry.id for entry in CLASSES if entry.colour != tuple(colours[entry.id - 1])]
    assert other == [7]


def test_road_has_another_colour_than_skyscraper():
    assert (CLASSES[6].name, CLASSES[6].colour) == ("road", (150, 150, 150))
    assert (CLASSES[48].name, CLASSES[48].colour) == ("skyscraper", (140, 140, 140))


@pytest.mark.parametrize("entry", CLASSES, ids=ade20k.NAMES)
def test_every_name_finds_its_class(entry):
    assert ade20k.find(entry.name) is entry
    for name in entry.names:
        found = ade20k.find(name)
        assert found is not None
        assert name in found.names


def test_names_of_two_classes_go_to_the_one_that_is_called_so():
    names = Counter(name for entry in CLASSES for name in entry.names)
    assert {name for name, count in names.items() if count > 1} == {"counter", "ground", "pot", "screen", "stool"}
    ids = {name: ade20k.find(name).id for name in ("counter", "ground", "pot", "screen", "stool")}
    assert ids == {"counter": 46, "ground": 14, "pot": 126, "screen": 131, "stool": 111}


def test_find_is_lenient_about_case_and_spaces():
    assert ade20k.find(" Swimming  POOL ").id == 110
    assert ade20k.find("no such thing") is None


def test_meanings_that_a_dictionary_puts_second():
    """Classes whose most frequent sense is another thing than the pictures show."""
    meanings = {entry.name: entry.synset for entry in CLASSES}
    expected = {
        "plant": "plant.n.02",  # not the factory
        "table": "table.n.02",  # not of numbers
        "palm": "palm.n.03",  # not of the hand
        "water": "body_of_water.n.01",  # not the compound
        "column": "column.n.07",
        "screen": "screen.n.01",
        "bar": "bar.n.02",
        "plate": "plate.n.04",
        "tank": "tank.n.02",  # not armoured
        "stage": "stage.n.03",
        "hood": "hood.n.06",
        "microwave": "microwave.n.02",
        "van": "van.n.05",
        "book": "book.n.02",
        "base": "base.n.08",
        "bannister": "bannister.n.02",  # not the runner
        "ottoman": "ottoman.n.03",
        "washer": "washer.n.03",
        "case": "case.n.20",
        "monitor": "monitor.n.04",
        "toilet": "toilet.n.02",
    }
    assert expected.items() <= meanings.items()


def test_every_class_that_needs_a_reason_has_one():
    notes = {entry.name for entry in CLASSES if entry.note}
    assert {"arcade machine", "dirt track", "lamp", "land", "trade name", "road", "skyscraper"} <= notes
    assert np.mean([bool(entry.note) for entry in CLASSES]) < 0.25
