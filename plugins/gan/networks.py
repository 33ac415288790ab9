"""Generators and critics: convolutional for images of any size, an MLP for vectors; both may be told a label.

None normalises over the batch: an example's output, and the critic's slope at it, are its own.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from genpipe.networks.convolutional import halved
from genpipe.networks.labels import one_hot
from genpipe.networks.layout import channels_last

SLOPE = 0.2  # of leaky rectifiers below zero (Radford et al., 2016)


class SpectralNorm(nn.Module):
    """A weight over its largest singular value (Miyato et al., 2018, eq. 9).

    Exact rather than by power iteration, whose vectors would depend on how often a batch is cut.
    """

    def forward(self, weight: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
        return weight / norm


class ImageGenerator(nn.Module):
    """Codes (B, latent_dim) → (B, C, H, W) in (−1, 1)."""

    def __init__(self, shape: tuple[int, ...], *, channels: int, num_halvings: int, latent_dim: int) -> None:
        super().__init__()
        self.sizes = [halved(shape, times) for times in reversed(range(num_halvings + 1))]
        widths = [channels * 2**times for times in reversed(range(num_halvings + 1))]
        self.smallest = (widths[0], *self.sizes[0])
        self.stem = nn.Linear(latent_dim, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths)
        self.head = nn.Conv2d(channels, shape[0], 3, padding=1)
        channels_last(self)

    def forward(self, code: Tensor) -> Tensor:
        h = F.relu(self.norms[0](self.stem(code).unflatten(1, self.smallest)))
        for size, convolution, norm in zip(self.sizes[1:], self.convolutions, list(self.norms)[1:], strict=True):
            h = F.relu(norm(convolution(F.interpolate(h, size=size, mode="nearest"))))
        return torch.tanh(self.head(h))


class Critic(nn.Module):
    """What features φ (B, F) of z are worth, (B,): w·φ + b, and + e_y·φ where labels y (B,) are known, so that a class has
    a direction of its own (Miyato & Koyama, 2018, cGANs with Projection Discriminator, eq. 4)."""

    def __init__(self, features: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(num_features, 1)
        self.classes = nn.Linear(num_classes, num_features, bias=False) if num_classes else None

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        features = self.features(z)
        worth: Tensor = self.head(features)[:, 0]
        if self.classes is not None and y is not None:
            worth = worth + (self.classes(one_hot(y, self.classes.in_features)) * features).sum(dim=1)
        return worth


def image_features(shape: tuple[int, ...], *, channels: int, num_halvings: int) -> tuple[nn.Sequential, int]:
    """(B, C, H, W) → (B, F), and F."""
    widths = [channels * 2**times for times in range(num_halvings + 1)]
    layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, padding=1), nn.LeakyReLU(SLOPE)]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    height, width = halved(shape, num_halvings)
    features = nn.Sequential(*layers, nn.Flatten())
    channels_last(features)
    return features, widths[-1] * height * width


def vector_features(num_in: int, hidden: int) -> nn.Sequential:
    """(B, num_in) → (B, hidden), three hidden layers (Gulrajani et al., 2017, appendix on toy distributions).

    Its rectifiers leak nothing: leaky ones bend too little for modes that are narrow beside the space between them.
    """
    widths = [num_in, hidden, hidden, hidden]
    return nn.Sequential(*(part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())))


def normalised(critic: Critic) -> Critic:
    """The critic with every weight under SpectralNorm."""
    for module in critic.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            parametrize.register_parametrization(module, "weight", SpectralNorm())
    return critic
