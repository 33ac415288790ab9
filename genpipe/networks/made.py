"""The masked autoencoder for distribution estimation of Germain et al. (2015), MADE: a fully connected network in which
what belongs to a number sees those alone that come before it in an order, or in several orders with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe.dropout import Dropout
from genpipe.networks.residual import Residual


class MaskedLinear(nn.Linear):
    """A linear layer with some of its weights held at zero. mask: (num_out, num_in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """(B, D, num_in) → (B, D, num_out), under one of several orders of the D numbers, with residual blocks (eq. 8).

    ranks: (num_orders, D), the place of each number in each order; an order changes the masks of the first and of the
    last layer (sec. 4.2). degrees: (hidden,), how many numbers each hidden unit sees, 0 … D − 1; by default evenly shared
    out, so that from D units on a number sees all that comes before it. num_context: numbers beside these that every
    unit sees, so that the first number too depends on them, such as a one-hot label.
    """

    ranks: Tensor
    degrees: Tensor

    def __init__(
        self,
        ranks: Tensor,
        num_in: int,
        num_out: int,
        *,
        hidden: int,
        num_blocks: int,
        dropout: float,
        num_context: int = 0,
        degrees: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.num_orders, self.num = ranks.shape
        degrees = torch.arange(hidden) * self.num // hidden if degrees is None else degrees
        self.register_buffer("ranks", ranks, persistent=False)
        self.register_buffer("degrees", degrees, persistent=False)
        # How many hidden units see no more than 0, 1, …, D − 1 numbers.
        self.num_units: list[int] = degrees.bincount(minlength=self.num).cumsum(0).tolist()
        within = degrees[:, None] >= degrees
        self.stem, self.num_context = nn.Linear(self.num * num_in + num_context, hidden), num_context
        if num_context:  # beside many numbers a label would hardly be heard: as in genpipe.networks.labels
            nn.init.normal_(self.stem.weight.data[:, -num_context:])
        self.blocks: Any = nn.ModuleList(
            Residual(MaskedLinear(within), MaskedLinear(within), dropout) for _ in range(num_blocks)
        )
        self.head = nn.Linear(hidden, self.num * num_out)
        self.dropout = Dropout(dropout)

    def order(self, which: int) -> Tensor:
        """(D,), the numbers in the order in which they are drawn."""
        return self.ranks[which].argsort()

    def forward(self, x: Tensor, context: Tensor | None = None, orders: Tensor | None = None) -> Tensor:
        """context: (B, num_context); orders: (B,), which order each example is seen in, the first where None."""
        x = x.flatten(1) if context is None else torch.cat([x.flatten(1), context.to(x.dtype)], dim=1)
        if orders is None:
            return self._last(self._between(self._first(x, 0)), 0)
        h = by_order(orders, self.num_orders, lambda which, rows: self._first(x[rows], which))
        h = self._between(h)
        return by_order(orders, self.num_orders, lambda which, rows: self._last(h[rows], which))

    def drawing(self, num: int, context: Tensor | None = None, which: int = 0) -> Drawing:
        """For `num` examples that are drawn number by number in one of the orders."""
        return Drawing(self, num, context, which)

    def _first(self, x: Tensor, which: int) -> Tensor:
        of_numbers, of_context = self.by_number()
        weight = of_numbers * (self.degrees[:, None] > self.ranks[which]).to(x)[..., None]
        weight = weight.flatten(1) if of_context is None else torch.cat([weight.flatten(1), of_context], dim=1)
        return F.linear(x, weight, self.stem.bias)

    def _between(self, h: Tensor) -> Tensor:
        """What all orders share, so that the whole batch goes through it together."""
        for block in self.blocks:
            h = block(h)
        return self.dropout(F.silu(h))

    def _last(self, h: Tensor, which: int) -> Tensor:
        seen = (self.ranks[which][:, None] >= self.degrees).to(h)
        weight = self.head.weight.unflatten(0, (self.num, -1)) * seen[:, None]
        return F.linear(h, weight.flatten(0, 1), self.head.bias).unflatten(1, (self.num, -1))

    def by_number(self) -> tuple[Tensor, Tensor | None]:
        """The first layer's weights of the numbers, (hidden, D, num_in), and those of the context, (hidden, num_context)."""
        if not self.num_context:
            return self.stem.weight.unflatten(1, (self.num, -1)), None
        width = self.stem.in_features - self.num_context
        return self.stem.weight[:, :width].unflatten(1, (self.num, -1)), self.stem.weight[:, width:]


class Drawing:
    """MADE number by number, with every activation computed once: all together cost about one pass rather than D.

    That is when all that a hidden unit sees is known. The weights are kept with the units by how much they see, and with
    the numbers in their order, so that what is known is always what comes first.
    """

    @torch.no_grad()
    def __init__(self, made: MADE, num: int, context: Tensor | None, which: int) -> None:
        units, order = made.degrees.argsort(stable=True), made.order(which)
        of_numbers, of_context = made.by_number()
        self.num_units, self.rank = [0, *made.num_units], 0
        self.stem = of_numbers[units][:, order].flatten(1)
        told: Tensor = made.stem.bias
        if of_context is not None and context is not None:
            told = F.linear(context.to(told.dtype), of_context, told)
        self.told = told[..., units]  # what the first layer gets whatever the numbers
        self.layers = [
            (layer.weight[units][:, units], layer.bias[units]) for b in made.blocks for layer in (b.first, b.second)
        ]
        self.head = made.head.weight.unflatten(0, (made.num, -1))[order][..., units]
        self.bias = made.head.bias.unflatten(0, (made.num, -1))[order]
        self.order = order
        self.kept = self.stem.new_zeros(len(self.layers) + 1, num, len(units))  # what comes of each activation

    @torch.no_grad()
    def next(self, x: Tensor) -> Tensor:
        """(B, num_out), what `forward` gives for the number that is drawn next; x (B, D, num_in) has those before it."""
        new = slice(self.num_units[self.rank], self.num_units[self.rank + 1])
        known = slice(0, new.stop)
        before = x[:, self.order[: self.rank]].flatten(1)
        h = F.linear(before, self.stem[new, : before.shape[1]]) + self.told[..., new]
        for n, (weight, bias) in enumerate(self.layers):
            if n % 2 == 0:
                residual, h = h, F.silu(h)
            self.kept[n, :, new] = h
            h = F.linear(self.kept[n, :, known], weight[new, known], bias[new])
            h = F.silu(h) if n % 2 == 0 else residual + h
        self.kept[-1, :, new] = F.silu(h)
        self.rank += 1
        return F.linear(self.kept[-1, :, known], self.head[self.rank - 1, :, known], self.bias[self.rank - 1])


def by_order(orders: Tensor, num_orders: int, f: Callable[[int, Tensor], Tensor]) -> Tensor:
    """f(order, rows), (len(rows), …), for the rows of each order in `orders`, (B,): all together, (B, …)."""
    if num_orders == 1 or len(orders) == 0:
        return f(0, torch.arange(len(orders), device=orders.device))
    rows = [(orders == which).nonzero()[:, 0] for which in range(num_orders)]
    parts = [f(which, of_it) for which, of_it in enumerate(rows) if len(of_it)]
    return torch.cat(parts)[torch.cat(rows).argsort()]
