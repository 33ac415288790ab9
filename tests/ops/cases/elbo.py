"""The pieces of an ELBO."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X, LEVELS = randn(3, 4), torch.zeros(3, dtype=torch.uint8)
FULL = (torch.float32, torch.float64)  # of row sums, which are in no half precision


def leaves(draw: Draw, num: int):
    return tuple(draw.leaf(draw.rows, draw.columns) for _ in range(num))


def frozen(draw: Draw, num: int):
    return tuple(draw.normal(draw.rows, draw.columns) for _ in range(num))


def categories(draw: Draw, *, frozen: bool = False, channels: int | None = None):
    """Five levels of (B, columns), or of three channels each."""
    make = draw.normal if frozen else draw.leaf
    if channels is None:
        return make(draw.rows, 5, draw.columns), draw.levels(5, draw.rows, draw.columns)
    return make(draw.rows, 5 * channels, draw.columns), draw.levels(5, draw.rows, channels, draw.columns)


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
    Case("categorical_nll", categories, "as cross entropy has it"),
    Case("categorical_nll", lambda draw: categories(draw, channels=3), "levels of channels"),
    Case(
        "categorical_nll",
        lambda draw: (draw.leaf(draw.rows, draw.columns), draw.levels(draw.columns, draw.rows)),
        "a number per row",
    ),
    Case("categorical_nll_with_slope", lambda draw: (*categories(draw, frozen=True), 0.25)),
    Case("categorical_nll_backward", lambda draw: (row_gradient(draw), *categories(draw, frozen=True))),
    Case("log_mean_exp", lambda draw: (draw.leaf(draw.rows, draw.columns),), dtypes=FULL),
    Case(
        "log_mean_exp_backward",
        lambda draw: (draw.normal(draw.columns), draw.normal(draw.rows, draw.columns)),
        dtypes=FULL,
    ),
    Case(
        "scale_rows_",
        lambda draw: (draw.normal(draw.rows, draw.columns, dtype=draw.compute_dtype), row_gradient(draw)),
        dtypes=FULL,
    ),
]

MISTAKES = {
    "categorical_nll: x must be uint8 or int64, got float32": lambda: ops.categorical_nll(X, X),
    "categorical_nll: x has the level 4, outside of 0 to 3": lambda: ops.categorical_nll(X, LEVELS + 4),
    "categorical_nll: x has the level -1, outside of 0 to 3": lambda: ops.categorical_nll(X, LEVELS.long() - 1),
    "categorical_nll: logits must have shape (B, K, *event) for x (B, *event), or (B, C K, *event) for x "
    "(B, C, *event); got (3, 4) for x (2,)": lambda: ops.categorical_nll(X, LEVELS[1:]),
    "log_mean_exp: x must have shape (K, B) with K at least 1, got (4,)": lambda: ops.log_mean_exp(X[0]),
    "log_mean_exp: x must have shape (K, B) with K at least 1, got (0, 4)": lambda: ops.log_mean_exp(X[:0]),
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
