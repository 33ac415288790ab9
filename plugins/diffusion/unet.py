"""A small U-Net for noisy images of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout
from genpipe.networks.layout import channels_last


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, the second scaled and shifted by the condition.

    The adaptive normalisation of Nichol & Dhariwal (2021), sec. 3.2; the last convolution starts at zero.
    """

    def __init__(self, num_in: int, num_out: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.conv_in = nn.GroupNorm(4, num_in), nn.Conv2d(num_in, num_out, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * num_out)
        self.norm_out, self.conv_out = nn.GroupNorm(4, num_out), nn.Conv2d(num_out, num_out, 3, padding=1)
        self.dropout = Dropout(dropout)
        self.skip = nn.Conv2d(num_in, num_out, 1) if num_in != num_out else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm_out(h), 1 + scale)
        return self.skip(x) + self.conv_out(self.dropout(F.silu(h)))


class SelfAttention(nn.Module):
    """Attention over all positions (Ho et al., 2020, appendix B), one head per 16 channels or so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = max(h for h in (1, 2, 4, 8) if channels % h == 0 and channels // h >= min(16, channels))
        self.norm = nn.GroupNorm(4, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.num_heads, -1)).transpose(-1, -2)
        q, k, v = qkv.unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).flatten(1, 2).unflatten(2, x.shape[2:]))


class UNet(nn.Module):
    """The U-Net of Ho et al. (2020), appendix B, small: strided convolutions down, resizing up, skips across.

    (B, C, H, W) for x (B, num_in, H, W) and condition (B, width).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        num_in: int,
        width: int,
        channels: int,
        multipliers: tuple[int, ...],
        num_blocks: int,
        attention: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        at, skips = widths[0], []
        self.stem = nn.Conv2d(num_in, at, 3, padding=1)
        self.num_blocks, self.down, self.shrink, self.up = num_blocks, nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, w in enumerate(widths):
            if i > 0:
                self.shrink.append(nn.Conv2d(at, at, 3, stride=2, padding=1))
            for _ in range(num_blocks):
                self.down.append(ResidualBlock(at, w, width, dropout))
                at = w
                skips.append(at)
        self.middle = ResidualBlock(at, at, width, dropout)
        self.attention = SelfAttention(at) if attention else nn.Identity()
        for w in reversed(widths):
            for _ in range(num_blocks):
                self.up.append(ResidualBlock(at + skips.pop(), w, width, dropout))
                at = w
        self.norm, self.head = nn.GroupNorm(4, at), nn.Conv2d(at, shape[0], 3, padding=1)
        nn.init.zeros_(self.head.weight)
        channels_last(self)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h, skips = self.stem(x), []
        for i, block in enumerate(self.down):
            if i > 0 and i % self.num_blocks == 0:
                h = self.shrink[i // self.num_blocks - 1](h)
            h = block(h, condition)
            skips.append(h)
        h = self.attention(self.middle(h, condition))
        for block in self.up:
            skip = skips.pop()
            if h.shape[2:] != skip.shape[2:]:
                h = F.interpolate(h, size=skip.shape[2:], mode="nearest")
            h = block(torch.cat([h, skip], dim=1), condition)
        return self.head(F.silu(self.norm(h)))
