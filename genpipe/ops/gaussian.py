"""The Gaussian pieces of a variational bound: the reparameterised code with its divergence, and the likelihood."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def gaussian_reparam(mean: Tensor, log_var: Tensor, key: Tensor, first_index: int = 0) -> tuple[Tensor, Tensor]:
    """z = μ + e^(lv/2) ε, as mean, and KL(N(μ, e^lv) ‖ N(0, I)) = ½ Σ(μ² + e^lv − 1 − lv), (B,), in nats.

    mean and log_var: (B, *event), float32, float64 or bfloat16; key: int64 (2,), from ops.key; ε is
    ops.normal(key, mean.shape, first_index=first_index), regenerated and not stored for the backward pass. The
    divergence sums over the event, in float32 (float64 for float64). Once differentiable in mean and log_var
    (Kingma & Welling, 2014, appendix B). RuntimeError names what is wrong.
    """
    if takes_eager_route(mean, log_var):
        return _eager_reparam(mean, log_var, key, first_index)
    return torch.ops.genpipe.gaussian_reparam(mean, log_var, key, first_index)


def gaussian_nll(mean: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    """−log N(x; μ, e^lv) = ½ Σ((x−μ)² e^−lv + lv + log 2π), (B,), in nats.

    mean, log_var, x: (B, *event), float32, float64 or bfloat16, of one dtype; log_var may also be anything that
    broadcasts to mean's shape. The sum is over the event, in float32 (float64 for float64). Once differentiable in
    all three. RuntimeError names what is wrong.
    """
    if log_var.shape != mean.shape:
        try:
            log_var = log_var.expand(mean.shape)
        except RuntimeError:
            raise RuntimeError(
                f"genpipe.gaussian_nll: log_var must broadcast to mean's shape {tuple(mean.shape)}, "
                f"got {tuple(log_var.shape)}"
            ) from None
    if takes_eager_route(mean, log_var, x):
        return _eager_nll(mean, log_var, x)
    return torch.ops.genpipe.gaussian_nll(mean, log_var, x)


@torch.library.register_fake("genpipe::gaussian_reparam")
def _(mean, log_var, key, first_index):
    return torch.empty(mean.shape, dtype=mean.dtype, device=mean.device), like_rows(mean)


@torch.library.register_fake("genpipe::gaussian_reparam_backward")
def _(grad_z, grad_kl, mean, log_var, key, first_index):
    return (
        torch.empty(mean.shape, dtype=mean.dtype, device=mean.device),
        torch.empty(mean.shape, dtype=mean.dtype, device=mean.device),
    )


def _reparam_context(ctx, inputs, output):
    mean, log_var, key, ctx.first_index = inputs
    ctx.save_for_backward(mean, log_var, key)


def _reparam_backward(ctx, grad_z, grad_kl):
    mean, log_var, key = ctx.saved_tensors
    grads = torch.ops.genpipe.gaussian_reparam_backward(grad_z, grad_kl, mean, log_var, key, ctx.first_index)
    return *grads, None, None


def _reparam_forward(ctx, mean, log_var, key, first_index):
    ctx.save_for_backward(mean, log_var, key)
    ctx.first_index = first_index
    return torch.ops.genpipe.gaussian_reparam(mean, log_var, key, first_index)


_eager_reparam = eager_route("gaussian_reparam", _reparam_forward, _reparam_backward)
torch.library.register_autograd("genpipe::gaussian_reparam", _reparam_backward, setup_context=_reparam_context)
forbid_second_derivative("gaussian_reparam_backward")


@torch.library.register_vmap("genpipe::gaussian_reparam")
def _(info, in_dims, mean, log_var, key, first_index):
    if in_dims[2] is not None:
        raise NotImplementedError("genpipe.gaussian_reparam: vmap maps over mean and log_var, not over key")
    mean = mean.expand(info.batch_size, *mean.shape) if in_dims[0] is None else mean.movedim(in_dims[0], 0)
    log_var = log_var.expand(info.batch_size, *log_var.shape) if in_dims[1] is None else log_var.movedim(in_dims[1], 0)
    # The slices share their numbers, as a loop over them with this key would.
    noise = torch.ops.genpipe.normal(key, mean.shape[1:], first_index, mean.dtype, mean.device)
    terms = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    kl = terms.flatten(2).sum(2, dtype=like_rows(mean).dtype)
    return (mean + (0.5 * log_var).exp() * noise, kl), (0, 0)


@torch.library.register_fake("genpipe::gaussian_nll")
def _(mean, log_var, x):
    return like_rows(mean)


@torch.library.register_fake("genpipe::gaussian_nll_backward")
def _(grad, mean, log_var, x):
    return (
        torch.empty(mean.shape, dtype=mean.dtype, device=mean.device),
        torch.empty(mean.shape, dtype=mean.dtype, device=mean.device),
    )


def _nll_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _nll_backward(ctx, grad):
    grad_mean, grad_log_var = torch.ops.genpipe.gaussian_nll_backward(grad, *ctx.saved_tensors)
    return grad_mean, grad_log_var, -grad_mean if ctx.needs_input_grad[2] else None


def _nll_forward(ctx, mean, log_var, x):
    ctx.save_for_backward(mean, log_var, x)
    return torch.ops.genpipe.gaussian_nll(mean, log_var, x)


_eager_nll = eager_route("gaussian_nll", _nll_forward, _nll_backward)
torch.library.register_autograd("genpipe::gaussian_nll", _nll_backward, setup_context=_nll_context)
forbid_second_derivative("gaussian_nll_backward")


@torch.library.register_vmap("genpipe::gaussian_nll")
def _(info, in_dims, mean, log_var, x):
    flat = flatten_for_vmap(info, in_dims, mean, log_var, x)
    return torch.ops.genpipe.gaussian_nll(*flat).unflatten(0, (info.batch_size, -1)), 0


# Exponentials and long sums: under autocast these run in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::gaussian_reparam", _device, torch.float32)
    torch.library.register_autocast("genpipe::gaussian_nll", _device, torch.float32)
