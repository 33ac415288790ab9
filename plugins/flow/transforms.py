"""Monotone maps of single numbers, with parameters that a network gives: the inside of every layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import ops

UNIT_SLOPE = math.log(math.expm1(1 - 1e-3))  # the softplus of it, and the least slope, are 1


@dataclass(frozen=True)
class Spline:
    """Rational-quadratic spline on [−bound, bound] (Durkan et al., 2019), the identity outside."""

    num_bins: int
    bound: float

    @property
    def num_params(self) -> int:
        return 3 * self.num_bins - 1

    def identity(self) -> Tensor:
        """Parameters (num_params,) of the identity."""
        params = torch.zeros(self.num_params)
        params[2 * self.num_bins :] = UNIT_SLOPE
        return params

    def __call__(self, x: Tensor, params: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """(y, log|det|): x (B, *event), params (B, *event, num_params), log|det| (B,)."""
        return ops.rational_quadratic_spline(x, params, bound=self.bound, inverse=inverse)


@dataclass(frozen=True)
class Affine:
    """x · exp(s) + t, with |s| < limit (Dinh et al., 2017, eq. 7)."""

    limit: float = 3.0
    num_params: int = 2

    def identity(self) -> Tensor:
        return torch.zeros(2)

    def __call__(self, x: Tensor, params: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        shift, log_scale = (part.contiguous() for part in params.unbind(-1))
        return ops.affine_coupling(x, shift, log_scale, limit=self.limit, inverse=inverse)


Transform = Spline | Affine
