"""Convolutional encoder and decoder for images of any size, plain or with residual blocks."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout
from genpipe.networks.labels import AddLabel
from genpipe.networks.layout import channels_last


class ResidualBlock(nn.Module):
    """x + two convolutions of it, each after normalisation and activation (He et al., 2016b, fig. 1b).

    Groups of channels are normalised in place of the batch (Wu & He, 2018); the second convolution starts at zero, so
    that a deep network starts as a shallow one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(g for g in (1, 2, 4, 8) if channels % g == 0 and channels // g >= min(4, channels))
        self.norms = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(2))
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(second.weight)
        second.bias = nn.Parameter(torch.zeros(channels))
        self.convolutions = nn.ModuleList([first, second])

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(F.silu(norm(h)))
        return x + h


def blocks(num: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(num)))


class ImageEncoder(nn.Module):
    """z (B, C, H, W), y (B,) or None → (B, num_out). num_blocks: residual blocks at each resolution, 0 for none."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_out: int,
        channels: int,
        num_halvings: int,
        num_blocks: int,
        dropout: float,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(num_halvings + 1)]
        self.stem, self.label = nn.Conv2d(shape[0], channels, 3, padding=1), AddLabel(num_classes, channels)
        self.halvings = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.blocks = nn.ModuleList(blocks(num_blocks, width) for width in widths)
        height, width = halved(shape, num_halvings)
        self.dropout, self.head = Dropout(dropout), nn.Linear(widths[-1] * height * width, num_out)
        channels_last(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.blocks[0](F.silu(self.label(self.stem(z), y)))
        for halving, residual in zip(self.halvings, list(self.blocks)[1:], strict=True):
            h = residual(F.silu(halving(h)))
        out: Tensor = self.head(self.dropout(h.flatten(1)))
        return out


class ImageDecoder(nn.Module):
    """Code (B, num_in), y (B,) or None → maps (B, num_out, H, W).

    Resolution grows by nearest-neighbour resizing followed by a convolution, which leaves none of the
    checkerboards of transposed convolutions (Odena et al., 2016).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_in: int,
        num_out: int,
        channels: int,
        num_halvings: int,
        num_blocks: int,
        dropout: float,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.sizes = [halved(shape, i) for i in reversed(range(num_halvings + 1))]
        widths = [channels * 2**i for i in reversed(range(num_halvings + 1))]
        self.smallest = (widths[0], *self.sizes[0])
        num_stem = widths[0] * self.sizes[0][0] * self.sizes[0][1]
        self.stem, self.label = nn.Linear(num_in, num_stem), AddLabel(num_classes, num_stem)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(blocks(num_blocks, width) for width in widths)
        self.doublings = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.head = nn.Conv2d(channels, num_out, 3, padding=1)
        channels_last(self)

    def forward(self, code: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.dropout(F.silu(self.label(self.stem(code), y))).unflatten(1, self.smallest)
        h = self.blocks[0](h.contiguous(memory_format=torch.channels_last))
        for size, doubling, residual in zip(self.sizes[1:], self.doublings, list(self.blocks)[1:], strict=True):
            h = residual(F.silu(doubling(F.interpolate(h, size=size, mode="nearest"))))
        out: Tensor = self.head(h)
        return out


def halved(shape: tuple[int, ...], times: int) -> tuple[int, int]:
    """Height and width of (C, H, W) halved, rounding up, as a convolution of stride 2 and padding 1 does."""
    height, width = shape[1:]
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width
