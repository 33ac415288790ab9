"""MADE: strictly triangular in each of its orders, and number by number what it is at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genpipe.networks.made import MADE


def network(num: int, num_orders: int = 3, num_context: int = 0, **options: object) -> MADE:
    torch.manual_seed(0)
    ranks = torch.stack([torch.arange(num).roll(shift) for shift in range(num_orders)])
    sizes = {"hidden": 16, "num_blocks": 2, "dropout": 0.0, **options}
    return MADE(ranks, 2, 3, num_context=num_context, **sizes).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("num", [1, 2, 5])
@pytest.mark.parametrize("num_context", [0, 2])
def test_the_jacobian_is_strictly_triangular_in_each_order(num: int, num_context: int) -> None:
    made = network(num, num_context=num_context)
    x = torch.randn(1, num, 2, dtype=torch.float64)
    context = torch.randn(1, num_context, dtype=torch.float64) if num_context else None
    for which in range(3):
        orders = torch.tensor([which])

        def outputs(x: Tensor, orders: Tensor = orders) -> Tensor:
            return made(x, context, orders)[0]

        jacobian = torch.autograd.functional.jacobian(outputs, x)[:, :, 0]  # (D, 3, D, 2)
        order = made.order(which)
        feels = (jacobian != 0).any(-1).any(1)[order][:, order]
        assert torch.equal(feels, torch.ones(num, num).tril(-1).bool())
        whole, drawing = made(x, context, orders), made.drawing(1, context, which)
        for rank, number in enumerate(order):
            drawn = torch.where(made.ranks[which][:, None] < rank, x, 7.0)  # what is not drawn yet is not looked at
            torch.testing.assert_close(drawing.next(drawn), whole[:, number])
    if context is not None:
        assert not torch.equal(whole[:, made.order(2)[0]], made(x, context + 1, orders)[:, made.order(2)[0]])


def test_hidden_units_see_what_their_degrees_say_in_whatever_order_they_stand() -> None:
    degrees = torch.tensor([3, 1, 2, 1, 3, 2])
    made = network(4, hidden=6, degrees=degrees)
    x = torch.randn(1, 4, 2, dtype=torch.float64)
    for which in range(3):
        first = torch.autograd.functional.jacobian(lambda x, w=which: made._first(x.flatten(1), w)[0], x)[:, 0]
        assert torch.equal((first != 0).any(-1).sum(1), degrees)
        whole, drawing = made(x, None, torch.tensor([which])), made.drawing(1, None, which)
        torch.testing.assert_close(torch.stack([drawing.next(x) for _ in range(4)], 1), whole[:, drawing.order])


def test_examples_of_several_orders_go_through_it_together() -> None:
    made = network(4)
    x, orders = torch.randn(7, 4, 2, dtype=torch.float64), torch.tensor([2, 0, 1, 1, 0, 2, 2])
    alone = torch.cat([made(x[i : i + 1], None, orders[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(made(x, None, orders), alone)
    torch.testing.assert_close(made(x), made(x, None, torch.zeros(7, dtype=torch.int64)))
