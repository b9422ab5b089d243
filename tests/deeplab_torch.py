"""DeepLabV3+ on MobileNetV2 in plain PyTorch, from its papers (arXiv 1801.04381 and 1802.02611), for 31 classes.

Output stride 16: the last stage that would halve the picture does not, and is dilated by two after its first block.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 1), (6, 320, 1, 1))
"""expansion, channels, repeats and first stride, as in MobileNetV2's table 2 but for the 160's stride"""
DILATED_FROM = 14  # blocks before the first with dilation: 1 + 2 + 3 + 4 + 3 + 1


def logits(params: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    """[H, W, 3] in -1..1, and variables of ours -> [H / 4, W / 4, 32]."""
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    with torch.no_grad():
        x = functional.relu6(_convolved(params["conv"], x, stride=2))
        number, shallow = 0, x
        for expansion, channels, repeats, first in STAGES:
            for repeat in range(repeats):
                stride, dilation = first if repeat == 0 else 1, 2 if number >= DILATED_FROM else 1
                block, before = params[f"block_{number}"], x
                if expansion > 1:
                    x = functional.relu6(_convolved(block["expand"], x))
                x = functional.relu6(_convolved(block["depthwise"], x, stride, dilation, alone=True))
                shallow = x if number == 2 else shallow
                x = _convolved(block["project"], x)
                assert x.shape[1] == channels
                x = x + before if stride == 1 and before.shape == x.shape else x
                number += 1
        mean = torch.relu(_convolved(params["image_pooling"], x.mean((2, 3), keepdim=True)))
        aspp = torch.relu(_convolved(params["aspp"], x))
        x = torch.cat([mean.expand(-1, -1, *aspp.shape[2:]), aspp], 1)
        x = torch.relu(_convolved(params["concat_projection"], x))
        enlarged = enlarged_by_loop(x[0].permute(1, 2, 0).numpy(), 4)
        x = torch.from_numpy(enlarged).permute(2, 0, 1)[None]
        x = torch.cat([x, torch.relu(_convolved(params["feature_projection"], shallow))], 1)
        for number in (0, 1):
            x = torch.relu(_convolved(params[f"decoder_{number}_depthwise"], x, alone=True))
            x = torch.relu(_convolved(params[f"decoder_{number}_pointwise"], x))
        return _convolved(params["logits"], x)[0].permute(1, 2, 0).numpy()


def _convolved(
    layer: Mapping[str, Any], x: torch.Tensor, stride: int = 1, dilation: int = 1, alone: bool = False
) -> torch.Tensor:
    """TensorFlow's SAME padding: what is odd of it goes below and to the right. `alone`: each channel by itself."""
    kernel = torch.from_numpy(np.array(layer["convolution"]["kernel"])).permute(3, 2, 0, 1)
    reach = dilation * (kernel.shape[-1] - 1)
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max(0, (-(-size // stride) - 1) * stride + reach + 1 - size)
        pads += [total // 2, total - total // 2]
    groups = x.shape[1] if alone else 1
    bias = torch.from_numpy(np.array(layer["bias"]))
    return functional.conv2d(functional.pad(x, pads), kernel, bias, stride, dilation=dilation, groups=groups)


def enlarged_by_loop(x: np.ndarray, factor: int) -> np.ndarray:
    """TensorFlow 1's bilinear resize of [h, w, c], corners not aligned, pixel by pixel."""
    height, width, channels = x.shape
    out = np.zeros((height * factor, width * factor, channels), np.float32)
    for row in range(height * factor):
        for column in range(width * factor):
            y, x_at = row / factor, column / factor
            top, left = int(y), int(x_at)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = y - top, x_at - left
            upper = (1 - across) * x[top, left] + across * x[top, right]
            lower = (1 - across) * x[below, left] + across * x[below, right]
            out[row, column] = (1 - down) * upper + down * lower
    return out
