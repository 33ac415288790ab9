"""Sums over events."""

from __future__ import annotations

import math

from torch import Tensor


def row_sum(terms: Tensor) -> Tensor:
    """(B, *event) to (B,)."""
    return terms.reshape(len(terms), math.prod(terms.shape[1:])).sum(1)
