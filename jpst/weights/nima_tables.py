"""How published NIMA checkpoints name, lay out and preprocess their tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np

from jpst.models import mobilenet, vgg16
from jpst.models.inception_resnet_v2 import NORMALISED
from jpst.models.scaling import IMAGENET, SYMMETRIC
from jpst.weights.readers import Tensors
from jpst.weights.tables import OIHW, Preprocessing, Rule, Table

_SYMMETRIC, _IMAGENET = Preprocessing("RGB", *SYMMETRIC), Preprocessing("RGB", *IMAGENET)

# Keras' names of a batch normalisation's numbers, and PyTorch's, -> ours.
_KERAS_STATISTICS = {
    "gamma": "params/{}/scale",
    "beta": "params/{}/bias",
    "moving_mean": "batch_stats/{}/mean",
    "moving_variance": "batch_stats/{}/var",
}
_TORCH_STATISTICS = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "batch_stats/{}/mean",
    "running_var": "batch_stats/{}/var",
}


def _keras(layer: str, kind: str) -> str:
    """A pattern for `LAYER/.../KIND:0`, from a training that kept each layer's weights in a group of its name.

    That group lies in another where the network is part of a larger model.
    """
    return rf"(?:.*/)?(?:{layer})/(?:.*/)?(?:{kind})(?::\d+)?"


# By these Keras 3's files are known, before `_spelled` names the others.
_KERAS_DENSE = (
    Rule(_keras(r"dense(?:_\d+)?", "kernel|vars/0"), "params/classifier/kernel"),
    Rule(_keras(r"dense(?:_\d+)?", "bias|vars/1"), "params/classifier/bias"),
)


def _keras_statistics(layer: str, name: str) -> tuple[Rule, ...]:
    """Rules for a batch normalisation; `name` is ours, a template for the groups of `layer`."""
    return tuple(Rule(_keras(layer, kind), path.format(name)) for kind, path in _KERAS_STATISTICS.items())


def _spelled(tensors: Tensors) -> Tensors:
    """Keras 3's `LAYER/vars/N` under the kinds of variables; a normalisation without gamma has three."""
    found = {name: match for name in tensors if (match := re.fullmatch(r"([^/]+)/vars/(\d+)", name))}
    counts = Counter(match[1] for match in found.values())
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if match := found.get(name):
            normalised = re.search(r"_bn$|batch_normalization", match[1])
            kinds = [*_KERAS_STATISTICS][-counts[match[1]] :] if normalised else ["kernel", "bias"]
            name = f"{match[1]}/{dict(enumerate(kinds)).get(int(match[2]), match[2])}"
        renamed[name] = tensor
    return renamed


# ---- Inception-ResNet-v2


def _ranked(tensors: Tensors) -> Tensors:
    """Numbered layers under the paths of ours, and a gamma of 1, which Keras' network leaves out, where none is."""
    renamed = tensors = _spelled(tensors)
    for layer, part, first_kind in (("conv2d", "conv", "kernel"), ("batch_normalization", "bn", "beta")):
        pattern = re.compile(rf"(?:.*/)?{layer}(?:_(\d+))?/(?:.*/)?(\w+?)(?::\d+)?")
        found = {name: match for name in tensors if (match := pattern.fullmatch(name))}
        sizes = {int(m[1] or 0): tensors[name].shape[-1:] for name, m in found.items() if m[2] == first_kind}
        paths = _paths(sizes)
        for name, match in found.items():
            if path := paths.get(int(match[1] or 0)):
                renamed[f"{path}/{part}/{match[2]}"] = renamed.pop(name)
    if not any(name.endswith(("gamma", "gamma:0")) for name in tensors):
        betas = {name: tensor for name, tensor in renamed.items() if re.search(r"\bbeta(:\d+)?$", name)}
        renamed |= {
            name.replace("beta", "gamma"): np.broadcast_to(np.float32(1), tensor.shape)
            for name, tensor in betas.items()
        }
    return renamed


_MOST_STARTS = 10_000


def _paths(sizes: dict[int, tuple[int, ...]]) -> dict[int, str]:
    """Number of a layer -> path of ours, for the output channels by number: by rank.

    Numbers follow the order of creation, from 0 (without a number) or 1 or, in a session that had built other
    networks, from anywhere. Where there are too many or too few, by distance from the start that fits most layers,
    so that the complaint names the right ones.
    """
    numbers = sorted(sizes)
    if len(numbers) == len(NORMALISED):
        return dict(zip(numbers, NORMALISED, strict=True))
    if not numbers:
        return {}
    ends = numbers[0], numbers[-1] - len(NORMALISED) + 1

    def fitting(start: int) -> int:
        return sum(sizes.get(start + i) == (channels,) for i, channels in enumerate(NORMALISED.values()))

    # A number may be anything; a session does not build thousands of networks.
    start = max(range(min(ends), min(max(ends), min(ends) + _MOST_STARTS) + 1), key=fitting)
    return dict(enumerate(NORMALISED, start))


_TIMM = r"(?:params\.|state_dict\.)?(?:module\.)*"
_TIMM_UNIT = rf"{_TIMM}base_model\.((?:conv2d|mixed|repeat|block8)[\w.]*?)"


def _timm(path: str) -> Callable[[re.Match[str]], str]:
    """`path` with the layer's own name: `repeat_1.3.branch1.0` -> `block17_3/branch1_0`."""

    def ours(match: re.Match[str]) -> str:
        name = re.sub(r"^repeat_2\.", "block8.", re.sub(r"^block8\b", "block8.9", match[1]))
        name = re.sub(r"^repeat\.", "block35.", re.sub(r"^repeat_1\.", "block17.", name))
        return path.format(re.sub(r"\.(\d+)", r"_\1", name).replace(".", "/"))

    return ours


_TORCH_DENSE = (
    Rule(rf"{_TIMM}classifier\.\d\.weight", "params/classifier/kernel", (1, 0)),
    Rule(rf"{_TIMM}classifier\.\d\.bias", "params/classifier/bias"),
)

_INCEPTION_KERAS = Table(
    "Inception-ResNet-v2 of Keras",
    prepare=_ranked,
    rules=(
        Rule(
            _keras(r"(block\d+)_(\d+)_conv", "(kernel|bias)"), lambda m: f"params/{m[1]}_{int(m[2]) - 1}/conv2d/{m[3]}"
        ),
        Rule(_keras("conv_7b", "kernel"), "params/conv2d_7b/conv/kernel"),
        *_keras_statistics("conv_7b_bn", "conv2d_7b/bn"),
        Rule(r"(.+)/conv/kernel", r"params/\1/conv/kernel"),
        *(Rule(rf"(.+/bn)/{kind}", path.format(r"\1")) for kind, path in _KERAS_STATISTICS.items()),
        *_KERAS_DENSE,
    ),
    preprocessing=_SYMMETRIC,
    first_kernel="params/conv2d_1a/conv/kernel",
    when=lambda tensors: any(re.search(r"(?:^|/)block\d+_\d+_conv/", name) for name in tensors),
)
_INCEPTION_TIMM = Table(
    "Inception-ResNet-v2 of timm",
    rules=(
        Rule(rf"{_TIMM_UNIT}\.conv\.weight", _timm("params/{}/conv/kernel"), OIHW),
        *(Rule(rf"{_TIMM_UNIT}\.bn\.{kind}", _timm(path.format("{}/bn"))) for kind, path in _TORCH_STATISTICS.items()),
        Rule(rf"{_TIMM_UNIT}\.conv2d\.weight", _timm("params/{}/conv2d/kernel"), OIHW),
        Rule(rf"{_TIMM_UNIT}\.conv2d\.bias", _timm("params/{}/conv2d/bias")),
        *_TORCH_DENSE,
    ),
    ignore=r".*\.num_batches_tracked",
    preprocessing=_SYMMETRIC,
    first_kernel="params/conv2d_1a/conv/kernel",
    when=lambda tensors: any("base_model.repeat" in name for name in tensors),
)

# ---- MobileNet

_COUNTED = {
    "conv2d": [name for name in mobilenet.CONVOLUTIONS if "dw" not in name],
    "depthwise_conv2d": [name for name in mobilenet.CONVOLUTIONS if "dw" in name],
    "batch_normalization": [f"{name}_bn" for name in mobilenet.CONVOLUTIONS],
}


def _named(tensors: Tensors) -> Tensors:
    """Layers of Keras 3 by name, also from its first files: those have none, but count the layers of a class."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(rf"(?:.*/)?layers/({'|'.join(_COUNTED)})(?:_(\d+))?/vars/(\d+)", name):
            layers = dict(enumerate(_COUNTED[match[1]]))
            name = f"{layers.get(int(match[2] or 0), match[0])}/vars/{match[3]}"
        renamed[name] = tensor
    return _spelled(renamed)


_MOBILENET_KERAS = Table(
    "MobileNet of Keras",
    prepare=_named,
    rules=(
        Rule(_keras(r"(conv1|conv_pw_\d+)", "kernel"), r"params/\1/kernel"),
        Rule(_keras(r"(conv_dw_\d+)", "(?:depthwise_)?kernel"), r"params/\1/kernel", (0, 1, 3, 2)),
        *_keras_statistics(r"(conv1_bn|conv_(?:dw|pw)_\d+_bn)", r"\1"),
        *_KERAS_DENSE,
    ),
    preprocessing=_SYMMETRIC,
    first_kernel="params/conv1/kernel",
    when=lambda tensors: any(re.search(r"(?:^|/)(?:conv_(dw|pw)_\d+|depthwise_conv2d)/", name) for name in tensors),
)


def _unfolded(tensors: Tensors) -> Tensors:
    """A file whose batch normalisations are part of its convolutions gets ones that only add the bias."""
    neutral = {"scale": 1.0, "mean": 0.0, "var": 1.0 - 1e-3}  # the network adds 1e-3 to each variance
    found = dict(tensors)
    for name, tensor in tensors.items():
        if match := re.fullmatch(_tflite("bias"), name):
            found |= {
                f"{match[1]}_bn/{kind}": np.broadcast_to(np.float32(value), tensor.shape)
                for kind, value in neutral.items()
            }
    return found


def _tflite(kind: str, layer: str = r"conv1|conv_(?:dw|pw)_\d+") -> str:
    """A pattern for what an operator holds whose output's name starts with that of the layer's activation."""
    return rf"(?:[^;]*/)?({layer})(?!\d)[^;]*(?:;.*)?/{kind}"


_MOBILENET_TFLITE = Table(
    "MobileNet in TensorFlow Lite",
    prepare=_unfolded,
    rules=(
        Rule(_tflite("weights", r"conv1|conv_pw_\d+"), r"params/\1/kernel", (1, 2, 3, 0)),
        Rule(_tflite("weights", r"conv_dw_\d+"), r"params/\1/kernel", (1, 2, 0, 3)),
        Rule(_tflite("bias"), r"params/\1_bn/bias"),
        Rule(r"(conv.*_bn)/scale", r"params/\1/scale"),
        Rule(r"(conv.*_bn)/(mean|var)", r"batch_stats/\1/\2"),
        Rule(r"(?:.*/)?dense.*/weights", "params/classifier/kernel", (1, 0)),
        Rule(r"(?:.*/)?dense.*/bias", "params/classifier/bias"),
    ),
    ignore=r"[^/]*const(?:ant)?\d*|.*/range",  # sizes and axes; NIMA is run in floating point
    preprocessing=_SYMMETRIC,
    first_kernel="params/conv1/kernel",
    when=lambda tensors: any(re.search(r"\bconv_dw_1(?!\d).*/weights$", name) for name in tensors),
)

# ---- VGG16

_VGG16_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)

_VGG16_TIMM = Table(
    "VGG16 of timm",
    rules=(
        *(
            Rule(rf"{_TIMM}base_model\.features[._]{index}\.{theirs}", f"params/{name}/{ours}", axes)
            for index, name in zip(_VGG16_INDICES, vgg16.CONVOLUTIONS, strict=True)
            for theirs, ours, axes in (("weight", "kernel", OIHW), ("bias", "bias", None))
        ),
        *_TORCH_DENSE,
    ),
    preprocessing=_IMAGENET,
    first_kernel="params/conv1_1/kernel",
    when=lambda tensors: any(re.search(r"base_model\.features[._]\d", name) for name in tensors),
)

TABLES = (_INCEPTION_KERAS, _INCEPTION_TIMM, _MOBILENET_KERAS, _MOBILENET_TFLITE, _VGG16_TIMM)
