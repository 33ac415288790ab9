"""The masked network of autoregressive layers, and how it is run along its own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.plugins.flow.networks import Residual, beside, start_at


class MaskedLinear(nn.Linear):
    """A linear layer with some of its weights held at zero. mask: (num_out, num_in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(torch.float32), persistent=False)

    @property
    def masked(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.masked, self.bias)


class MADE(nn.Module):
    """(B, D) and a context (B, num_context) → (B, D, num_params): what belongs to a dimension sees the context, and the
    dimensions before it in `order` (Germain et al., 2015).

    order: (D,), the place of each dimension. Hidden units see the first 1, 2, …, D − 1 places in turn, and where there is
    a context, some see that alone.
    """

    def __init__(
        self, order: Tensor, identity: Tensor, *, hidden: int, num_blocks: int, num_context: int, dropout: float
    ) -> None:
        super().__init__()
        num = len(order)
        self.dimensions: list[int] = order.argsort().tolist()
        self.num_params, self.least = len(identity), 0 if num_context else 1
        self.period = max(num - self.least, 1)
        sees = torch.arange(hidden) % self.period + self.least  # the places that a hidden unit knows
        within = sees[:, None] >= sees[None, :]
        of_context = torch.ones(hidden, num_context, dtype=torch.bool)
        self.stem = MaskedLinear(torch.cat([sees[:, None] > order[None, :], of_context], dim=1))
        self.blocks: Any = nn.ModuleList(
            Residual(MaskedLinear(within), MaskedLinear(within), dropout) for _ in range(num_blocks)
        )
        self.head = MaskedLinear((order[:, None] >= sees[None, :]).repeat_interleave(len(identity), dim=0))
        start_at(self.head, identity)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.stem(beside(x, context))
        for block in self.blocks:
            h = block(h)
        return self.head(F.silu(h)).unflatten(1, (-1, self.num_params))

    @torch.no_grad()
    def solve(self, value: Callable[[int, Tensor], Tensor], like: Tensor, context: Tensor | None) -> Tensor:
        """x (B, D), as `like`, whose dimension d is `value(d, params)` (B,) of its parameters (B, num_params) given those
        before it.

        A hidden unit is computed once, when all that it sees is known, so that the whole costs one pass of the network
        rather than D.
        """
        stem, head = self.stem.masked, self.head.masked
        blocks: list[tuple[MaskedLinear, Tensor, MaskedLinear, Tensor]] = [
            (block.first, block.first.masked, block.second, block.second.masked) for block in self.blocks
        ]
        x = torch.zeros_like(like)
        # What follows the rectifier after the stem and after each block, and inside each block.
        after = [x.new_zeros(len(x), len(stem)) for _ in range(len(blocks) + 1)]
        inside = [torch.zeros_like(after[0]) for _ in blocks]
        for place, dimension in enumerate(self.dimensions):
            if place >= self.least:
                units = slice(place - self.least, None, self.period)
                h = F.linear(beside(x, context), stem[units], self.stem.bias[units])
                after[0][:, units] = F.silu(h)
                for index, (first, first_weight, second, second_weight) in enumerate(blocks):
                    inner = F.linear(after[index], first_weight[units], first.bias[units])
                    inside[index][:, units] = F.silu(inner)
                    h = h + F.linear(inside[index], second_weight[units], second.bias[units])
                    after[index + 1][:, units] = F.silu(h)
            rows = slice(dimension * self.num_params, (dimension + 1) * self.num_params)
            x[:, dimension] = value(dimension, F.linear(after[-1], head[rows], self.head.bias[rows]))
        return x
