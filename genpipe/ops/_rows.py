"""What the ops that give one number per sample share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def like_rows(x: Tensor) -> Tensor:
    """An empty (B,) in the precision that x computes in."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.empty(x.shape[:1], dtype=dtype, device=x.device)


def flatten_for_vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    """The mapped dimension merged into the batch: (B, *event) with it becomes (V·B, *event)."""
    fronted = [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in fronted]
