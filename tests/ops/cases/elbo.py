"""The pieces of an ELBO."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X = randn(3, 4)


def leaves(draw: Draw, num: int):
    return tuple(draw.leaf(draw.rows, draw.columns) for _ in range(num))


def frozen(draw: Draw, num: int):
    return tuple(draw.normal(draw.rows, draw.columns) for _ in range(num))


def row_gradient(draw: Draw):
    return draw.normal(draw.rows, dtype=draw.compute_dtype)


CASES = [
    Case("gaussian_reparam", lambda draw: (*leaves(draw, 2), KEY, 1)),
    Case(
        "gaussian_reparam_backward",
        lambda draw: (draw.normal(draw.rows, draw.columns), row_gradient(draw), *frozen(draw, 2), KEY, 1),
    ),
    Case("gaussian_nll", lambda draw: leaves(draw, 3)),
    Case("gaussian_nll_backward", lambda draw: (row_gradient(draw), *frozen(draw, 3))),
    Case("bernoulli_nll", lambda draw: leaves(draw, 2)),
    Case("bernoulli_nll_with_slope", lambda draw: frozen(draw, 2)),
    Case("bernoulli_nll_backward", lambda draw: (row_gradient(draw), *frozen(draw, 2))),
    Case(
        "scale_rows_",
        lambda draw: (draw.normal(draw.rows, draw.columns, dtype=draw.compute_dtype), row_gradient(draw)),
        dtypes=(torch.float32, torch.float64),
    ),
]

MISTAKES = {
    "gaussian_reparam: log_var must have the shape of mean (3, 4), got (3, 1)": lambda: ops.gaussian_reparam(
        X, X[:, :1], KEY
    ),
    "gaussian_reparam: log_var must have the dtype of mean (float32), got float64": lambda: ops.gaussian_reparam(
        X, X.double(), KEY
    ),
    "gaussian_nll: x must have the shape of mean (3, 4), got (2, 4)": lambda: ops.gaussian_nll(X, X, X[:2]),
    "gaussian_nll: log_var must broadcast to mean's shape (3, 4), got (2,)": lambda: ops.gaussian_nll(X, X[0, :2], X),
    "bernoulli_nll: x must have the dtype of logits (float32), got uint8": lambda: ops.bernoulli_nll(X, X.byte()),
    "bernoulli_nll: logits must be float32, float64 or bfloat16, got int64": lambda: ops.bernoulli_nll(
        X.long(), X.long()
    ),
    "scale_rows_: factors must have shape (B,) with B = 3, got (2,)": lambda: torch.ops.genpipe.scale_rows_(
        X, X[:2, 0]
    ),
    "scale_rows_: x must be contiguous, got a strided view of shape (4, 3)": lambda: torch.ops.genpipe.scale_rows_(
        X.t(), X[0]
    ),
}
