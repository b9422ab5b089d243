"""How the published files of each family of PSPNet50 name and lay out its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from jpst.models.pspnet_families import FAMILIES
from jpst.weights.readers import Tensors
from jpst.weights.tables import OIHW, Preprocessing, Rule, Table

_CAFFE = Preprocessing("BGR", *FAMILIES["caffe"].preprocessing)
_TORCH = Preprocessing("RGB", *FAMILIES["mmseg"].preprocessing)

_FIRST_KERNEL = "params/stem1/conv/kernel"

_STEM = r"conv1_(?P<stem>[123])_3x3(?:_s2)?"
_BLOCK = r"conv(?P<stage>[2-5])_(?P<block>\d+)_(?P<part>1x1_reduce|3x3|1x1_increase|1x1_proj)"
_UNIT = rf"(?:{_STEM}|{_BLOCK}|conv5_3_pool(?P<level>[1236])_conv|(?P<head>conv5_4))"
_PARTS = {"1x1_reduce": "conv1", "3x3": "conv2", "1x1_increase": "conv3", "1x1_proj": "downsample"}
_BN_LEAVES = {
    "params/{}/bn/scale": "gamma|scale",
    "params/{}/bn/bias": "beta|offset",
    "batch_stats/{}/bn/mean": "moving_mean|running_mean|mean",
    # Keras 1 calls it `running_std`; it holds the variance all the same.
    "batch_stats/{}/bn/var": "moving_variance|running_variance|running_std|variance",
}


def _caffe_unit(found: re.Match[str]) -> str:
    """Our name of a convolution with its normalisation, from the match of `_UNIT`."""
    if stem := found["stem"]:
        return f"stem{stem}"
    if level := found["level"]:
        return f"pyramid{level}"
    if found["head"]:
        return "head"
    return f"layer{int(found['stage']) - 1}_{int(found['block']) - 1}/{_PARTS[found['part']]}"


def _caffe_rule(pattern: str, path: str) -> Rule:
    return Rule(pattern, lambda found: path.format(_caffe_unit(found)))


# TensorFlow's `X/weights`, Keras 2's `X/X/kernel:0`, Keras 1's `X/X_W:0`, Keras 3's `X/vars/0`.
_BEFORE, _AFTER = r"(?:.*/)?", r"(?:_\d+)?(?::0)?"
_CAFFE_RULES = (
    _caffe_rule(rf"{_BEFORE}{_UNIT}(?:[/_](?:weights|kernel|W){_AFTER}|/vars/0)", "params/{}/conv/kernel"),
    *(
        _caffe_rule(rf"{_BEFORE}{_UNIT}[_/]bn(?:[/_](?:{names}){_AFTER}|/vars/{i})", path)
        for i, (path, names) in enumerate(_BN_LEAVES.items())
    ),
    Rule(rf"{_BEFORE}conv6(?:[/_](?:weights|kernel|W){_AFTER}|/vars/0)", "params/classifier/kernel"),
    Rule(rf"{_BEFORE}conv6(?:[/_](?:biases|bias|b){_AFTER}|/vars/1)", "params/classifier/bias"),
)
# The state of TensorFlow's optimisers and averages lies beside each variable, under its name.
_CAFFE_IGNORED = (
    r"(?:.*/)?(?:global_step|beta[12]_power|(?:Momentum|Adam|RMSProp|ExponentialMovingAverage)(?:_\d+)?)(?::0)?"
    r"|(?:optimizer|optimizer_weights|training)/.*|.*/num_batches_tracked"
)


def _squeezed(tensors: Tensors) -> Tensors:
    """Caffe kept the vectors of its normalisations as [1, 1, 1, C], and so do some conversions."""
    vector = re.compile(rf"{_BEFORE}{_UNIT}[_/]bn[/_].*")
    return {
        name: tensor.reshape(-1) if tensor.size == max(tensor.shape, default=0) and vector.fullmatch(name) else tensor
        for name, tensor in tensors.items()
    }


_PREFIX = r"(?:(?:state_dict|module|model|net)\.)*"
_TORCH_LEAVES = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


def _torch_unit(conv: str, bn: str, unit: str) -> tuple[Rule, ...]:
    """The rules of one kind of convolution with its normalisation; `unit` is a template for the patterns' groups."""
    norms = (
        Rule(rf"{_PREFIX}{bn}\.{theirs}", f"{collection}/{unit}/bn/{ours}")
        for theirs, (collection, ours) in _TORCH_LEAVES.items()
    )
    return (Rule(rf"{_PREFIX}{conv}\.weight", f"params/{unit}/conv/kernel", OIHW), *norms)


def _torch_blocks(before: str = "") -> tuple[Rule, ...]:
    block = rf"{before}layer([1-4])\.(\d+)\."
    return (
        *_torch_unit(block + r"conv([123])", block + r"bn([123])", r"layer\1_\2/conv\3"),
        *_torch_unit(block + r"downsample\.0", block + r"downsample\.1", r"layer\1_\2/downsample"),
    )


def _torch_stem(before: str) -> tuple[Rule, ...]:
    """The stem as one Sequential of three times convolution, normalisation, ReLU."""
    return tuple(
        rule for i in range(3) for rule in _torch_unit(rf"{before}\.{3 * i}", rf"{before}\.{3 * i + 1}", f"stem{i + 1}")
    )


def _torch_pyramid(conv: str, bn: str) -> tuple[Rule, ...]:
    """The pyramid's levels, which these files number."""
    return tuple(
        rule
        for i, level in enumerate((1, 2, 3, 6))
        for rule in _torch_unit(conv.format(i), bn.format(i), f"pyramid{level}")
    )


def _torch_classifier(name: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{_PREFIX}{name}\.weight", "params/classifier/kernel", OIHW),
        Rule(rf"{_PREFIX}{name}\.bias", "params/classifier/bias"),
    )


# Counters and moving sums of training, and heads that only training uses.
_TORCH_IGNORED = (
    r".*\.(?:num_batches_tracked|_tmp_running_mean|_tmp_running_var|_running_iter)"
    rf"|{_PREFIX}(?:backbone\.)?(?:aux|auxiliary_head|cbr_deepsup|conv_last_deepsup|fc)\..*"
)


def _family(name: str) -> dict[str, np.ndarray]:
    """The family as the name of a variable: static wherever the variables go, and kept in every file of ours."""
    return {f"family/{name}": np.zeros((), np.float32)}


def _has(pattern: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(re.match(_PREFIX + pattern, name) for name in tensors)


TABLES = (
    Table(
        "caffe (Caffe's numbers from TensorFlow, caffe-tensorflow or Keras)",
        rules=_CAFFE_RULES,
        ignore=_CAFFE_IGNORED,
        prepare=_squeezed,
        preprocessing=_CAFFE,
        first_kernel=_FIRST_KERNEL,
        constants=_family("caffe"),
    ),
    Table(
        "mmseg (mmsegmentation)",
        rules=(
            *_torch_stem(r"backbone\.stem"),
            *_torch_blocks(r"backbone\."),
            *_torch_pyramid(
                r"decode_head\.psp_modules\.{}\.1\.conv",
                r"decode_head\.psp_modules\.{}\.1\.bn",
            ),
            *_torch_unit(r"decode_head\.bottleneck\.conv", r"decode_head\.bottleneck\.bn", "head"),
            *_torch_classifier(r"decode_head\.conv_seg"),
        ),
        ignore=_TORCH_IGNORED,
        preprocessing=_TORCH,
        first_kernel=_FIRST_KERNEL,
        constants=_family("mmseg"),
    ),
    Table(
        "semseg (hszhao/semseg)",
        rules=(
            *_torch_stem("layer0"),
            *_torch_blocks(),
            *_torch_pyramid(r"ppm\.features\.{}\.1", r"ppm\.features\.{}\.2"),
            *_torch_unit(r"cls\.0", r"cls\.1", "head"),
            *_torch_classifier(r"cls\.4"),
        ),
        ignore=_TORCH_IGNORED,
        preprocessing=_TORCH,
        first_kernel=_FIRST_KERNEL,
        constants=_family("semseg"),
        when=_has(r"(?:layer0|ppm\.features|cls)\."),
    ),
    Table(
        "csail (mit-semseg, encoder and decoder)",
        rules=(
            *_torch_unit(r"conv([123])", r"bn([123])", r"stem\1"),
            *_torch_blocks(),
            *_torch_pyramid(r"ppm\.{}\.1", r"ppm\.{}\.2"),
            *_torch_unit(r"conv_last\.0", r"conv_last\.1", "head"),
            *_torch_classifier(r"conv_last\.4"),
        ),
        ignore=_TORCH_IGNORED,
        preprocessing=_TORCH,
        first_kernel=_FIRST_KERNEL,
        constants=_family("csail"),
        when=_has(r"(?:ppm\.\d|conv_last|cbr_deepsup)\."),
    ),
)
