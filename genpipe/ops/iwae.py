"""Importance-weighted bounds: several codes per example under one logarithm."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route


def log_mean_exp(x: Tensor) -> Tensor:
    """log(1/K Σ_k e^(x_k)), (B,), for x (K, B), float32 or float64.

    Of log-weights log p(x, z_k) − log q(z_k | x) it is the importance-weighted bound (Burda et al., 2016, eq. 8): the
    ELBO for K = 1, and no smaller for more. Its gradient is the normalised weights. Once differentiable. RuntimeError
    names what is wrong.
    """
    return _eager(x) if takes_eager_route(x) else torch.ops.genpipe.log_mean_exp(x)


def dreg_bound(log_weights: Tensor, z: Tensor) -> Tensor:
    """log_mean_exp(log_weights), (B,), with the doubly reparameterised gradient towards z (Tucker et al., 2019, eq. 8).

    log_weights: (K, B); z: (K, B, *event), the codes that they were computed from. Compute log q(z | x) from detached
    parameters of q, so that they are reached through z alone: z then gets the squared normalised weights, whose
    signal does not fade as K grows, and everything else its usual gradient. All of z's gradient has to come through
    this bound. ValueError where z does not begin with (K, B).
    """
    if z.shape[:2] != log_weights.shape:
        raise ValueError(
            f"genpipe.dreg_bound: z must begin with the shape of log_weights {tuple(log_weights.shape)}, "
            f"got {tuple(z.shape)}"
        )
    if z.requires_grad:
        weights = log_weights.detach().softmax(0).reshape(*z.shape[:2], *[1] * (z.dim() - 2)).to(z.dtype)
        z.register_hook(lambda grad: grad * weights)
    return log_mean_exp(log_weights)


@torch.library.register_fake("genpipe::log_mean_exp")
def _(x):
    return torch.empty(x.shape[1:], dtype=x.dtype, device=x.device)


@torch.library.register_fake("genpipe::log_mean_exp_backward")
def _(grad, x):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return torch.ops.genpipe.log_mean_exp_backward(grad, *ctx.saved_tensors)


def _forward(ctx, x):
    ctx.save_for_backward(x)
    return torch.ops.genpipe.log_mean_exp(x)


_eager = eager_route("log_mean_exp", _forward, lambda ctx, grad: (_backward(ctx, grad),))
torch.library.register_autograd("genpipe::log_mean_exp", _backward, setup_context=_context)
forbid_second_derivative("log_mean_exp_backward")
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::log_mean_exp", _device, torch.float32)
