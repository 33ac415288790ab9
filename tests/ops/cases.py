"""Inputs that several tests of the ops share."""

from __future__ import annotations

import torch
from torch import Tensor

# 0, 1, a vector's width and its neighbours, a sum block's, a noise tile's; and shapes of more dimensions.
EVENTS = [(), (1,), (3,), (15,), (16,), (17,), (255,), (256,), (257,), (1023,), (1025,), (2600,), (3, 5, 7), (0,)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def randn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values behind other strides; x: (B, C, H, W)."""
    return {
        "transposed": x.transpose(1, 3).contiguous().transpose(1, 3),
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "offset": torch.cat([x[:1], x])[1:],
        "strided": torch.stack([x, -x], dim=-1)[..., 0],
        "reversed rows twice": x.flip(0).flip(0),
    }
