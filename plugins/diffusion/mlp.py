"""A residual MLP for noisy vectors."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout


class ResidualLayer(nn.Module):
    """LayerNorm and two linear maps around SiLU, the condition added in between; (B, hidden) → (B, hidden)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(hidden), Dropout(dropout)
        self.first, self.second = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.silu(self.first(self.norm(x)) + condition)))


class ResidualMLP(nn.Module):
    """num_blocks + 1 residual layers between two linear maps, for x (B, D) and condition (B, hidden)."""

    def __init__(self, num_dimensions: int, *, hidden: int, num_blocks: int, dropout: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(num_dimensions, hidden), nn.Linear(hidden, num_dimensions)
        self.layers = nn.ModuleList(ResidualLayer(hidden, dropout) for _ in range(num_blocks + 1))
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.stem(x)
        for layer in self.layers:
            h = layer(h, condition)
        return self.head(F.silu(h))
