"""The matting Laplacian: building and applying it, against pymatting and SciPy.

    python benchmarks/laplacian.py [--megapixels 0.25 1]

Both build from the same random blocks; the matrices are compared entry by entry before any time is printed. Times are
medians of interleaved runs: on a machine with other work, compare the columns and not two calls.
"""

import dataclasses
import os
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pymatting
import tyro
from timing import interleaved

from jpst import matting

EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare our matting Laplacian with pymatting's."""

    megapixels: tuple[float, ...] = (0.25, 1.0)
    repeats: int = 5


def picture(side: int) -> np.ndarray:
    """Blocks of colour with noise on them, float32 [side, side, 3]."""
    rng = np.random.default_rng(0)
    blocks = rng.uniform(0, 0.8, (-(-side // 8), -(-side // 8), 3)).repeat(8, 0).repeat(8, 1)[:side, :side]
    return (blocks + 0.2 * rng.uniform(size=(side, side, 3))).astype(np.float32)


def compare(side: int, repeats: int) -> None:
    image = picture(side)
    exact = image.astype(np.float64)
    entries = matting.stencil(image, EPSILON)
    theirs = pymatting.cf_laplacian(exact, epsilon=EPSILON, radius=1)
    ours = matting.bcoo(entries)
    indices = np.asarray(ours.indices)
    apart = np.abs(np.asarray(ours.data) - np.asarray(theirs[indices[:, 0], indices[:, 1]]).ravel()).max()
    assert apart < 1e-7 * np.abs(theirs.data).max(), f"the matrices differ by {apart:g}"
    value = picture(side)[::-1]
    flat, on_device, operator = value.reshape(-1, 3), jnp.asarray(value), jnp.asarray(entries)
    slope = jax.jit(jax.grad(matting.energy, argnums=1))
    expected = 2 * (theirs @ flat).reshape(value.shape)
    apart = np.abs(slope(operator, on_device) - expected).max()
    assert apart < 1e-4 * np.abs(expected).max(), f"the gradients differ by {apart:g}"
    theirs = theirs.astype(np.float32).tocsr()
    times = interleaved(
        {
            "build": lambda: matting.stencil(image, EPSILON),
            "pymatting's build": lambda: pymatting.cf_laplacian(exact, epsilon=EPSILON, radius=1),
            "gradient of the energy, stencil": lambda: slope(operator, on_device),
            "SciPy's 2 L v": lambda: 2 * (theirs @ flat),
        },
        repeats,
    )
    print(f"{side} x {side}:", "   ".join(f"{name} {1e3 * taken:.1f} ms" for name, taken in times.items()), flush=True)


def main() -> None:
    arguments = tyro.cli(Arguments)
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}; JAX {jax.__version__}")
    for megapixels in arguments.megapixels:
        compare(round((megapixels * 2**20) ** 0.5), arguments.repeats)


if __name__ == "__main__":
    main()
