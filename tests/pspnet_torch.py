"""PSPNet50 in plain PyTorch, once for each published family, with the names and shapes of its files.

Written from the facts about each family's own code, not from ours; `width` 64 is the published one.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def planes(image: np.ndarray, caffe: bool = False) -> torch.Tensor:
    """[H, W, 3] RGB in [0, 1] -> [1, 3, H, W] as the family's network takes it."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    if caffe:
        return x.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    return (x - MEAN[:, None, None]) / STD[:, None, None]


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Kernels and statistics under which activations keep their size through all fifty layers."""
    torch.manual_seed(seed)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            low, high = (0.2, 0.5) if name.endswith("bn3") else (0.6, 1.4)
            nn.init.uniform_(module.weight, low, high)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.6, 1.4)
    return network.eval()


def conv3x3(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


class Bottleneck(nn.Module):
    def __init__(self, before: int, planes: int, stride: int, dilation: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if shortcut:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(before: int, planes: int, blocks: int, stride: int, dilations: tuple[int, int] = (1, 1)) -> nn.Sequential:
    """Blocks of one stage; `dilations` of the first block and of the others."""
    first = Bottleneck(before, planes, stride, dilations[0], shortcut=True)
    rest = [Bottleneck(4 * planes, planes, 1, dilations[1], shortcut=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class Semseg(nn.Module):
    """hszhao/semseg: a strided ResNet whose last two stages are dilated afterwards, as its code does."""

    def __init__(self, width: int = 64, classes: int = 150) -> None:
        super().__init__()
        w = width
        stem = []
        for before, after, stride in ((3, w, 2), (w, w, 1), (w, 2 * w, 1)):
            stem += [conv3x3(before, after, stride), nn.BatchNorm2d(after), nn.ReLU()]
        self.layer0 = nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1))
        self.layer1 = stage(2 * w, w, 3, 1)
        self.layer2 = stage(4 * w, 2 * w, 4, 2)
        self.layer3 = stage(8 * w, 4 * w, 6, 2)
        self.layer4 = stage(16 * w, 8 * w, 3, 2)
        for layer, dilation in ((self.layer3, 2), (self.layer4, 4)):
            for name, module in layer.named_modules():
                if "conv2" in name:
                    module.dilation = module.padding = (dilation, dilation)
                    module.stride = (1, 1)
                elif "downsample.0" in name:
                    module.stride = (1, 1)
        self.ppm = nn.Module()
        self.ppm.features = nn.ModuleList(
            [
                nn.Sequential(
                    nn.AdaptiveAvgPool2d(bins),
                    nn.Conv2d(32 * w, 8 * w, 1, bias=False),
                    nn.BatchNorm2d(8 * w),
                    nn.ReLU(),
                )
                for bins in (1, 2, 3, 6)
            ]
        )
        self.cls = head(64 * w, 8 * w, classes)
        self.aux = head(16 * w, 4 * w, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.layer0(x)))))
        levels = [F.interpolate(f(x), x.shape[2:], mode="bilinear", align_corners=True) for f in self.ppm.features]
        return self.cls(torch.cat([x, *levels], 1))


def head(before: int, between: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        conv3x3(before, between), nn.BatchNorm2d(between), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(between, classes, 1)
    )


class ConvModule(nn.Module):
    """mmcv's: convolution, normalisation, ReLU."""

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mmseg(nn.Module):
    """mmsegmentation: ResNetV1c with contracted dilation, PSPHead, FCNHead."""

    def __init__(self, width: int = 64, classes: int = 150) -> None:
        super().__init__()
        w, half = width, width // 2
        stem = []
        for before, after, stride in ((3, half, 2), (half, half, 1), (half, w, 1)):
            stem += [conv3x3(before, after, stride), nn.BatchNorm2d(after), nn.ReLU()]
        backbone = nn.Module()
        backbone.stem = nn.Sequential(*stem)
        backbone.maxpool = nn.MaxPool2d(3, 2, padding=1)
        backbone.layer1 = stage(w, w, 3, 1)
        backbone.layer2 = stage(4 * w, 2 * w, 4, 2)
        backbone.layer3 = stage(8 * w, 4 * w, 6, 1, dilations=(1, 2))
        backbone.layer4 = stage(16 * w, 8 * w, 3, 1, dilations=(2, 4))
        self.backbone = backbone
        self.decode_head = nn.Module()
        self.decode_head.psp_modules = nn.ModuleList(
            [nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvModule(32 * w, 8 * w, 1)) for bins in (1, 2, 3, 6)]
        )
        self.decode_head.bottleneck = ConvModule(64 * w, 8 * w, 3)
        self.decode_head.conv_seg = nn.Conv2d(8 * w, classes, 1)
        self.auxiliary_head = nn.Module()
        self.auxiliary_head.convs = nn.Sequential(ConvModule(16 * w, 4 * w, 3))
        self.auxiliary_head.conv_seg = nn.Conv2d(4 * w, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, h = self.backbone, self.decode_head
        x = b.layer4(b.layer3(b.layer2(b.layer1(b.maxpool(b.stem(x))))))
        levels = [F.interpolate(f(x), x.shape[2:], mode="bilinear", align_corners=False) for f in h.psp_modules]
        return h.conv_seg(h.bottleneck(torch.cat([x, *levels], 1)))


class CsailEncoder(nn.Module):
    """mit-semseg resnet50dilated: a strided ResNet, dilated by `_nostride_dilate`'s rules."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.conv1, self.bn1 = conv3x3(3, w, 2), nn.BatchNorm2d(w)
        self.conv2, self.bn2 = conv3x3(w, w), nn.BatchNorm2d(w)
        self.conv3, self.bn3 = conv3x3(w, 2 * w), nn.BatchNorm2d(2 * w)
        self.layer1 = stage(2 * w, w, 3, 1)
        self.layer2 = stage(4 * w, 2 * w, 4, 2)
        self.layer3 = stage(8 * w, 4 * w, 6, 2)
        self.layer4 = stage(16 * w, 8 * w, 3, 2)
        for layer, dilate in ((self.layer3, 2), (self.layer4, 4)):
            for module in layer.modules():
                if isinstance(module, nn.Conv2d):
                    if module.stride == (2, 2):
                        module.stride = (1, 1)
                        if module.kernel_size == (3, 3):
                            module.dilation = module.padding = (dilate // 2, dilate // 2)
                    elif module.kernel_size == (3, 3):
                        module.dilation = module.padding = (dilate, dilate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(bn(conv(x)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class CsailDecoder(nn.Module):
    """mit-semseg ppm_deepsup, without its interpolation to the image's size."""

    def __init__(self, width: int = 64, classes: int = 150) -> None:
        super().__init__()
        w = width
        self.ppm = nn.ModuleList(
            [
                nn.Sequential(
                    nn.AdaptiveAvgPool2d(bins),
                    nn.Conv2d(32 * w, 8 * w, 1, bias=False),
                    nn.BatchNorm2d(8 * w),
                    nn.ReLU(),
                )
                for bins in (1, 2, 3, 6)
            ]
        )
        self.cbr_deepsup = nn.Sequential(conv3x3(16 * w, 8 * w), nn.BatchNorm2d(8 * w), nn.ReLU())
        self.conv_last = head(64 * w, 8 * w, classes)
        self.conv_last_deepsup = nn.Conv2d(8 * w, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = [F.interpolate(f(x), x.shape[2:], mode="bilinear", align_corners=False) for f in self.ppm]
        return self.conv_last(torch.cat([x, *levels], 1))


def caffe_units(width: int) -> dict[str, tuple[int, int, int]]:
    """(size, channels before, channels after) of the convolutions with normalisation, under TensorFlow's names."""
    w = width
    units = {"conv1_1_3x3_s2": (3, 3, w), "conv1_2_3x3": (3, w, w), "conv1_3_3x3": (3, w, 2 * w)}
    before = 2 * w
    for stage_number, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        inner = w * 2 ** (stage_number - 2)
        for block in range(1, blocks + 1):
            name = f"conv{stage_number}_{block}"
            if block == 1:
                units[f"{name}_1x1_proj"] = (1, before, 4 * inner)
            units[f"{name}_1x1_reduce"] = (1, before, inner)
            units[f"{name}_3x3"] = (3, inner, inner)
            units[f"{name}_1x1_increase"] = (1, inner, 4 * inner)
            before = 4 * inner
    units |= {f"conv5_3_pool{level}_conv": (1, before, 8 * w) for level in (1, 2, 3, 6)}
    return units | {"conv5_4": (3, 64 * w, 8 * w)}


def caffe_numbers(width: int = 64, classes: int = 150, seed: int = 0) -> dict[str, np.ndarray]:
    """Random variables under the names of TensorFlow's checkpoint, kernels HWIO."""
    rng, found = np.random.default_rng(seed), {}
    for name, (size, before, after) in caffe_units(width).items():
        deviation = np.float32(np.sqrt(2 / (size * size * before)))
        if name == "conv1_1_3x3_s2":
            deviation /= 70  # of the input's -124..151
        low, high = (0.2, 0.5) if name.endswith("increase") else (0.6, 1.4)
        found[f"{name}/weights"] = deviation * rng.standard_normal((size, size, before, after), np.float32)
        for kind, (least, most) in {
            "gamma": (low, high),
            "beta": (-0.3, 0.3),
            "moving_mean": (-0.3, 0.3),
            "moving_variance": (0.6, 1.4),
        }.items():
            found[f"{name}_bn/{kind}"] = rng.uniform(least, most, after).astype(np.float32)
    found["conv6/weights"] = rng.standard_normal((1, 1, 8 * width, classes), np.float32) / np.float32(
        np.sqrt(8 * width)
    )
    found["conv6/biases"] = rng.uniform(-0.5, 0.5, classes).astype(np.float32)
    return found


class Caffe:
    """hellochick's PSPNet50 on `caffe_numbers`; `same` pads as TensorFlow does, else by one as Caffe does."""

    def __init__(self, numbers: dict[str, np.ndarray], same: bool = True) -> None:
        self.numbers = {name: torch.from_numpy(value) for name, value in numbers.items()}
        self.same = same

    def pad(self, x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        """For a window of 3 with stride 2: all TensorFlow wants is that ceil(size / 2) windows fit."""
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = 2 * (-(-size // 2) - 1) + 3 - size
            sides += [total // 2, total - total // 2] if self.same else [1, 1]
        return F.pad(x, sides, value=value)

    def unit(self, x: torch.Tensor, name: str, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        kernel = self.numbers[f"{name}/weights"].permute(3, 2, 0, 1)
        padding = dilation * (kernel.shape[2] // 2)
        if stride == 2 and kernel.shape[2] == 3:
            x, padding = self.pad(x), 0
        x = F.conv2d(x, kernel, stride=stride, padding=padding, dilation=dilation)
        gamma, beta, mean, variance = (
            self.numbers[f"{name}_bn/{kind}"][:, None, None]
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * gamma + beta

    def block(self, x: torch.Tensor, name: str, stride: int, dilation: int) -> torch.Tensor:
        y = F.relu(self.unit(x, f"{name}_1x1_reduce", stride))
        y = F.relu(self.unit(y, f"{name}_3x3", dilation=dilation))
        y = self.unit(y, f"{name}_1x1_increase")
        shortcut = self.unit(x, f"{name}_1x1_proj", stride) if name.endswith("_1") else x
        return F.relu(shortcut + y)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.unit(x, "conv1_1_3x3_s2", 2))
        x = F.relu(self.unit(F.relu(self.unit(x, "conv1_2_3x3")), "conv1_3_3x3"))
        x = F.max_pool2d(self.pad(x, -torch.inf), 3, 2)
        for number, blocks, dilation in ((2, 3, 1), (3, 4, 1), (4, 6, 2), (5, 3, 4)):
            for block in range(1, blocks + 1):
                x = self.block(x, f"conv{number}_{block}", 2 if (number, block) == (3, 1) else 1, dilation)
        levels = [x]
        for level, side in ((6, 10), (3, 20), (2, 30), (1, 60)):
            pooled = F.relu(self.unit(F.avg_pool2d(x, side, side), f"conv5_3_pool{level}_conv"))
            levels.append(F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=True))
        x = F.relu(self.unit(torch.cat(levels, 1), "conv5_4"))
        return F.conv2d(x, self.numbers["conv6/weights"].permute(3, 2, 0, 1), self.numbers["conv6/biases"])


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((prefix + name, value) for name, value in state.items())
