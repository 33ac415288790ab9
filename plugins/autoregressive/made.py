"""The masked autoencoder for distribution estimation of Germain et al. (2015), MADE: a fully connected network in which
what belongs to a number sees those alone that come before it in an order, or in several orders with the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genpipe import ops
from genpipe.dropout import Dropout
from genpipe.plugins.autoregressive.orders import by_order


class MADE(nn.Module):
    """(B, D, num_in) → (B, D, num_out), under one of num_orders orders of the D numbers.

    The first order is that of the numbers themselves; the others are random, the same ones for every model, and change
    the masks of the first and of the last layer (sec. 4.2). Hidden units see the first 0, 1, …, D − 1 numbers of an
    order (eq. 8, with residual blocks between), evenly shared out: from D units on, a number sees all that comes before
    it. num_classes: of labels, which every unit sees, so that the first number too depends on them; 0 without.
    """

    ranks: Tensor
    sees: Tensor
    within: Tensor

    def __init__(
        self,
        num: int,
        num_in: int,
        num_out: int,
        *,
        hidden: int,
        num_layers: int,
        num_orders: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.num, self.num_orders = num, num_orders
        orders = [torch.arange(num), *(ops.permutation(ops.key(n, "made/order"), num) for n in range(1, num_orders))]
        self.register_buffer("ranks", torch.stack(orders).argsort(1), persistent=False)
        sees = torch.arange(hidden) * num // hidden
        self.register_buffer("sees", sees, persistent=False)
        self.register_buffer("within", (sees[:, None] >= sees).float(), persistent=False)
        self.stem = nn.Linear(num * num_in, hidden)
        self.label = nn.Embedding(num_classes, hidden) if num_classes else None
        self.layers: Any = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2 * num_layers))
        self.head = nn.Linear(hidden, num * num_out)
        self.dropout = Dropout(dropout)

    def order(self, which: int) -> Tensor:
        """(D,), the numbers in the order in which they are drawn."""
        return self.ranks[which].argsort()

    def forward(self, x: Tensor, y: Tensor | None, orders: Tensor) -> Tensor:
        """orders: (B,), which order each example is seen in."""
        h = by_order(orders, self.num_orders, lambda which, rows: self._first(x[rows], which))
        h = self._between(h, y)
        return by_order(orders, self.num_orders, lambda which, rows: self._last(h[rows], which))

    def start(self, num: int) -> Tensor:
        """What drawing `num` examples keeps: the activations of all layers, (2 · num_layers + 1, num, hidden)."""
        return self.head.weight.new_zeros(len(self.layers) + 1, num, self.head.in_features)

    def advance(self, kept: Tensor, x: Tensor, y: Tensor | None, which: int, rank: int) -> Tensor:
        """(B, num_out), what `forward` gives for the number of this rank; x is drawn for those before it.

        To be called for rank 0, 1, …: hidden units that see `rank` numbers are computed now, from those that `kept`
        has, so that all calls together cost about one pass.
        """
        order = self.order(which)
        first, last = (int((self.sees < degree).sum()) for degree in (rank, rank + 1))
        new, known = slice(first, last), slice(0, last)
        weight = self.stem.weight[new].unflatten(1, (self.num, -1))[:, order[:rank]]
        h = F.linear(x[:, order[:rank]].flatten(1), weight.flatten(1), self.stem.bias[new])
        if self.label is not None:
            h = h + self.label(y)[:, new]
        for n, layer in enumerate(self.layers):
            if n % 2 == 0:
                residual, h = h, F.silu(h)
            kept[n, :, new] = h
            h = F.linear(kept[n, :, known], layer.weight[new, known], layer.bias[new])
            h = F.silu(h) if n % 2 == 0 else residual + h
        kept[-1, :, new] = F.silu(h)
        weight, bias = (t.unflatten(0, (self.num, -1))[order[rank]] for t in (self.head.weight, self.head.bias))
        return F.linear(kept[-1, :, known], weight[:, known], bias)

    def _first(self, x: Tensor, which: int) -> Tensor:
        mask = (self.sees[:, None] > self.ranks[which]).to(x)
        weight = self.stem.weight.unflatten(1, (self.num, -1)) * mask[..., None]
        return F.linear(x.flatten(1), weight.flatten(1), self.stem.bias)

    def _between(self, h: Tensor, y: Tensor | None) -> Tensor:
        """What all orders share, so that the whole batch goes through it together."""
        if self.label is not None:
            h = h + self.label(y)
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            inner = F.silu(F.linear(F.silu(h), first.weight * self.within, first.bias))
            h = h + F.linear(self.dropout(inner), second.weight * self.within, second.bias)
        return self.dropout(F.silu(h))

    def _last(self, h: Tensor, which: int) -> Tensor:
        weight = self.head.weight.unflatten(0, (self.num, -1)) * self._seen_by(which)[:, None]
        return F.linear(h, weight.flatten(0, 1), self.head.bias).unflatten(1, (self.num, -1))

    def _seen_by(self, which: int) -> Tensor:
        """(D, hidden), the hidden units that each number sees: those which know no more than comes before it."""
        return (self.ranks[which][:, None] >= self.sees).to(self.head.weight)
