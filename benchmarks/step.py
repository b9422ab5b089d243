"""One step of a transfer, the objective's value and gradient, against PyTorch (channels last) doing the same.

    python benchmarks/step.py [--sizes 256 512 768] [--regions 1 4 10] [--tf32]

The objective is the preset "balanced": VGG19 to relu5_1 (random kernels of the real sizes), Grams of five layers per
region, content, the matting Laplacian at four sizes, edges, clipping. Loss and gradient of both are compared before any
time is printed; times are medians of interleaved runs.

The roofline's parts: "share" is of the speed of a large matrix product, with the operations that the convolutions take
as sums, so that Winograd's way can pass 100 %; "idle" is the part of the processors' time that our step leaves unused;
"GB" is what the step's operations read and write in all, caches included, as XLA counts it.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from timing import busy, interleaved
from torch_objective import Torch

from jpst import preparation, total
from jpst.estimate import work_per_pixel
from jpst.loading import in_fastest_form
from jpst.models import vgg19
from jpst.models.scaling import CAFFE
from jpst.presets import preset
from jpst.total import Networks

RECIPE, HYPER = preset("balanced")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Time one step of ours and of PyTorch's."""

    sizes: tuple[int, ...] = (256, 512, 768)
    regions: tuple[int, ...] = (1, 4, 10)
    repeats: int = 5
    tf32: bool = False
    """let both round a GPU's factors to ten bits, as JAX does by default"""


def picture(size: int, seed: int) -> jax.Array:
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(0.1, 0.7, (size // 8, size // 8, 3)).repeat(8, 0).repeat(8, 1)
    return jnp.asarray(blocks + 0.2 * rng.uniform(size=(size, size, 3)), jnp.float32)


def cells(count: int, size: int, seed: int) -> jax.Array:
    """Hard masks [count, size, size]: which of some random points is nearest."""
    points = np.random.default_rng(seed).uniform(0, size, (count, 2))
    y, x = np.mgrid[:size, :size]
    nearest = np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0)
    return jnp.asarray(nearest[None] == np.arange(count)[:, None, None], jnp.float32)


def matrix_product_speed() -> float:
    """Operations a second of a 2048 x 2048 product in float32, the best of five."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    return 2 * 2048**3 / min(interleaved({"": lambda: product(a, a)}, 1)[""] for _ in range(5))


def compare(size: int, regions: int, variables: vgg19.Variables, repeats: int, tolerance: float) -> None:
    """One row of the table, and the compiled step's seconds to compile."""
    hyper = jax.tree.map(jnp.float32, HYPER)
    networks = Networks(in_fastest_form(variables, RECIPE))
    own, other = (cells(regions, size, seed) for seed in (0, 1))
    targets = preparation.prepare(picture(size, 0), picture(size, 1), own, other, networks, recipe=RECIPE)
    image = picture(size, 2)  # away from the targets: next to them the gradient is the difference of equals
    step = jax.jit(jax.value_and_grad(total.objective, has_aux=True))
    started = time.perf_counter()
    compiled = step.lower(image, targets, hyper, networks).compile()
    compilation = time.perf_counter() - started
    theirs = Torch(variables, targets, HYPER)
    (ours, _), slope = compiled(image, targets, hyper, networks)
    expected, expected_slope = theirs.step(np.asarray(image))
    apart = abs(float(ours) / expected - 1), np.linalg.norm(slope - expected_slope) / np.linalg.norm(expected_slope)
    assert max(apart) < tolerance, f"loss and gradient differ from PyTorch's by {apart[0]:.1e} and {apart[1]:.1e}"
    seconds = interleaved(
        {
            "ours": lambda: compiled(image, targets, hyper, networks),
            "torch": lambda: theirs.step(np.asarray(image)),
        },
        repeats,
    )
    idle = 1 - busy(lambda: compiled(image, targets, hyper, networks), repeats)
    moved = (compiled.cost_analysis() or {}).get("bytes accessed", np.nan) / 1e9
    operations = 2 * size**2 * work_per_pixel(RECIPE.content_layers + RECIPE.style_layers)[1]
    share = operations / seconds["ours"] / matrix_product_speed()
    print(
        f"{size:5} {regions:8} {seconds['ours']:8.2f} {seconds['torch']:8.2f} "
        f"{seconds['ours'] / seconds['torch']:7.2f} {share:6.0%} {idle:5.0%} {moved:5.1f} "
        f"{compilation:10.1f}   "
        f"{apart[0]:.0e} / {apart[1]:.0e}",
        flush=True,
    )


def main() -> None:
    arguments = tyro.cli(Arguments)
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if arguments.tf32 else "float32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.tf32
    device = jax.devices()[0].device_kind
    print(f"{device}, {torch.get_num_threads()} threads; JAX {jax.__version__}, PyTorch {torch.__version__}")
    print(f"a matrix product runs {matrix_product_speed() / 1e9:.0f} billion operations a second")
    print(" size  regions  ours, s  torch, s   ratio  share  idle    GB  compile, s  loss / gradient apart")
    variables = vgg19.init(jax.random.key(0))
    variables = {
        **variables,
        "preprocessing": {name: jnp.asarray(value) for name, value in CAFFE._asdict().items()},
    }
    for size in arguments.sizes:
        for regions in arguments.regions:
            compare(size, regions, variables, arguments.repeats, 1e-2 if arguments.tf32 else 1e-3)


if __name__ == "__main__":
    main()
