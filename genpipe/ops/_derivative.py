"""How the derivative of an op reaches torch: once, and in eager mode with little Python on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def takes_eager_route(x: Tensor, *others: Tensor) -> bool:
    """Whether a gradient is wanted, and nothing looks on that needs the registered op: a tracer, vmap, autocast."""
    return (
        torch.is_grad_enabled()
        and (x.requires_grad or any(other.requires_grad for other in others))
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled(x.device.type)
    )


def takes_short_route(*tensors: Tensor | None) -> bool:
    """Whether no gradient is wanted and nothing looks on: torch's bookkeeping, in Python, would cost 4 µs for nothing.

    The op may then be called under torch._C._AutoDispatchBelowAutograd().
    """
    return (
        not (torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors))
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def eager_route(op: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """An autograd function of forward(ctx, *args) and backward(ctx, *grads), for where takes_eager_route says so.

    What torch.library.register_autograd makes of the same formulas costs as much again: it enters Python twice per
    call and once more for each op in the backward pass. Both run below autograd, so the ops in them are not entered
    as differentiable ones.
    """

    def run(ctx: Any, *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return forward(ctx, *args)

    def differentiate(ctx: Any, *grads: Tensor) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            result = backward(ctx, *grads)
        if not torch.is_grad_enabled():
            return result
        return tuple(None if grad is None else refusal.apply(grad.requires_grad_()) for grad in result)

    def refuse(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(_once(op))

    # Stands between a gradient and whoever would differentiate it again.
    refusal: Any = type(
        f"{op}_twice",
        (torch.autograd.Function,),
        {"forward": staticmethod(lambda ctx, grad: grad.view_as(grad)), "backward": staticmethod(refuse)},
    )
    route: Any = type(
        op, (torch.autograd.Function,), {"forward": staticmethod(run), "backward": staticmethod(differentiate)}
    )
    return route.apply


def assumed_gradient(x: Tensor) -> float:
    """What ops that make slopes in the forward pass multiply them by beforehand: a row's gradient under a mean over x's
    rows, where that is a power of two. scale_rows_ then leaves them as they are, or makes up for it without rounding.
    """
    rows = x.shape[0]
    return 1.0 / rows if rows > 0 and rows & (rows - 1) == 0 else 1.0


def forbid_second_derivative(op: str) -> None:
    """Makes differentiating a backward op an error with a name, in place of a silent zero."""

    def backward(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(_once(op.removesuffix("_backward")))

    torch.library.register_autograd(f"genpipe::{op}", backward)


def _once(op: str) -> str:
    return f"genpipe.{op} is once differentiable; for second derivatives use genpipe.ops.reference"
