"""torch's fused Adam with little around it: for small models the bookkeeping of its `step` costs more than the update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import Adam, adam


class FusedAdam(Adam):
    """Adam (Kingma & Ba, 2015), or with decoupled weight decay (Loshchilov & Hutter, 2019), over one list of parameters.

    `move` is bitwise `step`. It keeps the lists of moments that `step` gathers every time, and runs no hooks. It gives torch's
    kernel every tensor in the order of its memory, for that copies what lies in another, such as weights with their channels
    last, at every step.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        super().__init__(
            parameters, lr=lr, betas=betas, weight_decay=weight_decay, decoupled_weight_decay=decoupled, fused=True
        )
        self._parameters = list(parameters)
        self._orders: list[tuple[int, ...] | None] = []
        self._moments: tuple[list[Tensor], list[Tensor], list[Tensor]] | None = None

    def clear(self) -> None:
        """No parameter has a gradient any more."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def move(self) -> None:
        """Moves the parameters by their gradients; one without a gradient stays, and so do its moments."""
        gradients = [parameter.grad for parameter in self._parameters]
        reached = [gradient for gradient in gradients if gradient is not None]
        if self._moments is None or len(reached) < len(gradients):
            self.step()
            self._orders = [memory_order(parameter) for parameter in self._parameters]
            self._moments = self._gathered()
            return
        group = self.param_groups[0]
        averages, squares, steps = self._moments
        adam(
            self._in_order(self._parameters),
            self._in_order(reached),
            averages,
            squares,
            [],
            steps,
            fused=True,
            decoupled_weight_decay=group["decoupled_weight_decay"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._moments = None

    def _gathered(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]] | None:
        """The moments and counts of all parameters, as `step` keeps them; None before each has some."""
        states = [self.state.get(parameter) for parameter in self._parameters]
        if not all(states):
            return None
        lists = ([state[name] for state in states if state] for name in ("exp_avg", "exp_avg_sq", "step"))
        averages, squares, steps = lists
        return self._in_order(averages), self._in_order(squares), steps

    def _in_order(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Views of a tensor for each parameter, dimensions in the order of the parameter's memory."""
        return [
            tensor if order is None else tensor.permute(order)
            for tensor, order in zip(tensors, self._orders, strict=True)
        ]


def memory_order(tensor: Tensor) -> tuple[int, ...] | None:
    """A tensor's dimensions from the outermost in memory to the innermost; None where that is how they are numbered."""
    return None if tensor.is_contiguous() else tuple(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
