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
    reached = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
    everywhere = all(p.grad is not None for p in parameters)
    grads: list[Tensor] = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    group.sum([*grads, reached])  # it rides in a bucket with gradients
    if not everywhere:  # else there is nothing to learn from `reached`, and an accelerator need not be waited for
        for parameter, grad, num in zip(parameters, grads, reached.tolist(), strict=True):
            parameter.grad = grad if num else None
