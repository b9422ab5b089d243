"""Gram matrices of features under the masks of regions.

`dense` multiplies all features by every mask, so its cost grows with the number of regions R. But regions overlap in
few pixels only, those on their edges. So `gather` lists on the host the pairs (pixel, region) whose mask is not zero,
region by region in blocks of equal length, and `of_pairs` computes one small product per block. The sum is the same, at
little more than the cost of a single region.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

LEAST_BLOCK = 128  # with shorter blocks, writing the Grams costs more than computing them
BLOCKS = 64
SHARES = (0.2, 1.2)
"""capacities of the lists for a map of `SHARES_AT` pixels: extra pairs beyond one per pixel, as a share of the pixels.
Few capacities, so that a compiled step serves other masks too. On coarser maps regions overlap in a larger share, with
the exponent `SHARES_POWER`. The first is enough for the soft masks of 23 of the 24 public pairs of Deep Photo Style
Transfer, the second where one region is measured everywhere beside the others."""
SHARES_AT, SHARES_POWER = 25_000, 0.3
SHARED_BY = (1, 4, 8)
"""capacities for the number of regions that share one pixel"""


class Pairs(NamedTuple):
    """Pairs (pixel, region) with a mask above zero, in n blocks of b rows; each block belongs to one region."""

    pixels: Int[Array, "n b"]
    """indices into the h w pixels, row-major"""
    weights: Float[Array, "n b"]
    """value of the mask; 0 in unused rows of a block"""
    regions: Int[Array, " n"]
    rows: Int[Array, "p k"]
    """for each pixel the rows that hold it; the index n b means none"""


def dense(features: Float[Array, "h w c"], masks: Float[Array, "r h w"]) -> Float[Array, "r c c"]:
    """(F m_k)^T (F m_k) for every mask m_k, F being the features as [h w, c]."""
    flat = features.reshape(-1, features.shape[-1])
    return jnp.stack([_self_product(flat * mask.reshape(-1, 1)) for mask in masks])


@jax.custom_jvp
def _self_product(x: Float[Array, "n c"]) -> Float[Array, "c c"]:
    """x^T x."""
    return jnp.matmul(x.T, x, precision="highest")


@_self_product.defjvp
def _self_product_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """x^T dx plus its transpose: one product, where autodiff, which does not use the symmetry, would need two."""
    ((x,), (dx,)) = primals, tangents
    half = jnp.matmul(x.T, dx, precision="highest")
    return _self_product(x), half + half.T


def gather(masks: Float[np.ndarray, "r h w"]) -> Pairs | None:
    """Lists the pairs of concrete masks; None if they overlap so much that `dense` is as cheap."""
    count, size = len(masks), masks[0].size
    block = max(LEAST_BLOCK, -(-size // BLOCKS))
    flat = masks.reshape(count, size)
    present = [np.flatnonzero(mask) for mask in flat]
    needed = sum(-(-len(pixels) // block) for pixels in present)
    capacities = (1 + share * (SHARES_AT / size) ** SHARES_POWER for share in SHARES)
    room = (-(-int(capacity * size) // block) + count for capacity in capacities)
    blocks = next((blocks for blocks in room if blocks >= needed), None)
    most = int((flat != 0).sum(0).max())
    shared = next((shared for shared in SHARED_BY if shared >= most), None)
    if blocks is None or shared is None or blocks * block >= count * size:
        return None
    return _listed(flat, present, blocks, block, shared)


def _listed(flat: np.ndarray, present: list[np.ndarray], blocks: int, block: int, shared: int) -> Pairs:
    pixels = np.zeros((blocks, block), np.int32)
    weights = np.zeros((blocks, block), np.float32)
    regions = np.zeros(blocks, np.int32)
    rows = np.full((flat.shape[1], shared), blocks * block, np.int32)
    used = np.zeros(flat.shape[1], np.int32)
    start = 0
    for region, found in enumerate(present):
        stop = start + -(-len(found) // block)
        places = np.arange(start * block, start * block + len(found), dtype=np.int32)
        pixels.reshape(-1)[places] = found
        weights.reshape(-1)[places] = flat[region, found]
        regions[start:stop] = region
        rows[found, used[found]] = places
        used[found] += 1
        start = stop
    return Pairs(*map(jax.device_put, (pixels, weights, regions, rows)))


def of_pairs(features: Float[Array, "h w c"], pairs: Pairs, regions: int) -> Float[Array, "r c c"]:
    """`dense` for the masks from which `pairs` were gathered; `regions` is their number."""
    owners = jax.nn.one_hot(pairs.regions, regions, axis=0)
    return _of_pairs(features, pairs, owners)


@jax.custom_vjp
def _of_pairs(features: Array, pairs: Pairs, owners: Array) -> Array:
    x = _weighted(features, pairs)
    products = jnp.einsum("nbc,nbd->ncd", x, x, precision="highest")
    return jnp.tensordot(owners, products, 1, precision="highest")


def _weighted(features: Array, pairs: Pairs) -> Array:
    return features.reshape(-1, features.shape[-1])[pairs.pixels] * pairs.weights[..., None]


def _of_pairs_forward(features: Array, pairs: Pairs, owners: Array):
    return _of_pairs(features, pairs, owners), (features, pairs, owners)


def _of_pairs_backward(saved: tuple[Array, Pairs, Array], gradient: Array):
    """The gradient with respect to the features only: masks are fixed."""
    features, pairs, _ = saved
    both = gradient + jnp.swapaxes(gradient, 1, 2)
    by_row = jnp.einsum("nbc,ncd->nbd", _weighted(features, pairs), both[pairs.regions], precision="highest")
    by_row = (by_row * pairs.weights[..., None]).reshape(-1, features.shape[-1])
    by_row = jnp.concatenate([by_row, jnp.zeros_like(by_row[:1])])
    # Each pixel gathers from its rows: a scatter-add over pixels would run on one thread.
    by_pixel = sum(by_row[rows] for rows in pairs.rows.T)
    return jnp.reshape(jnp.asarray(by_pixel), features.shape), None, None


_of_pairs.defvjp(_of_pairs_forward, _of_pairs_backward)
