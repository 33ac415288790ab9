"""Flow matching along straight paths (Lipman et al., 2023; Liu et al., 2023): loss, samples, likelihood of the flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Estimator, LogProb, Sampler
from genpipe.noise import Noise
from genpipe.ops import samplers, schedules
from genpipe.plugins.diffusion import FLOW_MATCHING
from genpipe.plugins.diffusion.config import FlowMatchingConfig
from genpipe.plugins.diffusion.coupling import transported_noise
from genpipe.plugins.diffusion.denoising_model import DenoisingModel, Descent, guidance_of, num_steps_of
from genpipe.plugins.diffusion.ladder import divided, spread
from genpipe.plugins.diffusion.sampling import check_sampler

DETAIL = (-10.0, 10.0)  # λ = 2 log((1 − t)/t) between which `detail_share` of the examples draws
FIRST_TIME = 1e-5  # where the flow of a likelihood starts


class FlowMatching(DenoisingModel):
    """x = (1 − t) z + t ε, and a network that predicts the velocity ε − z, whose mean given x carries noise to data.

    With noise that is independent of z this is a diffusion on another path. With transported noise it is none: p(x | z)
    is no Gaussian there, so that no variational bound, ancestral sampling or score comes of it, only the flow.
    """

    config: FlowMatchingConfig

    def __init__(self, config: FlowMatchingConfig, spec: DataSpec) -> None:
        super().__init__(FLOW_MATCHING, config, spec)
        if config.coupling == "optimal_transport" and config.conditional:
            raise UsageError(
                "coupling is 'optimal_transport' and conditional is true: noise would be paired by the labels of its "
                "examples, and that of a class would not be N(0, I) as sampling takes it; use coupling: independent"
            )

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Mean squared error of the velocity (Lipman et al., 2023, eq. 14 with σ_min = 0; t is 1 − theirs).

        A share `detail_share` of the examples draws t evenly in log-SNR and weighs the error as one in ε, as the
        variational bound of a diffusion would; the others draw t evenly in [0, 1).
        """
        return {"loss": self._error(z, y, noise, whole_sets=True)}

    def validation_loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """The same. Held-out examples, which no one counts out in sets, are paired as far as their sets are here."""
        return self._error(z, y, noise, whole_sets=False)

    def _error(self, z: Tensor, y: Tensor | None, noise: Noise, *, whole_sets: bool) -> Tensor:
        in_detail, u, t = divided(spread(noise, len(z), z.device), self.config.detail_share)
        low, high = DETAIL
        t = torch.where(in_detail, (-(low + (high - low) * u) / 2).sigmoid(), t)
        level = schedules.flow(t)
        # ε − ε̂ = (1 − t)(v − v̂)
        weights = torch.where(in_detail, level[:, 0].square(), 1.0)
        pairs: dict[str, Any] = {"key": noise.key("noise"), "first_index": noise.first_index}
        if self.config.coupling == "optimal_transport":
            pairs = {"noise": transported_noise(z, noise, self.config.coupling_size, whole=whole_sets)}
        x = ops.q_sample(z, None, level, **pairs)
        output = self.network(x, log_snr(t).float(), self.network.hide_labels(y, noise))
        errors = ops.diffusion_loss(output, z, None, level, weights=weights, prediction_type="velocity", **pairs)
        return errors.mean() / self.spec.num_dimensions

    def descent(self, sampler: Sampler) -> Descent:
        """t from 1 to 0, evenly where `shift` is 1 (Esser et al., 2024, eq. 23)."""
        check_sampler(self.config, sampler)
        assert sampler.name is not None
        shift = sampler.options["shift"]
        assert shift is not None
        times = schedules.flow_times(num_steps_of(sampler), shift)
        stages = samplers.plan(
            sampler.name,
            schedules.flow(times),
            "velocity",
            guidance_scale=guidance_of(sampler),
            clip=1.0 if self.bounded else None,
        )
        return Descent(stages, log_snr(times[:-1]).tolist(), [f"t = {t:.3g}" for t in times[:-1].tolist()])

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """log p (B,) of the flow by Heun's method: exact up to the solver, and to random signs beyond 8 dimensions."""
        return self._along_the_flow(z, y, noise, self.config.num_likelihood_steps, self.config.num_probes)

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """The same with steps and signs of the caller's choice."""
        assert estimator.num_steps is not None
        assert estimator.num_samples is not None
        return self._along_the_flow(z, y, noise, estimator.num_steps, estimator.num_samples)

    def _along_the_flow(self, z: Tensor, y: Tensor | None, noise: Noise, num_steps: int, num_probes: int) -> LogProb:
        def velocity(x: Tensor, t: float) -> Tensor:
            level = log_snr(torch.tensor([t], dtype=torch.float64)).float().to(x.device)
            output: Tensor = self.network(x, level.expand(len(x)), y)
            return output

        return self.flow_log_prob(z, velocity, (FIRST_TIME, 1.0), noise, num_steps, num_probes)


def log_snr(t: Tensor) -> Tensor:
    """λ = 2 log((1 − t)/t), which is how the network is told t; −∞ for noise alone."""
    return 2 * ((1 - t).log() - t.log())


def build(config: FlowMatchingConfig, spec: DataSpec) -> FlowMatching:
    return FlowMatching(config, spec)
