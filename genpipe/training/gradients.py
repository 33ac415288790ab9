"""The gradient of a batch that workers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genpipe.training.group import Group


def sum_gradients(parameters: Sequence[nn.Parameter], group: Group) -> None:
    """Gradients become their sum over the workers.

    A parameter that no worker's loss reached keeps none, and its optimiser leaves it alone, as with one worker.
    """
    if group.size == 1:
        return
    grads: list[Tensor] = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    missing = [index for index, p in enumerate(parameters) if p.grad is None]
    num_reached = torch.ones(len(grads), device=grads[0].device)
    if missing:
        num_reached[missing] = 0
    group.sum([*grads, num_reached])  # it rides in a bucket with gradients
    if missing:  # else it has nothing to tell, and an accelerator need not be waited for
        for parameter, grad, num in zip(parameters, grads, num_reached.tolist(), strict=True):
            parameter.grad = grad if num else None
