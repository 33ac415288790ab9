"""Autoregressive models of images: exact likelihood in one pass, samples pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Model, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.plugins.autoregressive import AUTOREGRESSIVE
from genpipe.plugins.autoregressive.config import AutoregressiveConfig
from genpipe.plugins.autoregressive.gated_pixelcnn import GatedPixelCNN
from genpipe.plugins.autoregressive.pixelcnn_pp import PixelCNNPP


class Autoregressive(Model):
    """P(x) = Π P(pixel | the pixels before it), in raster order, and red, green, blue within a pixel.

    The probability is of the whole numbers themselves. Sampling runs the network's program, which visits each pixel
    once and keeps what it computed there.
    """

    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, spec: DataSpec) -> None:
        super().__init__(AUTOREGRESSIVE, config, spec)
        assert spec.levels is not None
        self.levels, image = spec.levels, (spec.shape[0], spec.shape[1], spec.shape[2])
        self.network: GatedPixelCNN | PixelCNNPP
        if config.network == "gated_pixelcnn":
            self.network = GatedPixelCNN(
                image,
                spec.levels,
                channels=config.channels,
                num_layers=config.num_layers,
                kernel_size=config.kernel_size,
                first_kernel_size=config.first_kernel_size,
                dropout=config.dropout,
            )
        elif spec.shape[0] not in (1, 3):
            raise UsageError(
                f"PixelCNN++ models images of 1 or 3 channels, and those of '{spec.name}' have {spec.shape[0]}"
            )
        else:
            self.network = PixelCNNPP(
                image,
                spec.levels,
                channels=config.channels,
                num_resnets=config.num_resnets,
                num_halvings=config.num_halvings,
                num_mixtures=config.num_mixtures,
                dropout=config.dropout,
            )

    def nll(self, z: Tensor) -> Tensor:
        """−log P, (B,), in nats."""
        levels = self.units.from_network(z).long()
        out = self.network(levels.to(z.dtype) * (2 / (self.levels - 1)) - 1)
        if self.network.num_mixtures:
            return ops.discretized_logistic_mixture_nll(out, levels, levels=self.levels)
        return ops.categorical_nll(out, levels)

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Nats per dimension."""
        return {"loss": self.nll(z).mean() / self.spec.num_dimensions}

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return -self.nll(z)

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        program = self.network.program()
        levels = ops.pixelcnn_sample(program, noise.key("pixels"), num, first_index=noise.first_index)
        return self.units.to_network(levels, None)

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """A pixel is drawn once and stays, so that every frame is a part of the samples."""
        z = self.generate(num, y, noise, sampler)
        num_pixels = z.shape[-2] * z.shape[-1]
        counts = torch.linspace(0, num_pixels, min(num_frames, num_pixels + 1)).round().int()
        drawn = (torch.arange(num_pixels) < counts[:, None]).view(-1, 1, *z.shape[-2:])
        return SamplePath(
            frames=z.expand(len(counts), *z.shape),
            labels=tuple(f"{count} of {num_pixels}" for count in counts.tolist()),
            drawn=drawn.expand(-1, *z.shape[1:]),
        )


def build(config: AutoregressiveConfig, spec: DataSpec) -> Autoregressive:
    return Autoregressive(config, spec)
