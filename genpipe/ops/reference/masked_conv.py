"""The masked convolution and the gated activation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def conv_mask(
    out_channels: int, in_channels: int, kernel: tuple[int, int], mask_type: str, channel_groups: int = 1
) -> Tensor:
    """Which taps are live, bool (C_out, C_in, kh, kw)."""
    height, width = kernel
    row, column = torch.arange(height)[:, None] - height // 2, torch.arange(width)[None, :] - width // 2
    if mask_type.startswith("vertical"):
        live = row < (1 if mask_type == "vertical_B" else 0)
        return (live & (column == column)).expand(out_channels, in_channels, height, width).clone()
    mask = ((row < 0) | ((row == 0) & (column < 0))).expand(out_channels, in_channels, height, width).clone()
    i = torch.arange(out_channels)[:, None] // (out_channels // channel_groups)
    j = torch.arange(in_channels)[None, :] // (in_channels // channel_groups)
    mask[:, :, height // 2, width // 2] = j < i if mask_type == "A" else j <= i
    return mask


def masked_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask_type: str,
    channel_groups: int = 1,
    dilation: int = 1,
) -> Tensor:
    """conv2d with zeros in weight's dead taps, whatever they hold."""
    out_channels, in_channels, *kernel = weight.shape
    mask = conv_mask(out_channels, in_channels, (kernel[0], kernel[1]), mask_type, channel_groups).to(weight.device)
    padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    return F.conv2d(x, torch.where(mask, weight, 0), bias, padding=padding, dilation=dilation)


def gated_activation(x: Tensor, addend: Tensor | None = None) -> Tensor:
    """tanh of the first half of the channels times sigmoid of the second."""
    a, b = (x if addend is None else x + addend).chunk(2, dim=1)
    return a.tanh() * b.sigmoid()
