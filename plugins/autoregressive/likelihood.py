"""−log P of integer images under what the networks give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def categorical_nll(logits: Tensor, levels: Tensor, num_levels: int) -> Tensor:
    """Nats, (B,). logits: (B, C · num_levels, H, W); levels: (B, C, H, W), int64."""
    logits = logits.float() if logits.dtype != torch.float64 else logits
    each = F.cross_entropy(logits.unflatten(1, (-1, num_levels)).transpose(1, 2), levels, reduction="none")
    return each.flatten(1).sum(1)
