"""Equal mixtures of narrow Gaussians: the ring of 8 and the grid of 25 (Srivastava et al., 2017, sec. 4.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp, softmax

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.densities_2d.config import GaussiansConfig


def centres(config: GaussiansConfig) -> npt.NDArray[np.float64]:
    """(K, 2): K is 8 or 25; the grid row by row from its lower left."""
    if config.layout == "ring":
        angles = 2 * np.pi * np.arange(8) / 8
        return config.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ticks = config.spacing * (np.arange(5) - 2.0)
    rows, columns = np.meshgrid(ticks, ticks, indexing="ij")
    return np.stack([columns.ravel(), rows.ravel()], axis=1)


def build(config: GaussiansConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), the mode that each came from. Example i is a function of (seed, i) alone."""
    x, which = _points(config, config.num_examples, Noise(seed, "gaussians_2d"))
    num_modes = len(centres(config))
    names = tuple(f"mode {k}" for k in range(num_modes))
    spec = DataSpec(name="gaussians_2d", event="vector", shape=(2,), num_classes=num_modes, class_names=names)
    return RawData(spec, x, which)


def draw(config: GaussiansConfig, num: int, seed: int) -> Array:
    """(num, 2) float32 that no `build` gives."""
    return _points(config, num, Noise(seed, "gaussians_2d/draw"))[0]


def _points(config: GaussiansConfig, num: int, noise: Noise) -> tuple[Array, npt.NDArray[np.int64]]:
    modes = torch.from_numpy(centres(config))
    which = noise.randint("mode", len(modes), (num, 1))[:, 0]
    e = noise.normal("offset", (num, 2), dtype=torch.float64)
    return (modes[which] + config.std * e).to(torch.float32).numpy(), which.numpy()


def modes(config: GaussiansConfig) -> tuple[npt.NDArray[np.float64], float]:
    """Centres (K, 2) and the deviation of each mode; all have the same weight."""
    return centres(config), config.std


def log_density(config: GaussiansConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2)."""
    modes = centres(config)
    squares = ((x[:, None].astype(np.float64) - modes) ** 2).sum(axis=2) / config.std**2
    answer: npt.NDArray[np.float64] = logsumexp(-0.5 * squares, axis=1)
    return answer - np.log(len(modes) * 2 * np.pi * config.std**2)


def score(config: GaussiansConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2): towards each mode by its share of the density at x."""
    offsets = centres(config) - x[:, None].astype(np.float64)
    shares = softmax(-0.5 * (offsets**2).sum(axis=2) / config.std**2, axis=1)
    answer: npt.NDArray[np.float64] = (shares[..., None] * offsets).sum(axis=1) / config.std**2
    return answer
