"""The likelihood under mixtures of discretised logistics."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

PARAMS, X = randn(2, 20, 4), torch.zeros(2, 3, 4, dtype=torch.uint8)


def arguments(draw: Draw, *, channels: int, frozen: bool = False):
    maps, components = {1: 3, 3: 10}[channels], 2
    make = draw.normal if frozen else draw.leaf
    return make(draw.rows, maps * components, draw.columns), draw.levels(16, draw.rows, channels, draw.columns), 16


def backward(draw: Draw):
    return draw.normal(draw.rows, dtype=draw.compute_dtype), *arguments(draw, channels=3, frozen=True)


CASES = [
    Case("discretized_logistic_mixture_nll", lambda draw: arguments(draw, channels=1), "one channel"),
    Case("discretized_logistic_mixture_nll", lambda draw: arguments(draw, channels=3), "three channels"),
    Case("discretized_logistic_mixture_nll_with_slope", lambda draw: (*arguments(draw, channels=3, frozen=True), 0.25)),
    Case("discretized_logistic_mixture_nll_backward", backward),
]


def nll(params=PARAMS, x=X, **options):
    return lambda: ops.discretized_logistic_mixture_nll(params, x, **options)


MISTAKES = {
    "discretized_logistic_mixture_nll: params must have shape (B, 10 components, *event) for x of shape (2, 3, 4), "
    "got (2, 19, 4)": nll(PARAMS[:, 1:]),
    "discretized_logistic_mixture_nll: params must have shape (B, 3 components, *event) for x of shape (2, 1, 4), "
    "got (2, 20, 4)": nll(x=X[:, :1]),
    "discretized_logistic_mixture_nll: x must have shape (B, C, *event) with C = 1 or 3 channels, got (2, 2, 4)": nll(
        x=X[:, :2]
    ),
    "discretized_logistic_mixture_nll: params must be float32, float64 or bfloat16, got int64": nll(PARAMS.long()),
    "discretized_logistic_mixture_nll: params must have at most 512 components, got 513": nll(
        torch.zeros(1, 513 * 3), torch.zeros(1, 1)
    ),
    "discretized_logistic_mixture_nll: x must be uint8, int64 or of the dtype of params (float32), got float64": nll(
        x=X.double()
    ),
    "discretized_logistic_mixture_nll: x has the level 7, outside of 0 to 4": nll(x=X + 7, levels=5),
    "discretized_logistic_mixture_nll: x has the level -1, outside of 0 to 255": nll(x=X.long() - 1),
    "discretized_logistic_mixture_nll: levels must be 2 to 65536, got 1": nll(levels=1),
    "discretized_logistic_mixture_nll: x must not require a gradient": nll(x=X.float().requires_grad_()),
}
