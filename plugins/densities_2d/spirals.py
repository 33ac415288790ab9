"""Two arms of an Archimedean spiral, the second the first turned by half a circle, with Gaussian noise.

As in Grathwohl et al. (2019), FFJORD, fig. 3: radius ∝ angle, up to 1½ turns, the angle the root of a uniform number so
that points are nearly even along the arms. Departs from its code in the noise: Gaussian alone, so that the density is
known.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.densities_2d.config import SpiralsConfig
from genpipe.plugins.densities_2d.curves import BlurredCurve, num_nodes

END = 3 * math.pi
"""Angle at an arm's end, radians."""


def build(config: SpiralsConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), the arm that each lies on. Example i is a function of (seed, i) alone."""
    x, which = _points(config, config.num_examples, Noise(seed, "spirals"))
    spec = DataSpec(name="spirals", event="vector", shape=(2,), num_classes=2, class_names=("arm 0", "arm 1"))
    return RawData(spec, x, which)


def draw(config: SpiralsConfig, num: int, seed: int) -> Array:
    """(num, 2) float32 that no `build` gives."""
    return _points(config, num, Noise(seed, "spirals/draw"))[0]


def _points(config: SpiralsConfig, num: int, noise: Noise) -> tuple[Array, npt.NDArray[np.int64]]:
    which = noise.randint("arm", 2, (num, 1))[:, 0]
    angle = END * noise.uniform("angle", (num, 1), dtype=torch.float64)[:, 0].sqrt()
    e = noise.normal("offset", (num, 2), dtype=torch.float64)
    sign = 1.0 - 2.0 * which.double()
    radius = sign * config.radius * angle / END
    x = torch.stack([-radius * angle.cos(), radius * angle.sin()], dim=1) + config.std * e
    return x.to(torch.float32).numpy(), which.numpy()


def log_density(config: SpiralsConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2): the midpoint rule over the angle."""
    return _curve(config).log_density(x)


def score(config: SpiralsConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2), by the same rule."""
    return _curve(config).score(x)


def _curve(config: SpiralsConfig) -> BlurredCurve:
    # Nodes even in the angle are furthest apart at the arm's end, where the speed is radius √(1 + END²) / END.
    num = num_nodes(config.radius * math.sqrt(1 + END**2), config.std)
    angle = END * (np.arange(num) + 0.5) / num
    radius = config.radius * angle / END
    arm = np.stack([-radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    weights = angle / angle.sum()  # p(angle) = 2 angle / END²
    return BlurredCurve(np.concatenate([arm, -arm]), np.concatenate([weights, weights]) / 2, config.std)
