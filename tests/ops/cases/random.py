"""The random numbers."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case, Draw

KEY = ops.key(0, 0)
T = torch.tensor([0, 1, 2])


def shaped(draw: Draw, *before):
    return (KEY, *before, [draw.rows, draw.columns], 1)


CASES = [
    Case("normal", lambda draw: (*shaped(draw), draw.dtype, torch.device(draw.device))),
    Case("uniform", lambda draw: (*shaped(draw), draw.dtype, torch.device(draw.device))),
    Case("gumbel", lambda draw: (*shaped(draw), draw.dtype, torch.device(draw.device))),
    Case("rademacher", lambda draw: (*shaped(draw), draw.dtype, torch.device(draw.device))),
    Case("bernoulli", lambda draw: (KEY, draw.normal(draw.rows, draw.columns).sigmoid(), 1)),
    Case("randint", lambda draw: (*shaped(draw, 9), torch.device(draw.device)), dtypes=(torch.float32,)),
]

MISTAKES = {
    "normal: shape must have a batch dimension": lambda: ops.normal(KEY, ()),
    "normal: shape has the negative size -2": lambda: ops.normal(KEY, (3, -2)),
    "normal: dtype must be float32, float64 or bfloat16, got int64": lambda: ops.normal(KEY, (3,), dtype=torch.int64),
    "normal: first_index must not be negative, got -1": lambda: ops.normal(KEY, (3,), first_index=-1),
    "normal: first_index 9223372036854775806 with 3 samples of 1 elements runs past": lambda: ops.normal(
        KEY, (3,), first_index=2**63 - 2
    ),
    "normal: key must be int64 of shape (2,), as ops.key(seed, stream) gives, got int64 of shape (3,)": lambda: (
        ops.normal(T, (3,))
    ),
    "uniform: key must be int64 of shape (2,), as ops.key(seed, stream) gives, got float32": lambda: ops.uniform(
        torch.zeros(2), (3,)
    ),
    "gumbel: shape must have a batch dimension": lambda: ops.gumbel(KEY, ()),
    "rademacher: dtype must be float32, float64 or bfloat16, got int8": lambda: ops.rademacher(
        KEY, (3,), dtype=torch.int8
    ),
    "bernoulli: probs must be float32, float64 or bfloat16, got int64": lambda: ops.bernoulli(KEY, T),
    "bernoulli: probs must have a batch dimension": lambda: ops.bernoulli(KEY, torch.tensor(0.5)),
    "bernoulli: first_index must not be negative, got -1": lambda: ops.bernoulli(KEY, torch.zeros(3), first_index=-1),
    "randint: high must be at least 1, got 0": lambda: ops.randint(KEY, 0, (3,)),
}
