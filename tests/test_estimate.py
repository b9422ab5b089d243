"""The estimate, and the refusal of what does not fit, with the memory that there is given."""

import re

import pytest

from jpst import estimate, levels, memory, pipeline
from jpst.estimate import Room, ShortMemoryError
from jpst.recipe import Recipe

PHOTOGRAPHS = (3000, 4000), (2000, 3000)
LARGE = Recipe(size=2048)


def needed(recipe: Recipe) -> int:
    planned = levels.plan(*PHOTOGRAPHS, recipe)
    pixels = sum(height * width for height, width in PHOTOGRAPHS)
    return estimate.estimate(pixels, planned, recipe).memory_bytes


def test_work_per_pixel_counts_what_vgg19_computes():
    # to relu1_1: 64 outputs, each the sum of 27 products; relu2_1 adds conv1_2 in full and conv2_1 on a quarter
    assert estimate.work_per_pixel(("relu1_1",)) == (64, 2 * 27 * 64)
    outputs, operations = estimate.work_per_pixel(("relu1_1", "relu2_1"))
    assert outputs == 64 + 64 + 128 / 4
    assert operations == 2 * 27 * 64 + 2 * 9 * 64 * 64 + 2 * 9 * 64 * 128 / 4


def test_what_fits_is_not_refused():
    assert estimate.shortage(*PHOTOGRAPHS, LARGE, Room(needed(LARGE) + 1, None)) is None
    assert estimate.shortage(*PHOTOGRAPHS, LARGE, Room(None, None)) is None


def test_the_refusal_proposes_the_largest_size_that_fits():
    room = Room(4 * 2**30, None)
    error = estimate.shortage(*PHOTOGRAPHS, LARGE, room)
    assert isinstance(error, ShortMemoryError)
    found = re.fullmatch(
        r"The transfer at size 2048 needs about [\d.]+ GiB of memory, but 4\.0 GiB are available: the system "
        r"would stop it half-way\. Use `size=(\d+)`, the largest that fits\.",
        str(error),
    )
    assert found
    size = int(found[1])
    assert needed(Recipe(size=size)) <= 4 * 2**30 < needed(Recipe(size=size + 16))
    assert estimate.shortage(*PHOTOGRAPHS, Recipe(size=size), room) is None


def test_where_no_size_fits_it_says_so():
    error = estimate.shortage(*PHOTOGRAPHS, LARGE, Room(10**8, None))
    assert "No smaller `size` fits either" in str(error)


def test_an_accelerators_memory_counts_for_the_steps_and_the_hosts_for_the_rest():
    on_host = int(needed(LARGE) - 4 * 2**30)  # too little for the steps as well, and enough without
    assert estimate.shortage(*PHOTOGRAPHS, LARGE, Room(on_host, None))
    assert estimate.shortage(*PHOTOGRAPHS, LARGE, Room(on_host, 80 * 2**30)) is None
    error = estimate.shortage(*PHOTOGRAPHS, LARGE, Room(on_host, 2 * 2**30))
    assert re.search(r"accelerator.*2\.0 GiB are available.*Use `size=\d+`", str(error))


def test_stylize_refuses_before_it_reads_a_photograph(tmp_path, photograph, monkeypatch):
    from jpst import image

    for name in ("content.png", "style.png"):
        image.write(tmp_path / name, photograph(60, 80))
    monkeypatch.setattr(memory, "available", lambda: 10**8)
    monkeypatch.setattr(image, "read", lambda source: pytest.fail("a photograph was read"))
    with pytest.raises(ShortMemoryError, match="No smaller `size` fits"):
        pipeline.stylize(tmp_path / "content.png", tmp_path / "style.png", recipe=Recipe(size=64, iterations=(1,)))
