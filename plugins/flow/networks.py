"""What makes a layer's parameters of the dimensions that it leaves alone, and of a context such as the label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.networks.layout import channels_last
from genpipe.networks.residual import Residual


def start_at(head: nn.Linear | nn.Conv2d, params: Tensor) -> None:
    """Zero weights, and biases that repeat `params`: whatever comes in, each number gets these."""
    nn.init.zeros_(head.weight)
    assert head.bias is not None
    with torch.no_grad():
        head.bias.copy_(params.repeat(len(head.bias) // len(params)))


class MLP(nn.Module):
    """(B, num_in) and a context (B, num_context) → (B, num_out, num_params), at first `identity` for each; num_in and
    num_context may be 0."""

    def __init__(
        self,
        num_in: int,
        num_out: int,
        identity: Tensor,
        *,
        hidden: int,
        num_blocks: int,
        num_context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shape = (num_out, len(identity))
        self.is_constant = num_in + num_context == 0
        self.stem = nn.Linear(1 if self.is_constant else num_in + num_context, hidden)
        self.blocks = nn.ModuleList(
            Residual(nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), dropout) for _ in range(num_blocks)
        )
        self.head = nn.Linear(hidden, num_out * len(identity))
        start_at(self.head, identity)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.stem(x.new_zeros(len(x), 1) if self.is_constant else beside(x, context))
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, self.shape)


class ConvNet(nn.Module):
    """(B, num_in, H, W) and a context (B, num_context, H or 1, W or 1) → (B, num_out, H, W, num_params), at first
    `identity` for each."""

    def __init__(
        self,
        num_in: int,
        num_out: int,
        identity: Tensor,
        *,
        channels: int,
        num_blocks: int,
        num_context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shape = (num_out, len(identity))
        self.stem = nn.Conv2d(num_in + num_context, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            Residual(nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1), dropout)
            for _ in range(num_blocks)
        )
        self.head = nn.Conv2d(channels, num_out * len(identity), 3, padding=1)
        start_at(self.head, identity)
        channels_last(self)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        if context is not None:
            context = context.expand(-1, -1, *x.shape[2:])
        h = self.stem(beside(x, context))
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, self.shape).movedim(2, -1)


def beside(x: Tensor, context: Tensor | None) -> Tensor:
    """x and the context, one after the other along dimension 1."""
    return x if context is None else torch.cat([x, context.to(x.dtype)], dim=1)
