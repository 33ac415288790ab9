"""What every network of the family gives, whatever it sees of an example at once."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from genpipe.noise import Noise


class LevelNetwork(nn.Module):
    """P(x) of levels x (B, *shape), int64, and draws from it. y: (B,) labels, None where it takes none."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.levels = shape, levels

    @abstractmethod
    def nll(self, x: Tensor, y: Tensor | None) -> Tensor:
        """−log P(x), (B,), in nats."""

    def training_nll(self, x: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """What training minimises, (B,), in nats; −log P(x) unless a network has something cheaper."""
        return self.nll(x, y)

    @abstractmethod
    def sample(self, num: int, y: Tensor | None, noise: Noise, device: torch.device) -> Tensor:
        """Levels (num, *shape), int64. Row i takes the numbers of its index, whatever the batch."""

    def ranks(self, num: int, noise: Noise, device: torch.device) -> Tensor | None:
        """When each number of each sample is drawn, (num, *shape); None where that is pixel by pixel along the rows."""
        return None
