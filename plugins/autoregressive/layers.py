"""Convolutions that see earlier pixels alone: as modules for training, and as steps of a sampling program.

`forward` computes whole maps; `add_to` adds the same computation to a program, place by place. A test holds the two
together.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.ops import PixelMap, PixelProgramBuilder, masked_conv2d
from genpipe.ops.masked_conv import MaskType


class ShiftedConv2d(nn.Module):
    """A convolution whose weight (ky, kx) meets place (i + ky − oy, j + kx − ox) for an origin (oy, ox), or, with
    stride 2, the place from (2i, 2j) on. Zeros surround the input; H and W stay, or are halved, rounding up.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel: tuple[int, int] = (1, 1),
        origin: tuple[int, int] = (0, 0),
        *,
        stride: Literal[1, 2] = 1,
        bias: bool = True,
        by_rows: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.bias = parameters((num_out, num_in, *kernel), num_in * math.prod(kernel), num_out, bias)
        self.stride, self.origin, self.by_rows = stride, origin, by_rows

    def forward(self, x: Tensor) -> Tensor:
        (oy, ox), (height, width) = self.origin, self.weight.shape[2:]
        if (height, width) != (1, 1):
            x = F.pad(x, (ox, width - 1 - ox, oy, height - 1 - oy))
        return F.conv2d(x, self.weight, self.bias, self.stride)

    def add_to(
        self,
        program: PixelProgramBuilder,
        x: PixelMap,
        addend: PixelMap | None = None,
        label_bias: Tensor | None = None,
    ) -> PixelMap:
        return program.conv(
            x,
            self.weight,
            sum_of(self.bias, label_bias),
            origin=self.origin,
            addend=addend,
            by_rows=self.by_rows,
            scale="down" if self.stride == 2 else "same",
        )


class ShiftedUpsampling2d(nn.Module):
    """A transposed convolution of stride 2: weight (ky, kx) leads from (i, j) to (2i + ky, 2j + kx − ox)."""

    def __init__(self, num_in: int, num_out: int, kernel: tuple[int, int], ox: int, *, by_rows: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = parameters((num_in, num_out, *kernel), num_in * math.prod(kernel) // 4, num_out)
        self.ox, self.by_rows = ox, by_rows

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        y = F.conv_transpose2d(x, self.weight, self.bias, stride=2)
        return y[:, :, : size[0], self.ox : self.ox + size[1]]

    def add_to(self, program: PixelProgramBuilder, x: PixelMap) -> PixelMap:
        weight = self.weight.transpose(0, 1)
        return program.conv(x, weight, self.bias, origin=(0, self.ox), by_rows=self.by_rows, scale="up")


class MaskedConv2d(nn.Module):
    """ops.masked_conv2d with its parameters. num_in and num_out are multiples of `groups`; sizes of the kernel are odd."""

    mask: Tensor

    def __init__(
        self, mask_type: MaskType, num_in: int, num_out: int, kernel: tuple[int, int] = (1, 1), groups: int = 1
    ) -> None:
        super().__init__()
        mask = causal_mask(mask_type, (num_out, num_in, *kernel), groups)
        fan_in = max(1, int(mask.sum()) // num_out)
        self.weight, self.bias = parameters((num_out, num_in, *kernel), fan_in, num_out)
        self.mask_type: MaskType = mask_type
        self.groups = groups
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return masked_conv2d(x, self.weight, self.bias, mask_type=self.mask_type, channel_groups=self.groups)

    def add_to(
        self,
        program: PixelProgramBuilder,
        x: PixelMap,
        addend: PixelMap | None = None,
        label_bias: Tensor | None = None,
    ) -> PixelMap:
        height, width = self.weight.shape[2:]
        return program.conv(
            x,
            self.weight,
            sum_of(self.bias, label_bias),
            origin=(height // 2, width // 2),
            mask=self.mask,
            addend=addend,
            by_rows=self.mask_type.startswith("vertical"),
            groups=self.groups,
        )


class LabelBias(nn.Module):
    """x + v_y, (B, C, H, W): what each label adds to a layer (van den Oord et al., 2016, eq. 4); x without labels."""

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, channels) if num_classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return x if self.embedding is None else x + self.embedding(y)[:, :, None, None]

    def of(self, label: int | None) -> Tensor | None:
        """(C,), what a label adds; None without labels."""
        return None if self.embedding is None else self.embedding.weight[label]


def sum_of(bias: Tensor | None, label_bias: Tensor | None) -> Tensor | None:
    """Either, or both added up."""
    return label_bias if bias is None else bias if label_bias is None else bias + label_bias


def causal_mask(mask_type: MaskType, shape: tuple[int, int, int, int], groups: int) -> Tensor:
    """1 where a weight of `shape` (num_out, num_in, height, width) is alive; see ops.masked_conv2d."""
    num_out, num_in, height, width = shape
    mask = torch.zeros(shape)
    mask[:, :, : height // 2] = 1
    if mask_type.startswith("vertical"):
        mask[:, :, height // 2] = mask_type == "vertical_B"
        return mask
    mask[:, :, height // 2, : width // 2] = 1
    to = torch.arange(num_out)[:, None] // (num_out // groups)
    source = torch.arange(num_in)[None] // (num_in // groups)
    mask[:, :, height // 2, width // 2] = (source < to if mask_type == "A" else source <= to).float()
    return mask


def parameters(
    shape: tuple[int, ...], fan_in: int, num_out: int, bias: bool = True
) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight and bias, uniform within 1/√fan_in, as torch's convolutions start."""
    bound = 1 / math.sqrt(fan_in)
    weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
    return weight, nn.Parameter(torch.empty(num_out).uniform_(-bound, bound)) if bias else None
