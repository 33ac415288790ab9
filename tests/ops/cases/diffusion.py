"""Diffusion's forward process."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw, randn

KEY = ops.key(0, 0)
X, T, TABLE = randn(3, 4), torch.tensor([0, 1, 2]), torch.linspace(0.9, 0.1, 5, dtype=torch.float64)


def steps(draw: Draw):
    return draw.levels(5, draw.rows), TABLE.to(draw.device)


def noised(draw: Draw, *, given: bool):
    noise = draw.leaf(draw.rows, draw.columns) if given else None
    return draw.leaf(draw.rows, draw.columns), *steps(draw), noise, None if given else KEY, 0 if given else 7


def into(draw: Draw):
    x0 = draw.normal(draw.rows, draw.columns)
    return x0, *steps(draw), None, KEY, 7, torch.zeros_like(x0)


CASES = [
    Case("q_sample", lambda draw: noised(draw, given=True), "noise given"),
    Case("q_sample", lambda draw: noised(draw, given=False), "noise generated"),
    Case("q_sample_with_noise", lambda draw: (draw.leaf(draw.rows, draw.columns), *steps(draw), KEY, 7)),
    Case("q_sample_out", into),
]

MISTAKES = {
    "q_sample: give exactly one of noise and key": lambda: ops.q_sample(X, T, TABLE),
    "q_sample: give exactly one of noise and key ": lambda: ops.q_sample(X, T, TABLE, noise=X, key=KEY),
    "q_sample: x0 must be float32, float64 or bfloat16, got float16": lambda: ops.q_sample(X.half(), T, TABLE, key=KEY),
    "q_sample: x0 must have a batch dimension": lambda: ops.q_sample(X[0, 0], T, TABLE, key=KEY),
    "q_sample: t must be int64, got int32": lambda: ops.q_sample(X, T.int(), TABLE, key=KEY),
    "q_sample: t must have shape (B,) with x0's B = 3, got (2,)": lambda: ops.q_sample(X, T[:2], TABLE, key=KEY),
    "q_sample: t[1] = 5 is outside of alpha_bar's steps, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 5, 0]), TABLE, key=KEY
    ),
    "q_sample: t[2] = -1 is outside of alpha_bar's steps, 0 to 4": lambda: ops.q_sample(
        X, torch.tensor([0, 4, -1]), TABLE, key=KEY
    ),
    "q_sample: alpha_bar must be float64 or float32, got int64": lambda: ops.q_sample(X, T, TABLE.long(), key=KEY),
    "q_sample: alpha_bar must have shape (T,), got (1, 5)": lambda: ops.q_sample(X, T, TABLE[None], key=KEY),
    "q_sample: noise must have the shape of x0 (3, 4), got (3, 3)": lambda: ops.q_sample(X, T, TABLE, noise=X[:, 1:]),
    "q_sample: noise must have the dtype of x0 (float32), got float64": lambda: ops.q_sample(
        X, T, TABLE, noise=X.double()
    ),
    "q_sample: out must have the shape of x0 (3, 4), got (4, 3)": lambda: ops.q_sample(
        X, T, TABLE, key=KEY, out=torch.empty(4, 3)
    ),
    "q_sample: out must be contiguous, got a strided view of shape (3, 4)": lambda: ops.q_sample(
        X, T, TABLE, key=KEY, out=torch.empty(4, 3).t()
    ),
    "q_sample: out takes no gradient, but x0 or noise requires one": lambda: ops.q_sample(
        X.clone().requires_grad_(), T, TABLE, key=KEY, out=torch.empty(3, 4)
    ),
    "q_sample_with_noise: first_index must not be negative": lambda: ops.q_sample_with_noise(
        X, T, TABLE, KEY, first_index=-4
    ),
}
