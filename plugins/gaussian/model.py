"""The Gaussian as a family: exact likelihood, fitted from moments in one pass."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from genpipe import ops
from genpipe.closed_form import check_columns, check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.model import Batch, Model, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.gaussian import GAUSSIAN
from genpipe.plugins.gaussian.config import GaussianConfig
from genpipe.plugins.gaussian.normal import Normal, estimate_scale
from genpipe.plugins.gaussian.regression import LinearRegression, regression

log = logging.getLogger(__name__)


class Gaussian(Model):
    """p(z) = N(z; m, C), or p(z | y) = N(z; m_y, C_y) where `conditional`: quadratic discriminant analysis.

    Optimises the likelihood, in closed form, in one pass that keeps K covariances. Answers everything exactly, and
    knows of the data nothing beyond means and covariances. A code is the example in white: `encode` gives
    standard normal numbers where the model is right, and `decode` takes them back.

    State, float64: means (K, D); scales (K, D, D), lower Cholesky factors, or (K, D), standard deviations; K is 1, or
    the number of classes. Before it is fitted the model is the standard Gaussian.
    """

    config: GaussianConfig
    means: Tensor
    scales: Tensor

    def __init__(self, config: GaussianConfig, spec: DataSpec) -> None:
        super().__init__(GAUSSIAN, config, spec)
        d, k = spec.num_dimensions, (spec.num_classes or 1) if config.conditional else 1
        one = torch.eye(d, dtype=torch.float64) if config.covariance == "full" else torch.ones(d, dtype=torch.float64)
        self.register_buffer("means", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("scales", one.repeat(k, *[1] * one.ndim))

    def normal(self, label: int | None = None) -> Normal:
        """The Gaussian of a class where the model has one for each, else the one there is.

        UsageError where a label is missing, no class, or given to the one Gaussian.
        """
        if not self.config.conditional and label is not None:
            raise UsageError(f"label is {label}, and this model has one Gaussian for all classes: leave it out")
        if self.config.conditional and (label is None or not 0 <= label < len(self.means)):
            raise UsageError(
                f"label is {label}, and this model has a Gaussian for each class: expected 0 to {len(self.means) - 1}"
            )
        return self._normal(label or 0)

    def _normal(self, k: int = 0) -> Normal:
        return Normal(self.means[k], self.scales[k])

    def regression(self, targets: Sequence[int], label: int | None = None) -> LinearRegression:
        """Linear regression of the columns `targets` on all others: p(targets | others) of this Gaussian."""
        return regression(self.normal(label), self.spec, targets)

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """Moments in one pass, in float64.

        Raises DataError where a class has no examples, a column is constant, or a covariance is singular.
        """
        d = self.spec.num_dimensions
        none = ops.moments(torch.zeros(0, d, dtype=torch.float64, device=self.device))
        found, done = [none] * len(self.means), 0
        for block in in_blocks(batches()):
            z = block.z.double()
            for k, moments in enumerate(found):
                rows = z if block.y is None or not self.config.conditional else z[block.y == k]
                if len(rows):
                    found[k] = ops.merge_moments(moments, ops.moments(rows))
            done += len(z)
            progress(done, None)
        check_examples(done, self.spec)
        if done > 1:
            check_columns(functools.reduce(ops.merge_moments, found).m2.diagonal() == 0, self.spec)
        for k, moments in enumerate(found):
            self.means[k] = moments.mean
            self.scales[k] = self._scale(k, moments)
        # The mean log-likelihood of the very examples that the moments are of needs no second pass.
        nats = [self._mean_log_likelihood(k, moments) * int(moments.num) for k, moments in enumerate(found)]
        return {"log_likelihood": sum(nats) / done, "examples": float(done)}

    def _mean_log_likelihood(self, k: int, moments: ops.Moments) -> float:
        """E log N = log N(m; m, C) − ½ tr(C⁻¹ S) over the examples that the moments are of."""
        normal = self._normal(k)
        if normal.scale.ndim == 1:
            trace = (moments.m2.diagonal() / normal.scale.square()).sum()
        else:
            trace = torch.cholesky_solve(moments.m2, normal.scale).trace()
        return float(normal.log_prob(normal.mean[None])[0] - 0.5 * trace / moments.num)

    def _scale(self, k: int, moments: ops.Moments) -> Tensor:
        config, d = self.config, self.spec.num_dimensions
        full, whose = config.covariance == "full", f"class {k} of " if len(self.means) > 1 else ""
        if moments.num == 0:
            raise DataError(
                f"{whose}data set '{self.spec.name}' has no training examples: give more data, or leave the class out"
            )
        if moments.num <= (d if full else 1) and config.shrinkage == 0:
            log.warning(
                "%s'%s': %d examples are too few for a covariance of %d dimensions, and reg_covar = %g stands in for what they "
                "do not show: raise shrinkage, or set covariance: diagonal",
                whose,
                self.spec.name,
                int(moments.num),
                d,
                config.reg_covar,
            )
        scale = estimate_scale(moments, full=full, reg_covar=config.reg_covar, shrinkage=config.shrinkage)
        if scale is None:
            raise DataError(
                f"the covariance of {whose}data set '{self.spec.name}' is singular, as where columns are copies of each "
                f"other: raise reg_covar (now {config.reg_covar:g}) or shrinkage (now {config.shrinkage:g}), or drop columns"
            )
        return scale

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        e = noise.normal("normal", (num, self.spec.num_dimensions), dtype=torch.float64, device=self.device)
        return self._by_class(e, y, Normal.colour).reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        return self._by_class(z.flatten(1).double(), y, Normal.log_prob)

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        return self._by_class(z.flatten(1).double(), y, Normal.score).reshape(z.shape).to(z.dtype)

    def infer(self, z: Tensor, y: Tensor | None) -> Tensor:
        """(B, D) float32."""
        return self._by_class(z.flatten(1).double(), y, Normal.whiten).float()

    def reconstruct(self, code: Tensor, y: Tensor | None) -> Tensor:
        return self._by_class(code.double(), y, Normal.colour).reshape(-1, *self.spec.shape).float()

    def _by_class(self, rows: Tensor, y: Tensor | None, answer: Callable[[Normal, Tensor], Tensor]) -> Tensor:
        """answer(Gaussian of a row's class, rows), for all rows in their order."""
        if not self.config.conditional:
            return answer(self._normal(), rows)
        assert y is not None
        order = y.argsort(stable=True)
        labels, counts = y[order].unique_consecutive(return_counts=True)
        parts = rows[order].split(counts.tolist())
        answers = [answer(self._normal(label), part) for label, part in zip(labels.tolist(), parts, strict=True)]
        return torch.cat(answers)[order.argsort()] if answers else answer(self._normal(), rows)


def build(config: GaussianConfig, spec: DataSpec) -> Gaussian:
    return Gaussian(config, spec)
