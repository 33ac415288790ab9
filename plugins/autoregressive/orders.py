"""One model under several orders of its numbers: an order for each example, and the mean of all (Germain et al., 2015,
sec. 4.2; Uria et al., 2014, A Deep and Tractable Density Estimator)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops
from genpipe.noise import Noise


def ranks_of_orders(num: int, num_orders: int) -> Tensor:
    """(num_orders, num), the place of each number: in the first order their own, in the others random ones, the same for
    every model."""
    orders = [torch.arange(num), *(ops.permutation(ops.key(n, "made/order"), num) for n in range(1, num_orders))]
    return torch.stack(orders).argsort(1)


def order_of_each(num: int, num_orders: int, noise: Noise, device: torch.device) -> Tensor:
    """(num,), an order for each example, all as likely."""
    return noise.randint("order", num_orders, (num, 1), device=device)[:, 0]


def mean_over_orders(log_prob: Callable[[Tensor], Tensor], num: int, num_orders: int, device: torch.device) -> Tensor:
    """log of the mean probability, (B,), of `num` examples over the orders: as exact as that of each.

    log_prob: of all examples in the orders given, (B,).
    """
    each = [log_prob(torch.full((num,), which, device=device)) for which in range(num_orders)]
    return each[0] if num_orders == 1 else ops.log_mean_exp(torch.stack(each))
