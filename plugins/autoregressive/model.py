"""Autoregressive models of whole numbers: exact likelihood, and samples one number after the other."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Model, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.plugins.autoregressive import AUTOREGRESSIVE
from genpipe.plugins.autoregressive.categorical_made import CategoricalMADE
from genpipe.plugins.autoregressive.config import AutoregressiveConfig
from genpipe.plugins.autoregressive.gated_pixelcnn import GatedPixelCNN
from genpipe.plugins.autoregressive.network import LevelNetwork
from genpipe.plugins.autoregressive.pixelcnn_pp import PixelCNNPP
from genpipe.plugins.autoregressive.recurrent import Recurrent
from genpipe.plugins.autoregressive.transformer import Transformer

# Each network, and the config's options that it takes beside the data's shape, levels and classes.
NETWORKS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "gated_pixelcnn": (GatedPixelCNN, ("channels", "num_layers", "kernel_size", "first_kernel_size")),
    "pixelcnn_pp": (PixelCNNPP, ("channels", "num_resnets", "num_halvings", "num_mixtures")),
    "transformer": (Transformer, ("channels", "num_layers", "num_heads")),
    "recurrent": (Recurrent, ("channels", "num_layers")),
    "made": (CategoricalMADE, ("hidden", "num_layers", "num_orders")),
}
OF_IMAGES = ("gated_pixelcnn", "pixelcnn_pp")


class Autoregressive(Model):
    """P(x) = Π P(number | the numbers before it): of images in raster order, and red, green, blue within a pixel.

    The probability is of the whole numbers themselves. Sampling visits each number once, and keeps what the network
    computed there.
    """

    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, spec: DataSpec) -> None:
        super().__init__(AUTOREGRESSIVE, config, spec)
        name = config.network
        if name == "auto":
            name = "gated_pixelcnn" if spec.event == "image" else "transformer"
        _check(name, config, spec)
        kind, options = NETWORKS[name]
        self.network: LevelNetwork = kind(
            spec.shape,
            spec.levels,
            dropout=config.dropout,
            num_classes=(spec.num_classes or 0) if config.conditional else 0,
            **{option: getattr(config, option) for option in options},
        )

    def levels(self, z: Tensor) -> Tensor:
        """(B, *shape) int64."""
        return self.units.from_network(z).long()

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Nats per dimension."""
        return {"loss": self.network.training_nll(self.levels(z), y, noise).mean() / self.spec.num_dimensions}

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return -self.network.nll(self.levels(z), y)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        return self.units.to_network(self.network.sample(num, y, noise, self.device), None)

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """A number is drawn once and stays, so that every frame is a part of the samples: whole pixels of them, or,
        where each sample has an order of its own, numbers in a frame that is grey where none is drawn yet."""
        z = self.generate(num, y, noise, sampler)
        ranks = self.network.ranks(num, noise, z.device)
        shape = self.spec.shape[-2:] if ranks is None else self.spec.shape
        total = math.prod(shape)
        counts = torch.linspace(0, total, min(num_frames, total + 1), device=z.device).round().int()
        labels = tuple(f"{count} of {total}" for count in counts.tolist())
        if ranks is None:
            drawn = (torch.arange(total, device=z.device) < counts[:, None]).unflatten(1, shape)
            if self.spec.event == "image":
                drawn = drawn[:, None].expand(-1, *self.spec.shape)
            return SamplePath(frames=z.expand(len(counts), *z.shape), labels=labels, drawn=drawn)
        there = ranks < counts.view(-1, *[1] * ranks.ndim)
        return SamplePath(frames=torch.where(there, z, 0.0), labels=labels)


def _check(name: str, config: AutoregressiveConfig, spec: DataSpec) -> None:
    """UsageError where a network cannot have such data."""
    if name in OF_IMAGES and spec.event != "image":
        others = ", ".join(other for other in NETWORKS if other not in OF_IMAGES)
        raise UsageError(
            f"network '{name}' models images, and '{spec.name}' has {spec.event}s: set network to one of {others}"
        )
    if name == "pixelcnn_pp" and spec.shape[0] not in (1, 3):
        raise UsageError(
            f"PixelCNN++ models images of 1 or 3 channels, and those of '{spec.name}' have {spec.shape[0]}"
        )
    if name == "made" and spec.event == "image" and not config.flatten:
        raise UsageError(
            f"network 'made' models rows of numbers, and '{spec.name}' has images {spec.shape}: "
            "set flatten: true to take them as rows, or a network that knows pixels"
        )


def build(config: AutoregressiveConfig, spec: DataSpec) -> Autoregressive:
    return Autoregressive(config, spec)
