"""The network that looks at noisy data: a U-Net or an MLP, told the noise level and, where there is one, the label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.diffusion.config import DenoiserConfig
from genpipe.plugins.diffusion.mlp import ResidualMLP
from genpipe.plugins.diffusion.unet import UNet

MOST_LEVELS = 256
"""Of finer bins the waves turn faster than a flow's steps, and than float32 can tell at large noise."""


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


class Denoiser(nn.Module):
    """One output (B, *event), float32, for x (B, *event) at λ = log_snr (B,), and y (B,) where it is conditional.

    Of images of up to MOST_LEVELS it also sees sin and cos of the position within a bin, so that it can tell dequantisation noise
    from signal (after Kingma et al., 2021, appendix C). hidden_label is the y of an example without its label.
    """

    def __init__(self, config: DenoiserConfig, spec: DataSpec) -> None:
        super().__init__()
        fine = spec.event != "image" or spec.levels is None or spec.levels > MOST_LEVELS
        self.levels = spec.levels if config.fourier_features and not fine else None
        self.label_dropout = config.label_dropout
        if spec.event == "image":
            width = 4 * config.channels
            self.network: nn.Module = UNet(
                spec.shape,
                num_in=spec.shape[0] * (1 if self.levels is None else 3),
                width=width,
                channels=config.channels,
                multipliers=config.channel_multipliers,
                num_blocks=config.num_blocks,
                attention=config.attention,
                dropout=config.dropout,
            )
        else:
            width = config.hidden
            self.network = ResidualMLP(
                spec.num_dimensions, hidden=width, num_blocks=config.num_blocks, dropout=config.dropout
            )
        self.level = NoiseLevelEmbedding(width)
        self.label: nn.Embedding | None = None
        if config.conditional:
            assert spec.num_classes is not None
            self.hidden_label = spec.num_classes
            self.label = nn.Embedding(spec.num_classes + 1, width)

    def forward(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None, unit: Tensor | float = 1.0) -> Tensor:
        """unit: what 1 in x is in the units that bins are counted in, [-1, 1) for all of them."""
        condition = self.level(log_snr)
        if self.label is not None:
            assert y is not None
            condition = condition + self.label(y)
        if self.levels is not None:
            angle = (x * unit + 1) * (math.pi * self.levels)  # one turn per bin: a bin is 2 / levels wide
            x = torch.cat([x, angle.sin(), angle.cos()], dim=1)
        output: Tensor = self.network(x, F.silu(condition))
        return output.float()

    def hide_labels(self, y: Tensor | None, noise: Noise) -> Tensor | None:
        """y with a share `label_dropout` hidden (Ho & Salimans, 2022, algorithm 1), each by its example's numbers."""
        if y is None or self.label_dropout == 0:
            return y
        hidden = noise.uniform("hide label", (len(y),), device=y.device) < self.label_dropout
        return torch.where(hidden, self.hidden_label, y)

    def guided(
        self, x: Tensor, log_snr: Tensor, y: Tensor | None, unit: Tensor | float, guidance: float
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The output with the labels, and where guidance is not 1 the one without, from one pass of twice the batch."""
        if guidance == 1:
            return self(x, log_snr, y, unit)
        assert y is not None, "guidance of a network that takes no labels"
        labels = torch.cat([y, torch.full_like(y, self.hidden_label)])
        both: Tensor = self(torch.cat([x, x]), torch.cat([log_snr, log_snr]), labels, unit)
        return both[: len(x)], both[len(x) :]
