"""The variational bound of a diffusion (Sohl-Dickstein et al., 2015; Ho et al., 2020; Kingma et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genpipe import ops
from genpipe.model import LogProb
from genpipe.noise import Noise
from genpipe.plugins.diffusion.ladder import Ladder

Denoise = Callable[[Tensor, Tensor], Tensor]
"""x̂₀ (B, *event) for x (B, *event) at levels t (B,) int64 of the ladder."""


@dataclass(frozen=True, kw_only=True)
class VariationalBound:
    """−log p(z) ≤ L_T + Σ_{t≥1} L_t + L_0 (Ho et al., 2020, eq. 5).

    L_T = KL(q(x_{T−1} | z) ‖ N(0, I)) is exact. L_t is the KL of Gaussians with the variances β̃_t, of the posterior, and
    σ_t², by `variance_type`: with q = β̃_t / σ_t² it is ½ D (q − 1 − log q) + ½ q (e^{λ_{t−1} − λ_t} − 1) ‖ε − ε̂‖²
    (eq. 8 and Kingma et al., 2021, eq. 14). L_0 = −log N(z; x̂₀(x_0), (1 − ᾱ_0)/ᾱ_0 I) is a density, for z is continuous.

    fixed_large bounds tighter where the noise is finer than the data's own spread: there σ_t² = β_t is the best
    variance, and with β̃_t the first few t, over which λ falls by a unit or so each, cost 0.4 nats a dimension.
    """

    ladder: Ladder
    variance_type: Literal["fixed_small", "fixed_large"]

    def estimate(self, z: Tensor, denoise: Denoise, noise: Noise, num_evaluations: int) -> LogProb:
        """An unbiased estimate (B,) of the bound, nats, with its standard error.

        The sum over t is estimated from `num_evaluations` levels per example, an even number, drawn in proportion to
        λ_{t−1} − λ_t, two from each of equal strata; the spread within strata gives the standard error.
        """
        ladder, num_strata = self.ladder, num_evaluations // 2
        last = float(ladder.alpha_bar[-1])
        prior = 0.5 * (last * z.square() - last - math.log1p(-last)).flatten(1).sum(1).double()
        u = noise.uniform("timesteps", (len(z), num_strata, 2), dtype=torch.float64, device=z.device)
        t = ladder.as_the_bound((u + torch.arange(num_strata, device=z.device)[:, None]) / num_strata)
        ratio = self._variance_ratio()
        falls = ladder.log_snr[:-1] - ladder.log_snr[1:]
        weights = torch.cat([falls.new_zeros(1), 0.5 * ratio[1:] * falls.expm1() / ladder.cumulative.diff()])

        def error(t: Tensor, name: str) -> Tensor:
            return self._squared_error(z, t, denoise, noise.child(name))

        terms = torch.stack(
            [weights[t[:, k, j]] * error(t[:, k, j], f"{k}/{j}") for k in range(num_strata) for j in (0, 1)], dim=1
        ).unflatten(1, (num_strata, 2))
        zero, num_dimensions = torch.zeros_like(t[:, 0, 0]), math.prod(z.shape[1:])
        # In units of its own standard deviation the error of x̂₀ is that of ε̂.
        constant = num_dimensions * (math.log(2 * math.pi) - float(ladder.log_snr[0]))
        first = torch.stack([0.5 * (error(zero, f"first/{j}") + constant) for j in (0, 1)], dim=1)
        halves = (terms[..., 0] - terms[..., 1]) / 2  # a pair's mean has this squared as its unbiased variance
        variance = halves.square().sum(1) / num_strata**2 + ((first[:, 0] - first[:, 1]) / 2).square()
        constants = 0.5 * num_dimensions * float((ratio - 1 - ratio.log()).sum())
        return LogProb(-(prior + constants + terms.mean((1, 2)) + first.mean(1)), "lower_bound", variance.sqrt())

    def _variance_ratio(self) -> Tensor:
        """q = β̃_t / σ_t², (T,); there is no term at t = 0."""
        alpha_bar = self.ladder.alpha_bar
        ratio = torch.ones_like(alpha_bar)
        if self.variance_type == "fixed_large":
            ratio[1:] = (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
        return ratio

    def _squared_error(self, z: Tensor, t: Tensor, denoise: Denoise, noise: Noise) -> Tensor:
        """An unbiased estimate of E ‖ε − ε̂‖² = SNR_t E ‖z − x̂₀‖², (B,) float64.

        Where there is little noise ε̂ knows little of ε, and ‖ε − ε̂‖² scatters as ‖ε‖² does, whose mean D is known:
        ᾱ_t² (‖ε‖² − D) is taken off as a control variate, with the weight that is right for data N(0, I).
        """
        alpha_bar = self.ladder.alpha_bar
        x, e = ops.q_sample_with_noise(z, t, alpha_bar, noise.key("noise"), first_index=noise.first_index)
        squares = (z - denoise(x, t)).double().square().flatten(1).sum(1)
        surplus = e.double().square().flatten(1).sum(1) - math.prod(z.shape[1:])
        return self.ladder.log_snr[t].exp() * squares - alpha_bar[t].square() * surplus
