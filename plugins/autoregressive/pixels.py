"""What the PixelCNNs share: exact probabilities in one pass, and samples by a program that visits each pixel once."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise
from genpipe.ops import PixelProgram
from genpipe.plugins.autoregressive.network import LevelNetwork


class PixelNetwork(LevelNetwork):
    """A network writes `forward(x, y)`, of levels spread over [-1, 1], (B, C, H, W), and `program(label)`, the same
    computation place by place. num_mixtures: 0 where it gives logits of each level."""

    num_mixtures = 0

    def __init__(self, image: tuple[int, int, int], levels: int) -> None:
        super().__init__(image, levels)
        self.image = image

    @abstractmethod
    def program(self, label: int | None = None) -> PixelProgram:
        """The network for ops.pixelcnn_sample, for examples of one label."""

    def nll(self, x: Tensor, y: Tensor | None) -> Tensor:
        out = self(x.float() * (2 / (self.levels - 1)) - 1, y)
        if self.num_mixtures:
            return ops.discretized_logistic_mixture_nll(out, x, levels=self.levels)
        return ops.categorical_nll(out, x)

    def sample(self, num: int, y: Tensor | None, noise: Noise, device: torch.device) -> Tensor:
        """A program knows one label, so that examples of one that follow each other are drawn together."""
        key = noise.key("pixels")
        if y is None:
            return ops.pixelcnn_sample(self.program(), key, num, first_index=noise.first_index)
        drawn = torch.empty((num, *self.image), dtype=torch.int64, device=device)
        programs: dict[int, PixelProgram] = {}
        first = 0
        for label, count in zip(*(t.tolist() for t in torch.unique_consecutive(y, return_counts=True)), strict=True):
            if label not in programs:
                programs[label] = self.program(label)
            drawn[first : first + count] = ops.pixelcnn_sample(
                programs[label], key, count, first_index=noise.first_index + first
            )
            first += count
        return drawn
