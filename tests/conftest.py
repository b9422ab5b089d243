"""Strict settings for the whole suite, and what tests share: a key, tiny networks, scenes, golden files."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JPST_OFFLINE"] = "1"  # no test fetches DeepLab behind its own back
# Two devices, so that a step that quietly asks for "the" device is found here and not on a user's machine.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()

import jaxtyping

# Their shape annotations run in tests. Before anything of jpst is imported: later would change nothing.
CHECKED = (
    "jpst.models.convolution",
    "jpst.pixels",
    "jpst.colours",
    "jpst.matting",
    "jpst.highres",
    "jpst.grams",
    "jpst.losses",
    "jpst.projection",
    "jpst.faults",
    "jpst.aesthetics",
    "jpst.masks",
    "jpst.regions.cosegment",
    "jpst.regions.labelling",
    "jpst.regions.trust",
    "jpst.scene",
    "jpst.solver",
    "jpst.total",
    "jpst.preparation",
    "jpst.optimise",
)
assert not set(CHECKED) & set(sys.modules), "jpst was imported before conftest could check its annotations"
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

# ruff: noqa: E402
import jax
import numpy as np
import platformdirs
import pytest

from jpst import weights
from jpst.models import scene_head, vgg19

jax.config.update("jax_numpy_rank_promotion", "raise")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Compiled programs, named by what they compute, are kept between runs: a third of the time. A folder for
    # each machine, as they hold code for its processor; what a killed run left half written is compiled anew.
    folder = platformdirs.user_cache_path("jpst") / f"tests-{platform.node()}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

Photograph = Callable[..., np.ndarray]
Masks = Callable[..., np.ndarray]


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def vgg19_tiny() -> vgg19.Variables:
    """VGG19 with its real layer names, a few channels and random kernels.

    `vgg19.init` leaves images in [0, 1]; with the Caffe shift and scale magnitudes are those of real use.
    """
    variables = vgg19.init(jax.random.key(19), channels=(4, 6, 6, 8, 8))
    offset = np.float32([-123.68, -116.779, -103.939])
    preprocessing = {"scale": jax.numpy.full(3, 255.0, np.float32), "offset": jax.numpy.asarray(offset)}
    return {"params": variables["params"], "preprocessing": preprocessing}


@pytest.fixture(scope="session")
def vgg19_real() -> vgg19.Variables:
    """The published weights, where they lie in the checkpoints' folder already: tests download nothing."""
    if weights.find("vgg19") is None:
        pytest.skip("no VGG19 checkpoint is present; fetch it with: jpst weights fetch vgg19")
    return weights.load("vgg19").variables


@pytest.fixture(scope="session")
def photograph() -> Photograph:
    """photograph(height, width, seed=0): smooth sky, textured ground, sharp horizon, a disc; 8-bit values."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
        high, low, ground, disc = rng.uniform(0.15, 0.85, (4, 3))
        sky = high + (low - high) * y[..., None] + 0.1 * x[..., None]
        texture = 0.12 * np.sin(40 * x + 7 * y)[..., None] + rng.normal(0, 0.04, (height, width, 3))
        image = np.where((y > 0.55 + 0.1 * x)[..., None], ground + texture, sky)
        image = np.where(((y - 0.35) ** 2 + (x - 0.6) ** 2 < 0.03)[..., None], disc, image)
        return (np.round(255 * image.clip(0.02, 0.98)) / 255).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def soft_masks() -> Masks:
    """soft_masks(height, width, seed=0): three regions [3, H, W] with soft borders, summing to one."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
        tilt = np.random.default_rng(seed).uniform(-0.2, 0.2)
        logits = 25 * np.stack([0.4 - y + tilt * x, 0.3 * x - 0.15, y - 0.6 + tilt * x])
        exponentials = np.exp(logits - logits.max(0))
        return (exponentials / exponentials.sum(0)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def scene_head_tiny() -> weights.Loaded:
    """A scene head with random numbers that takes the features of `vgg19_tiny`."""
    variables = scene_head.init(jax.random.key(31), 8)
    return weights.Loaded(dict(variables), weights.Provenance("tiny-scene-head", "1" * 64))


@pytest.fixture
def narrow_scene_head(scene_head_tiny, monkeypatch):
    """Regions are named by a narrow scene head, whatever lies in the package."""
    monkeypatch.setattr("jpst.regions.labelling._scene_head", lambda: scene_head_tiny)


@pytest.fixture
def narrow_network(vgg19_tiny, narrow_scene_head, monkeypatch):
    """Commands run with a narrow VGG19 and scene head: they load and download no real weights, and leave alone where
    this process keeps its compilations."""
    from jpst.weights import downloads

    loaded = weights.Loaded(vgg19_tiny, weights.Provenance("tiny", "0" * 64))
    monkeypatch.setattr(weights, "load", lambda network, path=None: loaded)
    monkeypatch.setattr(weights, "find", lambda network: object() if network == "vgg19" else None)
    monkeypatch.setattr(downloads, "fetch", lambda *_, **__: pytest.fail("a download was started"))
    monkeypatch.setattr("jpst.caching.enable", lambda: None)


@pytest.fixture
def folder(tmp_path, photograph):
    """A folder with content.png and style.jpg and nothing else."""
    from jpst import image

    image.write(tmp_path / "content.png", photograph(60, 80))
    image.write(tmp_path / "style.jpg", photograph(48, 64, seed=1))
    return tmp_path


@pytest.fixture
def ctrl_c_in_the_second_step(monkeypatch):
    """Somebody presses Ctrl-C when one step of a transfer is done."""
    from jpst import chunks

    real = chunks.transfer

    def interrupted(state, *arguments, **options):
        if int(state.step) == 1:
            raise KeyboardInterrupt
        return real(state, *arguments, **options)

    monkeypatch.setattr(chunks, "transfer", interrupted)


@pytest.fixture
def jpst(folder, narrow_network, monkeypatch, capsys):
    """jpst(*arguments) runs in that folder -> (exit status, what was printed, names of the new files).

    What was printed to standard error alone is jpst.errors.
    """
    from jpst import cli

    monkeypatch.chdir(folder)

    def run(*arguments):
        before = {path.name for path in folder.iterdir()}
        try:
            cli.main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as exit:
            if isinstance(exit.code, str):  # Python prints it and exits with 1
                print(exit.code, file=sys.stderr)
            status = 1 if isinstance(exit.code, str) else exit.code or 0
        captured = capsys.readouterr()
        run.errors = captured.err
        return status, captured.out + captured.err, {path.name for path in folder.iterdir()} - before

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A Chromium without a window, driven by playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared/` beside the checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: its golden files and photographs come with the project, not with the code")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """golden(name): the arrays of shared/golden/NAME.npz, values that the reference's functions returned."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = shared / "golden" / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"{path} is absent")
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    return load


_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _seconds, **_: _compiled.append(event) if event.endswith("backend_compile_duration") else None
)


@pytest.fixture
def no_compilation() -> Callable[[], AbstractContextManager[None]]:
    """`with no_compilation():` fails if XLA compiled anything inside."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = len(_compiled)
        yield
        assert len(_compiled) == before, f"{len(_compiled) - before} compilations where none was allowed"

    return watch
