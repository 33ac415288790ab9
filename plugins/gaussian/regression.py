"""Linear regression: some columns of a Gaussian vector given the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError, DataError, UsageError
from genpipe.plugins.gaussian.normal import Normal


@dataclass(frozen=True)
class LinearRegression:
    """p(targets | inputs) = N(weights inputs + intercept, covariance), all in data units and float64.

    Where the Gaussian is that of maximum likelihood, these are the weights of least squares, and the covariance is
    that of the residuals (Bishop, 2006, eqs. 2.81 and 2.82).

    targets, inputs: columns of the data set; weights: (T, R); intercept: (T,); covariance: (T, T).
    """

    targets: tuple[int, ...]
    inputs: tuple[int, ...]
    weights: Tensor
    intercept: Tensor
    covariance: Tensor

    def predict(self, inputs: Tensor) -> Tensor:
        """The targets' mean, (B, T), given inputs (B, R), the columns `inputs` in their order."""
        inputs = torch.as_tensor(inputs)
        if inputs.ndim != 2 or inputs.shape[1] != len(self.inputs):
            raise DataError(f"inputs has shape {tuple(inputs.shape)}, expected (B, {len(self.inputs)})")
        return inputs.to(self.weights) @ self.weights.T + self.intercept

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(targets | inputs), (B,) nats, of whole examples x (B, D)."""
        x = torch.as_tensor(x).to(self.weights)
        residuals = x[:, list(self.targets)] - self.predict(x[:, list(self.inputs)])
        zero = torch.zeros(len(self.targets)).to(self.weights)
        return Normal(zero, torch.linalg.cholesky(self.covariance)).log_prob(residuals)


def regression(normal: Normal, spec: DataSpec, targets: Sequence[int]) -> LinearRegression:
    """The regression of the columns `targets` on all others, where `normal` models a data set's vectors.

    CapabilityError where examples are no vectors of real values, UsageError where targets are no columns, are named
    twice or are all there is.
    """
    if spec.mean is None or spec.std is None:
        raise CapabilityError(f"regression is between columns of real values, which '{spec.name}' has none of")
    num = spec.num_dimensions
    wrong = [t for t in targets if not 0 <= t < num]
    if wrong or not targets or len(set(targets)) != len(targets) or len(targets) == num:
        raise UsageError(
            f"targets is {list(targets)}, expected different columns from 0 to {num - 1} of '{spec.name}', and not all of them"
        )
    inputs = tuple(i for i in range(num) if i not in targets)
    t, r = list(targets), list(inputs)
    std = torch.tensor(spec.std).to(normal.mean)
    mean = torch.tensor(spec.mean).to(normal.mean) + std * normal.mean
    root = torch.diag(normal.scale) if normal.scale.ndim == 1 else normal.scale
    covariance = std[:, None] * (root @ root.T) * std
    weights = torch.linalg.solve(covariance[r][:, r], covariance[r][:, t]).T
    return LinearRegression(
        targets=tuple(targets),
        inputs=inputs,
        weights=weights,
        intercept=mean[t] - weights @ mean[r],
        covariance=covariance[t][:, t] - weights @ covariance[r][:, t],
    )
