"""Between a data set's own units and a network's: dequantisation, scaling and the change-of-variables term.

The one place that knows them; families see real-valued tensors near [-1, 1] or of unit variance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.noise import Noise


class Units:
    """The map x ↔ z for one data set.

    x: data units: integers 0 … levels−1, or real values. z: what a network sees, float32.

    | data | z |
    | --- | --- |
    | levels | 2 (x + u) / levels − 1 with u uniform in [0, 1): in [-1, 1) (Theis et al., 2016, sec. 3.1) |
    | low, high | 2 (x − low) / (high − low) − 1 |
    | otherwise | (x − mean) / std per dimension |

    discrete: for families that model the integers themselves: u is 1/2, and probabilities are of integers in both
    units, so that no volume changes.
    """

    def __init__(self, spec: DataSpec, *, discrete: bool = False) -> None:
        self.spec, self.discrete = spec, discrete
        shift: Tensor | float
        scale: Tensor | float
        if spec.levels is not None:
            shift, scale = -spec.levels / 2, spec.levels / 2
            self.log_det = -spec.num_dimensions * math.log(scale)
        elif spec.low is not None and spec.high is not None:
            shift, scale = -(spec.high + spec.low) / 2, (spec.high - spec.low) / 2
            self.log_det = -spec.num_dimensions * math.log(scale)
        elif spec.mean is not None and spec.std is not None:
            shift = -torch.tensor(spec.mean, dtype=torch.float64).reshape(spec.shape)
            if min(spec.std) <= 0:
                column = spec.std.index(min(spec.std))
                raise DataError(
                    f"data set '{spec.name}': column {column} is constant, so that it has no density; drop it"
                )
            std = torch.tensor(spec.std, dtype=torch.float64).reshape(spec.shape)
            scale, self.log_det = std, -float(std.log().sum())
        else:
            raise DataError(f"data set '{spec.name}' has neither levels, nor low and high, nor mean and std")
        if discrete:
            self.log_det = 0.0
        self._shift = torch.as_tensor(shift, dtype=torch.float32)
        self._scale = torch.as_tensor(scale, dtype=torch.float32)
        self._dtype: torch.dtype = getattr(torch, spec.dtype)

    def to_network(self, x: Tensor, noise: Noise | None) -> Tensor:
        """z for x, (B, *event). `noise` dequantises; None, or discrete units, put integers at the middle of their bins."""
        z = x.to(torch.float32)
        if self.spec.levels is not None:
            z = z + (
                0.5 if noise is None or self.discrete else noise.uniform("dequantise", tuple(x.shape), device=x.device)
            )
        return (z + self._shift.to(z.device)) / self._scale.to(z.device)

    def from_network(self, z: Tensor) -> Tensor:
        """x for z, (B, *event): integers by their bin, ranges clipped."""
        # Each step in the memory of the one before: of a small batch, calls cost more than arithmetic.
        x = (z.to(torch.float32) * self._scale.to(z.device)).sub_(self._shift.to(z.device))
        if self.spec.levels is not None:
            return x.clamp_(0, self.spec.levels - 1).to(self._dtype)  # which rounds down
        if self.spec.low is not None and self.spec.high is not None:
            return x.clamp_(self.spec.low, self.spec.high)
        return x

    def gradient_from_network(self, gradient: Tensor) -> Tensor:
        """The gradient in x of what has this gradient in z, (B, *event)."""
        return gradient / self._scale.to(gradient)

    def check(self, x: Tensor) -> Tensor:
        """x, after making sure that it is in this data set's units and shape; DataError otherwise."""
        if tuple(x.shape[1:]) != self.spec.shape:
            raise DataError(
                f"x has shape {tuple(x.shape)}, expected (B, {', '.join(map(str, self.spec.shape))}) "
                f"for data set '{self.spec.name}'"
            )
        if x.numel() == 0:
            return x
        if x.is_floating_point() and not torch.isfinite(x.to(torch.float32)).all():
            which = "too large for float32" if torch.isfinite(x).all() else "not finite"
            raise DataError(f"x has values that are {which} (data set '{self.spec.name}')")
        if self.spec.levels is not None:
            low, high = float(x.min()), float(x.max())
            if low < 0 or high > self.spec.levels - 1 or (x.is_floating_point() and bool((x != x.floor()).any())):
                raise DataError(
                    f"x has values in [{low:g}, {high:g}], expected whole numbers 0 … {self.spec.levels - 1}: "
                    f"the units of data set '{self.spec.name}'"
                )
        return x

    def bits_per_dim(self, nats: Tensor) -> Tensor:
        """Bits per dimension of log-probabilities in nats, in units where a bin is 1 wide."""
        return -nats / (self.spec.num_dimensions * math.log(2))
