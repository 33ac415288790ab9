"""PixelCNN++ (Salimans et al., 2017).

Departures: no weight normalisation; inputs are shifted before the first convolutions and not their outputs after, so
that the first row too has a bias; concat-ELU before the last layer as everywhere else; and u and ul enter a block by a
1×1 convolution each in place of one of both side by side, which is the same function.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout
from genpipe.likelihoods.logistic_mixture import num_maps
from genpipe.networks.layout import channels_last
from genpipe.ops import PixelMap, PixelProgram, PixelProgramBuilder
from genpipe.plugins.autoregressive.layers import LabelBias, ShiftedConv2d, ShiftedUpsampling2d
from genpipe.plugins.autoregressive.pixels import PixelNetwork

Stream = Literal["down", "down_right"]
# Of the two streams: "down" sees the rows above, "down_right" also the pixels to the left (fig. 3).
KERNELS: dict[Stream, tuple[int, int]] = {"down": (2, 3), "down_right": (2, 2)}


def concat_elu(x: Tensor) -> Tensor:
    """elu(x) and elu(−x), (B, C, …) → (B, 2C, …)."""
    return F.elu(torch.cat([x, -x], dim=1))


def causal_conv(stream: Stream, num_in: int, num_out: int, stride: Literal[1, 2] = 1) -> ShiftedConv2d:
    """A convolution within a stream; at a place itself it sees what the layer before gave there."""
    return ShiftedConv2d(num_in, num_out, KERNELS[stream], (1, 1), stride=stride, by_rows=stream == "down")


class GatedResnet(nn.Module):
    """x + a · sigmoid(b), where a, b follow from x by two convolutions, the first joined by `beside` (fig. 2)."""

    def __init__(self, stream: Stream, channels: int, num_beside: int, dropout: float, num_classes: int) -> None:
        super().__init__()
        self.first = causal_conv(stream, 2 * channels, channels)
        self.beside: Any = nn.ModuleList(ShiftedConv2d(2 * channels, channels, bias=False) for _ in range(num_beside))
        self.dropout = Dropout(dropout)
        self.second = causal_conv(stream, 2 * channels, 2 * channels)
        self.label = LabelBias(num_classes, 2 * channels)

    def forward(self, x: Tensor, *beside: Tensor, label: Tensor | None) -> Tensor:
        y = self.first(concat_elu(x))
        for conv, other in zip(self.beside, beside, strict=True):
            y = y + conv(concat_elu(other))
        a, b = self.label(self.second(self.dropout(concat_elu(y))), label).chunk(2, dim=1)
        return x + a * b.sigmoid()

    def add_to(self, program: PixelProgramBuilder, x: PixelMap, *beside: PixelMap, label: int | None) -> PixelMap:
        y = None
        for conv, other in zip(self.beside, beside, strict=True):
            activated = program.concat_elu(other)
            y = program.conv(activated, conv.weight, addend=y, by_rows=other.by_rows and (y is None or y.by_rows))
        y = self.first.add_to(program, program.concat_elu(x), addend=y)
        second = self.second.add_to(program, program.concat_elu(y), label_bias=self.label.of(label))
        return program.gated_residual(second, x)


class PixelCNNPP(PixelNetwork):
    """Parameters of each pixel's mixture of discretized logistics, given the pixels before it.

    x: levels spread over [-1, 1], (B, C, H, W) → (B, P, H, W), where P holds for K mixtures the logits (K), means
    (C, K), log-scales (C, K), and the coefficients (C (C − 1) / 2, K) of earlier channels before their tanh, as
    ops.discretized_logistic_mixture_nll takes them. K is at most 512.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        levels: int,
        *,
        channels: int,
        num_resnets: int,
        num_halvings: int,
        num_mixtures: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__(image, levels)
        self.num_mixtures = num_mixtures
        num_in = image[0] + 1  # ones tell the image from what surrounds it
        self.above = ShiftedConv2d(num_in, channels, (2, 3), (2, 1), by_rows=True)
        self.row_above = ShiftedConv2d(num_in, channels, (1, 3), (1, 1), by_rows=True)
        self.left = ShiftedConv2d(num_in, channels, (2, 1), (1, 1))

        def blocks(count: int, num_beside: tuple[int, int]) -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(
                    GatedResnet(stream, channels, number, dropout, num_classes)
                    for stream, number in zip(KERNELS, num_beside, strict=True)
                )
                for _ in range(count)
            )

        # Up the resolutions' ladder each block of ul looks at u's; down it, each looks at its like on the way up.
        self.up: Any = nn.ModuleList(blocks(num_resnets, (0, 1)) for _ in range(num_halvings + 1))
        self.halving: Any = nn.ModuleList(
            nn.ModuleList(causal_conv(stream, channels, channels, stride=2) for stream in KERNELS)
            for _ in range(num_halvings)
        )
        self.down: Any = nn.ModuleList(
            blocks(num_resnets + (n < num_halvings), (1, 2)) for n in range(num_halvings + 1)
        )
        self.doubling: Any = nn.ModuleList(
            nn.ModuleList(
                [
                    ShiftedUpsampling2d(channels, channels, (2, 3), 1, by_rows=True),
                    ShiftedUpsampling2d(channels, channels, (2, 2), 0),
                ]
            )
            for _ in range(num_halvings)
        )
        self.head = ShiftedConv2d(2 * channels, num_mixtures * num_maps(image[0]))
        channels_last(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        u, ul = [self.above(x)], [self.row_above(x) + self.left(x)]
        for n, blocks in enumerate(self.up):
            for down, down_right in blocks:
                u.append(down(u[-1], label=y))
                ul.append(down_right(ul[-1], u[-1], label=y))
            if n < len(self.halving):
                halve_u, halve_ul = self.halving[n]
                u.append(halve_u(u[-1]))
                ul.append(halve_ul(ul[-1]))
        top_u, top_ul = u.pop(), ul.pop()
        for n in reversed(range(len(self.down))):
            for down, down_right in self.down[n]:
                top_u = down(top_u, u.pop(), label=y)
                top_ul = down_right(top_ul, top_u, ul.pop(), label=y)
            if n:
                double_u, double_ul = self.doubling[n - 1]
                size = u[-1].shape[2:]
                top_u, top_ul = double_u(top_u, size), double_ul(top_ul, size)
        return self.head(concat_elu(top_ul))

    def program(self, label: int | None = None) -> PixelProgram:
        """The network for ops.pixelcnn_sample; the same walk as `forward`."""
        program = PixelProgramBuilder(self.image, self.levels, num_mixtures=self.num_mixtures, with_ones=True)
        x = program.image
        u, ul = [self.above.add_to(program, x)], [self.left.add_to(program, x, self.row_above.add_to(program, x))]
        for n, blocks in enumerate(self.up):
            for down, down_right in blocks:
                u.append(down.add_to(program, u[-1], label=label))
                ul.append(down_right.add_to(program, ul[-1], u[-1], label=label))
            if n < len(self.halving):
                halve_u, halve_ul = self.halving[n]
                u.append(halve_u.add_to(program, u[-1]))
                ul.append(halve_ul.add_to(program, ul[-1]))
        top_u, top_ul = u.pop(), ul.pop()
        for n in reversed(range(len(self.down))):
            for down, down_right in self.down[n]:
                top_u = down.add_to(program, top_u, u.pop(), label=label)
                top_ul = down_right.add_to(program, top_ul, top_u, ul.pop(), label=label)
            if n:
                double_u, double_ul = self.doubling[n - 1]
                top_u, top_ul = double_u.add_to(program, top_u), double_ul.add_to(program, top_ul)
        self.head.add_to(program, program.concat_elu(top_ul))
        return program.build()
