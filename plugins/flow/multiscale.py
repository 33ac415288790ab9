"""A flow of images at several resolutions: RealNVP's (Dinh et al., 2017, sec. 3.4–3.6) and Glow's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.plugins.flow.image_layers import ActNorm, alternate_channels, checkerboard
from genpipe.plugins.flow.layers import Layer, Linear

Shape = tuple[int, int, int]
Couple = Callable[[Tensor], Layer]
"""The coupling that transforms what a mask (C, H, W) says."""


def real_nvp_layers(shape: Shape, num_layers: int, couple: Couple) -> Iterable[Layer]:
    """Couplings over a checkerboard at full resolution, and over the channels at those below."""
    mask = checkerboard if shape[0] < 4 else alternate_channels
    return [couple(mask(shape, index)) for index in range(num_layers)]


def glow_layers(shape: Shape, num_layers: int, couple: Couple) -> Iterable[Layer]:
    """Steps of actnorm, 1×1 convolution and a coupling over half of the channels (Kingma & Dhariwal, 2018, fig. 2a).

    Without two channels, a checkerboard takes their place.
    """
    for index in range(num_layers):
        yield ActNorm(shape[0])
        yield Linear(shape[0])
        yield couple(checkerboard(shape, index % 2) if shape[0] == 1 else alternate_channels(shape, 0))


@dataclass(frozen=True)
class Scale:
    """shape: as its layers see it; squeezed: whether 2 × 2 places became channels; num_done: channels that its end
    leaves out of what goes on."""

    shape: Shape
    squeezed: bool
    num_done: int


def plan(shape: Shape, num_scales: int, *, squeeze_first: bool) -> list[Scale]:
    """Each scale has half the resolution and four times the channels, half of which are done when it ends; those of a
    first scale at full resolution all go on."""
    scales, at = [], shape
    for index in range(num_scales):
        squeezed = index > 0 or squeeze_first
        if squeezed:
            at = (4 * at[0], at[1] // 2, at[2] // 2)
        num_done = at[0] // 2 if squeezed and index < num_scales - 1 else 0
        scales.append(Scale(at, squeezed, num_done))
        at = (at[0] - num_done, *at[1:])
    return scales


class MultiscaleFlow(Layer):
    """(B, C, H, W) → (B, C·H·W). layers: what a scale of a shape has."""

    def __init__(self, scales: list[Scale], layers: Callable[[Shape], Iterable[Layer]]) -> None:
        super().__init__()
        self.plan = scales
        self.scales: Any = nn.ModuleList(nn.ModuleList(layers(scale.shape)) for scale in scales)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        done, log_det = [], x.new_zeros(len(x))
        for scale, layers in zip(self.plan, self.scales, strict=True):
            if scale.squeezed:
                x = F.pixel_unshuffle(x, 2).reshape(len(x), *scale.shape)  # torch leaves an empty batch as it was
            for layer in layers:
                x, part = layer(x, context)
                log_det = log_det + part
            if scale.num_done:
                x, finished = x.split([x.shape[1] - scale.num_done, scale.num_done], dim=1)
                done.append(finished.flatten(1))
        return torch.cat([*done, x.flatten(1)], dim=1), log_det

    def inverse(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        sizes = [scale.num_done * scale.shape[1] * scale.shape[2] for scale in self.plan]
        *done, x = u.split([*sizes, u.shape[1] - sum(sizes)], dim=1)
        c, h, w = self.plan[-1].shape
        x = x.unflatten(1, (c, h, w))
        for scale, layers, finished in reversed(list(zip(self.plan, self.scales, done, strict=True))):
            if scale.num_done:
                x = torch.cat([x, finished.unflatten(1, (scale.num_done, *scale.shape[1:]))], dim=1)
            for layer in reversed(list(layers)):
                x = layer.inverse(x, context)
            if scale.squeezed:
                x = F.pixel_shuffle(x, 2)
        return x
