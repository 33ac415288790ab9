"""Splines, couplings and Langevin steps."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X = randn(3, 4)
BOUND, LEAST = 2.0, (1e-3, 1e-3, 1e-3)
STEP = (0.1, 0.2, None, None, None, 1)
CLAMPED = (0.1, 0.2, 0.5, -1.0, 1.5, 1)


def spline(draw: Draw, inverse: bool):
    return draw.leaf(draw.rows, draw.columns), draw.leaf(draw.rows, draw.columns, 11), BOUND, inverse, *LEAST


def spline_backward(draw: Draw, inverse: bool):
    grad, x = (draw.normal(draw.rows, draw.columns) for _ in range(2))
    rows = draw.normal(draw.rows, dtype=draw.compute_dtype)
    return grad, rows, x, draw.normal(draw.rows, draw.columns, 11), BOUND, inverse, *LEAST


def coupling(draw: Draw, masked: bool, limit: float | None, inverse: bool):
    mask = draw.levels(2, draw.columns).bool() if masked else None
    return *(draw.leaf(draw.rows, draw.columns) for _ in range(3)), mask, limit, inverse


def coupling_backward(draw: Draw, inverse: bool):
    grad, x, log_scale = (draw.normal(draw.rows, draw.columns) for _ in range(3))
    return grad, draw.normal(draw.rows, dtype=draw.compute_dtype), x, log_scale, None, 2.0, inverse


def step(draw: Draw, constants):
    return draw.leaf(draw.rows, draw.columns), draw.leaf(draw.rows, draw.columns), KEY, *constants


def step_out(draw: Draw):
    x, grad, out = (draw.normal(draw.rows, draw.columns) for _ in range(3))
    return x, grad, KEY, *CLAMPED, out


CASES = [
    Case("rational_quadratic_spline", lambda draw: spline(draw, False)),
    Case("rational_quadratic_spline", lambda draw: spline(draw, True), "inverse"),
    Case("rational_quadratic_spline_backward", lambda draw: spline_backward(draw, False)),
    Case("rational_quadratic_spline_backward", lambda draw: spline_backward(draw, True), "inverse"),
    Case("affine_coupling", lambda draw: coupling(draw, False, None, False)),
    Case("affine_coupling", lambda draw: coupling(draw, True, 2.0, True), "masked, bounded, inverse"),
    Case("affine_coupling_backward", lambda draw: coupling_backward(draw, False)),
    Case("affine_coupling_backward", lambda draw: coupling_backward(draw, True), "inverse"),
    Case("langevin_step", lambda draw: step(draw, STEP)),
    Case("langevin_step", lambda draw: step(draw, CLAMPED), "clamped"),
    Case("langevin_step_out", step_out),
]

MISTAKES = {
    "rational_quadratic_spline: params must have the shape of x (3, 4) and a last dimension more, got (3, 11)": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 11), bound=1.0)
    ),
    "rational_quadratic_spline: params must have a last dimension of 3 K - 1 for K bins, 1 to 64, got 12": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 4, 12), bound=1.0)
    ),
    "rational_quadratic_spline: params must have a last dimension of 3 K - 1 for K bins, 1 to 64, got 194": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 4, 194), bound=1.0)
    ),
    "rational_quadratic_spline: params must have the dtype of x (float32), got float64": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 4, 11).double(), bound=1.0)
    ),
    "rational_quadratic_spline: bound must be positive and finite, got 0": lambda: ops.rational_quadratic_spline(
        X, randn(3, 4, 11), bound=0.0
    ),
    "rational_quadratic_spline: min_width must be below 1 / K, here 1 / 4, got 0.25": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 4, 11), bound=1.0, min_width=0.25)
    ),
    "rational_quadratic_spline: min_derivative must be positive and finite, got 0": lambda: (
        ops.rational_quadratic_spline(X, randn(3, 4, 11), bound=1.0, min_derivative=0.0)
    ),
    "affine_coupling: shift must have the shape of x (3, 4), got (3, 3)": lambda: ops.affine_coupling(X, X[:, 1:], X),
    "affine_coupling: log_scale must have the dtype of x (float32), got float64": lambda: ops.affine_coupling(
        X, X, X.double()
    ),
    "affine_coupling: limit must be positive, got 0": lambda: ops.affine_coupling(X, X, X, limit=0.0),
    "affine_coupling: mask must be bool, got float32": lambda: ops.affine_coupling(X, X, X, mask=X[0]),
    "affine_coupling: mask must have the shape of one example of x (3, 4), got (3, 4)": lambda: ops.affine_coupling(
        X, X, X, mask=torch.ones(3, 4, dtype=torch.bool)
    ),
    "langevin_step: grad_energy must have the shape of x (3, 4), got (4,)": lambda: ops.langevin_step(
        X, X[0], KEY, step_size=0.1
    ),
    "langevin_step: step_size must be finite and not negative, got -1": lambda: ops.langevin_step(
        X, X, KEY, step_size=-1.0
    ),
    "langevin_step: noise_scale must be finite and not negative, got nan": lambda: ops.langevin_step(
        X, X, KEY, step_size=0.1, noise_scale=float("nan")
    ),
    "langevin_step: clamp must be a pair (low, high) with low <= high, got (1, 0)": lambda: ops.langevin_step(
        X, X, KEY, step_size=0.1, clamp=(1.0, 0.0)
    ),
    "langevin_step: max_grad must be positive, got 0": lambda: ops.langevin_step(
        X, X, KEY, step_size=0.1, max_grad=0.0
    ),
    "langevin_step: out must be contiguous, got a strided view of shape (3, 4)": lambda: ops.langevin_step(
        X, X, KEY, step_size=0.1, out=torch.empty(4, 3).t()
    ),
    "langevin_step: out takes no gradient, but x or grad_energy requires one": lambda: ops.langevin_step(
        X.clone().requires_grad_(), X, KEY, step_size=0.1, out=torch.empty(3, 4)
    ),
}
