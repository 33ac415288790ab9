"""The pieces of an ELBO."""

from __future__ import annotations

import math

from torch import Tensor

from genpipe.ops.reference._rows import row_sum


def gaussian_reparam(mean: Tensor, log_var: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """μ + e^(lv/2) ε and ½ Σ(μ² + e^lv − 1 − lv)."""
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    return mean + (0.5 * log_var).exp() * noise, row_sum(kl)


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Σ(softplus(logit) − x·logit)."""
    softplus = logits.clamp(min=0) + (-logits.abs()).exp().log1p()
    return row_sum(softplus - x * logits)


def categorical_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Σ(log Σ_k e^(logit_k) − logit_x); logits: (B, K, *event), or (B, C·K, *event) for x (B, C, *event)."""
    if logits.dim() == x.dim():
        logits = logits.unflatten(1, (x.shape[1], -1)).transpose(1, 2)
    own = logits.gather(1, x.long()[:, None])[:, 0]
    return row_sum(logits.logsumexp(1) - own)


def elbo_loss(nll: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """The mean of nll + β·kl."""
    return (nll + beta * kl).mean()


def log_mean_exp(x: Tensor) -> Tensor:
    """log(1/K Σ_k e^(x_k)); x: (K, B)."""
    return x.logsumexp(0) - math.log(len(x))


def gaussian_nll(mean: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    """½ Σ((x−μ)² e^−lv + lv + log 2π)."""
    terms = (x - mean).square() * (-log_var).exp() + log_var + math.log(2 * math.pi)
    return 0.5 * row_sum(terms)
