"""The area under the ROC curve, and its standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auroc(inside: Tensor, outside: Tensor) -> tuple[float, float | None]:
    """P(outside > inside) + ½ P(equal) for scores (N,) and (M,) that should be larger outside, and its standard error
    (DeLong et al., 1988, eqs. 4-8), None of fewer than two on a side."""
    placed_out = _placed(outside, inside)
    placed_in = 1 - _placed(inside, outside)
    value = float(placed_out.mean())
    if min(len(inside), len(outside)) < 2:
        return value, None
    return value, math.sqrt(float(placed_out.var()) / len(outside) + float(placed_in.var()) / len(inside))


def _placed(scores: Tensor, among: Tensor) -> Tensor:
    """The share of `among` that lies below each score, those that are equal counted half."""
    ordered = among.sort().values
    below = torch.searchsorted(ordered, scores)
    upto = torch.searchsorted(ordered, scores, right=True)
    return (below + upto).to(torch.float64) / (2 * len(among))
