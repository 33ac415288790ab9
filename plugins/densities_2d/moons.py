"""Two half circles of radius 1, the second turned over and moved by (1, ½), with Gaussian noise."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.densities_2d.config import MoonsConfig

BLOCK = 1024


def build(config: MoonsConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), 0 for the upper moon and 1 for the lower. Example i is a function of (seed, i)."""
    noise = Noise(seed, "moons")
    which = noise.randint("moon", 2, (config.num_examples, 1))[:, 0]
    angle = math.pi * noise.uniform("angle", (config.num_examples, 1), dtype=torch.float64)[:, 0]
    e = noise.normal("offset", (config.num_examples, 2), dtype=torch.float64)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.tensor([1.0, 0.5], dtype=torch.float64) - upper
    x = torch.where(which[:, None] == 0, upper, lower) + config.std * e
    spec = DataSpec(name="moons", event="vector", shape=(2,), num_classes=2, class_names=("upper moon", "lower moon"))
    return RawData(spec, x.to(torch.float32).numpy(), which.numpy())


def log_density(config: MoonsConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2): the midpoint rule over the angle.

    Nodes lie at most std / 8 apart along the circles, where the rule's error is below 1e-6 of the density except
    at the circles' ends (there below 1e-3).
    """
    num_nodes = max(256, math.ceil(8 * math.pi / config.std))
    angle = math.pi * (np.arange(num_nodes) + 0.5) / num_nodes
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nodes = np.concatenate([upper, np.array([1.0, 0.5]) - upper])
    constant = math.log(len(nodes) * 2 * math.pi * config.std**2)
    parts = [np.empty(0)]
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK].astype(np.float64)
        squares = (rows[:, :1] - nodes[:, 0]) ** 2 + (rows[:, 1:] - nodes[:, 1]) ** 2
        squares /= 2 * config.std**2
        nearest = squares.min(axis=1, keepdims=True)
        parts.append(np.log(np.exp(nearest - squares).sum(axis=1)) - nearest[:, 0] - constant)
    return np.concatenate(parts)
