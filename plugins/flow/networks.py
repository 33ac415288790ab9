"""What makes a layer's parameters of the dimensions that it leaves alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout


class Residual(nn.Module):
    """h + f(h), for any two layers of one width (He et al., 2016)."""

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float) -> None:
        super().__init__()
        self.first, self.second, self.dropout = first, second, Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(self.dropout(F.silu(self.first(F.silu(h)))))


def start_at(head: nn.Linear | nn.Conv2d, params: Tensor) -> None:
    """Zero weights, and biases that repeat `params`: whatever comes in, each number gets these."""
    nn.init.zeros_(head.weight)
    assert head.bias is not None
    with torch.no_grad():
        head.bias.copy_(params.repeat(len(head.bias) // len(params)))


class MLP(nn.Module):
    """(B, num_in) → (B, num_out, num_params), at first `identity` for each; num_in may be 0."""

    def __init__(
        self, num_in: int, num_out: int, identity: Tensor, *, hidden: int, num_blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.num_in, self.shape = num_in, (num_out, len(identity))
        self.stem = nn.Linear(max(num_in, 1), hidden)
        self.blocks = nn.ModuleList(
            Residual(nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), dropout) for _ in range(num_blocks)
        )
        self.head = nn.Linear(hidden, num_out * len(identity))
        start_at(self.head, identity)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x if self.num_in else x.new_zeros(len(x), 1))
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, self.shape)


class MaskedLinear(nn.Linear):
    """A linear layer with some of its weights held at zero. mask: (num_out, num_in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """(B, D) → (B, D, num_params): what belongs to a dimension sees those before it in `order` (Germain et al., 2015).

    order: (D,), the place of each dimension. Hidden units see the first 1, 2, …, D − 1 in turn.
    """

    def __init__(self, order: Tensor, identity: Tensor, *, hidden: int, num_blocks: int, dropout: float) -> None:
        super().__init__()
        num = len(order)
        self.shape = (num, len(identity))
        sees = torch.arange(hidden) % max(num - 1, 1) + 1  # how many dimensions a hidden unit may know
        within = sees[:, None] >= sees[None, :]
        self.stem = MaskedLinear(sees[:, None] > order[None, :])
        self.blocks = nn.ModuleList(
            Residual(MaskedLinear(within), MaskedLinear(within), dropout) for _ in range(num_blocks)
        )
        self.head = MaskedLinear((order[:, None] >= sees[None, :]).repeat_interleave(len(identity), dim=0))
        start_at(self.head, identity)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, self.shape)


class ConvNet(nn.Module):
    """(B, num_in, H, W) → (B, num_out, H, W, num_params), at first `identity` for each."""

    def __init__(
        self, num_in: int, num_out: int, identity: Tensor, *, channels: int, num_blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.shape = (num_out, len(identity))
        self.stem = nn.Conv2d(num_in, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            Residual(nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1), dropout)
            for _ in range(num_blocks)
        )
        self.head = nn.Conv2d(channels, num_out * len(identity), 3, padding=1)
        start_at(self.head, identity)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, self.shape).movedim(2, -1)
