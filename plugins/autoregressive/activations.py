"""Activations of the PixelCNNs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def gated_activation(x: Tensor, addend: Tensor | None = None) -> Tensor:
    """tanh(a) · sigmoid(b) of the halves a, b of x + addend, (B, 2C, …) → (B, C, …) (van den Oord et al., 2016)."""
    a, b = (x if addend is None else x + addend).chunk(2, dim=1)
    return a.tanh() * b.sigmoid()


def concat_elu(x: Tensor) -> Tensor:
    """elu(x) and elu(−x), (B, C, …) → (B, 2C, …) (Salimans et al., 2017)."""
    return F.elu(torch.cat([x, -x], dim=1))
