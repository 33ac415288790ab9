"""MADE over whole numbers: a categorical distribution of each over its levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genpipe import ops
from genpipe.networks.labels import one_hot
from genpipe.networks.made import MADE, by_order
from genpipe.noise import Noise
from genpipe.plugins.autoregressive.network import LevelNetwork
from genpipe.plugins.autoregressive.orders import mean_over_orders, order_of_each, ranks_of_orders
from genpipe.plugins.autoregressive.raster import Raster
from genpipe.plugins.autoregressive.tokens import draw

EMBEDDING = 8  # numbers that a level is given to the network as


class CategoricalMADE(LevelNetwork):
    """P(x) is the mean over the orders of Π P(number | those before it in the order).

    In training each example is seen in one order, drawn anew; a sample is drawn in one order too.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        *,
        hidden: int,
        num_layers: int,
        num_orders: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__(shape, levels)
        self.raster, self.num_orders, self.num_classes = Raster.of(shape), num_orders, num_classes
        self.embedding = nn.Embedding(levels, EMBEDDING)
        self.made = MADE(
            ranks_of_orders(self.raster.length, num_orders),
            EMBEDDING,
            levels,
            hidden=hidden,
            num_blocks=num_layers,
            dropout=dropout,
            num_context=num_classes,
        )

    def nll(self, x: Tensor, y: Tensor | None) -> Tensor:
        tokens = self.raster.flatten(x).contiguous()
        return -mean_over_orders(lambda orders: -self._nll(tokens, y, orders), len(x), self.num_orders, x.device)

    def training_nll(self, x: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """Each example in an order of its own: on average no less than `nll`."""
        orders = order_of_each(len(x), self.num_orders, noise, x.device)
        return self._nll(self.raster.flatten(x).contiguous(), y, orders)

    def _nll(self, tokens: Tensor, y: Tensor | None, orders: Tensor) -> Tensor:
        logits = self.made(self.embedding(tokens), one_hot(y, self.num_classes), orders)
        return ops.categorical_nll(logits.flatten(1), tokens)

    def sample(self, num: int, y: Tensor | None, noise: Noise, device: torch.device) -> Tensor:
        u = noise.uniform("pixels", (num, self.raster.length), device=device)
        orders = order_of_each(num, self.num_orders, noise, device)

        def drawn(which: int, rows: Tensor) -> Tensor:
            tokens = torch.zeros((len(rows), self.raster.length), dtype=torch.int64, device=device)
            labels = None if y is None else y[rows]
            drawing = self.made.drawing(len(rows), one_hot(labels, self.num_classes), which)
            for number in drawing.order.tolist():
                tokens[:, number] = draw(drawing.next(self.embedding(tokens)), u[rows, number])
            return tokens

        return self.raster.unflatten(by_order(orders, self.num_orders, drawn), self.shape)

    def ranks(self, num: int, noise: Noise, device: torch.device) -> Tensor | None:
        if self.num_orders == 1:
            return None
        return self.raster.unflatten(self.made.ranks[order_of_each(num, self.num_orders, noise, device)], self.shape)
