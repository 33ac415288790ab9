"""Encoder and decoder: strided convolutions with residual blocks (van den Oord et al., 2017, sec. 4.1)."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout
from genpipe.networks.convolutional import halved
from genpipe.networks.layout import channels_last


class ResidualBlock(nn.Module):
    """x + convolution of x, (B, C, H, W)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.dropout = Dropout(dropout)
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.silu(self.first(F.silu(x)))))


class Encoder(nn.Module):
    """z (B, C, H, W) → (B, D, h, w), H and W halved `num_halvings` times, rounding up."""

    def __init__(
        self, num_in: int, *, channels: int, num_halvings: int, num_blocks: int, code_dim: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(num_halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(num_in, channels, 3, padding=1)]
        layers += [ResidualBlock(channels, dropout) for _ in range(num_blocks)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.SiLU(), nn.Conv2d(before, after, 3, stride=2, padding=1)]
            layers += [ResidualBlock(after, dropout) for _ in range(num_blocks)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(widths[-1], code_dim, 1))
        channels_last(self)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(z)
        return out


class Decoder(nn.Module):
    """Entries (B, D, h, w) → (B, num_out, H, W).

    Resolution grows by nearest-neighbour resizing followed by a convolution, which leaves none of the checkerboards of
    transposed convolutions (Odena et al., 2016), and fits sizes that are no power of two.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_out: int,
        *,
        channels: int,
        num_halvings: int,
        num_blocks: int,
        code_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in reversed(range(num_halvings + 1))]
        self.sizes = [halved(shape, i) for i in reversed(range(num_halvings))]
        self.stem = nn.Conv2d(code_dim, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(num_blocks))) for width in widths
        )
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.head = nn.Conv2d(channels, num_out, 3, padding=1)
        channels_last(self)

    def forward(self, h: Tensor) -> Tensor:
        h = self.blocks[0](self.stem(h))
        for size, convolution, blocks in zip(self.sizes, self.convolutions, list(self.blocks)[1:], strict=True):
            h = blocks(convolution(F.interpolate(F.silu(h), size=size, mode="nearest")))
        out: Tensor = self.head(F.silu(h))
        return out
