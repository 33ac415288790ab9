"""The mixture of Gaussians: exact likelihood, fitted in closed form."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch, Model, Progress, Sampler
from genpipe.noise import Noise
from genpipe.plugins.mixture import GAUSSIAN_MIXTURE, em
from genpipe.plugins.mixture.config import MixtureConfig

log = logging.getLogger(__name__)


class GaussianMixture(Model):
    """p(z) = Σ_k w_k N(z; m_k, C_k), fitted by EM (Dempster et al., 1977) from k-means++ starts.

    State, float64: log_weights (K,), means (K, D), scales (K, D, D) or (K, D), see `em.Mixture`. Before it is
    fitted the model is K copies of the standard Gaussian.
    """

    config: MixtureConfig
    log_weights: Tensor
    means: Tensor
    scales: Tensor

    def __init__(self, config: MixtureConfig, spec: DataSpec) -> None:
        super().__init__(GAUSSIAN_MIXTURE, config, spec)
        k, d = config.num_components, spec.num_dimensions
        one = torch.eye(d, dtype=torch.float64) if config.covariance == "full" else torch.ones(d, dtype=torch.float64)
        self.register_buffer("log_weights", -torch.full((k,), float(k), dtype=torch.float64).log())
        self.register_buffer("means", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer("scales", one.repeat(k, *[1] * one.ndim))

    @property
    def mixture(self) -> em.Mixture:
        return em.Mixture(self.log_weights, self.means, self.scales)

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        """EM on the whole split, which is kept in memory as float32: 4 bytes for each number.

        Raises DataError where there are fewer examples than components, where a column is constant and
        `reg_covar` too small to stand for its width, or where a covariance is singular.
        """
        config = self.config
        collected = list(batches())
        if not collected:
            raise DataError(f"data set '{self.spec.name}' has no training examples")
        z, noise = torch.cat([b.z.detach().cpu().flatten(1) for b in collected]), collected[0].noise
        self._check(z)
        total, best = config.num_starts * config.max_iterations, None
        for start in range(config.num_starts):

            def report(iteration: int, log_likelihood: float, done: int = start * config.max_iterations) -> None:
                progress(done + iteration, total, log_likelihood=log_likelihood)

            fit = em.fit(
                z,
                em.initial_responsibilities(z, config.num_components, noise.child(f"start {start}")),
                covariance=config.covariance,
                reg_covar=config.reg_covar,
                shrinkage=config.shrinkage,
                tolerance=config.tolerance,
                max_iterations=config.max_iterations,
                report=report,
            )
            if best is None or fit.log_likelihood > best.log_likelihood:
                best = fit
        assert best is not None
        if not best.converged:
            log.warning(
                "EM stopped at max_iterations = %d before the likelihood settled within tolerance = %g",
                config.max_iterations,
                config.tolerance,
            )
        progress(total, total, log_likelihood=best.log_likelihood)
        self.log_weights.copy_(best.mixture.log_weights)
        self.means.copy_(best.mixture.means)
        self.scales.copy_(best.mixture.scales)
        return {
            "log_likelihood": best.log_likelihood,
            "iterations": float(best.num_iterations),
            "converged": float(best.converged),
        }

    def _check(self, z: Tensor) -> None:
        num, components = len(z), self.config.num_components
        if num < components:
            raise DataError(
                f"{num} training examples for {components} components: give more data, or num_components ≤ {num}"
            )
        constant = (z == z[0]).all(dim=0)
        if constant.any():
            raise DataError(
                f"{int(constant.sum())} of {z.shape[1]} columns of data set '{self.spec.name}' are constant, first "
                f"column {int(constant.to(torch.uint8).argmax())}: a density there is unbounded; drop these columns"
            )

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        u = noise.uniform("component", (num, 1), dtype=torch.float64, device=self.device)
        cumulative = self.log_weights.exp().cumsum(0)
        which = torch.searchsorted(cumulative / cumulative[-1], u[:, 0], right=True)
        which = which.clamp(max=self.config.num_components - 1)
        e = noise.normal("normal", (num, self.spec.num_dimensions), dtype=torch.float64, device=self.device)
        z = self.means[which]
        for k in which.unique().tolist():
            rows, scale = which == k, self.scales[k]
            z[rows] += e[rows] @ scale.T if scale.ndim == 2 else e[rows] * scale
        return z.reshape(num, *self.spec.shape).float()

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """(B,) float64, exact."""
        mixture = self.mixture
        parts = [mixture.log_prob(rows) for _, rows in em.blocks(z.flatten(1))]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def build(config: MixtureConfig, spec: DataSpec) -> GaussianMixture:
    return GaussianMixture(config, spec)
