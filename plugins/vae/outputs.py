"""p(z | h): what a decoder's maps (B, num_maps, …) say of the data.

Each gives how many maps it takes, −log p, a mean to look at and draws, in network units. Those of levels
give the mass of the integers themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genpipe import ops
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.likelihoods.logistic_mixture import draw_levels, mean_levels, num_maps
from genpipe.noise import Noise
from genpipe.plugins.vae.config import DiscreteVAEConfig, VAEConfig


class Output(Protocol):
    """A kind of distribution of the data, given a decoder's maps."""

    @property
    def num_maps(self) -> int:
        """Maps that the decoder gives."""

    def nll(self, maps: Tensor, z: Tensor) -> Tensor:
        """−log p(z | maps), (B,), nats."""

    def mean(self, maps: Tensor) -> Tensor:
        """(B, *event), what a figure shows."""

    def draw(self, maps: Tensor, noise: Noise) -> Tensor:
        """(B, *event), of p."""


@dataclass(frozen=True)
class Gaussian:
    """N(mean, e^log_var) of every number on its own, the variance learned (Rybkin et al., 2021, sec. 3.1).

    min_log_var: what log-variances stay above, smoothly.
    """

    num_channels: int
    min_log_var: float

    @property
    def num_maps(self) -> int:
        return 2 * self.num_channels

    def parameters(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (B, *event) each."""
        mean, log_var = maps.chunk(2, dim=1)
        return mean, self.min_log_var + F.softplus(log_var - self.min_log_var)

    def nll(self, maps: Tensor, z: Tensor) -> Tensor:
        return ops.gaussian_nll(*self.parameters(maps), z)

    def mean(self, maps: Tensor) -> Tensor:
        return maps[:, : self.num_channels]

    def draw(self, maps: Tensor, noise: Noise) -> Tensor:
        mean, log_var = self.parameters(maps)
        return mean + (0.5 * log_var).exp() * noise.normal("decoder", tuple(mean.shape), device=mean.device)


def to_levels(z: Tensor, levels: int) -> Tensor:
    """Levels 0 … levels − 1, int64, of the middles of their bins (genpipe.units)."""
    return ((z + 1) * (levels / 2)).floor().clamp(0, levels - 1).long()


def to_network(level: Tensor, levels: int) -> Tensor:
    """The middles of bins: what `to_levels` undoes."""
    return (2 * level + 1) / levels - 1


@dataclass(frozen=True)
class Bernoulli:
    """The number of heads among levels − 1 tosses of each pixel's coin: a Bernoulli for two levels, else a binomial."""

    num_channels: int
    levels: int

    @property
    def num_maps(self) -> int:
        return self.num_channels

    def nll(self, maps: Tensor, z: Tensor) -> Tensor:
        tosses = self.levels - 1
        heads = to_levels(z, self.levels).to(maps.dtype)
        nll = tosses * ops.bernoulli_nll(maps, heads / tosses)
        if tosses == 1:
            return nll
        ways = math.lgamma(tosses + 1) - torch.lgamma(heads + 1) - torch.lgamma(tosses - heads + 1)
        return nll - ways.flatten(1).sum(1)

    def mean(self, maps: Tensor) -> Tensor:
        return to_network(maps.sigmoid() * (self.levels - 1), self.levels)

    def draw(self, maps: Tensor, noise: Noise) -> Tensor:
        p, heads = maps.sigmoid(), torch.zeros_like(maps)
        for toss in range(self.levels - 1):
            heads += noise.uniform(f"decoder/{toss}", tuple(p.shape), device=p.device) < p
        return to_network(heads, self.levels)


@dataclass(frozen=True)
class Categorical:
    """A probability of its own for every level."""

    num_channels: int
    levels: int

    @property
    def num_maps(self) -> int:
        return self.num_channels * self.levels

    def nll(self, maps: Tensor, z: Tensor) -> Tensor:
        return ops.categorical_nll(maps, to_levels(z, self.levels))

    def mean(self, maps: Tensor) -> Tensor:
        probabilities = maps.unflatten(1, (self.num_channels, self.levels)).softmax(2)
        values = torch.arange(self.levels, dtype=maps.dtype, device=maps.device)
        return to_network(torch.einsum("bcl...,l->bc...", probabilities, values), self.levels)

    def draw(self, maps: Tensor, noise: Noise) -> Tensor:
        logits = maps.unflatten(1, (self.num_channels, self.levels))
        return to_network(_argmax_draw(logits, 2, noise).to(maps.dtype), self.levels)


@dataclass(frozen=True)
class LogisticMixture:
    """A mixture of discretised logistics for each pixel (Salimans et al., 2017, sec. 2), red, green, blue in turn.

    A level reaches half a step to either side, the outermost to infinity; maps as
    ops.discretized_logistic_mixture_nll has them.
    """

    num_channels: int
    levels: int
    num_mixtures: int

    @property
    def num_maps(self) -> int:
        return self.num_mixtures * num_maps(self.num_channels)

    def nll(self, maps: Tensor, z: Tensor) -> Tensor:
        return ops.discretized_logistic_mixture_nll(maps, to_levels(z, self.levels), levels=self.levels)

    def mean(self, maps: Tensor) -> Tensor:
        return to_network(mean_levels(maps, self.num_channels, self.levels).to(maps.dtype), self.levels)

    def draw(self, maps: Tensor, noise: Noise) -> Tensor:
        drawn = draw_levels(maps, self.num_channels, self.levels, noise.child("decoder"))
        return to_network(drawn.to(maps.dtype), self.levels)


def _argmax_draw(logits: Tensor, dim: int, noise: Noise) -> Tensor:
    """A draw of softmax(logits) along `dim`, which is gone: the Gumbel-max trick."""
    key = noise.key("decoder/choice")
    gumbel = ops.gumbel(key, logits.shape, first_index=noise.first_index, device=logits.device)
    return (logits + gumbel).argmax(dim)


def gaussian_output(config: VAEConfig, spec: DataSpec) -> Output:
    # Integers are dequantised with uniform noise one bin wide, 2 / levels in network units: no density
    # of the data can be narrower than that, and without the bound empty pixels would run away.
    bin_std = 2 / spec.levels / math.sqrt(12) if spec.levels is not None else 0.0
    return Gaussian(spec.shape[0], 2 * math.log(max(config.min_std, bin_std)))


def discrete_output(config: DiscreteVAEConfig, spec: DataSpec) -> Output:
    assert spec.levels is not None
    channels = spec.shape[0]
    if config.decoder == "bernoulli":
        return Bernoulli(channels, spec.levels)
    if config.decoder == "categorical":
        return Categorical(channels, spec.levels)
    if channels not in (1, 3):
        raise UsageError(
            f"a logistic mixture models images of 1 or 3 channels, and those of '{spec.name}' have {channels}; "
            "choose the decoder 'categorical'"
        )
    return LogisticMixture(channels, spec.levels, config.num_mixtures)
