"""Sampling from PixelCNNs, per pixel of an image.

The naive loop runs the whole network for every pixel: beside ours stands one of its passes, and the goals count all of
them. Of the cached loop in torch, which runs the same program, one row is timed: every row costs the same.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from benchmarks.ops.case import Case
from genpipe import ops
from genpipe.ops.reference import pixelcnn as reference
from genpipe.plugins.autoregressive.gated_pixelcnn import GatedPixelCNN
from genpipe.plugins.autoregressive.layers import MaskedConv2d
from genpipe.plugins.autoregressive.pixelcnn_pp import PixelCNNPP


def cases(device: str) -> list[Case]:
    goal, cached_goal = (100, 1) if device == "cpu" else (300, 20)
    return [
        sampling("gated PixelCNN, 7 layers of 64", gated(28), 64, device, goal, cached_goal),
        sampling("PixelCNN++, 2×2 blocks of 64", plus_plus(28), 64, device, goal, cached_goal),
        *(sampling("gated PixelCNN, 7 layers of 64", gated(size), 16, device, None, None) for size in (16, 28, 56)),
    ]


def gated(size: int) -> GatedPixelCNN:
    return GatedPixelCNN(
        (1, size, size), 256, channels=64, num_layers=7, kernel_size=3, first_kernel_size=7, dropout=0.0
    )


def plus_plus(size: int) -> PixelCNNPP:
    return PixelCNNPP((1, size, size), 256, channels=64, num_resnets=2, num_halvings=1, num_mixtures=10, dropout=0.0)


def sampling(
    name: str, network: GatedPixelCNN | PixelCNNPP, num: int, device: str, goal: float | None, cached_goal: float | None
) -> Case:
    network = network.to(device).eval()
    program, key = network.program(), ops.key(0, "benchmark")
    _, height, width = network.image
    masked = [m for m in network.modules() if isinstance(m, MaskedConv2d)]
    for module in masked:  # what one would write: the mask applied once, then torch's convolution
        weight, padding = (module.weight * module.mask).detach(), tuple(n // 2 for n in module.weight.shape[2:])
        module.forward = lambda x, w=weight, b=module.bias, p=padding: F.conv2d(x, w, b, padding=p)
    x = torch.rand(num, *network.image, device=device) * 2 - 1

    @torch.no_grad()
    def one_pass() -> torch.Tensor:
        return network(x)

    @torch.no_grad()
    def cached_row() -> torch.Tensor:
        return reference.pixelcnn_sample(program, key, num, num_rows=1)

    goals = {"eager": goal / (height * width), "cached in torch, one row": cached_goal / height} if goal else {}
    return Case(
        f"sampling, {name}, {height}×{width}, batch {num}; eager is one of {height * width} passes",
        lambda: ops.pixelcnn_sample(program, key, num),
        one_pass,
        compiled=False,
        rivals={"cached in torch, one row": cached_row},
        goals=goals,
        numbers=num * height * width,
    )
