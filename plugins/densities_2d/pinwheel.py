"""Arms of a pinwheel: narrow Gaussians, each turned by an angle that grows with the distance from the centre.

As in Johnson et al. (2016), Composing Graphical Models with Neural Networks, sec. 5, with one departure: the angle grows
with the distance from the centre, not with the first coordinate. The two are nearly alike; but this turn keeps areas, so
that the density is the Gaussians' own, exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp, softmax

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.densities_2d.config import PinwheelConfig

FURTHEST = 50.0
"""Distance beyond which arms turn no further: e^x overflows there, and the density is nothing long before."""


def build(config: PinwheelConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), the arm that each came from. Example i is a function of (seed, i) alone."""
    x, which = _points(config, config.num_examples, Noise(seed, "pinwheel"))
    names = tuple(f"arm {k}" for k in range(config.num_arms))
    spec = DataSpec(name="pinwheel", event="vector", shape=(2,), num_classes=config.num_arms, class_names=names)
    return RawData(spec, x, which)


def draw(config: PinwheelConfig, num: int, seed: int) -> Array:
    """(num, 2) float32 that no `build` gives."""
    return _points(config, num, Noise(seed, "pinwheel/draw"))[0]


def _points(config: PinwheelConfig, num: int, noise: Noise) -> tuple[Array, npt.NDArray[np.int64]]:
    which = noise.randint("arm", config.num_arms, (num, 1))[:, 0].numpy()
    u = _mean(config) + _deviations(config) * noise.normal("offset", (num, 2), dtype=torch.float64).numpy()
    x = _turned(u, _angles(config)[which] + _twist(config, u))
    return x.astype(np.float32), which


def log_density(config: PinwheelConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2); exact."""
    offsets = (_straightened(config, x.astype(np.float64)) - _mean(config)) / _deviations(config)
    answer: npt.NDArray[np.float64] = logsumexp(-0.5 * (offsets**2).sum(axis=2), axis=1)
    return answer - np.log(config.num_arms * 2 * np.pi * config.radial_std * config.tangential_std)


def score(config: PinwheelConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2); exact."""
    x = x.astype(np.float64)
    u = _straightened(config, x)
    offsets = (u - _mean(config)) / _deviations(config)
    shares = softmax(-0.5 * (offsets**2).sum(axis=2), axis=1)
    g = -offsets / _deviations(config)  # ∇ in u
    # u = R(−a) x with a = a_k + rate e^|x|: ∇ in x is R(a) g − (g · J u) ∇a, J a quarter turn.
    back = _turned(g, _angles(config) + _twist(config, x)[:, None])
    along = g[..., 1] * u[..., 0] - g[..., 0] * u[..., 1]
    radius = np.maximum(np.linalg.norm(x, axis=1), np.finfo(np.float64).tiny)
    slope = (_twist(config, x) * (radius < FURTHEST) / radius)[:, None] * x
    answer: npt.NDArray[np.float64] = (shares[..., None] * (back - along[..., None] * slope[:, None])).sum(axis=1)
    return answer


def _straightened(config: PinwheelConfig, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, num_arms, 2): where x was before it was turned, were it of each arm."""
    return _turned(x[:, None], -_angles(config) - _twist(config, x)[:, None])


def _turned(x: npt.NDArray[np.float64], angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """x (…, 2) turned counter-clockwise by angle (…)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x[..., 0] * cos - x[..., 1] * sin, x[..., 0] * sin + x[..., 1] * cos], axis=-1)


def _twist(config: PinwheelConfig, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return config.rate * np.exp(np.minimum(np.linalg.norm(x, axis=-1), FURTHEST))


def _angles(config: PinwheelConfig) -> npt.NDArray[np.float64]:
    return 2 * np.pi * np.arange(config.num_arms) / config.num_arms


def _mean(config: PinwheelConfig) -> npt.NDArray[np.float64]:
    return np.array([config.radius, 0.0])


def _deviations(config: PinwheelConfig) -> npt.NDArray[np.float64]:
    return np.array([config.radial_std, config.tangential_std])
