"""The loss of a diffusion model against a target that is made where it is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.ops import _extension  # noqa: F401
from genpipe.ops._derivative import eager_route, forbid_second_derivative, takes_eager_route
from genpipe.ops._rows import flatten_for_vmap, like_rows


def diffusion_loss(
    prediction: Tensor,
    x0: Tensor,
    t: Tensor | None,
    schedule: Tensor,
    *,
    weights: Tensor | None = None,
    noise: Tensor | None = None,
    key: Tensor | None = None,
    first_index: int = 0,
    prediction_type: str = "epsilon",
) -> Tensor:
    """w_t Σ(prediction − target)², (B,): per sample, summed over the event, in float32 (float64 for float64).

    prediction, x0: (B, *event), float32, float64 or bfloat16; t, schedule, noise, key, first_index: what q_sample made
    x_t with, so that the target is that of its ε (in bfloat16 of the ε before rounding, as in q_sample); weights:
    (T,), float64 or float32, one per level of the schedule (genpipe.ops.loss_weights), 1 where not given; weights of
    another kind multiply the result. prediction_type: as for q_sample_with_target.

    ε comes from the key again in each pass and is never stored. Once differentiable, in prediction alone. RuntimeError
    names what is wrong.
    """
    if torch.is_grad_enabled() and (x0.requires_grad or (noise is not None and noise.requires_grad)):
        raise RuntimeError("genpipe.diffusion_loss: x0 and noise take no gradient, but one of them requires it")
    arguments = (prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type)
    return _eager(*arguments) if takes_eager_route(prediction) else _diffusion_loss(*arguments)


_diffusion_loss = torch.ops.genpipe.diffusion_loss.default
_backward_op = torch.ops.genpipe.diffusion_loss_backward.default


@torch.library.register_fake("genpipe::diffusion_loss")
def _(prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type):
    return like_rows(prediction)


@torch.library.register_fake("genpipe::diffusion_loss_with_slope")
def _(prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type):
    loss = like_rows(prediction)
    return loss, torch.empty(prediction.shape, dtype=loss.dtype, device=prediction.device)


@torch.library.register_fake("genpipe::diffusion_loss_backward")
def _(grad, prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type):
    return torch.empty(prediction.shape, dtype=prediction.dtype, device=prediction.device)


def _context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:7])
    ctx.first_index, ctx.prediction_type = inputs[7:]


def _backward(ctx, grad):
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[5]:
        raise RuntimeError("genpipe.diffusion_loss: x0 and noise take no gradient, but one of them requires it")
    grad_prediction = _backward_op(grad, *ctx.saved_tensors, ctx.first_index, ctx.prediction_type)
    return grad_prediction, None, None, None, None, None, None, None, None


def _forward_with_slope(ctx, *inputs):
    _context(ctx, inputs, None)
    ctx.slope = None
    if inputs[0].dtype == torch.bfloat16:
        return _diffusion_loss(*inputs)
    loss, ctx.slope = torch.ops.genpipe.diffusion_loss_with_slope(*inputs)
    return loss


def _backward_of_slope(ctx, grad):
    # The error, known in the forward pass, becomes the gradient in place: cheaper than its noise again. A retained
    # graph's second backward pass finds it spent and makes the same bits from the key.
    slope, ctx.slope = ctx.slope, None
    if slope is None:
        return _backward(ctx, grad)
    torch.ops.genpipe.scale_rows_(slope, grad)
    return slope, None, None, None, None, None, None, None, None


_eager = eager_route("diffusion_loss", _forward_with_slope, _backward_of_slope)
torch.library.register_autograd("genpipe::diffusion_loss", _backward, setup_context=_context)
forbid_second_derivative("diffusion_loss_backward")


@torch.library.register_vmap("genpipe::diffusion_loss")
def _(info, in_dims, prediction, x0, t, schedule, weights, noise, key, first_index, prediction_type):
    if any(in_dims[i] is not None for i in (3, 4, 6)):
        raise NotImplementedError("genpipe.diffusion_loss: vmap maps over prediction, x0, t and noise, and no others")
    dims = [in_dims[0], in_dims[1], in_dims[2], in_dims[5]]
    event = [n for d, n in enumerate(prediction.shape) if d != dims[0]]
    if noise is None:  # the slices share their numbers, as a loop over them with this key would
        noise, dims[3] = torch.ops.genpipe.normal(key, event, first_index, x0.dtype, x0.device), None
    if t is None:
        t, dims[2] = torch.arange(event[0], device=x0.device), None
    prediction, x0, t, noise = flatten_for_vmap(info, tuple(dims), prediction, x0, t, noise)
    loss = _diffusion_loss(prediction, x0, t, schedule, weights, noise, None, 0, prediction_type)
    return loss.unflatten(0, (info.batch_size, -1)), 0


# A long sum: under autocast it runs in float32.
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("genpipe::diffusion_loss", _device, torch.float32)
