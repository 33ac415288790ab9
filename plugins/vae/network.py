"""Encoders and decoders: convolutional for images of any size, an MLP for vectors."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout


class ImageEncoder(nn.Module):
    """z (B, C, H, W) → mean and log-variance of the code, (B, latent_dim) each."""

    def __init__(
        self, shape: tuple[int, ...], channels: int, num_halvings: int, latent_dim: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(num_halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, padding=1), nn.SiLU()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        height, width = halved(shape[1], num_halvings), halved(shape[2], num_halvings)
        self.convolutions = nn.Sequential(*layers)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(widths[-1] * height * width, 2 * latent_dim)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.head(self.dropout(self.convolutions(z).flatten(1))).chunk(2, dim=1)
        return mean, log_var


class ImageDecoder(nn.Module):
    """Code (B, latent_dim) → mean and unbounded log-variance of z, (B, C, H, W) each.

    Resolution grows by nearest-neighbour resizing followed by a convolution, which leaves none of the
    checkerboards of transposed convolutions (Odena et al., 2016).
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, num_halvings: int, latent_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.sizes = [(halved(shape[1], i), halved(shape[2], i)) for i in reversed(range(num_halvings + 1))]
        widths = [channels * 2**i for i in reversed(range(num_halvings + 1))]
        self.smallest = (widths[0], *self.sizes[0])
        self.stem = nn.Linear(latent_dim, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.dropout = Dropout(dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.head = nn.Conv2d(channels, 2 * shape[0], 3, padding=1)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        h = self.dropout(F.silu(self.stem(code))).unflatten(1, self.smallest)
        for size, convolution in zip(self.sizes[1:], self.convolutions, strict=True):
            h = F.silu(convolution(F.interpolate(h, size=size, mode="nearest")))
        mean, log_var = self.head(h).chunk(2, dim=1)
        return mean, log_var


class VectorCoder(nn.Module):
    """(B, num_in) → a mean and a log-variance, (B, num_out) each: both halves of the VAE for vectors."""

    def __init__(self, num_in: int, num_out: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_in, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(hidden, 2 * num_out),
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.layers(z).chunk(2, dim=1)
        return mean, log_var


def halved(size: int, times: int) -> int:
    """`size` halved, rounding up, as a convolution of stride 2 and padding 1 does."""
    for _ in range(times):
        size = (size + 1) // 2
    return size


def build_coders(
    shape: tuple[int, ...], *, channels: int, num_halvings: int, hidden: int, latent_dim: int, dropout: float
) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) for an event shape: (C, H, W) or (D,)."""
    if len(shape) == 3:
        return (
            ImageEncoder(shape, channels, num_halvings, latent_dim, dropout),
            ImageDecoder(shape, channels, num_halvings, latent_dim, dropout),
        )
    return VectorCoder(shape[0], latent_dim, hidden, dropout), VectorCoder(latent_dim, shape[0], hidden, dropout)


def bounded_below(log_var: Tensor, minimum: float) -> Tensor:
    """log_var above `minimum`, smoothly: minimum + softplus(log_var − minimum)."""
    return minimum + F.softplus(log_var - minimum)
