"""Classifiers that tell two sets of points apart: trained on some, asked about others."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops

# x (n, D) float64, y (n,) 0.0 or 1.0, asked (m, D) → (m,): above 0 where 1 is likelier.
Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]

RIDGE = 1.0  # of standardised features, as for a prior of unit variance on the weights
HIDDEN, STEPS, LEARNING_RATE, WEIGHT_DECAY, BETAS = 64, 200, 0.01, 0.01, (0.9, 0.999)


def _standardised(x: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Both by the mean and deviation of x; what is constant there becomes 0."""
    std, mean = torch.std_mean(x, dim=0)
    scale = torch.where(std > 0, 1 / std, 0.0)
    return (x - mean) * scale, (asked - mean) * scale


def logistic(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """Ridge logistic regression by Newton's steps, to convergence."""
    x, asked = (torch.nn.functional.pad(part, (0, 1), value=1.0) for part in _standardised(x, asked))
    ridge = torch.full_like(x[0], RIDGE)
    ridge[-1] = 1e-8  # the intercept is free
    weight = torch.zeros_like(x[0])
    for _ in range(50):
        probability = torch.sigmoid(x @ weight)
        gradient = x.T @ (probability - y) + ridge * weight
        curvature = x.T @ (x * (probability * (1 - probability))[:, None]) + torch.diag(ridge)
        step = torch.linalg.solve(curvature, gradient)
        weight -= step
        if float(step.abs().max()) < 1e-10:
            break
    return asked @ weight


def knn(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """The vote of the √n nearest, an odd number."""
    k = math.isqrt(len(x))
    _, index = ops.knn_distances(asked, x, k - 1 + k % 2)
    return y[index].mean(dim=1) - 0.5


def mlp(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    """One hidden layer of ReLUs by AdamW on all of x at once (Loshchilov & Hutter, 2019, algorithm 2). In float64, so that
    rounding settles nothing."""
    x, asked = _standardised(x, asked)
    drawn = ops.normal(ops.key(0, "two_sample"), (x.shape[1], HIDDEN), dtype=torch.float64)
    into, bias, out, offset = (
        drawn * math.sqrt(2 / x.shape[1]),
        x.new_zeros(HIDDEN),
        x.new_zeros(HIDDEN),
        x.new_zeros(()),
    )
    parameters = (into, bias, out, offset)
    means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, STEPS + 1):
        hidden = torch.relu(x @ into + bias)
        error = (torch.sigmoid(hidden @ out + offset) - y) / len(y)
        back = error[:, None] * out * (hidden > 0)
        gradients = (x.T @ back, back.sum(dim=0), hidden.T @ error, error.sum())
        for parameter, gradient, mean, square in zip(parameters, gradients, means, squares, strict=True):
            mean.lerp_(gradient, 1 - BETAS[0])
            square.lerp_(gradient.square(), 1 - BETAS[1])
            scale = (square / (1 - BETAS[1] ** step)).sqrt_().add_(1e-8)
            parameter.mul_(1 - LEARNING_RATE * WEIGHT_DECAY)
            parameter.addcdiv_(mean, scale, value=-LEARNING_RATE / (1 - BETAS[0] ** step))
    return torch.relu(asked @ into + bias) @ out + offset


CLASSIFIERS: dict[str, Classifier] = {"mlp": mlp, "logistic": logistic, "knn": knn}
