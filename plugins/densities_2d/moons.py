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
    """log p(x) in nats, (N,), for x (N, 2): the midpoint rule over the angle.

    Nodes lie at most std / 8 apart along the circles, where the rule's error is below 1e-6 of the density except
    at the circles' ends (there below 1e-3).
    """
    nodes = _nodes(config)
    constant = math.log(len(nodes) * 2 * math.pi * config.std**2)
    parts = [np.empty(0)]
    for start in range(0, len(x), BLOCK):
        weights, nearest = _weights(config, x[start : start + BLOCK], nodes)
        parts.append(np.log(weights.sum(axis=1)) - nearest - constant)
    return np.concatenate(parts)


def score(config: MoonsConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2), by the same rule."""
    nodes = _nodes(config)
    parts = [np.empty((0, 2))]
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK].astype(np.float64)
        weights, _ = _weights(config, rows, nodes)
        parts.append((weights @ nodes / weights.sum(axis=1, keepdims=True) - rows) / config.std**2)
    return np.concatenate(parts)


def _nodes(config: MoonsConfig) -> npt.NDArray[np.float64]:
    """Points (K, 2) of both circles, of equal weight."""
    num_nodes = max(256, math.ceil(8 * math.pi / config.std))
    angle = math.pi * (np.arange(num_nodes) + 0.5) / num_nodes
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([upper, np.array([1.0, 0.5]) - upper])


def _weights(
    config: MoonsConfig, x: Array, nodes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """e^(s₀ − s), (N, K), and s₀, (N,): s is half the squared distance to each node in deviations, s₀ the least."""
    rows = x.astype(np.float64)
    squares = (rows[:, :1] - nodes[:, 0]) ** 2 + (rows[:, 1:] - nodes[:, 1]) ** 2
    squares /= 2 * config.std**2
    nearest = squares.min(axis=1)
    return np.exp(nearest[:, None] - squares), nearest
