"""NIMA networks that we did not build: Keras applications', and Inception-ResNet-v2 and VGG16 in plain PyTorch.

The PyTorch ones have the names that pyiqa's files have (timm's networks under `base_model`). All get random weights
whose features stay of ordinary size, and statistics that differ from one channel to the next.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import numpy as np

RATINGS = np.arange(1, 11)


# ---- Keras


def keras_network(keras: Any, name: str) -> Any:
    """The application's network without its top, mean, dropout, a dense layer of ten: NIMA as it was trained."""
    build = {"inception_resnet_v2": keras.applications.InceptionResNetV2, "mobilenet": keras.applications.MobileNet}
    base = build[name](include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg")
    x = keras.layers.Dropout(0.75)(base.output)
    network = keras.Model(base.input, keras.layers.Dense(10, activation="softmax", name="dense_1")(x))
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if layer.weights:
            # What thirty blocks add up to would leave one rating with all the probability.
            gain = 0.1 if layer.name.endswith("_conv") or layer.name.startswith("dense") else 1.0
            layer.set_weights([_random(rng, weight.name, weight.shape, gain) for weight in layer.weights])
    return network


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    if "kernel" in name:
        depthwise = len(shape) == 4 and shape[-1] == 1
        fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return rng.standard_normal(shape, np.float32) * np.float32(gain * np.sqrt(2 / fan_in))
    if name in ("moving_variance", "gamma"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return rng.normal(0, 0.1, shape).astype(np.float32)


def keras_distribution(network: Any, image: np.ndarray) -> np.ndarray:
    """Of an image in [0, 1], preprocessed as the trainings did. Compiled: one operation at a time takes minutes."""
    weights = [[each.value for each in kind] for kind in (network.trainable_variables, network.non_trainable_variables)]
    run = jax.jit(lambda weights, x: network.stateless_call(*weights, x)[0])
    return np.asarray(run(weights, np.float32(image[None] * 255 / 127.5 - 1)))[0]


def write_keras(path: Path, network: Any, offset: int = 1, dense: str = "dense_1") -> dict[str, np.ndarray]:
    """A file as Keras 2's `save_weights` wrote it: a group a layer, `/LAYER/LAYER/WEIGHT:0`; returns its content.

    `offset` is the number of the first convolution and batch normalisation, which has none where that is 0.
    """
    import h5py

    counts: dict[str, int] = {}
    content = {}
    for layer in _by_creation(network):
        kind = re.fullmatch(r"(conv2d|batch_normalization)(_\d+)?", layer.name)
        name = dense if layer.name.startswith("dense") else layer.name
        if kind:
            number = counts.setdefault(kind[1], offset)
            counts[kind[1]] += 1
            name = f"{kind[1]}_{number}" if number else kind[1]
        for weight in layer.weights:
            spelled = "depthwise_kernel" if name.startswith("conv_dw") and weight.name == "kernel" else weight.name
            content[f"{name}/{name}/{spelled}:0"] = np.asarray(weight.value)
    with h5py.File(path, "w") as file:
        # Keras sorts layers by depth in the graph, which is not their order of creation.
        layers = [layer.name for layer in network.layers]
        file.attrs["layer_names"] = [name.encode() for name in layers if name in {key.split("/")[0] for key in content}]
        for name, value in content.items():
            file[name] = value
        for name in {key.split("/")[0] for key in content}:
            own = [key.partition("/")[2].encode() for key in content if key.startswith(f"{name}/")]
            file[name].attrs["weight_names"] = own
    return content


def _by_creation(network: Any) -> list[Any]:
    """Keras numbers layers as they are created; those with names of their own may come anywhere."""
    number = lambda layer: int((re.search(r"_(\d+)$", layer.name) or [0, 0])[1])  # noqa: E731
    return sorted(network.layers, key=number)


# ---- PyTorch


def torch_nima(torch: Any, name: str) -> Any:
    """NIMA over timm's network of that name, in evaluation mode."""
    nn = torch.nn
    features = {"inception_resnet_v2": inception_resnet_v2, "vgg16": vgg16}[name](nn)
    channels = {"inception_resnet_v2": 1536, "vgg16": 512}[name]
    top = nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(channels, 10), nn.Softmax(-1))
    network = nn.ModuleDict({"base_model": features, "classifier": top})
    torch.manual_seed(5)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if name.endswith("conv2d"):  # as for Keras, of the blocks
                module.weight.data *= 0.1
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def torch_distribution(torch: Any, network: Any, image: np.ndarray, name: str) -> np.ndarray:
    """Of an image [H, W, 3] in [0, 1]."""
    mean, std = (0.5, 0.5) if name == "inception_resnet_v2" else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = torch.from_numpy(np.float32((image - mean) / std)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return network["classifier"](network["base_model"](x).mean((2, 3))).numpy()[0]


def vgg16(nn: Any) -> Any:
    """timm flattens its features: `features_0`, `features_2`, ...; the last pool belongs to them."""
    layers, before = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(OrderedDict((f"features_{i}", layer) for i, layer in enumerate(layers)))


def inception_resnet_v2(nn: Any) -> Any:
    """Channels, kernels and strides as in the TF-slim original, names as in timm."""
    import torch

    class Basic(nn.Module):
        def __init__(self, inside, outside, kernel, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(outside, eps=0.001)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)))

    class Beside(nn.Module):
        """branch0, branch1, ... side by side."""

        def __init__(self, *branches):
            super().__init__()
            self.count = len(branches)
            for i, branch in enumerate(branches):
                setattr(self, f"branch{i}", branch)

        def forward(self, x):
            return torch.cat([getattr(self, f"branch{i}")(x) for i in range(self.count)], 1)

    class Repeat(Beside):
        def __init__(self, inside, mixed, scale, relu, *branches):
            super().__init__(*branches)
            self.conv2d = nn.Conv2d(mixed, inside, 1)
            self.scale, self.last = scale, torch.relu if relu else nn.Identity()

        def forward(self, x):
            return self.last(self.scale * self.conv2d(super().forward(x)) + x)

    chain = nn.Sequential

    def block35():
        return Repeat(
            *(320, 128, 0.17, True, Basic(320, 32, 1)),
            chain(Basic(320, 32, 1), Basic(32, 32, 3, padding=1)),
            chain(Basic(320, 32, 1), Basic(32, 48, 3, padding=1), Basic(48, 64, 3, padding=1)),
        )

    def block17():
        tall = Basic(160, 192, (7, 1), padding=(3, 0))
        branch = chain(Basic(1088, 128, 1), Basic(128, 160, (1, 7), padding=(0, 3)), tall)
        return Repeat(1088, 384, 0.1, True, Basic(1088, 192, 1), branch)

    def block8(scale, relu):
        tall = Basic(224, 256, (3, 1), padding=(1, 0))
        branch = chain(Basic(2080, 192, 1), Basic(192, 224, (1, 3), padding=(0, 1)), tall)
        return Repeat(2080, 448, scale, relu, Basic(2080, 192, 1), branch)

    network = nn.Sequential()
    network.conv2d_1a = Basic(3, 32, 3, 2)
    network.conv2d_2a = Basic(32, 32, 3)
    network.conv2d_2b = Basic(32, 64, 3, padding=1)
    network.maxpool_3a = nn.MaxPool2d(3, 2)
    network.conv2d_3b = Basic(64, 80, 1)
    network.conv2d_4a = Basic(80, 192, 3)
    network.maxpool_5a = nn.MaxPool2d(3, 2)
    network.mixed_5b = Beside(
        Basic(192, 96, 1),
        chain(Basic(192, 48, 1), Basic(48, 64, 5, padding=2)),
        chain(Basic(192, 64, 1), Basic(64, 96, 3, padding=1), Basic(96, 96, 3, padding=1)),
        chain(nn.AvgPool2d(3, 1, 1, count_include_pad=False), Basic(192, 64, 1)),
    )
    network.repeat = chain(*(block35() for _ in range(10)))
    network.mixed_6a = Beside(
        Basic(320, 384, 3, 2),
        chain(Basic(320, 256, 1), Basic(256, 256, 3, padding=1), Basic(256, 384, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    network.repeat_1 = chain(*(block17() for _ in range(20)))
    network.mixed_7a = Beside(
        chain(Basic(1088, 256, 1), Basic(256, 384, 3, 2)),
        chain(Basic(1088, 256, 1), Basic(256, 288, 3, 2)),
        chain(Basic(1088, 256, 1), Basic(256, 288, 3, padding=1), Basic(288, 320, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    network.repeat_2 = chain(*(block8(0.2, True) for _ in range(9)))
    network.block8 = block8(1.0, False)
    network.conv2d_7b = Basic(2080, 1536, 1)
    return network
