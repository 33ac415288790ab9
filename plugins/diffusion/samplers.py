"""One step from timestep t to the one before it in the list, as plain functions of one signature.

x: x_t, (B, *event); x0: the denoised x̂₀, clipped or not; a_t, a_p: ᾱ_t and ᾱ_p, 1 after the last step; noise:
gives standard normal numbers shaped as x; each uses what it needs of `StepOptions`. The predicted noise ε̂ is derived
from x and x0, so where x̂₀ was clipped ε̂ is the noise that agrees with the clipped one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """eta: of `ddim_step`, 0 deterministic to 1 ancestral. variance_type: of `ddpm_step`."""

    eta: float = 0.0
    variance_type: Literal["fixed_small", "fixed_large"] = "fixed_small"


Noise = Callable[[], Tensor]
Step = Callable[[Tensor, Tensor, float, float, Noise, StepOptions], Tensor]


def ddpm_step(x: Tensor, x0: Tensor, a_t: float, a_p: float, noise: Noise, options: StepOptions) -> Tensor:
    """The mean of q(x_p | x_t, x̂₀) (Ho et al., 2020, eq. 7) and its variance, or β (sec. 3.2); the last adds none."""
    alpha = a_t / a_p
    beta = 1 - alpha
    mean = (math.sqrt(a_p) * beta * x0 + math.sqrt(alpha) * (1 - a_p) * x) / (1 - a_t)
    if a_p == 1:
        return mean
    variance = beta if options.variance_type == "fixed_large" else (1 - a_p) / (1 - a_t) * beta
    return mean + math.sqrt(variance) * noise()


def ddim_step(x: Tensor, x0: Tensor, a_t: float, a_p: float, noise: Noise, options: StepOptions) -> Tensor:
    """Song et al. (2021), eq. 12 and 16: deterministic at eta 0; at eta 1 `ddpm_step` with fixed_small."""
    e = (x - math.sqrt(a_t) * x0) / math.sqrt(1 - a_t)
    variance = options.eta**2 * (1 - a_p) / (1 - a_t) * (1 - a_t / a_p)
    mean = math.sqrt(a_p) * x0 + math.sqrt(max(1 - a_p - variance, 0.0)) * e
    return mean + math.sqrt(variance) * noise() if variance > 0 else mean


STEPS: dict[str, Step] = {"ddpm": ddpm_step, "ddim": ddim_step}
