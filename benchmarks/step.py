"""One step of a transfer, the objective's value and gradient, against PyTorch (channels last) doing the same.

    python benchmarks/step.py [--sizes 256 512 768] [--regions 1 4 10]

The objective is the preset "balanced": VGG19 to relu5_1 (random kernels of the real sizes), Grams of five layers per
region, content, matting Laplacian, clipping. Loss and gradient of both are compared before any time is printed; times
are medians of interleaved runs. "share" is of the speed of a large matrix product, with the operations that the
convolutions take as sums: Winograd's way can pass 100 %.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro

from jpst import optimise
from jpst.estimate import work_per_pixel
from jpst.losses import Targets
from jpst.models import vgg19
from jpst.optimise import Networks
from jpst.recipe import Hyperparameters, Recipe

RECIPE, HYPER = Recipe.preset("balanced"), Hyperparameters.preset("balanced")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Time one step of ours and of PyTorch's."""

    sizes: tuple[int, ...] = (256, 512, 768)
    regions: tuple[int, ...] = (1, 4, 10)
    repeats: int = 5


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


class Torch:
    """The same objective, with the same targets, in PyTorch."""

    def __init__(self, variables: vgg19.Variables, targets: Targets) -> None:
        def tensor(x: Any) -> torch.Tensor:
            return torch.tensor(np.asarray(x))

        self.scale, self.offset = (tensor(variables["preprocessing"][name]) for name in ("scale", "offset"))
        self.kernels = {
            name: (
                tensor(layer["kernel"]).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
                tensor(layer["bias"]),
            )
            for name, layer in variables["params"].items()
        }
        self.content = {name: (tensor(t.features), float(t.weight)) for name, t in targets.content.items()}
        self.style = {name: (tensor(t.masks), tensor(t.grams), tensor(t.weights)) for name, t in targets.style.items()}
        self.stencil, self.laplacian_weight = tensor(targets.laplacian), float(targets.laplacian_weight)

    def features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        layers = (*self.content, *self.style)
        found = {}
        x = (image * self.scale + self.offset).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        for name in vgg19.convolutions_to(layers):
            if name.endswith("_1") and name != "conv1_1":
                x = torch.nn.functional.max_pool2d(x, 2)
            kernel, bias = self.kernels[name]
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))  # pyright: ignore
            found[name.replace("conv", "relu")] = x[0].permute(1, 2, 0)
        return {name: found[name] for name in layers}

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        features = self.features(image)
        content = sum(w * ((features[name] - want) ** 2).mean() for name, (want, w) in self.content.items())
        style = torch.zeros(())
        for name, (masks, wanted, weights) in self.style.items():
            flat = features[name].reshape(-1, features[name].shape[-1])
            for mask, want, weight in zip(masks, wanted, weights, strict=True):
                x = flat * mask.reshape(-1, 1)
                style = style + weight * ((x.T @ x - want) ** 2).mean()
        outside = ((255 * (image - image.clamp(0, 1))) ** 2).mean()
        return (
            HYPER.content_weight * content
            + HYPER.style_weight * style
            + HYPER.regularization_weight * self.laplacian_weight * self.energy(image)
            + HYPER.clipping_weight * outside
        )

    def energy(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[:2]
        padded = torch.nn.functional.pad(image.permute(2, 0, 1)[None], (2, 2, 2, 2), mode="replicate")[0]
        total = torch.zeros(())
        for y in range(5):
            for x in range(5):
                apart = padded[:, y : y + height, x : x + width] - image.permute(2, 0, 1)
                total = total - 0.5 * (self.stencil[y, x] * apart**2).sum()
        return total

    def step(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(image).requires_grad_()
        loss = self.loss(leaf)
        loss.backward()
        assert leaf.grad is not None
        return float(loss.detach()), leaf.grad.numpy()


def interleaved(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(taken[1:])) for name, taken in seconds.items()}


def matrix_product_speed() -> float:
    """Operations a second of a 2048 x 2048 product in float32, the best of five."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    return 2 * 2048**3 / min(interleaved({"": lambda: product(a, a)}, 1)[""] for _ in range(5))


def compare(size: int, regions: int, variables: vgg19.Variables, repeats: int) -> None:
    """One row of the table, and the compiled step's seconds to compile."""
    hyper = jax.tree.map(jnp.float32, HYPER)
    networks = Networks(vgg19.accelerate(variables))
    own, other = (cells(regions, size, seed) for seed in (0, 1))
    targets = optimise.prepare(picture(size, 0), picture(size, 1), own, other, networks, recipe=RECIPE)
    image = picture(size, 2)  # away from the targets: next to them the gradient is the difference of equals
    step = jax.jit(jax.value_and_grad(optimise.objective, has_aux=True))
    started = time.perf_counter()
    compiled = step.lower(image, targets, hyper, networks).compile()
    compilation = time.perf_counter() - started
    theirs = Torch(variables, targets)
    (ours, _), slope = compiled(image, targets, hyper, networks)
    expected, expected_slope = theirs.step(np.asarray(image))
    apart = abs(float(ours) / expected - 1), np.linalg.norm(slope - expected_slope) / np.linalg.norm(expected_slope)
    assert max(apart) < 1e-3, f"loss and gradient differ from PyTorch's by {apart[0]:.1e} and {apart[1]:.1e}"
    seconds = interleaved(
        {
            "ours": lambda: compiled(image, targets, hyper, networks),
            "torch": lambda: theirs.step(np.asarray(image)),
        },
        repeats,
    )
    operations = 2 * size**2 * work_per_pixel(RECIPE.content_layers + RECIPE.style_layers)[1]
    share = operations / seconds["ours"] / matrix_product_speed()
    print(
        f"{size:5} {regions:8} {seconds['ours']:8.2f} {seconds['torch']:8.2f} "
        f"{seconds['ours'] / seconds['torch']:7.2f} {share:6.0%} {compilation:9.1f}   "
        f"{apart[0]:.0e} / {apart[1]:.0e}",
        flush=True,
    )


def main() -> None:
    arguments = tyro.cli(Arguments)
    device = jax.devices()[0].device_kind
    print(f"{device}, {torch.get_num_threads()} threads; JAX {jax.__version__}, PyTorch {torch.__version__}")
    print(f"a matrix product runs {matrix_product_speed() / 1e9:.0f} billion operations a second")
    print(" size  regions  ours, s  torch, s   ratio  share  compile, s  loss / gradient apart")
    variables = vgg19.init(jax.random.key(0))
    variables = {
        **variables,
        "preprocessing": {"scale": jnp.full(3, 255.0), "offset": -jnp.asarray([123.68, 116.779, 103.939])},
    }
    for size in arguments.sizes:
        for regions in arguments.regions:
            compare(size, regions, variables, arguments.repeats)


if __name__ == "__main__":
    main()
