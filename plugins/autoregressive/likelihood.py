"""−log P of integer images under what the networks give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def categorical_nll(logits: Tensor, levels: Tensor, num_levels: int) -> Tensor:
    """Nats, (B,). logits: (B, C · num_levels, H, W); levels: (B, C, H, W), int64."""
    logits = logits.float() if logits.dtype != torch.float64 else logits
    each = F.cross_entropy(logits.unflatten(1, (-1, num_levels)).transpose(1, 2), levels, reduction="none")
    return each.flatten(1).sum(1)


def logistic_mixture_nll(parameters: Tensor, levels: Tensor, num_levels: int, num_mixtures: int) -> Tensor:
    """Nats, (B,), of discretized logistic mixtures (Salimans et al., 2017, sec. 2.1–2.2).

    parameters: (B, P, H, W), as PixelCNNPP gives; levels: (B, C, H, W), int64. A level owns the interval half a step
    to both sides of it, the lowest and the highest all that lies beyond.
    """
    parameters = parameters.float() if parameters.dtype != torch.float64 else parameters
    num_channels = levels.shape[1]
    sizes = [1, num_channels, num_channels, num_channels * (num_channels - 1) // 2]
    logits, means, log_scales, coefficients = parameters.unflatten(1, (-1, num_mixtures)).split(sizes, dim=1)
    x = (levels.to(parameters.dtype) * (2 / (num_levels - 1)) - 1)[:, :, None]
    shifted = []
    for c in range(num_channels):
        mean = means[:, c]
        for before in range(c):
            mean = mean + coefficients[:, c * (c - 1) // 2 + before].tanh() * x[:, before]
        shifted.append(mean)
    log_scales, half = log_scales.clamp(min=-7), 1 / (num_levels - 1)
    centred = (x - torch.stack(shifted, dim=1)) * (-log_scales).exp()
    step = half * (-log_scales).exp()
    lower, upper = centred - step, centred + step
    # log(σ(upper) − σ(lower)) = log σ(upper) + log σ(−lower) + log(1 − e^−(upper − lower)): exact however far away.
    between = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-2 * step))
    each = torch.where(x < -1 + half, F.logsigmoid(upper), torch.where(x > 1 - half, F.logsigmoid(-lower), between))
    log_prob = torch.logsumexp(each.sum(1) + logits[:, 0].log_softmax(1), dim=1)
    return -log_prob.flatten(1).sum(1)
