"""Our own aesthetic head: a function of any photograph, its file, and how far it agrees with its teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jpst import aesthetics, image, pixels, weights
from jpst.models import aesthetic_head, nima
from jpst.weights import CheckpointError, shipped

CHANNELS = (4, 6, 6, 8, 8)


@pytest.fixture(scope="module")
def head():
    return aesthetic_head.init(jax.random.key(3), 5, aesthetic_head.length(CHANNELS))


FILE = shipped.file(aesthetic_head.NAME)


@pytest.fixture
def head_that_ships():
    if not FILE.is_file():
        pytest.skip(f"{FILE} is absent: benchmarks/distill/aesthetic.py makes it")
    return shipped.aesthetic_head()


@pytest.mark.parametrize("size", [(32, 32), (33, 57), (120, 40)])
def test_a_picture_of_any_size_has_a_distribution(head, vgg19_tiny, photograph, size):
    ratings = aesthetic_head.distribution(head, jnp.asarray(photograph(*size)), vgg19_tiny)
    assert ratings.shape == (10,) and (ratings > 0).all()
    assert abs(ratings.sum() - 1) < 1e-5


def test_statistics_are_the_usual_and_the_strongest_of_each_channel(vgg19_tiny, photograph):
    from jpst.models import vgg19

    picture = jnp.asarray(photograph(40, 48))
    found = aesthetic_head.statistics(vgg19_tiny, picture)
    assert found.shape == (aesthetic_head.length(CHANNELS),)
    deepest = np.asarray(vgg19.features(vgg19_tiny, picture, ("relu5_1",))["relu5_1"])
    np.testing.assert_allclose(found[-16:-8], np.log1p(deepest).mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(found[-8:], np.log1p((deepest**4).mean((0, 1)) ** 0.25), rtol=1e-2, atol=0.1)
    assert (found[-8:] > found[-16:-8]).any()


def test_pictures_can_be_batched(head, vgg19_tiny, photograph):
    pictures = jnp.stack([jnp.asarray(photograph(32, 40, seed=seed)) for seed in range(3)])
    batched = jax.vmap(aesthetic_head.distribution, (None, 0, None))(head, pictures, vgg19_tiny)
    alone = aesthetic_head.distribution(head, pictures[1], vgg19_tiny)
    np.testing.assert_allclose(batched[1], alone, rtol=1e-4, atol=1e-6)


def test_the_score_has_a_gradient_also_where_nothing_varies(head, vgg19_tiny, photograph):
    def score(picture):
        return nima.mean_score(aesthetic_head.distribution(head, picture, vgg19_tiny))

    for picture in (jnp.asarray(photograph(36, 36)), jnp.zeros((36, 36, 3))):
        gradient = jax.jit(jax.grad(score))(picture)
        assert np.isfinite(gradient).all()
    picture, score = jnp.asarray(photograph(36, 36)), jax.jit(score)
    gradient = jax.grad(score)(picture)
    step = 2e-4 * gradient / jnp.linalg.norm(gradient)
    rise = (score(picture + step) - score(picture - step)) / (2 * 2e-4)
    np.testing.assert_allclose(rise, jnp.linalg.norm(gradient), rtol=0.1)


@pytest.mark.parametrize(
    "picture", [jnp.zeros((31, 40, 3)), jnp.zeros((40, 40)), jnp.zeros((40, 40, 4)), jnp.zeros((40, 40, 3), int)]
)
def test_what_is_no_picture_is_refused(head, vgg19_tiny, picture):
    with pytest.raises(aesthetic_head.HeadError, match=r"expected one float image \[H, W, 3\]"):
        aesthetic_head.distribution(head, picture, vgg19_tiny)


def test_a_saved_head_is_read_again_and_named(head, tmp_path):
    shipped.save(tmp_path / "a.npz", aesthetic_head.NAME, head)
    shipped.save(tmp_path / "b.npz", aesthetic_head.NAME, head)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = shipped.aesthetic_head(tmp_path / "a.npz")
    assert loaded.provenance.name == "aesthetic-head" and len(loaded.provenance.sha256) == 64
    for ours, theirs in zip(jax.tree.leaves(loaded.variables), jax.tree.leaves(head), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_files_of_other_networks_are_refused_and_the_head_as_nima(head, tmp_path):
    shipped.save(tmp_path / "head.npz", aesthetic_head.NAME, head)
    with pytest.raises(CheckpointError, match="got weights of aesthetic-head; expected weights of nima"):
        aesthetics.load(tmp_path / "head.npz")
    with pytest.raises(CheckpointError, match="the aesthetic term needs NIMA"):
        aesthetics.load("aesthetic-head")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match="does not fit"):
        shipped.aesthetic_head(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "head.npz").read_bytes()[:2000])
    with pytest.raises(CheckpointError):
        shipped.aesthetic_head(tmp_path / "cut.npz")


def test_the_head_that_ships_is_small_and_fits_vgg19(head_that_ships):
    assert FILE.stat().st_size < 2_000_000  # pyright: ignore
    assert head_that_ships.variables["standard"]["mean"].shape == (aesthetic_head.length(),)


@pytest.mark.parametrize("size", [224, 288])
def test_the_head_that_ships_ranks_as_its_teacher_does(head_that_ships, shared, vgg19_real, size):
    """The photographs of Deep Photo Style Transfer, on which it was not trained."""
    teacher = shared / "weights" / "nima_mobilenet_aesthetic.tflite"
    paths = sorted((shared / "dpst").glob("*/content.png"))
    if not teacher.is_file() or not paths:
        pytest.skip(f"{teacher} or photographs in {shared / 'dpst'} are absent")
    theirs, ours = weights.load("nima", teacher).variables, aesthetics.Head(head_that_ships.variables, vgg19_real)
    squares = [np.asarray(pixels.at_size(image.read(path).pixels, (size, size))) for path in paths]
    ranks = spearmanr(
        [aesthetics.score(ours, square, size).mean for square in squares],
        [aesthetics.score(theirs, square).mean for square in squares],
    )
    assert ranks.statistic >= 0.75
