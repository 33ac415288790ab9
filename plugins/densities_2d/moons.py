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
from genpipe.plugins.densities_2d.curves import BlurredCurve, num_nodes


def build(config: MoonsConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), 0 for the upper moon and 1 for the lower. Example i is a function of (seed, i)."""
    x, which = _points(config, config.num_examples, Noise(seed, "moons"))
    spec = DataSpec(name="moons", event="vector", shape=(2,), num_classes=2, class_names=("upper moon", "lower moon"))
    return RawData(spec, x, which)


def draw(config: MoonsConfig, num: int, seed: int) -> Array:
    """(num, 2) float32 that no `build` gives."""
    return _points(config, num, Noise(seed, "moons/draw"))[0]


def _points(config: MoonsConfig, num: int, noise: Noise) -> tuple[Array, npt.NDArray[np.int64]]:
    which = noise.randint("moon", 2, (num, 1))[:, 0]
    angle = math.pi * noise.uniform("angle", (num, 1), dtype=torch.float64)[:, 0]
    e = noise.normal("offset", (num, 2), dtype=torch.float64)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.tensor([1.0, 0.5], dtype=torch.float64) - upper
    x = torch.where(which[:, None] == 0, upper, lower) + config.std * e
    return x.to(torch.float32).numpy(), which.numpy()


def log_density(config: MoonsConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2): the midpoint rule over the angle."""
    return _curve(config).log_density(x)


def score(config: MoonsConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2), by the same rule."""
    return _curve(config).score(x)


def _curve(config: MoonsConfig) -> BlurredCurve:
    num = num_nodes(math.pi, config.std)
    angle = math.pi * (np.arange(num) + 0.5) / num
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    nodes = np.concatenate([upper, np.array([1.0, 0.5]) - upper])
    return BlurredCurve(nodes, np.full(2 * num, 0.5 / num), config.std)
