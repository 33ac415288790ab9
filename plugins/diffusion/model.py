"""Denoising diffusion: loss, levels to sample at, variational bound, probability flow, score."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.model import Batch, Estimator, LogProb, Optimizers, Sampler
from genpipe.noise import Noise
from genpipe.ops import loss_weights, samplers, schedules
from genpipe.plugins.diffusion import DIFFUSION
from genpipe.plugins.diffusion.bound import VariationalBound
from genpipe.plugins.diffusion.config import DiffusionConfig
from genpipe.plugins.diffusion.denoising_model import DenoisingModel, Descent, guidance_of, num_steps_of
from genpipe.plugins.diffusion.ladder import Ladder, divided, levels, spread
from genpipe.plugins.diffusion.sampling import by_timesteps, check_sampler

MOST_NOISE = -10.0  # λ at which the flow ends: z has e^-5 of x's deviation there, and ε̂'s error is divided by that

# How levels are spread. Timesteps as squares (Song, Meng & Ermon, 2021, appendix D.2) are many where it is decided how wide
# a narrow mode is; of images that is finer than their levels, and even ones leave more steps for what is seen.
RHO_OF_TIME = {"vector": 2.0, "image": 1.0}
RHO_OF_SIGMA = 7.0  # Karras et al. (2022), sec. 3

# Karras et al. (2022), table 1, in the data's units.
SIGMA_DATA, SIGMA_MIN, SIGMA_MAX = 0.5, 0.002, 80.0
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2


class Diffusion(DenoisingModel):
    """x = α u + σ ε with α² + σ² = 1, and a network that predicts its noise or v = α ε − σ u.

    u is z, and for `edm` z / sigma_data, of mean square 1. With that EDM's preconditioned F is −v: D = c_skip x + c_out F
    of the exploding x/α is the û = α x − σ v̂ of here (Karras et al., 2022, table 1), so that they share the rest.

    Buffer: sigma_data () float64, measured on the first training batch for `edm`, 1 for the others.
    """

    config: DiffusionConfig
    sigma_data: Tensor

    def __init__(self, config: DiffusionConfig, spec: DataSpec) -> None:
        super().__init__(DIFFUSION, config, spec)
        self.ladder = Ladder(config.schedule, config.num_timesteps)
        self.is_edm = config.prediction_type == "edm"
        self.predicts = "epsilon" if config.prediction_type == "epsilon" else "v_prediction"
        self.bound = VariationalBound(ladder=self.ladder, variance_type=config.variance_type)
        self.register_buffer("sigma_data", torch.tensor(SIGMA_DATA if self.is_edm else 1.0, dtype=torch.float64))

    @property
    def unit(self) -> Tensor:
        return self.sigma_data

    # -- training -------------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        if self.is_edm and step == 0:
            z = batch.z.double()
            optimizers.sum("data", torch.stack([torch.full_like(z.sum(), z.numel()), z.square().sum()]))
        return super().train_step(batch, optimizers, step)

    def after_step(self, totals: Mapping[str, Tensor], step: int) -> None:
        if "data" in totals:
            num, squares = totals["data"]
            # The root mean square: of centred data it is the deviation, of others what makes input and target of size 1.
            self.sigma_data.copy_((squares / num).sqrt())

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Mean squared error of the predicted noise (Ho et al., 2020, eq. 14), or of v.

        A share `bound_share` of the examples draws its level in proportion to the drop of log-SNR there: with the
        error in ε that is the bound itself (Kingma et al., 2021, eq. 17-18) up to a constant. The others draw theirs
        evenly, or for `edm` with log σ normal (Karras et al., 2022, table 1): the loss that favours how samples look.
        """
        u = z / self.sigma_data
        for_bound, u_bound, u_simple = divided(spread(noise, len(z), z.device), self.config.bound_share)
        log_snr = torch.where(for_bound, self.ladder.log_snr[self.ladder.as_the_bound(u_bound)], self._drawn(u_simple))
        level, key = levels(log_snr), noise.key("noise")
        x = ops.q_sample(u, None, level, key=key, first_index=noise.first_index)
        output = self.network(x, log_snr.float(), self.network.hide_labels(y, noise), self.unit)
        errors = ops.diffusion_loss(
            output,
            u,
            None,
            level,
            weights=torch.where(for_bound, self._bound_weights(level), self._simple_weights(level)),
            key=key,
            first_index=noise.first_index,
            prediction_type=self.predicts,
        )
        return {"loss": errors.mean() / self.spec.num_dimensions}

    def _drawn(self, u: Tensor) -> Tensor:
        """λ of the levels that the simple loss looks at."""
        if not self.is_edm:
            return self.ladder.log_snr[self.ladder.evenly(u)]
        log_sigma = LOG_SIGMA_MEAN + LOG_SIGMA_STD * torch.special.ndtri(u) - self.sigma_data.log()
        return (-2 * log_sigma).clamp(self.ladder.log_snr[-1], self.ladder.log_snr[0])

    def _bound_weights(self, level: Tensor) -> Tensor:
        # ‖ε − ε̂‖² = α² ‖v − v̂‖², which is what the bound weighs.
        return torch.ones_like(level[:, 0]) if self.predicts == "epsilon" else level[:, 0].square()

    def _simple_weights(self, level: Tensor) -> Tensor:
        if self.config.min_snr_gamma is None:
            return torch.ones_like(level[:, 0])
        return loss_weights.min_snr(level, self.predicts, self.config.min_snr_gamma)

    # -- denoising ------------------------------------------------------------------------------------------

    def predict(self, x: Tensor, log_snr: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """û and ε̂, (B, *event) each, in x (B, *event) at λ (B,) float64; û clipped to the data's range."""
        alpha, sigma = (s.float().reshape(-1, *[1] * (x.ndim - 1)) for s in levels(log_snr).unbind(1))
        output = self.network(x, log_snr.float(), y, self.unit)
        if self.predicts == "epsilon":
            u, e = (x - sigma * output) / alpha, output
        else:
            u, e = alpha * x - sigma * output, sigma * x + alpha * output
        if self.bounded:
            limit = 1 / self.sigma_data.float()
            u = u.clamp(-limit, limit)
        return u, e

    def descent(self, sampler: Sampler) -> Descent:
        """The levels that `rho` spreads, of timesteps for ddim, ddpm and dpmsolver++, of σ/α for `edm` and the flow's own
        solvers (Karras et al., 2022, eq. 5)."""
        check_sampler(self.config, sampler)
        assert sampler.name is not None
        num_steps, scale, rho = num_steps_of(sampler), float(self.sigma_data), sampler.options["rho"]
        if not by_timesteps(self.config, sampler):
            ends = self.ladder.log_snr[[0, -1]].neg().div(2).exp().tolist()
            sigmas = schedules.karras_sigmas(
                num_steps,
                max(SIGMA_MIN / scale, ends[0]),
                min(SIGMA_MAX / scale, ends[1]),
                RHO_OF_SIGMA if rho is None else rho,
            )[:-1]
            log_snr = -2 * sigmas.log()
            names = [f"σ = {sigma * scale:.3g}" for sigma in sigmas.tolist()]
        else:
            t = self.ladder.times(num_steps, RHO_OF_TIME[self.spec.event] if rho is None else rho)
            log_snr = self.ladder.at(t)
            names = [f"t = {time:.3g}" for time in t.tolist()]
        stages = samplers.plan(
            sampler.name,
            torch.cat([levels(log_snr), torch.tensor([[1.0, 0.0]], dtype=torch.float64)]),
            self.predicts,
            guidance_scale=guidance_of(sampler),
            clip=1 / scale if self.bounded else None,
            eta=float(sampler.options.get("eta") or 0.0),
        )
        return Descent(stages, log_snr.tolist(), names)

    # -- what it knows of log p -----------------------------------------------------------------------------

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """The variational bound (B,), nats, by `num_bound_evaluations` of the network: see `VariationalBound`."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.predict(x, self.ladder.log_snr[t], y)[0]

        return self._in_z(self.bound.estimate(z / self.sigma_data, denoise, noise, self.config.num_bound_evaluations))

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """log p (B,) along the deterministic flow that has the model's marginals (Song et al., 2021, sec. 4.3).

        It is the density of data with the noise of t = 0, of deviation √(1 − ᾱ_0), whereas the bound is of the model
        that then denoises once more.
        """
        assert estimator.num_steps is not None
        assert estimator.num_samples is not None

        def velocity(x: Tensor, angle: float) -> Tensor:
            """dx/dφ = v̂ where α = cos φ and σ = sin φ (Salimans & Ho, 2022, appendix D)."""
            log_snr = torch.full((len(x),), -2 * math.log(math.tan(angle)), dtype=torch.float64, device=x.device)
            output = self.network(x, log_snr.float(), y, self.unit)
            if self.predicts == "v_prediction":
                return output
            return (output - math.sin(angle) * x) / math.cos(angle)

        first, last = float(self.ladder.log_snr[0]), max(float(self.ladder.log_snr[-1]), MOST_NOISE)
        ends = math.atan(math.exp(-first / 2)), math.atan(math.exp(-last / 2))
        num_steps, num_probes = estimator.num_steps, estimator.num_samples
        return self._in_z(self.flow_log_prob(z / self.sigma_data, velocity, ends, noise, num_steps, num_probes))

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """The score (B, *event) of data with the noise of t = 0, as near as the network comes: −α_0 ε̂ / σ_0."""
        first = self.ladder.log_snr[:1]
        ((alpha, sigma),) = levels(first).tolist()
        _, e = self.predict(alpha * z / self.sigma_data, first.expand(len(z)), y)
        return -alpha / sigma * e / self.sigma_data

    def _in_z(self, answer: LogProb) -> LogProb:
        nats = answer.nats - self.spec.num_dimensions * self.sigma_data.log()
        return LogProb(nats, answer.kind, answer.standard_error, answer.check)


def build(config: DiffusionConfig, spec: DataSpec) -> Diffusion:
    return Diffusion(config, spec)
