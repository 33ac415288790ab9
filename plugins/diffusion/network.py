"""Denoising networks: a small U-Net for images of any size, a residual MLP for vectors.

Both take z (B, *event) and log_snr (B,), λ_t of the noise in z, and give one output shaped as z.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout


class NoiseLevelEmbedding(nn.Module):
    """log_snr (B,) → (B, width): sines and cosines (Vaswani et al., 2017), then an MLP."""

    frequencies: Tensor

    def __init__(self, width: int, num_frequencies: int = 16) -> None:
        super().__init__()
        # λ spans about [-10, 10]: waves from the whole span down to a fraction of a unit.
        frequencies = torch.logspace(math.log10(0.05), math.log10(5.0), num_frequencies)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, log_snr: Tensor) -> Tensor:
        angles = log_snr[:, None].clamp(-20, 20) * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, the second scaled and shifted by the noise level.

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

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(level)[:, :, None, None].chunk(2, dim=1)
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

    levels: of integer data. Adds sin and cos of the position of z within its bin to the input, so that the
    network can tell dequantisation noise from signal (after Kingma et al., 2021, appendix C).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: int,
        multipliers: tuple[int, ...],
        num_blocks: int,
        attention: bool,
        dropout: float,
        levels: int | None,
    ) -> None:
        super().__init__()
        self.levels = levels
        width = 4 * channels
        self.level = NoiseLevelEmbedding(width)
        num_in = shape[0] * (3 if levels is not None else 1)
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
        for parameter in self.parameters():
            if parameter.ndim == 4:  # the layout that convolutions run in without reordering
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        level = F.silu(self.level(log_snr))
        h = z
        if self.levels is not None:
            angle = (z + 1) * (math.pi * self.levels)  # one turn per bin: a bin is 2 / levels wide
            h = torch.cat([z, angle.sin(), angle.cos()], dim=1)
        h, skips = self.stem(h), []
        for i, block in enumerate(self.down):
            if i > 0 and i % self.num_blocks == 0:
                h = self.shrink[i // self.num_blocks - 1](h)
            h = block(h, level)
            skips.append(h)
        h = self.attention(self.middle(h, level))
        for block in self.up:
            skip = skips.pop()
            if h.shape[2:] != skip.shape[2:]:
                h = F.interpolate(h, size=skip.shape[2:], mode="nearest")
            h = block(torch.cat([h, skip], dim=1), level)
        return self.head(F.silu(self.norm(h)))


class ResidualLayer(nn.Module):
    """LayerNorm and two linear maps around SiLU, the noise level added in between; (B, hidden) → (B, hidden)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(hidden), Dropout(dropout)
        self.first, self.second = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.silu(self.first(self.norm(x)) + level)))


class ResidualMLP(nn.Module):
    """num_blocks + 1 residual layers between two linear maps, for vectors (B, D)."""

    def __init__(self, num_dimensions: int, *, hidden: int, num_blocks: int, dropout: float) -> None:
        super().__init__()
        self.level = NoiseLevelEmbedding(hidden)
        self.stem, self.head = nn.Linear(num_dimensions, hidden), nn.Linear(hidden, num_dimensions)
        self.layers = nn.ModuleList(ResidualLayer(hidden, dropout) for _ in range(num_blocks + 1))
        nn.init.zeros_(self.head.weight)

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        level, h = self.level(log_snr), self.stem(z)
        for layer in self.layers:
            h = layer(h, level)
        return self.head(F.silu(h))
