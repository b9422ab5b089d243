"""The competitor of step.py and convergence.py: a transfer's objective written in PyTorch."""

from typing import Any

import jax
import numpy as np
import torch

from jpst.losses import Targets
from jpst.models import vgg19
from jpst.recipe import Hyperparameters

DEVICE = torch.device("cpu" if jax.default_backend() == "cpu" else "cuda")
"""where JAX computes too"""


class Torch:
    """The objective in PyTorch (channels last), with targets that ours computed."""

    def __init__(self, variables: vgg19.Variables, targets: Targets, hyper: Hyperparameters) -> None:
        def tensor(x: Any) -> torch.Tensor:
            return torch.tensor(np.asarray(x), device=DEVICE)

        self.hyper = hyper
        self.scale, self.offset = (tensor(variables["preprocessing"][name]) for name in ("scale", "offset"))
        self.kernels = {
            name: (
                tensor(layer["kernel"]).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
                tensor(layer["bias"]),
            )
            for name, layer in variables["params"].items()
        }
        self.content = {name: (tensor(t.features), float(t.weight)) for name, t in targets.content.items()}
        self.style = {name: (tensor(t.masks), tensor(t.grams), tensor(t.weights)) for name, t in targets.style.items()}
        self.stencil, self.laplacian_weight = tensor(targets.laplacian), float(targets.laplacian_weight)
        self.edges = tensor(targets.edges)
        self.coarse = [tensor(stencil) for stencil in targets.coarse]

    def features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        layers = (*self.content, *self.style)
        found = {}
        x = (image * self.scale + self.offset).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        for name in vgg19.convolutions_to(layers):
            if name.endswith("_1") and name != "conv1_1":
                x = torch.nn.functional.max_pool2d(x, 2)
            kernel, bias = self.kernels[name]
            x = torch.nn.functional.conv2d(x, kernel, bias, padding=1)  # pyright: ignore
            found[name] = x[0].permute(1, 2, 0)
            x = torch.relu(x)
            found[name.replace("conv", "relu")] = x[0].permute(1, 2, 0)
        return {name: found[name] for name in layers}

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        features = self.features(image)
        content = sum(w * ((features[name] - want) ** 2).mean() for name, (want, w) in self.content.items())
        style = torch.zeros((), device=DEVICE)
        for name, (masks, wanted, weights) in self.style.items():
            flat = features[name].reshape(-1, features[name].shape[-1])
            for mask, want, weight in zip(masks, wanted, weights, strict=True):
                x = flat * mask.reshape(-1, 1)
                style = style + weight * ((x.T @ x - want) ** 2).mean()
        total = self.hyper.content_weight * content + self.hyper.style_weight * style
        total = total + self.hyper.regularization_weight * self.laplacian_weight * energy(self.stencil, image)
        if self.hyper.coherence_weight:
            small = image.permute(2, 0, 1)
            for stencil in self.coarse:  # of even sides: area means are means of four
                small = torch.nn.functional.avg_pool2d(small, 2)
                mean = energy(stencil, small.permute(1, 2, 0)) / small[0].numel()
                total = total + self.hyper.coherence_weight * mean
        if self.hyper.edge_weight:
            total = total + self.hyper.edge_weight * (1 - similarity(edges(image), self.edges))
        if self.hyper.clipping_weight:
            total = total + self.hyper.clipping_weight * ((255 * (image - image.clamp(0, 1))) ** 2).mean()
        return total

    def step(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(image, device=DEVICE).requires_grad_()
        loss = self.loss(leaf)
        loss.backward()
        assert leaf.grad is not None
        return float(loss.detach()), leaf.grad.numpy(force=True)


def energy(stencil: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """v^T L v of a Laplacian as a stencil, summed over channels."""
    height, width = image.shape[:2]
    padded = torch.nn.functional.pad(image.permute(2, 0, 1)[None], (2, 2, 2, 2), mode="replicate")[0]
    total = torch.zeros((), device=DEVICE)
    for y in range(5):
        for x in range(5):
            apart = padded[:, y : y + height, x : x + width] - image.permute(2, 0, 1)
            total = total - 0.5 * (stencil[y, x] * apart**2).sum()
    return total


def edges(image: torch.Tensor) -> torch.Tensor:
    """Sobel magnitude of the luminance."""
    luminance = (image @ torch.tensor([0.2126, 0.7152, 0.0722], device=DEVICE))[None, None]
    # replicated by one pixel is mirrored by one pixel
    around = torch.nn.functional.pad(luminance, (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=DEVICE) / 4
    slopes = torch.nn.functional.conv2d(around, torch.stack([across, across.T])[:, None])[0]
    return ((slopes**2).mean(0) + 1e-6).sqrt()


def similarity(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """SSIM over windows of 7 x 7 inside the pictures."""
    planes = torch.stack([one, other, one**2, other**2, one * other])[:, None]
    mean, mean_other, square, square_other, product = torch.nn.functional.avg_pool2d(planes, 7, 1)[:, 0]
    variances = 49 / 48 * (square - mean**2 + square_other - mean_other**2)
    covariance = 49 / 48 * (product - mean * mean_other)
    lightness = (2 * mean * mean_other + 1e-4) / (mean**2 + mean_other**2 + 1e-4)
    return (lightness * (2 * covariance + 9e-4) / (variances + 9e-4)).mean()
