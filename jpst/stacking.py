"""Several pairs, or settings, as one: for a `jax.vmap` over them, on one device or spread over several."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jpst.errors import JpstError
from jpst.losses import Targets
from jpst.optimise import State

Stacked = TypeVar("Stacked", Targets, State)


def stack(trees: Sequence[Stacked]) -> Stacked:
    """The targets, or the states, of several pairs as one, for a `jax.vmap` of `transfer` over pairs.

    Pairs must have one working size and one number of regions: masks of nothing make up the number. Grams are gathered
    region by region (see `Recipe.grams`) only where that takes the same form for all.

    Raises:
      JpstError: they differ in form; it says where.
    """
    if not trees:
        raise JpstError("There is nothing to stack. Give the targets of one pair or more.")
    trees = _of_one_form(trees)
    paths, first = jax.tree_util.tree_flatten_with_path(trees[0])
    for number, tree in enumerate(trees[1:], 1):
        leaves, form = jax.tree_util.tree_flatten_with_path(tree)
        if form != first:
            raise JpstError(f"Number {number} to be stacked is of another form than number 0: use one recipe for all.")
        for (path, leaf), (_, expected) in zip(leaves, paths, strict=True):
            if jnp.shape(leaf) != jnp.shape(expected):
                raise JpstError(
                    f"Number {number} to be stacked has the shape {jnp.shape(leaf)} at {jax.tree_util.keystr(path)}, "
                    f"and number 0 {jnp.shape(expected)}: expected is one working size and number of regions for all."
                )
    return jax.tree.map(_joined, *trees, is_leaf=lambda leaf: isinstance(leaf, BCOO))


def spread(stacked: Any, shared: Any) -> tuple[Any, Any]:
    """Arrays for a program that runs on all local devices: `stacked` cut along its first axis, `shared` on each.

    Left as they are where there is one device, or where the first axis cannot be shared out evenly.
    """
    devices = jax.local_devices()
    if len(devices) == 1 or any(leaf.shape[0] % len(devices) for leaf in jax.tree.leaves(stacked)):
        return stacked, shared
    mesh = Mesh(np.array(devices), ("settings",))
    part, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("settings",), ()))
    return jax.device_put(stacked, part), jax.device_put(shared, whole)


def _joined(*leaves: Any) -> Any:
    first = leaves[0]
    if not isinstance(first, BCOO):
        return jnp.stack(leaves)
    parts = jnp.stack([leaf.data for leaf in leaves]), jnp.stack([leaf.indices for leaf in leaves])
    flags = {"indices_sorted": first.indices_sorted, "unique_indices": first.unique_indices}
    return BCOO(parts, shape=(len(leaves), *first.shape), **flags)  # a batch of them, as vmap wants it


def _of_one_form(trees: Sequence[Any]) -> list[Any]:
    """Targets without the lists of pixels and regions at those layers where their form depends on the pair."""
    if not all(isinstance(tree, Targets) for tree in trees):
        return list(trees)
    styles = [dict(tree.style) for tree in trees]
    for name in set.intersection(*map(set, styles)):
        forms = {str(jax.tree.map(jnp.shape, style[name].pairs)) for style in styles}
        if len(forms) > 1:
            for style in styles:
                style[name] = style[name]._replace(pairs=None)
    return [tree._replace(style=style) for tree, style in zip(trees, styles, strict=True)]
