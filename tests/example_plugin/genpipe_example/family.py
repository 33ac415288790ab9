"""The family: fits in closed form, has an exact likelihood."""

import math
from collections.abc import Callable, Iterator

import torch
from pydantic import Field
from torch import Tensor

from genpipe import Batch, Config, DataSpec, Model, Noise, Sampler
from genpipe.model import Progress
from genpipe_example import INDEPENDENT_NORMAL


class IndependentNormalConfig(Config):
    min_std: float = Field(1e-3, gt=0, description="smallest standard deviation, in network units")


class IndependentNormal(Model):
    """p(z) = Π_d N(z_d; mean_d, std_d²), by maximum likelihood."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: IndependentNormalConfig, spec: DataSpec) -> None:
        super().__init__(INDEPENDENT_NORMAL, config, spec)
        self.register_buffer("mean", torch.zeros(spec.shape))
        self.register_buffer("std", torch.ones(spec.shape))

    def estimate(self, batches: Callable[[], Iterator[Batch]], progress: Progress) -> dict[str, float]:
        z = torch.cat([batch.z for batch in batches()]).to(torch.float64)
        self.mean.copy_(z.mean(dim=0))
        self.std.copy_(z.std(dim=0, correction=0).clamp(min=self.config.min_std))
        progress(1, 1)
        return {"mean_std": float(self.std.mean())}

    def generate(self, num: int, y: Tensor | None, noise: Noise, sampler: Sampler) -> Tensor:
        return self.mean + self.std * noise.normal("z", (num, *self.spec.shape), device=self.device)

    def log_density(self, z: Tensor, y: Tensor | None, noise: Noise) -> Tensor:
        terms = ((z - self.mean) / self.std) ** 2 + 2 * self.std.log() + math.log(2 * math.pi)
        return -0.5 * terms.flatten(1).sum(dim=1)
