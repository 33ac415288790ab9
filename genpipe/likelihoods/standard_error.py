"""How sure a mean over draws is."""

from __future__ import annotations

import math

from torch import Tensor


def standard_error(draws: Tensor) -> Tensor | None:
    """Of the mean over draws (K, B): (B,), std / √K. None for one draw, which does not tell."""
    if len(draws) < 2:
        return None
    if draws.shape[1] == 0:  # torch warns of the deviation of no numbers
        return draws[0]
    return draws.std(dim=0) / math.sqrt(len(draws))
