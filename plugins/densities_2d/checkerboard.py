"""The eight dark squares of a 4 × 4 board, uniform, their edges blurred by Gaussian noise.

As in Grathwohl et al. (2019), FFJORD, fig. 3, but for the noise: with it the density is positive and smooth, so that it
has a score and no sample is infinitely unlikely. The smaller std is, the sharper the edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_ndtr, logsumexp

from genpipe.data import Array, RawData
from genpipe.dataspec import DataSpec
from genpipe.noise import Noise
from genpipe.plugins.densities_2d.config import CheckerboardConfig

CELLS = 4
ROWS, COLUMNS = np.nonzero(np.indices((CELLS, CELLS)).sum(axis=0) % 2 == 0)


def build(config: CheckerboardConfig, seed: int) -> RawData:
    """x: (N, 2) float32; y: (N,), the square that each came from, row by row from the lower left. Example i is a
    function of (seed, i) alone."""
    x, which = _points(config, config.num_examples, Noise(seed, "checkerboard"))
    names = tuple(f"square {k}" for k in range(len(ROWS)))
    spec = DataSpec(name="checkerboard", event="vector", shape=(2,), num_classes=len(ROWS), class_names=names)
    return RawData(spec, x, which)


def draw(config: CheckerboardConfig, num: int, seed: int) -> Array:
    """(num, 2) float32 that no `build` gives."""
    return _points(config, num, Noise(seed, "checkerboard/draw"))[0]


def _points(config: CheckerboardConfig, num: int, noise: Noise) -> tuple[Array, npt.NDArray[np.int64]]:
    which = noise.randint("square", len(ROWS), (num, 1))[:, 0].numpy()
    corner = _starts(config)[np.stack([COLUMNS[which], ROWS[which]], axis=1)]
    u = noise.uniform("place", (num, 2), dtype=torch.float64).numpy()
    e = noise.normal("offset", (num, 2), dtype=torch.float64).numpy()
    return (corner + config.side * u + config.std * e).astype(np.float32), which


def log_density(config: CheckerboardConfig, x: Array) -> npt.NDArray[np.float64]:
    """log p(x) in nats, (N,), for x (N, 2); exact."""
    answer: npt.NDArray[np.float64] = logsumexp(_log_squares(config, x), axis=1)
    return answer - np.log(len(ROWS))


def score(config: CheckerboardConfig, x: Array) -> npt.NDArray[np.float64]:
    """∇ log p(x), (N, 2); exact."""
    logs = _log_squares(config, x)
    shares = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    slopes = _slopes(config, x)
    across, up = slopes[:, 0][:, COLUMNS], slopes[:, 1][:, ROWS]
    return np.stack([(shares * across).sum(axis=1), (shares * up).sum(axis=1)], axis=1)


def _log_squares(config: CheckerboardConfig, x: Array) -> npt.NDArray[np.float64]:
    """(N, 8): log density of each square at x."""
    logs = _log_intervals(config, x)
    return logs[:, 0][:, COLUMNS] + logs[:, 1][:, ROWS]


def _log_intervals(config: CheckerboardConfig, x: Array) -> npt.NDArray[np.float64]:
    """(N, 2, 4): log of a uniform density's on each interval of an axis, blurred: (Φ(a) − Φ(b)) / side."""
    a, b = _deviations_to_ends(config, x)
    # Mirrored where both are above 0: there Φ is near 1 and its differences are lost.
    mirrored = b > 0
    high, low = log_ndtr(np.where(mirrored, -b, a)), log_ndtr(np.where(mirrored, -a, b))
    return np.asarray(high + np.log1p(-np.exp(low - high)) - np.log(config.side), dtype=np.float64)


def _slopes(config: CheckerboardConfig, x: Array) -> npt.NDArray[np.float64]:
    """(N, 2, 4): derivatives of `_log_intervals` in x."""
    logs = _log_intervals(config, x) + np.log(config.side * config.std * np.sqrt(2 * np.pi))
    a, b = _deviations_to_ends(config, x)
    answer: npt.NDArray[np.float64] = np.exp(-0.5 * a**2 - logs) - np.exp(-0.5 * b**2 - logs)
    return answer


def _deviations_to_ends(
    config: CheckerboardConfig, x: Array
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How far x lies above the start and the end of each interval, in deviations: (N, 2, 4) each."""
    starts = _starts(config)
    rows = x[:, :, None].astype(np.float64)
    a: npt.NDArray[np.float64] = (rows - starts) / config.std
    b: npt.NDArray[np.float64] = (rows - starts - config.side) / config.std
    return a, b


def _starts(config: CheckerboardConfig) -> npt.NDArray[np.float64]:
    """Where the intervals of an axis begin; the board is centred."""
    return np.array([config.side * (k - CELLS / 2) for k in range(CELLS)])
