"""One model under several orders of its numbers: an order for each example, and the mean of all (Germain et al., 2015,
sec. 4.2; Uria et al., 2014, A Deep and Tractable Density Estimator)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise


def order_of_each(num: int, num_orders: int, noise: Noise, device: torch.device) -> Tensor:
    """(num,), an order for each example, all as likely."""
    return noise.randint("order", num_orders, (num, 1), device=device)[:, 0]


def by_order(orders: Tensor, num_orders: int, f: Callable[[int, Tensor], Tensor]) -> Tensor:
    """f(order, rows), (len(rows), …), for the rows of each order in `orders`, (B,): all together, (B, …)."""
    if num_orders == 1 or len(orders) == 0:
        return f(0, torch.arange(len(orders), device=orders.device))
    rows = [(orders == which).nonzero()[:, 0] for which in range(num_orders)]
    parts = [f(which, of_it) for which, of_it in enumerate(rows) if len(of_it)]
    return torch.cat(parts)[torch.cat(rows).argsort()]


def mean_over_orders(log_prob: Callable[[Tensor], Tensor], num: int, num_orders: int, device: torch.device) -> Tensor:
    """log of the mean probability, (B,), of `num` examples over the orders: as exact as that of each.

    log_prob: of all examples in the orders given, (B,).
    """
    each = [log_prob(torch.full((num,), which, device=device)) for which in range(num_orders)]
    return each[0] if num_orders == 1 else ops.log_mean_exp(torch.stack(each))
