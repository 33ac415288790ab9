"""What diffusion and flow matching share: a denoiser, steps from noise to data by a table, the probability flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.likelihoods.probability_flow import ProbabilityFlow, Velocity, warped_times
from genpipe.model import LogProb, Model, SamplePath, Sampler
from genpipe.noise import Noise
from genpipe.ops import samplers
from genpipe.plugins.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Descent:
    """A sampler's stages; log_snr, names: λ of each level that the network looks at, and what a picture calls it."""

    stages: list[samplers.Stage]
    log_snr: list[float]
    names: list[str]


class DenoisingModel(Model):
    """Base of the folder's families."""

    def __init__(self, family: Family, config: Any, spec: DataSpec) -> None:
        super().__init__(family, config, spec)
        self.network = Denoiser(config, spec)
        self.bounded = config.clip and (spec.levels is not None or spec.low is not None)

    def descent(self, sampler: Sampler) -> Descent:
        """The way that a sampler takes, noisy to clean."""
        raise NotImplementedError

    @property
    def unit(self) -> Tensor | float:
        """What 1 is, where the network works, in network units."""
        return 1.0

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        """The sampler's steps from noise to data."""
        return self._descend(num, y, noise, sampler, self.descent(sampler), lambda level, x: None)

    def generate_path(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler, num_frames: int) -> SamplePath:
        """x at evenly spaced levels, pure noise first."""
        way = self.descent(sampler)
        num_levels = len(way.names)
        shown = torch.linspace(0, num_levels, min(num_frames, num_levels + 1)).round().int().tolist()
        frames: dict[int, Tensor] = {}

        def look(level: int, x: Tensor) -> None:
            if level in shown:  # Heun's method looks at a level twice, the second time at where it went
                frames[level] = x.clone()

        last = self._descend(num, y, noise, sampler, way, look)
        seen = torch.stack([*(frames[level] for level in shown[:-1]), last / self.unit]) * self.unit
        return SamplePath(frames=seen, labels=(*(way.names[level] for level in shown[:-1]), "sample"))

    def _descend(
        self,
        num: int,
        y: Tensor | None,
        noise: Noise,
        sampler: Sampler,
        way: Descent,
        look: Callable[[int, Tensor], None],
    ) -> Tensor:
        guidance = guidance_of(sampler)

        def predict(x: Tensor, level: int) -> Tensor | tuple[Tensor, Tensor]:
            look(level, x)
            log_snr = torch.full((num,), way.log_snr[level], device=x.device)
            return self.network.guided(x, log_snr, y, self.unit, guidance)

        x = noise.normal("start", (num, *self.spec.shape), device=self.device)
        x = samplers.sample(
            way.stages, x, predict, key=lambda level: noise.key(f"step {level}"), first_index=noise.first_index
        )
        return x * self.unit

    def flow_log_prob(
        self, x: Tensor, velocity: Velocity, ends: tuple[float, float], noise: Noise, num_steps: int, num_probes: int
    ) -> LogProb:
        """log p (B,) along the flow by Heun's method, with its errors: see `ProbabilityFlow.log_prob`."""
        if num_steps % 2:
            raise UsageError(f"probability_flow: num_steps is {num_steps}, expected an even number: half are a check")
        times = warped_times(*ends, num_steps)
        return ProbabilityFlow(velocity=velocity, times=times, noise=noise, num_probes=num_probes).log_prob(x)


def num_steps_of(sampler: Sampler) -> int:
    num_steps = sampler.options["num_steps"]
    assert num_steps is not None
    return int(num_steps)


def guidance_of(sampler: Sampler) -> float:
    """w in p = p_u + w (p_c − p_u): 1 for the label's own prediction, 0 without the label."""
    guidance = sampler.options["guidance"]
    assert guidance is not None
    return float(guidance)
