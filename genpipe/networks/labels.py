"""How a network takes a label: a row of numbers for each class, added to what the first layer gives.

That is the first layer's share of a one-hot label beside its input, at every pixel where that is an image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AddLabel(nn.Module):
    """h (B, width, …) and y (B,) → h plus the row of each label. num_classes None takes no labels, and adds nothing."""

    def __init__(self, num_classes: int | None, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(num_classes, width) if num_classes is not None else None

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        if self.rows is None:
            return h
        assert y is not None, "a network of labels is called without any"
        row: Tensor = self.rows(y)
        return h + row.reshape(*row.shape, *[1] * (h.dim() - 2))


def one_hot(y: Tensor | None, num_classes: int) -> Tensor | None:
    """(B, num_classes) float32 for labels (B,), beside a network's input; None without labels."""
    return None if y is None or not num_classes else F.one_hot(y, num_classes).to(torch.float32)
