"""Moments of features."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn


def centring(draw: Draw, dtype: torch.dtype):
    x = draw.normal(draw.rows, draw.columns)
    return x, draw.normal(draw.columns, dtype=torch.float64), 0.25, dtype


CASES = [
    Case("column_mean", lambda draw: (draw.normal(draw.rows + 300, draw.columns),)),
    Case("centre_rows", lambda draw: centring(draw, torch.float32), "to float32"),
    Case("centre_rows", lambda draw: centring(draw, torch.float64), "to float64"),
    Case("centre_rows", lambda draw: centring(draw, torch.bfloat16), "to bfloat16"),
    # A matrix product's order of summation is the library's own.
    Case("moments", lambda draw: (draw.normal(draw.rows, min(draw.columns, 37)),), exact_on_cuda=False),
]

X, CENTRE = randn(3, 4), torch.zeros(4, dtype=torch.float64)

MISTAKES = {
    "moments: features must have shape (N, D), got (4,)": lambda: ops.moments(X[0]),
    "moments: features must be float32, float64 or bfloat16, got int64": lambda: ops.moments(X.long()),
    "column_mean: x must have shape (N, D), got (3, 4, 1)": lambda: torch.ops.genpipe.column_mean(X[..., None]),
    "column_mean: x must have at least one row, got (0, 4)": lambda: torch.ops.genpipe.column_mean(X[:0]),
    "column_mean: x must be float32, float64 or bfloat16, got float16": lambda: torch.ops.genpipe.column_mean(X.half()),
    "centre_rows: centre must be float64, got float32": lambda: torch.ops.genpipe.centre_rows(
        X, CENTRE.float(), 1.0, torch.float32
    ),
    "centre_rows: centre must have shape (D,) with x's D = 4, got (3,)": lambda: torch.ops.genpipe.centre_rows(
        X, CENTRE[1:], 1.0, torch.float32
    ),
    "centre_rows: dtype must be float32, float64 or bfloat16, got int64": lambda: torch.ops.genpipe.centre_rows(
        X, CENTRE, 1.0, torch.int64
    ),
}
