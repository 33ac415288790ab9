"""The plane's data sets against their definitions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, multivariate_normal

from genpipe.plugins.densities_2d import checkerboard, gaussians, moons, pinwheel, spirals
from genpipe.plugins.densities_2d.config import (
    CheckerboardConfig,
    GaussiansConfig,
    MoonsConfig,
    PinwheelConfig,
    SpiralsConfig,
)


@pytest.mark.parametrize(("layout", "num_modes"), [("ring", 8), ("grid", 25)])
def test_examples_scatter_around_every_mode_alike(layout: Any, num_modes: int) -> None:
    config = GaussiansConfig(layout=layout, num_examples=20_000)
    raw = gaussians.build(config, 0)
    centres = gaussians.centres(config)
    assert centres.shape == (num_modes, 2)
    np.testing.assert_allclose(centres.mean(0), 0, atol=1e-12)
    offsets = (raw.x - centres[raw.y]) / config.std
    assert kstest(offsets.ravel(), "norm").pvalue > 1e-3
    counts = np.bincount(raw.y, minlength=num_modes)
    assert np.abs(counts - 20_000 / num_modes).max() < 5 * np.sqrt(20_000 / num_modes)


def test_the_ring_and_the_grid_have_their_sizes() -> None:
    ring = gaussians.centres(GaussiansConfig(radius=3.0))
    np.testing.assert_allclose(np.linalg.norm(ring, axis=1), 3)
    grid = gaussians.centres(GaussiansConfig(layout="grid", spacing=1.5))
    assert grid.min() == -3
    assert grid.max() == 3
    assert len(np.unique(grid, axis=0)) == 25


def test_the_mixtures_density_is_scipys() -> None:
    config = GaussiansConfig(std=0.7)
    x = np.random.default_rng(0).normal(size=(50, 2)) * 3
    parts = [multivariate_normal(c, 0.49 * np.eye(2)).pdf(x) for c in gaussians.centres(config)]
    np.testing.assert_allclose(gaussians.log_density(config, x), np.log(np.mean(parts, axis=0)))
    assert np.isfinite(gaussians.log_density(GaussiansConfig(std=0.01), np.array([[50.0, 50.0]]))).all()


@pytest.mark.parametrize("std", [0.02, 0.05, 0.5])
def test_the_moons_density_is_the_integral_over_the_angle(std: float) -> None:
    config = MoonsConfig(std=std, num_examples=20)
    x = moons.build(config, 3).x.astype(np.float64)
    answer = moons.log_density(config, x)
    for point, value in zip(x, answer, strict=True):

        def integrand(a: float, sign: float, p: np.ndarray = point) -> float:
            centre = np.array([np.cos(a), np.sin(a)])
            centre = centre if sign > 0 else np.array([1, 0.5]) - centre
            return float(np.exp(-0.5 * ((p - centre) ** 2).sum() / std**2) / (2 * np.pi * std**2) / np.pi)

        nodes = np.linspace(0, np.pi, 60)
        pieces = [quad(integrand, a, b, args=(s,))[0] for s in (1, -1) for a, b in itertools.pairwise(nodes)]
        assert value == pytest.approx(np.log(0.5 * sum(pieces)), abs=2e-3)


def test_moons_lie_on_their_circles() -> None:
    raw = moons.build(MoonsConfig(std=1e-4, num_examples=2000), 0)
    upper, lower = raw.x[raw.y == 0], raw.x[raw.y == 1]
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, atol=1e-3)
    assert upper[:, 1].min() > -1e-3
    assert lower[:, 1].max() < 0.5 + 1e-3
    assert 900 < len(upper) < 1100


def test_spirals_lie_on_their_arms_and_are_even_along_them() -> None:
    raw = spirals.build(SpiralsConfig(std=1e-4, radius=2.0, num_examples=4000), 0)
    radius = np.linalg.norm(raw.x, axis=1)
    angle = 3 * np.pi * radius / 2
    sign = np.where(raw.y == 0, 1, -1)
    np.testing.assert_allclose(raw.x[:, 0], -sign * radius * np.cos(angle), atol=4e-3)
    np.testing.assert_allclose(raw.x[:, 1], sign * radius * np.sin(angle), atol=4e-3)
    assert kstest((radius / 2) ** 2, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("std", [0.05, 0.3])
def test_the_spirals_density_is_the_integral_along_the_arms(std: float) -> None:
    config = SpiralsConfig(std=std, num_examples=20)
    x = spirals.build(config, 3).x.astype(np.float64)
    u = (np.arange(50_000) + 0.5) / 50_000
    angle = spirals.END * np.sqrt(u)
    arm = (config.radius * angle / spirals.END)[:, None] * np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    for point, value in zip(x, spirals.log_density(config, x), strict=True):
        parts = [np.exp(-0.5 * ((point - sign * arm) ** 2).sum(1) / std**2).mean() for sign in (1, -1)]
        assert value == pytest.approx(np.log(np.mean(parts) / (2 * np.pi * std**2)), abs=2e-3)


def test_a_pinwheel_unwound_is_its_gaussians() -> None:
    config = PinwheelConfig(num_examples=20_000)
    raw = pinwheel.build(config, 0)
    angle = -2 * np.pi * raw.y / 5 - config.rate * np.exp(np.linalg.norm(raw.x, axis=1))
    u = (raw.x[:, 0] + 1j * raw.x[:, 1]) * np.exp(1j * angle)
    assert kstest((u.real - config.radius) / config.radial_std, "norm").pvalue > 1e-3
    assert kstest(u.imag / config.tangential_std, "norm").pvalue > 1e-3
    far = np.array([[1e6, -1e6], [0.0, 0.0]])
    assert np.isfinite(pinwheel.log_density(config, far)).all()
    assert np.isfinite(pinwheel.score(config, far)).all()


def test_a_board_is_even_on_its_dark_squares_and_empty_between() -> None:
    config = CheckerboardConfig(std=1e-3, num_examples=20_000)
    raw = checkerboard.build(config, 0)
    cells = np.floor(raw.x / config.side).astype(int)
    inside = (np.abs(raw.x / config.side - np.round(raw.x / config.side)) > 1e-2).all(axis=1)
    assert (cells[inside].sum(axis=1) % 2 == 0).all()
    assert kstest((raw.x / config.side % 1).ravel(), "uniform").pvalue > 1e-4
    centres = np.array([[1.0, 1.0], [-1.0, -1.0], [3.0, 3.0]])
    np.testing.assert_allclose(checkerboard.log_density(config, centres), -np.log(8 * config.side**2))
    empty = checkerboard.log_density(config, np.array([[1.0, -1.0], [99.0, 99.0]]))
    assert np.isfinite(empty).all()
    assert (empty < -1e5).all()
    assert np.isfinite(checkerboard.score(config, np.array([[99.0, -99.0]]))).all()


SETS = {
    "gaussians": (gaussians.build, GaussiansConfig),
    "moons": (moons.build, MoonsConfig),
    "spirals": (spirals.build, SpiralsConfig),
    "pinwheel": (pinwheel.build, PinwheelConfig),
    "checkerboard": (checkerboard.build, CheckerboardConfig),
}


@pytest.mark.parametrize(("build", "config"), SETS.values(), ids=SETS)
def test_example_i_is_the_same_in_a_larger_set(build: Any, config: Any) -> None:
    few, many = build(config(num_examples=100), 5), build(config(num_examples=5000), 5)
    np.testing.assert_array_equal(few.x, many.x[:100])
    np.testing.assert_array_equal(few.y, many.y[:100])
    assert not np.array_equal(few.x, build(config(num_examples=100), 6).x)
