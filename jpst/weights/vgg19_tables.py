"""How published files of VGG19 name and lay out its tensors, and what images they were trained on."""

import re
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jpst.models.scaling import CAFFE, IMAGENET
from jpst.models.vgg19 import CHANNELS, CONVOLUTIONS
from jpst.weights.readers import CheckpointError, Tensors
from jpst.weights.tables import OIHW, Preprocessing, Rule, Table

_CAFFE, _TORCH = Preprocessing("BGR", *CAFFE), Preprocessing("RGB", *IMAGENET)

_FIRST_KERNEL = "params/conv1_1/kernel"

_KERNEL_AND_BIAS = (("weight", "kernel"), ("bias", "bias"))
_TORCH_INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
_TORCH_RULES = tuple(
    Rule(
        rf"(?:state_dict\.|module\.)*features\.{index}\.{theirs}",
        f"params/{name}/{ours}",
        OIHW if ours == "kernel" else None,
    )
    for index, name in zip(_TORCH_INDICES, CONVOLUTIONS, strict=True)
    for theirs, ours in _KERNEL_AND_BIAS
)
_TORCH_IGNORED = r".*(classifier|pre_logits|head)\..*"
# The first numbers of conv1_1's bias in Oxford's original weights.
_CAFFE_BIAS = (0.7301776, 0.06493629, 0.03428847, 0.8260386)


def _expand_codebook(tensors: Tensors) -> Tensors:
    """Replaces the indices `X_q` by their values in `X_table`. Other indices stay, for `merge` to refuse."""
    expanded: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("_q") and tensor.ndim == 4 and tensor.size <= _LARGEST_KERNEL:
            table = tensors.get(f"{name[:-2]}_table", np.empty(0, np.float32))
            if tensor.dtype.kind != "u" or table.ndim != 1 or tensor.max(initial=0) >= len(table):
                raise CheckpointError(
                    f"{name}: got indices beyond its table of {table.size} values; the file is damaged."
                )
            expanded[name] = table[tensor]
        elif not name.endswith("_table"):
            expanded[name] = tensor
    return expanded


_LARGEST_KERNEL = 9 * CHANNELS[-1] ** 2


def _from_caffe(tensors: Tensors) -> bool:
    """Whether a file with torchvision's names holds the Caffe numbers, which want the Caffe preprocessing.

    jcjohnson's conversion numbers the classifier as old torchvision did; a copy that was saved again may not,
    but still has Oxford's biases.
    """
    if any(name.endswith("classifier.1.weight") for name in tensors):
        return True
    biases = [tensor for name, tensor in tensors.items() if name.endswith("features.0.bias")]
    biases = [bias for bias in biases if bias.ndim == 1 and jnp.issubdtype(bias.dtype, jnp.floating)]
    return any(len(bias) >= 4 and np.allclose(bias[:4], _CAFFE_BIAS, atol=1e-3) for bias in biases)


# Keras 3 at first wrote no names of layers, but counted those of a class.
_NUMBERED = r"(?:.*/)?layers/conv2d(?:_(\d+))?"


def _numbered(kind: str) -> Callable[[re.Match[str]], str]:
    names = dict(enumerate(CONVOLUTIONS))
    return lambda found: f"params/{names[i]}/{kind}" if (i := int(found[1] or 0)) in names else found[0]


TABLES = (
    Table(
        "codebook",
        prepare=_expand_codebook,
        rules=(
            Rule(r"block(\d)_conv(\d)_W_q", r"params/conv\1_\2/kernel", OIHW),
            Rule(r"block(\d)_conv(\d)_b", r"params/conv\1_\2/bias"),
        ),
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "Keras",
        rules=(
            Rule(r".*/block(\d)_conv(\d)(?:_W_\d+|_W|/kernel)(?::0)?", r"params/conv\1_\2/kernel"),
            Rule(r".*/block(\d)_conv(\d)(?:_b_\d+|_b|/bias)(?::0)?", r"params/conv\1_\2/bias"),
            Rule(r"block(\d)_conv(\d)/vars/0", r"params/conv\1_\2/kernel"),
            Rule(r"block(\d)_conv(\d)/vars/1", r"params/conv\1_\2/bias"),
            Rule(rf"{_NUMBERED}/vars/0", _numbered("kernel")),
            Rule(rf"{_NUMBERED}/vars/1", _numbered("bias")),
        ),
        ignore=r"(?:.*/)?(fc\d|predictions|dense.*)/.*",
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "tensorpack",
        rules=(Rule(r"(conv\d_\d)/W", r"params/\1/kernel"), Rule(r"(conv\d_\d)/b", r"params/\1/bias")),
        ignore=r"fc\d/.*",
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
    ),
    Table(
        "PyTorch (Caffe numbers)",
        rules=_TORCH_RULES,
        ignore=_TORCH_IGNORED,
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
        when=_from_caffe,
    ),
    Table(
        "PyTorch (torchvision)",
        rules=_TORCH_RULES,
        ignore=_TORCH_IGNORED,
        preprocessing=_TORCH,
        first_kernel=_FIRST_KERNEL,
    ),
)
