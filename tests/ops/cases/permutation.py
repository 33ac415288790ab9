"""The keyed permutation."""

from __future__ import annotations

import torch

from genpipe import ops
from tests.ops.cases import Case

KEY = ops.key(0, 0)

CASES = [
    Case(
        "permutation",
        lambda draw: (KEY, 70_000, 11, 300, torch.device(draw.device)),
        "large",
        dtypes=(torch.float32,),
        sized=False,
    ),
    Case(
        "permutation",
        lambda draw: (KEY, 37, 0, 37, torch.device(draw.device)),
        "small",
        dtypes=(torch.float32,),
        sized=False,
    ),
]

MISTAKES = {
    "permutation: n must not be negative, got -1": lambda: ops.permutation(KEY, -1),
    "permutation: start must be in 0 to n = 5, got 6": lambda: ops.permutation(KEY, 5, start=6),
    "permutation: start must be in 0 to n = 5, got -1": lambda: ops.permutation(KEY, 5, start=-1, count=2),
    "permutation: count must be in 0 to n - start = 3, got 4": lambda: ops.permutation(KEY, 5, start=2, count=4),
    "permutation: key must be int64 of shape (2,)": lambda: ops.permutation(KEY[:1], 5),
}
