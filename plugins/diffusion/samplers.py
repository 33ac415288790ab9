"""One step from timestep t to the one before it in the list, as plain functions of one signature.

x: x_t, (B, *event); x0: the denoised x̂₀, clipped or not; a_t, a_p: ᾱ_t and ᾱ_p; noise: gives standard normal
numbers shaped as x. The predicted noise ε̂ is derived from x and x0, so where x̂₀ was clipped ε̂ is the noise that
agrees with the clipped one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

Step = Callable[[Tensor, Tensor, float, float, Callable[[], Tensor], float], Tensor]


def ddpm_step(
    x: Tensor, x0: Tensor, a_t: float, a_p: float, noise: Callable[[], Tensor], eta: float
) -> Tensor:
    """A draw from q(x_p | x_t, x̂₀) (Ho et al., 2020, eq. 6-7); `eta` has no part. ᾱ_p = 1 adds no noise."""
    alpha = a_t / a_p
    beta = 1 - alpha
    mean = (math.sqrt(a_p) * beta * x0 + math.sqrt(alpha) * (1 - a_p) * x) / (1 - a_t)
    variance = (1 - a_p) / (1 - a_t) * beta
    return mean + math.sqrt(variance) * noise() if variance > 0 else mean


def ddim_step(
    x: Tensor, x0: Tensor, a_t: float, a_p: float, noise: Callable[[], Tensor], eta: float
) -> Tensor:
    """Song et al. (2021), eq. 12 and 16: deterministic at eta 0, `ddpm_step` in distribution at eta 1."""
    e = (x - math.sqrt(a_t) * x0) / math.sqrt(1 - a_t)
    variance = eta**2 * (1 - a_p) / (1 - a_t) * (1 - a_t / a_p)
    mean = math.sqrt(a_p) * x0 + math.sqrt(max(1 - a_p - variance, 0.0)) * e
    return mean + math.sqrt(variance) * noise() if variance > 0 else mean


STEPS: dict[str, Step] = {"ddpm": ddpm_step, "ddim": ddim_step}
