"""Bounds from importance weights: the mean of w with E[w] = p(x), under a logarithm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops
from genpipe.likelihoods.standard_error import standard_error
from genpipe.model import LogProb


def log_mean_weight(log_weights: Tensor) -> LogProb:
    """log (1/K) Σ_k w_k, (B,), of log-weights (K, B): at most log E[w] in expectation (Jensen).

    standard_error: by the delta method, std(w) / (mean(w) √K), None for K = 1. It is of the draws alone: a bound is
    further below than that wherever few weights carry the mean.
    """
    log_weights = log_weights.double().contiguous()
    nats = ops.log_mean_exp(log_weights)
    return LogProb(nats, "lower_bound", standard_error((log_weights - nats).exp()))


def importance_weighted(log_weight: Callable[[int], Tensor], num_samples: int) -> LogProb:
    """The bound of K = num_samples draws (Burda et al., 2016, eq. 8): no lower than the ELBO, and tight as K grows.

    log_weight(k): log p(x, h_k) − log q(h_k | x), (B,), of draws h_k ~ q of their own for each k.
    """
    return log_mean_weight(torch.stack([log_weight(k) for k in range(num_samples)]))
