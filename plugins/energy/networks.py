"""The tilt f: one number for an example, smooth in it, for Langevin dynamics and score matching follow its slope."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class Waves(nn.Module):
    """z (B, D) and its sines and cosines at frequencies 1, 2, 4, …, (B, D (1 + 2 num)): without them a perceptron is slow to
    learn what is narrow (Tancik et al., 2020)."""

    frequencies: Tensor

    def __init__(self, num: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(num), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        angles = (z[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([z, angles.sin(), angles.cos()], dim=1)


class Tilt(nn.Module):
    """(B, *event) → (B,). The last layer has no bias: a constant is no energy."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, z: Tensor) -> Tensor:
        value: Tensor = self.layers(z)
        return value[:, 0].float()


def vector_tilt(num_dimensions: int, *, hidden: int, num_layers: int, num_frequencies: int) -> Tilt:
    """A multilayer perceptron over waves of each number."""
    widths = [num_dimensions * (1 + 2 * num_frequencies), *[hidden] * num_layers]
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
    return Tilt(nn.Sequential(Waves(num_frequencies), *layers, nn.Linear(hidden, 1, bias=False)))


def image_tilt(shape: tuple[int, ...], *, channels: int, hidden: int) -> Tilt:
    """Convolutions that halve the resolution once, then a hidden layer that sees where things are (after Nijkamp et al.,
    2019, appendix)."""
    height, width = (shape[1] + 1) // 2, (shape[2] + 1) // 2
    return Tilt(
        nn.Sequential(
            nn.Conv2d(shape[0], channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * channels * height * width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 1, bias=False),
        )
    )
