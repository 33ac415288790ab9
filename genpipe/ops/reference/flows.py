"""The pieces of normalising flows and energy models."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from genpipe.ops.reference._rows import row_sum


def rational_quadratic_spline(
    x: Tensor,
    params: Tensor,
    *,
    bound: float,
    inverse: bool = False,
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """ops.rational_quadratic_spline as the paper writes it (Durkan et al., 2019, section 3.1 and appendix A)."""
    bins = (params.shape[-1] + 1) // 3
    widths, heights, slopes = params.split((bins, bins, bins - 1), -1)
    knots_x, w = _knots(widths, bound, min_width)
    knots_y, h = _knots(heights, bound, min_height)
    d = F.pad(min_derivative + F.softplus(slopes), (1, 1), value=1.0)

    inside = x.abs() <= bound
    target = x.where(inside, 0)
    k = ((knots_y if inverse else knots_x)[..., 1:-1] <= target[..., None]).sum(-1, keepdim=True)
    x_k, y_k, w, h, d0, d1 = (
        tensor.gather(-1, index).squeeze(-1)
        for tensor, index in ((knots_x, k), (knots_y, k), (w, k), (h, k), (d, k), (d, k + 1))
    )
    s = h / w
    q = d1 + d0 - 2 * s
    if inverse:
        e = target - y_k
        a, b, c = h * (s - d0) + e * q, h * d0 - e * q, -s * e
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        value = x_k + xi * w
    else:
        xi = (target - x_k) / w
        value = y_k + h * (s * xi.square() + d0 * xi * (1 - xi)) / (s + q * xi * (1 - xi))
    numerator = d1 * xi.square() + 2 * s * xi * (1 - xi) + d0 * (1 - xi).square()
    log_slope = 2 * s.log() + numerator.log() - 2 * (s + q * xi * (1 - xi)).log()
    log_slope = (-log_slope if inverse else log_slope).where(inside, 0)
    return value.where(inside, x), row_sum(log_slope)


def _knots(logits: Tensor, bound: float, smallest: float) -> tuple[Tensor, Tensor]:
    """The K + 1 knots, and the sizes of the K bins between them."""
    sizes = 2 * bound * (smallest + (1 - smallest * logits.shape[-1]) * logits.softmax(-1))
    return F.pad(sizes.cumsum(-1), (1, 0)) - bound, sizes


def affine_coupling(
    x: Tensor,
    shift: Tensor,
    log_scale: Tensor,
    *,
    mask: Tensor | None = None,
    limit: float | None = None,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """ops.affine_coupling."""
    s = log_scale if limit is None else limit * (log_scale / limit).tanh()
    if mask is not None:
        s, shift = s.masked_fill(mask, 0), shift.masked_fill(mask, 0)
    if inverse:
        return (x - shift) * (-s).exp(), -row_sum(s)
    return x * s.exp() + shift, row_sum(s)


def langevin_step(
    x: Tensor,
    grad_energy: Tensor,
    noise: Tensor,
    *,
    step_size: float,
    noise_scale: float,
    max_grad: float | None = None,
    clamp: tuple[float, float] | None = None,
) -> Tensor:
    """ops.langevin_step, with its noise given."""
    grad = grad_energy if max_grad is None else grad_energy.clamp(-max_grad, max_grad)
    moved = x - 0.5 * step_size * grad + noise_scale * noise
    return moved if clamp is None else moved.clamp(*clamp)
