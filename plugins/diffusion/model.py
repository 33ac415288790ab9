"""Denoising diffusion in discrete time: loss, variational bound, samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.likelihoods.probability_flow import ProbabilityFlow, warped_times
from genpipe.model import Estimator, LogProb, Model, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.ops import samplers, schedules
from genpipe.plugins.diffusion import DIFFUSION
from genpipe.plugins.diffusion.config import DiffusionConfig
from genpipe.plugins.diffusion.network import ResidualMLP, UNet

GOLDEN = (math.sqrt(5) - 1) / 2
MOST_NOISE = -10.0  # λ at which the flow ends: z has e^-5 of x's deviation there, and ε̂'s error is divided by that


class Diffusion(Model):
    """q(x_t | z) = N(√ᾱ_t z, (1 − ᾱ_t) I) for t = 0 … T−1, and a network that predicts its noise or v.

    Buffers, from the configuration: alpha_bar (T,) float64; log_snr (T,) float32, λ_t; cumulative_weights (T,)
    float64, the share of the fall of λ up to each t, from which t is drawn as the bound weighs it;
    kl_weights, kl_constants (T,) float64, of the bound's terms.
    """

    config: DiffusionConfig
    alpha_bar: Tensor
    log_snr: Tensor
    cumulative_weights: Tensor
    kl_weights: Tensor
    kl_constants: Tensor

    def __init__(self, config: DiffusionConfig, spec: DataSpec) -> None:
        super().__init__(DIFFUSION, config, spec)
        if spec.event == "image":
            self.network: torch.nn.Module = UNet(
                spec.shape,
                channels=config.channels,
                multipliers=config.channel_multipliers,
                num_blocks=config.num_blocks,
                attention=config.attention,
                dropout=config.dropout,
                levels=spec.levels if config.fourier_features else None,
            )
        else:
            self.network = ResidualMLP(
                spec.num_dimensions,
                hidden=config.hidden,
                num_blocks=config.num_blocks,
                dropout=config.dropout,
            )
        alpha_bar = schedules.alpha_bar(config.schedule, config.num_timesteps)
        log_snr = schedules.log_snr(alpha_bar)
        # The bound is an integral over λ (Kingma et al., 2021, eq. 18): each t > 0 weighs what λ falls by there.
        weights = torch.cat([torch.zeros(1, dtype=torch.float64), log_snr[:-1] - log_snr[1:]])
        # q = β̃_t / σ_t² of `log_density`; there is no term at t = 0.
        ratio = torch.ones_like(alpha_bar)
        if config.variance_type == "fixed_large":
            ratio[1:] = (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
        self.register_buffer("kl_weights", 0.5 * ratio * weights.expm1(), persistent=False)
        constants = 0.5 * spec.num_dimensions * (ratio - 1 - ratio.log())
        self.register_buffer("kl_constants", constants, persistent=False)
        self.register_buffer("alpha_bar", alpha_bar, persistent=False)
        self.register_buffer("log_snr", log_snr.float(), persistent=False)
        self.register_buffer("cumulative_weights", (weights / weights.sum()).cumsum(0), persistent=False)
        self.bounded = spec.levels is not None or spec.low is not None

    # -- training -------------------------------------------------------------------------------------------

    def loss(self, z: Tensor, y: Tensor | None, noise: Noise) -> dict[str, Tensor]:
        """Mean squared error of the predicted noise (Ho et al., 2020, eq. 14), or of v.

        A share `bound_share` of the examples draws t in proportion to the drop of log-SNR there: with the error
        in ε that is the bound itself (Kingma et al., 2021, eq. 17-18) up to a constant; the others draw t
        uniformly, which is the simple loss that favours how samples look. Which, and where, follows the Kronecker
        sequence frac(u + i·golden ratio) over global example indices i, so that any run of examples covers all
        noise levels evenly, on any number of workers.
        """
        num, share = len(z), self.config.bound_share
        start = noise.at(0).uniform("timestep", (1,), dtype=torch.float64, device=z.device)
        indices = torch.arange(noise.first_index, noise.first_index + num, dtype=torch.float64, device=z.device)
        u = (start + indices * GOLDEN) % 1.0
        for_bound = u < share
        t_bound = torch.searchsorted(self.cumulative_weights, u / share if share > 0 else u, right=True)
        t_simple = ((u - share) / (1 - share) * self.config.num_timesteps).long() if share < 1 else t_bound
        t = torch.where(for_bound, t_bound, t_simple).clamp_(0, self.config.num_timesteps - 1)
        key, first_index = noise.key("noise"), noise.first_index
        x = ops.q_sample(z, t, self.alpha_bar, key=key, first_index=first_index)
        output = self.network(x, self.log_snr[t]).float()
        errors = ops.diffusion_loss(
            output,
            z,
            t,
            self.alpha_bar,
            key=key,
            first_index=first_index,
            prediction_type=self.config.prediction_type,
        )
        if self.config.prediction_type == "v_prediction":
            # ‖ε − ε̂‖² = ᾱ_t ‖v − v̂‖², which is what the bound weighs.
            errors = errors * torch.where(for_bound, self.alpha_bar[t].float(), 1.0)
        loss = errors.mean() / self.spec.num_dimensions
        return {"loss": loss}

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t), float32 (B, 1, …), computed in float64: 1 − ᾱ_0 is about 1e-5."""
        alpha_bar = self.alpha_bar[t].reshape(-1, *[1] * (like.ndim - 1))
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    # -- denoising ------------------------------------------------------------------------------------------

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """x̂₀ (B, *event) for x_t and t (B,) int64; clipped to the data's range where it has one."""
        signal, sigma = self._scales(t, x)
        output = self.network(x, self.log_snr[t]).float()
        x0 = (x - sigma * output) / signal if self.config.prediction_type == "epsilon" else signal * x - sigma * output
        return x0.clamp(-1, 1) if self.config.clip and self.bounded else x0

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        """The sampler's steps over `num_steps` timesteps, spaced "trailing"; `eta` is DDIM's."""
        return self._descend(num, noise, sampler, self._timesteps(sampler), lambda step, x: None)

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """x_t at evenly spaced steps, pure noise first."""
        timesteps = self._timesteps(sampler)
        shown = torch.linspace(0, len(timesteps), min(num_frames, len(timesteps) + 1)).round().int().tolist()
        frames: dict[int, Tensor] = {}

        def look(step: int, x: Tensor) -> None:
            if step in shown and step not in frames:  # a solver may evaluate the network twice in a step
                frames[step] = x.clone()

        last = self._descend(num, noise, sampler, timesteps, look)
        labels = (*(f"t = {timesteps[step]}" for step in shown[:-1]), "sample")
        return SamplePath(frames=torch.stack([*(frames[step] for step in shown[:-1]), last]), labels=labels)

    def _timesteps(self, sampler: Sampler) -> list[int]:
        """Those that the sampler passes, noisiest first."""
        asked = sampler.options["num_steps"]
        num_steps = min(self.config.num_sampling_steps, self.config.num_timesteps) if asked is None else int(asked)
        if not 1 <= num_steps <= self.config.num_timesteps:
            raise UsageError(f"num_steps is {num_steps}, expected 1 … {self.config.num_timesteps} (num_timesteps)")
        return schedules.timesteps(self.config.num_timesteps, num_steps)

    def _descend(
        self, num: int, noise: Noise, sampler: Sampler, timesteps: list[int], look: Callable[[int, Tensor], None]
    ) -> Tensor:
        """From pure noise down the timesteps. look: called with each step and the x that the network sees there."""
        assert sampler.name is not None
        eta = float(sampler.options.get("eta") or 0.0)
        if not 0 <= eta <= 1:
            raise UsageError(f"eta is {eta}, expected 0 … 1")
        stages = samplers.plan(
            sampler.name,
            schedules.descent(self.alpha_bar.cpu(), timesteps),
            self.config.prediction_type,
            clip=1.0 if self.config.clip and self.bounded else None,
            eta=eta,
            variance_type=self.config.variance_type,
        )

        def predict(x: Tensor, step: int) -> Tensor:
            look(step, x)
            return self.network(x, self.log_snr[timesteps[step]].expand(num)).float()

        x = noise.normal("start", (num, *self.spec.shape), device=self.device)
        return samplers.sample(
            stages, x, predict, key=lambda step: noise.key(f"step {timesteps[step]}"), first_index=noise.first_index
        )

    # -- the bound ------------------------------------------------------------------------------------------

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> LogProb:
        """An unbiased estimate (B,) of the variational bound, nats, with its standard error.

        −log p(z) ≤ L_T + Σ_{t≥1} L_t + L_0 (Ho et al., 2020, eq. 5). L_T = KL(q(x_{T−1} | z) ‖ N(0, I)) is exact. L_t
        is the KL of Gaussians with the variances β̃_t, of the posterior, and σ_t², by `variance_type`: with
        q = β̃_t / σ_t² it is ½ D (q − 1 − log q) + ½ q (e^{λ_{t−1} − λ_t} − 1) ‖ε − ε̂‖² (eq. 8 and Kingma et al.,
        2021, eq. 14). L_0 = −log N(z; x̂₀(x_0), (1 − ᾱ_0)/ᾱ_0 I) is a density, for z is continuous.

        fixed_large bounds tighter where the noise is finer than the data's own spread: there σ_t² = β_t is the best
        variance, and with β̃_t the first few t, over which λ falls by a unit or so each, cost 0.4 nats a dimension.

        The sum over t is estimated from `num_bound_evaluations` timesteps per example, drawn in proportion to
        λ_{t−1} − λ_t, two from each of equal strata; the spread within strata gives the standard error.
        """
        num_strata = self.config.num_bound_evaluations // 2
        last = float(self.alpha_bar[-1])
        prior = 0.5 * (last * z.square() - last - math.log1p(-last)).flatten(1).sum(1).double()
        u = noise.uniform("timesteps", (len(z), num_strata, 2), dtype=torch.float64, device=z.device)
        u = (u + torch.arange(num_strata, device=z.device)[:, None]) / num_strata
        t = torch.searchsorted(self.cumulative_weights, u, right=True).clamp(1, self.config.num_timesteps - 1)
        terms = torch.stack(
            [self._term(z, t[:, k, j], noise.child(f"{k}/{j}")) for k in range(num_strata) for j in (0, 1)],
            dim=1,
        ).unflatten(1, (num_strata, 2))
        zero = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        first = torch.stack([self._reconstruction(z, zero, noise.child(f"first/{j}")) for j in (0, 1)], dim=1)
        halves = (terms[..., 0] - terms[..., 1]) / 2  # a pair's mean has this squared as its unbiased variance
        variance = halves.square().sum(1) / num_strata**2 + ((first[:, 0] - first[:, 1]) / 2).square()
        nats = -(prior + float(self.kl_constants.sum()) + terms.mean((1, 2)) + first.mean(1))
        return LogProb(nats, "lower_bound", variance.sqrt())

    def _term(self, z: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """L_t without its constant, over the share with which t is drawn: (B,) float64, for t (B,) ≥ 1."""
        shares = self.cumulative_weights[t] - self.cumulative_weights[t - 1]
        return self.kl_weights[t] * self._squared_error(z, t, noise) / shares

    def _reconstruction(self, z: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """L_0, (B,) float64: in units of its own standard deviation the error of x̂₀ is that of ε̂."""
        log_variance = -float(schedules.log_snr(self.alpha_bar)[0])
        constant = self.spec.num_dimensions * (math.log(2 * math.pi) + log_variance)
        return 0.5 * (self._squared_error(z, t, noise) + constant)

    def _squared_error(self, z: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """An unbiased estimate of E ‖ε − ε̂‖² = SNR_t E ‖z − x̂₀‖², (B,) float64.

        Where there is little noise ε̂ knows little of ε, and ‖ε − ε̂‖² scatters as ‖ε‖² does, whose mean D is known:
        ᾱ_t² (‖ε‖² − D) is taken off as a control variate, with the weight that is right for data N(0, I).
        """
        x, e = ops.q_sample_with_noise(z, t, self.alpha_bar, noise.key("noise"), first_index=noise.first_index)
        squares = (z - self.denoise(x, t)).double().square().flatten(1).sum(1)
        surplus = e.double().square().flatten(1).sum(1) - self.spec.num_dimensions
        return self.log_snr[t].double().exp() * squares - self.alpha_bar[t].square() * surplus

    # -- the probability flow -------------------------------------------------------------------------------

    def estimate_log_density(self, z: Tensor, y: Tensor | None, noise: Noise, estimator: Estimator) -> LogProb:
        """log p (B,) along the deterministic flow that has the model's marginals (Song et al., 2021, sec. 4.3).

        Heun's method over num_steps steps, and num_samples random signs for the trace, or none up to 8 dimensions. It is the density of data with the noise of t = 0, of deviation √(1 − ᾱ_0), whereas the bound
        is of the model that then denoises once more. Its check is the solver's, see `ProbabilityFlow.log_prob`.
        """
        num_steps, num_probes = estimator.num_steps, estimator.num_samples
        assert num_steps is not None
        assert num_probes is not None
        if num_steps % 2:
            raise UsageError(f"probability_flow: num_steps is {num_steps}, expected an even number: half are a check")
        first, last = (_angle(max(float(self.log_snr[t]), MOST_NOISE)) for t in (0, -1))
        flow = ProbabilityFlow(
            velocity=self._velocity,
            times=warped_times(first, last, num_steps),
            noise=noise,
            num_probes=num_probes,
        )
        return flow.log_prob(z)

    def _predict(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """The noise ε̂ and v̂ = α ε̂ − σ x̂₀, (B, *event) each, in x = α z + σ ε with α² + σ² = 1."""
        log_snr = torch.full((len(x),), 2 * math.log(alpha / sigma), device=x.device)
        output = self.network(x, log_snr).float()
        if self.config.prediction_type == "epsilon":
            return output, (output - sigma * x) / alpha
        return sigma * x + alpha * output, output

    def _velocity(self, x: Tensor, angle: float) -> Tensor:
        """dx/dφ = v̂ where α = cos φ and σ = sin φ (Salimans & Ho, 2022, appendix D)."""
        return self._predict(x, math.cos(angle), math.sin(angle))[1]

    def log_density_gradient(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        """The score (B, *event) of data with the noise of t = 0, which is as near as the network comes: −ᾱ_0^½ ε̂ / σ_0."""
        angle = _angle(float(self.log_snr[0]))
        alpha, sigma = math.cos(angle), math.sin(angle)
        return -alpha / sigma * self._predict(alpha * z, alpha, sigma)[0]


def _angle(log_snr: float) -> float:
    """φ in x = cos φ z + sin φ ε."""
    return math.atan(math.exp(-log_snr / 2))


def build(config: DiffusionConfig, spec: DataSpec) -> Diffusion:
    return Diffusion(config, spec)
