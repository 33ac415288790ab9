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


def rows_by_order(orders: Tensor, num_orders: int) -> list[tuple[int, Tensor]]:
    """(order, its rows) for each order that occurs."""
    found = [(which, (orders == which).nonzero()[:, 0]) for which in range(num_orders)]
    return [(which, rows) for which, rows in found if len(rows)]


def by_order(orders: Tensor, num_orders: int, f: Callable[[int, Tensor], Tensor]) -> Tensor:
    """f(order, rows) for the rows of each order, (len(orders), …) together."""
    if num_orders == 1 or len(orders) == 0:
        return f(0, torch.arange(len(orders), device=orders.device))
    parts = [(rows, f(which, rows)) for which, rows in rows_by_order(orders, num_orders)]
    together = torch.cat([rows for rows, _ in parts])
    return torch.cat([part for _, part in parts])[together.argsort()]


def mean_over_orders(log_probs: list[Tensor]) -> Tensor:
    """log of the mean probability, (B,), of each order's log-probabilities: a probability as exact as theirs."""
    return log_probs[0] if len(log_probs) == 1 else ops.log_mean_exp(torch.stack(log_probs))
