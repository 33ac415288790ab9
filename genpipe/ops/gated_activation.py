"""The gated activation of the PixelCNN's layers."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route


def gated_activation(x: Tensor, addend: Tensor | None = None) -> Tensor:
    """tanh(a)·sigmoid(b), (B, C, *event), where x + addend = [a, b] along the channels (van den Oord et al., 2016b).

    x: (B, 2C, *event), float32, float64 or bfloat16 (which computes in float32); addend: what the vertical stack gives
    to the horizontal one, or what the network is conditioned on, in a shape that broadcasts to x's. One pass over
    memory each way; the backward pass computes tanh and sigmoid again. Once differentiable in both. RuntimeError names
    what is wrong.
    """
    if addend is not None and addend.shape != x.shape:
        with contextlib.suppress(RuntimeError):  # the op's own text names both shapes
            addend = addend.expand_as(x)
    if takes_eager_route(x, *(() if addend is None else (addend,))):
        return _eager(x, addend)
    return torch.ops.genpipe.gated_activation(x, addend)


@torch.library.register_fake("genpipe::gated_activation")
def _(x, addend):
    return x.new_empty((x.shape[0], x.shape[1] // 2, *x.shape[2:]))


@torch.library.register_fake("genpipe::gated_activation_backward")
def _(grad, x, addend):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _forward(ctx, x, addend):
    ctx.save_for_backward(x, addend)
    return torch.ops.genpipe.gated_activation(x, addend)


def _backward(ctx, grad):
    x, addend = ctx.saved_tensors
    grad_x = torch.ops.genpipe.gated_activation_backward(grad, x, addend)
    return grad_x if ctx.needs_input_grad[0] else None, grad_x if ctx.needs_input_grad[1] else None


_eager = eager_route("gated_activation", _forward, _backward)
torch.library.register_autograd("genpipe::gated_activation", _backward, setup_context=_context)
forbid_second_derivative("gated_activation_backward")
