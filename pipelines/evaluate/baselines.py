"""The rows that frame a model: real data above it, copies beside it, noise below."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genpipe.components import load_reference
from genpipe.data import subset_by_hash
from genpipe.dataspec import DataSpec
from genpipe.model import LogProb
from genpipe.noise import Noise
from genpipe.pipelines.evaluate.score import RowData
from genpipe.units import Units


def oracle_row(held_out: Tensor, log_density: str | None, dataset_config: Any) -> RowData:
    """What a perfect model would get. log_density: the data set's reference, where the truth is known."""
    if log_density is None:
        return RowData(
            name="oracle",
            title="held-out real data",
            x=held_out,
            no_likelihood="the true density of real data is not known",
        )
    density: Callable[[Any, Any], Any] = load_reference(log_density)

    def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return LogProb(torch.as_tensor(np.asarray(density(dataset_config, x.numpy()))), "exact")

    return RowData(name="oracle", title="held-out real data, true density", x=held_out, log_prob=log_prob)


def copy_row(train: Tensor, num: int, seed: int) -> RowData:
    """Training data passed off as samples: good by every distance to the training split, and worth
    nothing."""
    chosen = subset_by_hash(len(train), num, seed)
    return RowData(
        name="copy",
        title="training data passed off as samples",
        x=train[torch.as_tensor(chosen)],
        no_likelihood="a list of examples has no density",
    )


def floor_row(spec: DataSpec, num: int, seed: int) -> RowData:
    """Noise that knows the data's units and nothing else."""
    noise = Noise(seed, "floor")
    shape = (num, *spec.shape)
    units = Units(spec)
    if spec.levels is not None:
        x = noise.randint("levels", spec.levels, shape).to(getattr(torch, spec.dtype))
        title = f"noise, uniform over {spec.levels} levels"
        nats = -spec.num_dimensions * math.log(spec.levels)
    elif spec.low is not None and spec.high is not None:
        x = units.from_network(2 * noise.uniform("range", shape) - 1)
        title = f"noise, uniform in [{spec.low:g}, {spec.high:g}]"
        nats = -spec.num_dimensions * math.log(spec.high - spec.low)
    else:
        x = units.from_network(noise.normal("normal", shape))
        title = "noise, normal with the training mean and deviation of each dimension"
        return RowData(name="floor", title=title, x=x, log_prob=_normal_density(units))

    def uniform(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return LogProb(torch.full((len(x),), nats, dtype=torch.float64), "exact")

    return RowData(name="floor", title=title, x=x, log_prob=uniform)


def _normal_density(units: Units) -> Callable[..., LogProb]:
    def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        z = units.to_network(x, None).to(torch.float64).flatten(start_dim=1)
        nats = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1) + units.log_det
        return LogProb(nats, "exact")

    return log_prob
