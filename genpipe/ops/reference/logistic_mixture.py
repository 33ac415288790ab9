"""Mixtures of discretised logistics, as their paper's code has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from genpipe.ops.reference._rows import row_sum


def discretized_logistic_mixture_nll(params: Tensor, x: Tensor, levels: int = 256) -> Tensor:
    """−Σ log Σ_k π_k Π_c (σ(u₊) − σ(u₋)); x: levels, or their values in [−1, 1]."""
    if not x.is_floating_point():
        x = 2 * x.to(params.dtype) / (levels - 1) - 1
    channels = x.shape[1]
    maps = params.unflatten(1, (1 + 2 * channels + channels * (channels - 1) // 2, -1))  # (B, M, K, *event)
    logits, means, log_scales = maps[:, 0], maps[:, 1 : 1 + channels], maps[:, 1 + channels : 1 + 2 * channels]
    coefficients = maps[:, 1 + 2 * channels :].tanh()
    log_mass = logits.log_softmax(1)
    half_bin, pair = 1 / (levels - 1), 0
    for c in range(channels):
        mean = means[:, c]
        for earlier in range(c):
            mean = mean + coefficients[:, pair] * x[:, earlier, None]
            pair += 1
        log_scale = log_scales[:, c].clamp(min=-7)
        value, inverse = x[:, c, None], (-log_scale).exp()
        upper, lower = (value - mean + half_bin) * inverse, (value - mean - half_bin) * inverse
        # log(σ(u₊) − σ(u₋)) = log(1 − e^(u₋ − u₊)) + log σ(u₊) + log σ(−u₋)
        inner = (-torch.expm1(-2 * half_bin * inverse)).log() + F.logsigmoid(upper) + F.logsigmoid(-lower)
        outer = torch.where(value < half_bin - 1, F.logsigmoid(upper), F.logsigmoid(-lower))
        log_mass = log_mass + torch.where((value.abs() > 1 - half_bin).expand_as(inner), outer, inner)
    return row_sum(-log_mass.logsumexp(1))
