"""The mixture of Gaussians: exact likelihood, fitted in closed form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe.closed_form import BLOCK, check_columns, check_examples, in_blocks
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch, Model, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.mixture import GAUSSIAN_MIXTURE
from genpipe.plugins.mixture.config import MixtureConfig
from genpipe.plugins.mixture.em import Fit, expectation_maximisation, kmeans
from genpipe.plugins.mixture.gaussians import Mixture
from genpipe.plugins.mixture.starts import Subset, kmeans_plus_plus
from genpipe.plugins.mixture.statistics import Estimation

log = logging.getLogger(__name__)

START_EXAMPLES = 50_000
"""Of these many at most the starts are chosen; fits see all examples."""


class GaussianMixture(Model):
    """p(z) = Σ_k w_k N(z; m_k, C_k), fitted by EM (Dempster et al., 1977) or k-means from k-means++ starts.

    Optimises the likelihood, towards a local maximum, in passes over the data: what is kept of it is sums for each
    component, and a subset for the starts. Answers densities and scores exactly, and cannot bend: each component is
    an ellipsoid.

    State, float64: log_weights (K,), means (K, D), scales as in `Mixture`. Before it is fitted the model is K
    copies of the standard Gaussian.
    """

    config: MixtureConfig
    log_weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, config: MixtureConfig, spec: DataSpec) -> None:
        super().__init__(GAUSSIAN_MIXTURE, config, spec)
        k, d = config.num_components, spec.num_dimensions
        eye, ones = torch.eye(d, dtype=torch.float64), torch.ones(k, d, dtype=torch.float64)
        standard = {"full": eye.repeat(k, 1, 1), "tied": eye[None], "diagonal": ones, "spherical": ones[:, :1].clone()}
        self.register_buffer("log_weights", -torch.full((k,), float(k), dtype=torch.float64).log())
        self.register_buffer("means", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("scales", standard[config.covariance])

    @property
    def mixture(self) -> Mixture:
        return Mixture(self.log_weights, self.means, self.scales)

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """A pass for each iteration, and one for the starts.

        Raises DataError where there are fewer examples, or different ones, than components, where a column is constant and
        so has no density, or where a covariance is singular.
        """
        config = self.config
        subset, noise, num = self._survey(batches)
        how = Estimation(config.covariance, config.reg_covar, config.shrinkage)
        method, named = (
            (expectation_maximisation, "log_likelihood")
            if config.algorithm == "em"
            else (kmeans, "mean_squared_distance")
        )
        total, best = config.num_starts * config.max_iterations, None
        for start in range(config.num_starts):

            def report(iteration: int, value: float, done: int = start * config.max_iterations) -> None:
                progress(done + iteration, total, **{named: value})

            chosen = kmeans_plus_plus(subset, config.num_components, noise.child(f"start {start}"))
            fit = method(
                lambda: (block.z.cpu().double() for block in in_blocks(batches(), BLOCK)),
                subset[chosen].double(),
                how,
                tolerance=config.tolerance,
                max_iterations=config.max_iterations,
                report=report,
            )
            if best is None or _merit(fit) > _merit(best):
                best = fit
        assert best is not None
        if not best.converged:
            log.warning(
                "%s stopped at max_iterations = %d before it settled within tolerance = %g",
                config.algorithm,
                config.max_iterations,
                config.tolerance,
            )
        self._warn_of_few(best, num)
        numbers = {"log_likelihood": best.log_likelihood}
        if best.inertia is not None:
            numbers["mean_squared_distance"] = best.inertia
        progress(total, total, **numbers)
        self.log_weights.copy_(best.mixture.log_weights)
        self.means.copy_(best.mixture.means)
        self.scales.copy_(best.mixture.scales)
        return {**numbers, "iterations": float(best.num_iterations), "converged": float(best.converged)}

    def _survey(self, batches: Callable[[], Iterator[Batch]]) -> tuple[Tensor, Noise, int]:
        """Examples to choose starts from (S, D), the first batch's noise, and how many examples there are, after checking
        what no fit survives."""
        subset, first, differs = Subset(START_EXAMPLES), None, torch.zeros(0, dtype=torch.bool)
        for batch in in_blocks(batches()):
            z = batch.z.cpu()
            if first is None:
                first, differs = (batch.noise, z[0].clone()), torch.zeros(z.shape[1], dtype=torch.bool)
            differs |= (z != first[1]).any(0)
            subset.add(z, batch.noise)
        num, components = subset.total, self.config.num_components
        check_examples(num, self.spec)
        assert first is not None
        if num < components:
            raise DataError(
                f"{num} training examples for {components} components: give more data, or num_components ≤ {num}"
            )
        check_columns(~differs, self.spec)
        return subset.rows(), first[0], num

    def _warn_of_few(self, fit: Fit, num: int) -> None:
        """Where examples are too few for covariances of so many numbers, which reg_covar then makes up."""
        config, d = self.config, self.spec.num_dimensions
        if config.covariance in ("diagonal", "spherical") or config.shrinkage > 0:
            return
        each = torch.full((1,), float(num)) if config.covariance == "tied" else fit.mixture.log_weights.exp() * num
        few = int((each <= d).sum())
        if few:
            log.warning(
                "'%s': %d of %d components have too few examples for a covariance of %d dimensions, and reg_covar = %g "
                "stands in for what they do not show: lower num_components, raise shrinkage, or set covariance: diagonal",
                self.spec.name,
                config.num_components if config.covariance == "tied" else few,
                config.num_components,
                d,
                config.reg_covar,
            )

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        u = noise.uniform("component", (num, 1), dtype=torch.float64, device=self.device)
        cumulative = self.log_weights.exp().cumsum(0)
        which = torch.searchsorted(cumulative / cumulative[-1], u[:, 0], right=True)
        which = which.clamp(max=self.config.num_components - 1)
        e = noise.normal("normal", (num, self.spec.num_dimensions), dtype=torch.float64, device=self.device)
        z = self.means[which]
        for k in which.unique().tolist():
            rows, scale = which == k, self.scales[min(k, len(self.scales) - 1)]
            z[rows] += e[rows] @ scale.T if scale.ndim == 2 else e[rows] * scale
        return z.reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        return torch.cat([self.mixture.log_prob(rows.double()) for rows in z.flatten(1).split(BLOCK)])

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        parts = [self.mixture.score(rows.double()) for rows in z.flatten(1).split(BLOCK)]
        return torch.cat(parts).reshape(z.shape).to(z.dtype)


def _merit(fit: Fit) -> float:
    return fit.log_likelihood if fit.inertia is None else -fit.inertia


def build(config: MixtureConfig, spec: DataSpec) -> GaussianMixture:
    return GaussianMixture(config, spec)
