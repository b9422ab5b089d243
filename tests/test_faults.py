"""Each number on pictures made so that the answer is known, and on pictures with nothing in them."""

import numpy as np
import pytest
from scipy import ndimage

from jpst import faults
from jpst.faults import Faults

SIZE = (240, 352)
FAULTLESS = Faults(edges_lost=0.0, spread=0.0, halo=1.0, new_edges=0.0, banding=0.0)


def written(picture: np.ndarray) -> np.ndarray:
    """As it comes back from an 8-bit file."""
    return np.round(255 * np.clip(picture, 0, 1)) / 255


def grey(plane: np.ndarray) -> np.ndarray:
    return written(np.repeat(plane[..., None], 3, -1))


def wall(level: float = 0.5) -> np.ndarray:
    return np.full(SIZE, level)


@pytest.fixture
def scene() -> np.ndarray:
    """A sky that grows lighter downwards, below it dark and light tiles of some texture, all a little warm."""
    random = np.random.default_rng(0)
    plane = 0.6 + 0.1 * np.linspace(0, 1, SIZE[0])[:, None] * np.ones(SIZE)
    tiles = np.kron(random.uniform(0.2, 0.8, (5, 14)), np.ones((24, 26)))[:, : SIZE[1]]
    plane[120:] = tiles + 0.1 * ndimage.gaussian_filter(random.standard_normal(tiles.shape), 1)
    return written(plane[..., None] * np.array([1.05, 1.0, 0.9]))


def test_a_picture_beside_itself_has_no_faults(scene):
    assert faults.measure(scene, scene) == pytest.approx(FAULTLESS, abs=1e-6)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda scene: 0.4 * scene, id="darker"),
        pytest.param(lambda scene: 0.3 + 0.5 * scene, id="half the contrast"),
        pytest.param(lambda scene: 0.5 + 1.4 * (scene - 0.5), id="more contrast"),
        pytest.param(lambda scene: scene**2, id="another tone curve"),
        pytest.param(lambda scene: scene * [1.1, 0.8, 0.5], id="another tint"),
        pytest.param(lambda scene: scene @ [[0.7, 0.2, 0.0], [0.3, 0.5, 0.3], [0.0, 0.2, 0.6]], id="mixed channels"),
    ],
)
def test_a_look_that_is_the_same_all_over_is_no_fault(scene, look):
    found = faults.measure(scene, written(look(scene)))
    assert found.edges_lost < 0.005
    assert found.spread < 3
    assert found.halo == pytest.approx(1.0, abs=0.12)
    assert found.new_edges == 0
    assert found.banding < 0.005


def test_light_and_dark_inverted_loses_every_edge(scene):
    assert faults.measure(scene, written(1 - scene)).edges_lost == 1.0


def test_a_picture_with_nothing_left_in_it_has_lost_every_edge(scene):
    assert faults.measure(scene, np.full_like(scene, 0.5)).edges_lost == 1.0


def test_the_edges_under_a_washed_out_part_are_lost(scene):
    result = scene.copy()
    result[:, :88] = 0.5  # a quarter of the width
    assert faults.measure(scene, result).edges_lost == pytest.approx(0.25, abs=0.06)


def test_edges_in_fog_count_as_well(scene):
    fog = written(0.7 + 0.15 * scene)
    assert faults.measure(fog, written(1.3 * fog - 0.3)).edges_lost == 0
    assert faults.measure(fog, written(1 - fog)).edges_lost == 1.0


def test_a_strong_blur_in_a_part_loses_its_edges_and_a_weak_one_none(scene):
    def blurred(width: float) -> np.ndarray:
        result = scene.copy()
        result[:, :176] = ndimage.gaussian_filter(scene, (width, width, 0))[:, :176]
        return written(result)

    assert faults.measure(scene, blurred(1.0)).edges_lost < 0.01
    assert 0.3 < faults.measure(scene, blurred(12.0)).edges_lost < 0.6


def test_two_halves_of_one_wall_turned_different_colours_spread():
    content, result = grey(wall()), grey(wall())
    result[:, 176:] = written(np.array([0.7, 0.4, 0.3]))
    found = faults.measure(content, result)
    assert found.spread > 20
    assert found.new_edges > 0.01  # and the border between them is an edge that was not there


def test_two_things_of_different_colours_may_move_apart():
    content, result = grey(wall()), grey(wall())
    content[:, 176:] = written(np.array([0.6, 0.5, 0.4]))
    result[:, 176:] = written(np.array([0.7, 0.4, 0.3]))
    found = faults.measure(content, result)
    assert found.spread < 0.01
    assert found._replace(spread=0.0) == FAULTLESS


def test_a_halo_beside_an_edge_is_energy_that_was_not_there():
    edge = wall(0.2)
    edge[:, 176:] = 0.7
    away = np.arange(SIZE[1]) - 176.0
    glow = edge + np.where(away >= 0, 0.2 * np.exp(-away / 5), 0)
    assert faults.measure(grey(edge), grey(glow)).halo > 1.5
    assert faults.measure(grey(glow), grey(glow)).halo == 1.0


def test_texture_beside_edges_that_is_washed_out_is_less_than_1(scene):
    smoothed = scene.copy()
    for top in range(120, 240, 24):
        for left in range(0, SIZE[1], 26):
            smoothed[top : top + 24, left : left + 26] = scene[top : top + 24, left : left + 26].mean((0, 1))
    assert faults.measure(scene, written(smoothed)).halo < 0.9


@pytest.mark.parametrize("colour", [(0.2, 0.2, 0.2), (0.3, -0.06, -0.1)], ids=["lighter", "of one lightness"])
def test_blotches_on_a_flat_sky_are_new_edges(colour):
    sky = grey(wall(0.6) + 0.05 * np.linspace(0, 1, SIZE[0])[:, None])
    blotches = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SIZE), 12)
    drawn = np.clip(blotches / blotches.std(), -0.5, 0.5)[..., None] * np.array(colour)
    found = faults.measure(sky, written(sky + drawn))
    assert found.new_edges > 0.1
    assert found.spread > 8


def test_fine_noise_over_a_flat_sky_is_no_edge_and_coarse_noise_is():
    noise = np.random.default_rng(2).standard_normal(SIZE)
    coarse = ndimage.gaussian_filter(noise, 3)
    sky = grey(wall(0.6))
    assert faults.measure(sky, grey(0.6 + 0.01 * noise)).new_edges == 0
    assert faults.measure(sky, grey(0.6 + 0.1 * coarse / coarse.std())).new_edges > 0.5


def test_what_is_drawn_over_texture_is_no_new_edge(scene):
    random = np.random.default_rng(3)
    texture = grey(0.5 + 0.1 * ndimage.gaussian_filter(random.standard_normal(SIZE), 2) * 10)
    assert faults.measure(texture, written(texture + 0.1 * (texture > 0.5))).new_edges == 0


def test_a_posterised_gradient_is_banded_and_a_dithered_one_is_not():
    slope = 0.3 + 0.4 * np.linspace(0, 1, SIZE[1]) * np.ones(SIZE)
    posterised = np.round(slope * 24) / 24
    noise = np.random.default_rng(4).uniform(-0.5, 0.5, SIZE)
    dithered = np.round(slope * 24 + noise) / 24
    content = grey(slope)
    assert faults.measure(content, grey(posterised)).banding > 0.95
    assert faults.measure(content, grey(posterised.T).transpose(1, 0, 2)).banding > 0.95
    assert faults.measure(content, grey(dithered)).banding < 0.02
    assert faults.measure(content, content).banding == 0
    assert faults.measure(grey(posterised), grey(posterised)).banding == 0


def test_a_slope_in_one_channel_is_banded_too_and_down_the_picture():
    slope = 0.3 + 0.4 * np.linspace(0, 1, SIZE[0])[:, None] * np.ones(SIZE)
    content, result = grey(slope), grey(slope)
    result[..., 2] = written(np.round(slope * 24) / 24)
    assert faults.measure(content, result).banding > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (8, 8), (8, 400)])
@pytest.mark.parametrize("other", [0.0, 0.5, 1.0])
def test_flat_and_tiny_pictures_have_no_faults(size, other):
    """Warnings are errors in this suite: no division by nothing, no mean of nothing."""
    black = np.zeros((*size, 3))
    assert faults.measure(black, np.full_like(black, other)) == pytest.approx(FAULTLESS, abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (8, 8), (8, 400)])
def test_tiny_pictures_full_of_noise_have_finite_numbers(size):
    random = np.random.default_rng(5)
    content, result = (written(random.uniform(0, 1, (*size, 3))).astype(np.float32) for _ in range(2))
    found = faults.measure(content, result)
    assert np.isfinite(found).all()
    assert all(0 <= share <= 1 for share in (found.edges_lost, found.new_edges, found.banding))


# ---- Finished pictures of any size


def large(picture: np.ndarray, times: int = 3) -> np.ndarray:
    return np.kron(picture, np.ones((times, times, 1))).astype(np.float32)


def test_a_picture_is_measured_small_and_in_8_bits():
    seen = faults.small(np.random.default_rng(0).uniform(0, 1, (200, 700, 3)).astype(np.float32))
    assert seen.shape == (100, 350, 3)
    np.testing.assert_allclose(255 * seen, np.round(255 * seen), atol=1e-9)
    tiny = written(np.random.default_rng(0).uniform(0, 1, (20, 30, 3)))
    np.testing.assert_allclose(faults.small(tiny), tiny, atol=1e-6)  # never enlarged


def test_large_pictures_have_the_faults_of_small_ones(scene):
    result = scene.copy()
    result[:, :88] = 0.5
    found = faults.of_pictures(large(scene), large(result))
    assert found.edges_lost == pytest.approx(0.25, abs=0.06)
    assert faults.of_pictures(large(scene), large(scene)) == pytest.approx(FAULTLESS, abs=1e-6)


def test_a_result_of_another_size_is_laid_beside_its_content(scene):
    found = faults.of_pictures(large(scene), scene.astype(np.float32))
    assert found.edges_lost < 0.005 and found.new_edges < 0.005 and found.banding < 0.005
    assert found.spread < 3 and found.halo == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("opaque", [1.0, 0.5])
def test_what_is_hidden_is_not_judged(scene, opaque):
    """Magenta and noise under alpha 0, in a picture that is otherwise its content."""
    alpha = np.full((720, 1056), opaque, np.float32)
    alpha[:, :330] = 0
    content, result = large(scene), large(scene)
    result[:, :330] = np.where(np.random.default_rng(0).uniform(0, 1, (720, 330, 1)) > 0.5, (1, 0, 1), 0.0)
    assert faults.of_pictures(content, result).edges_lost > 0.05
    assert faults.of_pictures(content, result, alpha) == pytest.approx(FAULTLESS, abs=1e-6)


def test_what_is_seen_beside_what_is_hidden_is_judged(scene):
    alpha = np.ones((720, 1056), np.float32)
    alpha[:, :528] = 0
    result = large(scene)
    result[:, 528:] = 0.5
    assert faults.of_pictures(large(scene), result, alpha).edges_lost > 0.9


def test_a_picture_of_which_next_to_nothing_is_seen_can_be_measured(scene):
    alpha = np.zeros((720, 1056), np.float32)
    alpha[300:310, 500] = 1
    assert faults.of_pictures(large(scene), 1 - large(scene), alpha) == pytest.approx(FAULTLESS, abs=1e-6)


def test_numbers_at_their_bounds_are_not_beyond_them():
    assert faults.beyond(faults.BOUNDS) == {}
    assert faults.beyond(FAULTLESS) == {}
    worse = Faults(*(1.01 * each for each in faults.BOUNDS))
    assert faults.beyond(worse) == worse._asdict()
    assert list(faults.beyond(FAULTLESS._replace(halo=2.0))) == ["halo"]


def test_what_cannot_be_measured_is_beyond_its_bound():
    assert list(faults.beyond(FAULTLESS._replace(spread=float("nan")))) == ["spread"]
