"""Encoder and decoder of fully connected layers, for vectors and flattened images."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from genpipe.dropout import Dropout
from genpipe.networks.labels import AddLabel
from genpipe.networks.layout import inputs_outermost


class MLP(nn.Module):
    """x (B, num_in), y (B,) or None → (B, num_out)."""

    def __init__(
        self, num_in: int, num_out: int, hidden: int, num_layers: int, dropout: float, num_classes: int | None
    ) -> None:
        super().__init__()
        self.first, self.label = nn.Linear(num_in, hidden), AddLabel(num_classes, hidden)
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(num_layers - 1))
        self.dropout, self.head = Dropout(dropout), nn.Linear(hidden, num_out)
        inputs_outermost(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = F.silu(self.label(self.first(x), y))
        for layer in self.hidden:
            h = F.silu(layer(h))
        out: Tensor = self.head(self.dropout(h))
        return out


class MLPEncoder(MLP):
    """z (B, *event) → (B, num_out)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_out: int,
        hidden: int,
        num_layers: int,
        dropout: float,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(math.prod(shape), num_out, hidden, num_layers, dropout, num_classes)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(z.flatten(1), y)


class MLPDecoder(MLP):
    """Code (B, num_in) → maps (B, num_out, H, W) for images, (B, num_out) for vectors."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_in: int,
        num_out: int,
        hidden: int,
        num_layers: int,
        dropout: float,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(num_in, num_out * math.prod(shape[1:]), hidden, num_layers, dropout, num_classes)
        self.out_shape = (num_out, *shape[1:])

    def forward(self, code: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(code, y).unflatten(1, self.out_shape)
