"""The networks with published weights: the shapes of their variables, and how their files name them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jpst.models import deeplab, nima, pspnet, vgg19
from jpst.weights import deeplab_tables, nima_tables, pspnet_tables, vgg19_tables
from jpst.weights.readers import CheckpointError, Tensors
from jpst.weights.tables import Table


class Network(NamedTuple):
    """What is needed to load a network's weights."""

    tables: tuple[Table, ...]
    template_of: Callable[[Tensors], Mapping[str, Any]]
    """from tensors under our own paths to the shapes and types of the variables"""


NETWORKS = {
    "vgg19": Network(vgg19_tables.TABLES, lambda _: vgg19.template()),
    "pspnet": Network(pspnet_tables.TABLES, lambda found: pspnet.template_of(found)),
    "deeplab": Network(deeplab_tables.TABLES, lambda found: deeplab.template_of(found)),
    "nima": Network(nima_tables.TABLES, lambda found: nima.template_of(found)),
}


def network(name: str) -> Network:
    """A network by its name; raises CheckpointError listing the known names."""
    if name not in NETWORKS:
        raise CheckpointError(f"there is no network {name!r}; known are {', '.join(NETWORKS)}.")
    return NETWORKS[name]
