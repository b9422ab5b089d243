import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from jpst import image, regions
from jpst.errors import JpstError
from jpst.recipe import Recipe
from jpst.regions import ade20k, labelling, segment, trust
from jpst.regions.segment import MaskError, Segmentation
from jpst.weights import Provenance

PAIRS = Path(__file__).parents[2] / "shared" / "dpst"
BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (128, 128, 128)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WIDTH, HEIGHT = 200, 150

# The colours that a person sees in each pair of masks: in the content's, and in the style's where they differ.
SEEN = {
    "02": ("black white", "black green white"),
    "03": ("black white", "black green white"),
    "04": ("black white",),
    "06": ("black green white",),
    "07": ("black white",),
    "08": ("black white",),
    "10": ("black white",),
    "11": ("black blue green red white yellow",),
    "13": ("black",),
    "15": ("black white",),
    "16": ("black white",),
    "17": ("black white",),
    "20": ("black white",),
    "21": ("black green white",),
    "25": ("black blue green grey light-blue purple red white yellow",),
    "28": ("black blue red white",),
    "29": ("blue red",),
    "30": ("blue green red white yellow", "black blue green red yellow"),
    "32": ("red white yellow",),
    "34": ("black red white",),
    "39": ("black white",),
    "44": ("black red white yellow",),
    "47": ("black red white",),
    "51": ("black red white yellow",),
}


def paint(background, *shapes, size=(WIDTH, HEIGHT), resample=None):
    """A mask with polygons [(colour, points)], hard-edged or drawn four times as large and reduced."""
    scale = 4 if resample else 1
    image = Image.new("RGB", (size[0] * scale, size[1] * scale), background)
    for colour, points in shapes:
        ImageDraw.Draw(image).polygon([(x * scale, y * scale) for x, y in points], fill=colour)
    return np.array(image.resize(size, resample) if resample else image)


def rectangle(left, top, right, bottom):
    return [(left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1)]


def jpeg(colours, quality):
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "JPEG", quality=quality, subsampling=2)
    return np.array(Image.open(file))


def names_seen(segmentation):
    return {segmentation.names[number] for number in np.unique(segmentation.labels)}


def labels_of(colours, names):
    """The labels of a hard-edged mask, from its exact colours."""
    labels = np.full(colours.shape[:2], -1, np.int32)
    for number, name in enumerate(names):
        labels[(colours == segment.USUAL_COLOURS[name]).all(axis=-1)] = number
    assert (labels >= 0).all()
    return labels


def assert_equal_but_for_edges(labels, truth, pixels):
    """Every wrong pixel lies within some pixels of a border of the truth."""
    size = 2 * pixels + 1
    inside = ndimage.maximum_filter(truth, size) == ndimage.minimum_filter(truth, size)
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(labels[inside], truth[inside])


def photograph(seed=0, shape=(96, 128)):
    noise = np.random.default_rng(seed).normal(size=(*shape, 3))
    smooth = ndimage.gaussian_filter(noise, (12, 12, 0))
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


SCENE = (
    (RED, [(20, 10), (90, 25), (60, 80)]),
    (GREEN, [(60, 80), (190, 60), (180, 140), (90, 145)]),
    (YELLOW, [(110, 5), (180, 20), (150, 55)]),
    (WHITE, [(5, 100), (50, 95), (70, 140), (10, 145)]),
    (GREY, [(120, 85), (160, 85), (160, 120), (120, 120)]),
)


def random_scene(seed, resample):
    random = np.random.default_rng(seed)
    colours = [tuple(segment.USUAL_COLOURS.values())[number] for number in random.permutation(9)[:6]]
    shapes = []
    for colour in colours[1:]:
        centre, radius = random.uniform((0, 0), (350, 262)), random.uniform(40, 110)
        angles = np.sort(random.uniform(0, 2 * np.pi, 5))
        points = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        shapes.append((colour, [tuple(point) for point in points.tolist()]))
    return paint(colours[0], *shapes, size=(350, 262), resample=resample)


@pytest.mark.parametrize("resample", [Image.Resampling.LANCZOS, Image.Resampling.BICUBIC])
def test_antialiased_edges_are_no_regions(resample):
    soft = paint(BLUE, *SCENE, resample=resample)
    assert len(np.unique(soft.reshape(-1, 3), axis=0)) > 200
    content, style = segment.from_painted(soft, soft[::-1])
    assert content.names == style.names == ("blue", "green", "grey", "red", "white", "yellow")
    assert content.labels.dtype == np.int32
    truth = labels_of(paint(BLUE, *SCENE), content.names)
    assert_equal_but_for_edges(content.labels, truth, 2)
    assert_equal_but_for_edges(style.labels, truth[::-1], 2)


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_jpeg_noise_is_no_region(quality):
    mask = jpeg(paint(BLUE, *SCENE, resample=Image.Resampling.LANCZOS), quality)
    content, _ = segment.from_painted(mask, mask)
    assert content.names == ("blue", "green", "grey", "red", "white", "yellow")
    assert_equal_but_for_edges(content.labels, labels_of(paint(BLUE, *SCENE), content.names), 3)


@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_survive_antialiasing_and_jpeg(seed):
    hard, soft = random_scene(seed, None), random_scene(seed, Image.Resampling.LANCZOS)
    clean = segment.from_painted(hard, hard)[0]
    rough = segment.from_painted(jpeg(soft, 75), soft)[0]
    assert rough.names == clean.names
    assert_equal_but_for_edges(rough.labels, clean.labels, 3)


@pytest.mark.parametrize(
    ("left", "right", "blend"),
    [
        (BLACK, WHITE, GREY),
        (YELLOW, BLUE, GREY),
        (BLUE, GREEN, (0, 128, 128)),
        (RED, GREEN, (128, 128, 0)),
        (RED, WHITE, (255, 128, 128)),
    ],
)
def test_an_edge_through_the_colour_of_a_third_region_stays_an_edge(left, right, blend):
    halves = (right, [(100, 0), (199, 0), (199, 149), (60, 149)]), (blend, rectangle(10, 10, 40, 40))
    mask = paint(left, *halves, resample=Image.Resampling.LANCZOS)
    content, _ = segment.from_painted(mask, mask)
    assert len(content.names) == 3
    third = content.labels == content.labels[25, 25]
    assert third[12:38, 12:38].all()
    third[8:42, 8:42] = False
    assert not third.any()


@pytest.mark.parametrize("size", [(700, 525), (350, 262), (128, 96)])
@pytest.mark.parametrize("resample", [None, Image.Resampling.BICUBIC])
def test_a_small_compact_region_of_one_side_survives(size, resample):
    side = round((0.002 * size[0] * size[1]) ** 0.5)
    spot = rectangle(20, 30, 20 + side, 30 + side)
    content_mask = paint(BLACK, (WHITE, rectangle(60, 0, *size)), (RED, spot), size=size, resample=resample)
    style_mask = paint(BLACK, (WHITE, rectangle(60, 0, *size)), size=size)
    content, style = segment.from_painted(content_mask, style_mask)
    assert content.names == style.names == ("black", "red", "white")
    assert names_seen(style) == {"black", "white"}
    assert (content.labels == 1).sum() == pytest.approx(side**2, rel=0.5)
    rows, columns = np.nonzero(content.labels == 1)
    assert rows.mean() == pytest.approx(29.5 + side / 2, abs=1)
    assert columns.mean() == pytest.approx(19.5 + side / 2, abs=1)


@pytest.mark.parametrize("thickness", [1, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_a_line_along_an_edge_is_no_region(thickness, turned):
    mask = paint(BLACK, (WHITE, rectangle(0, 70, WIDTH, HEIGHT)))
    mask[70 : 70 + thickness] = RED
    mask = mask.swapaxes(0, 1) if turned else mask
    content, _ = segment.from_painted(mask, mask)
    assert content.names == ("black", "white")
    lower = np.flatnonzero((content.labels if not turned else content.labels.T)[:, 0])
    assert abs(lower[0] - 70) <= thickness
    assert len(lower) == HEIGHT - lower[0]


def test_a_line_of_a_region_that_exists_elsewhere_goes_to_its_neighbours():
    mask = paint(BLACK, (WHITE, rectangle(0, 70, WIDTH, HEIGHT)), (RED, rectangle(10, 100, 40, 130)))
    mask[69:71] = RED
    content, _ = segment.from_painted(mask, mask)
    assert content.names == ("black", "red", "white")
    assert (content.labels == 1).sum() == 900


def test_colours_a_few_levels_apart_are_one_region_over_both_masks():
    content_mask, style_mask = paint((0xFF, 0, 0)), paint((0xFF, 1, 1))
    content_mask[40:80, 40:80] = (0xFE, 3, 2)
    content_mask[100:] = (0, 0, 1)
    style_mask[60:] = (1, 2, 0)
    content, style = segment.from_painted(content_mask, style_mask)
    assert content.names == style.names == ("black", "red")
    np.testing.assert_array_equal(content.labels, np.arange(HEIGHT)[:, None] * np.ones(WIDTH, int) < 100)
    np.testing.assert_array_equal(style.labels, np.arange(HEIGHT)[:, None] * np.ones(WIDTH, int) < 60)


def test_soft_shading_within_a_region_is_part_of_it():
    random = np.random.default_rng(1)
    shading = np.minimum(random.exponential(10, (HEIGHT, WIDTH)), 40)
    smooth = ndimage.gaussian_filter(shading, 6) * 2
    mask = paint(WHITE, (RED, rectangle(0, 0, WIDTH, 90)))
    mask[:90] = np.stack([255 - smooth, smooth, smooth], axis=-1)[:90].astype(np.uint8)
    content, _ = segment.from_painted(mask, mask)
    assert content.names[1] == "white"
    assert (content.labels[:88] == 0).all()
    assert (content.labels[92:] == 1).all()


def test_noisy_colours_that_are_close_but_distinct_stay_two_regions():
    mask = paint((200, 30, 30), ((225, 60, 60), rectangle(0, 0, 100, HEIGHT))).astype(float)
    mask += np.random.default_rng(0).normal(0, 2, mask.shape)
    content, _ = segment.from_painted(mask.astype(np.uint8), mask.astype(np.uint8))
    assert len(content.names) == 2
    assert len(np.unique(content.labels[:, :98])) == len(np.unique(content.labels[:, 102:])) == 1


def test_names_are_the_usual_colours_or_hexadecimal():
    mask = np.zeros((60, 200, 3), np.uint8)
    painted = [*segment.USUAL_COLOURS.values(), (255, 128, 0)]
    for number, colour in enumerate(painted):
        mask[:, 20 * number : 20 * number + 20] = colour
    content, _ = segment.from_painted(mask, mask)
    assert content.names == tuple(sorted([*segment.USUAL_COLOURS, "#ff8000"]))
    middle = content.labels[30, 10::20]
    assert [content.names[number] for number in middle] == [*segment.USUAL_COLOURS, "#ff8000"]


def test_of_two_colours_the_nearer_gets_the_usual_name():
    mask = paint((0, 0, 250), ((30, 30, 225), rectangle(0, 0, 60, 60)))
    assert segment.from_painted(mask, mask)[0].names == ("#1e1ee1", "blue")


def values(*bands, width=40):
    """Horizontal bands of six rows each, of whole numbers: int [H, W]."""
    return np.repeat(np.array(bands), 6)[:, None].repeat(width, axis=1)


@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2, 3), (3, 4, 7), (0, 255), (110, 111, 3), tuple(range(20))])
def test_label_maps_saved_as_grey_are_taken_exactly(labels):
    content_map, style_map = values(*labels), values(*labels[::-1], labels[0])
    content, style = segment.from_painted(
        *(np.repeat(each[..., None], 3, -1).astype(np.uint8) for each in (content_map, style_map))
    )
    assert len(content.names) == len(labels)
    for found, truth in ((content.labels, content_map), (style.labels, style_map)):
        assert (
            len(np.unique(found)) == len({(a, b) for a, b in zip(found.flat, truth.flat, strict=True)}) == len(labels)
        )
    same = {
        (int(a), int(b))
        for found, truth in ((content, content_map), (style, style_map))
        for a, b in zip(found.labels.flat, truth.flat, strict=True)
    }
    assert len(same) == len(labels), "one number for one value on both sides"


def test_first_whole_numbers_that_only_one_side_has_are_regions_too():
    content, style = segment.from_painted(
        *(np.repeat(each[..., None], 3, -1).astype(np.uint8) for each in (values(0, 1), values(0, 2)))
    )
    assert content.names == style.names == ("#010101", "#020202", "black")


def test_near_colours_that_both_sides_share_are_regions():
    mask = paint((4, 250, 153), ((8, 255, 143), rectangle(0, 0, 100, HEIGHT)))
    content, style = segment.from_painted(mask, mask[:, ::-1])
    np.testing.assert_array_equal(content.labels != content.labels[0, 0], np.arange(WIDTH) >= np.full((HEIGHT, 1), 100))
    np.testing.assert_array_equal(style.labels, content.labels[:, ::-1])


def test_enlarged_antialiased_edges_are_no_exact_regions():
    """They are solid, but little; the colours that noise would reach from others stay with these."""
    soft = Image.fromarray(paint(BLACK, (WHITE, [(50, 20), (190, 50), (80, 140)]), resample=Image.Resampling.BOX))
    mask = np.asarray(soft.resize((4 * WIDTH, 4 * HEIGHT), Image.Resampling.NEAREST))
    assert len(np.unique(mask)) <= 24
    content, _ = segment.from_painted(mask, mask)
    assert len(content.names) <= 10 < len(np.unique(mask))


PALETTE = np.array([[0, 0, 0], [0, 0, 0], [200, 20, 20], [205, 25, 20], [0, 0, 0]], np.uint8)


def test_indices_of_one_colour_are_regions():
    content, style = segment.from_indexed((values(0, 1, 4), PALETTE), (values(4, 1), PALETTE[[0, 0, 0, 0, 0]]))
    assert content.names == style.names == ("label 0", "label 1", "label 4")
    np.testing.assert_array_equal(content.labels, values(0, 1, 2))
    np.testing.assert_array_equal(style.labels, values(2, 1))


def test_indices_of_one_colour_count_over_both_masks():
    content, style = segment.from_indexed((values(0, 0), PALETTE), (values(1, 1), PALETTE))
    assert content.names == style.names == ("label 0", "label 1")
    assert content.labels.max() == 0 and style.labels.min() == 1


def test_indexed_colours_are_matched_by_colour_and_not_by_index():
    content, style = segment.from_indexed((values(1, 2, 3), PALETTE), (values(0, 1), PALETTE[[3, 2]]))
    assert content.names == style.names == ("#c81414", "#cd1914", "black")
    np.testing.assert_array_equal(content.labels, values(2, 0, 1))
    np.testing.assert_array_equal(style.labels, values(1, 0))


def test_specks_and_slivers_of_an_indexed_map_go_to_what_is_nearest():
    labels = values(2, 3)
    labels[3, 3], labels[:, 20] = 3, 0
    content, _ = segment.from_indexed((labels, PALETTE), (values(2, 3), PALETTE))
    np.testing.assert_array_equal(content.labels, values(*content.labels[[0, 11], 0]))


def test_indexed_paintings_are_no_label_maps():
    many = np.arange(40 * 6).reshape(40, 6).repeat(6, axis=1)
    wide = np.random.default_rng(0).permutation(256 * 3).reshape(256, 3).astype(np.uint8)
    assert segment.from_indexed((many, wide), (many, wide)) is None, "of many colours"
    stripes = values(2, 3)[:, ::6].repeat(2, axis=1)
    stripes[:, ::2] = 0
    assert segment.from_indexed((stripes, PALETTE), (stripes, PALETTE)) is None, "without solid ground"
    other = PALETTE + np.uint8(1)
    assert segment.from_indexed((values(0, 2), PALETTE), (values(0, 2), other)) is None, "a little different"


def test_neither_the_order_of_the_sides_nor_repetition_matters():
    one = jpeg(paint(BLUE, *SCENE, resample=Image.Resampling.LANCZOS), 75)
    other = jpeg(paint(BLACK, *SCENE[:2], resample=Image.Resampling.BICUBIC), 90)
    first, second = segment.from_painted(one, other), segment.from_painted(other, one)
    assert first[0].names == second[0].names
    for there, back in zip(first, second[::-1], strict=True):
        np.testing.assert_array_equal(there.labels, back.labels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (12, 1), (2, 12), (3, 3)])
def test_tiny_masks(shape):
    mask = np.zeros((*shape, 3), np.uint8)
    mask[:, 6:] = WHITE
    content, _ = segment.from_painted(mask, mask)
    assert content.names == (("black", "white") if shape[1] == 12 else ("black",))
    np.testing.assert_array_equal(content.labels, mask[..., 0] // 255)


def test_a_photograph_is_no_mask():
    mask = paint(BLACK, *SCENE)
    with pytest.raises(MaskError, match=r"content mask looks like a photograph.*only \d+%.*flat colour.*PNG"):
        segment.from_painted(photograph(), mask)
    with pytest.raises(MaskError, match=r"style mask looks like a photograph"):
        segment.from_painted(mask, photograph())
    assert issubclass(MaskError, JpstError)


def test_more_regions_than_anybody_paints():
    codes = np.kron(np.random.default_rng(0).permutation(125)[:30].reshape(5, 6), np.ones((10, 10), int))
    mask = np.stack([codes // 25, codes // 5 % 5, codes % 5], axis=-1).astype(np.uint8) * 60
    with pytest.raises(MaskError, match=r"30 colours.*expected 24 at most.*looks like a photograph"):
        segment.from_painted(mask, mask)


def test_stripes_without_solid_ground():
    stripes = np.zeros((60, 60, 3), np.uint8)
    stripes[np.arange(60) % 4 < 2] = WHITE
    with pytest.raises(MaskError, match="content mask"):
        segment.from_painted(stripes, paint(BLACK))


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind(mask):
    with pytest.raises(MaskError, match=r"style mask: expected uint8 \[height, width, 3\] .*, got "):
        segment.from_painted(paint(BLACK), mask)


def test_whole():
    assert segment.whole(2, 3).names == ("whole image",)
    np.testing.assert_array_equal(segment.whole(2, 3).labels, np.zeros((2, 3), np.int32))


def test_beside(tmp_path):
    photo = tmp_path / "house.old.jpg"
    assert segment.beside(photo) is None
    (tmp_path / "house.old_seg.png").touch()
    assert segment.beside(photo) == segment.beside(str(photo)) == tmp_path / "house.old_seg.png"


@pytest.mark.parametrize(("height", "width"), [(40, 60), (41, 60), (39, 61), (20, 30), (87, 130), (400, 600), (13, 20)])
def test_fit_is_the_nearest_neighbour_with_half_pixel_centres(height, width):
    labels = np.random.default_rng(0).integers(0, 9, (40, 60)).astype(np.int32)
    fitted = segment.fit(labels, height, width, source="mask.png")
    assert fitted.shape == (height, width)
    assert fitted.dtype == np.int32
    rows = np.floor((np.arange(height) + 0.5) * 40 / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * 60 / width).astype(int)
    np.testing.assert_array_equal(fitted, labels[rows][:, columns])


def test_fit_of_few_pixels_allows_one():
    assert segment.fit(np.zeros((3, 4), np.int32), 4, 5, source="mask.png").shape == (4, 5)


@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 63), (42, 60), (400, 400)])
def test_fit_refuses_another_aspect_ratio(height, width):
    message = rf"house_seg\.png: the mask is 60 x 40 .* {width} x {height}.*aspect ratio.*Paint the mask"
    with pytest.raises(MaskError, match=message):
        segment.fit(np.zeros((40, 60), np.int32), height, width, source=Path("house_seg.png"))


def read(path):
    return np.array(Image.open(path).convert("RGB"))


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"the public pairs are not at {PAIRS}")
@pytest.mark.parametrize("pair", SEEN)
def test_public_pairs_have_the_regions_that_a_person_sees(pair):
    both = segment.from_painted(*(read(PAIRS / pair / f"{side}_seg.png") for side in ("content", "style")))
    expected = [set(seen.replace("light-blue", "light_blue").split()) for seen in SEEN[pair]]
    assert both[0].names == both[1].names
    for segmentation, seen in zip(both, (expected[0], expected[-1]), strict=True):
        assert isinstance(segmentation, Segmentation)
        assert {name.replace(" ", "_") for name in names_seen(segmentation)} == seen


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"the public pairs are not at {PAIRS}")
@pytest.mark.parametrize("photo", ["44/content", "47/style", "32/style", "13/content"])
def test_public_photographs_are_no_masks(photo):
    colours = read(PAIRS / f"{photo}.png")
    with pytest.raises(MaskError, match="photograph"):
        segment.from_painted(colours, colours)


def test_what_is_hidden_takes_the_label_of_the_nearest_visible_pixel():
    labels = np.array([[0, 1, 2, 3]], np.int32).repeat(2, 0)
    confidence = np.float32([[0.1, 0.2, 0.3, 0.4]]).repeat(2, 0)
    found = segment.Segmentation(labels, ("a", "b", "c", "d"), confidence)
    spread = segment.spread(found, np.float32([[0.6, 0.2, 0.0, 0.9]]).repeat(2, 0))
    np.testing.assert_array_equal(spread.labels, np.array([[0, 0, 3, 3]]).repeat(2, 0))
    np.testing.assert_allclose(spread.confidence, np.float32([[0.1, 0.1, 0.4, 0.4]]).repeat(2, 0))
    assert segment.spread(found, None) is found
    faint = segment.spread(found, np.float32([[0.01, 0.2, 0.0, 0.3]]).repeat(2, 0))
    assert set(faint.labels.ravel()) == {1, 3}


def test_labels_under_what_is_hidden_count_in_no_region(monkeypatch, photograph, vgg19_tiny):
    """A network that sees water in what is hidden, and nowhere else."""
    alpha = np.ones((64, 96), np.float32)
    alpha[32:] = 0
    sky, water = (list(ade20k.NAMES).index(name) for name in ("sky", "water"))

    def labelled(*_, **__):
        labels = np.full((64, 96), sky, np.int32)
        labels[32:] = water
        made = segment.Segmentation(labels, ade20k.NAMES, np.ones((64, 96), np.float32))
        return labelling.Labelled(made, "scene", Provenance("stub", "0" * 64))

    monkeypatch.setattr(labelling, "label", labelled)
    seen, real = [], trust.trusted
    monkeypatch.setattr(trust, "trusted", lambda *pair, **more: seen.append(pair) or real(*pair, **more))
    cut, plain = (image.Photograph(photograph(64, 96), each, 8) for each in (alpha, None))
    way = regions.Way("scene", None, "")
    regions.find((cut, plain), way, Recipe(segmenter="scene"), object(), vgg19_tiny)  # pyright: ignore
    ((content, style, *_),) = seen
    assert set(content.labels.ravel()) == {sky} and set(style.labels.ravel()) == {sky, water}
