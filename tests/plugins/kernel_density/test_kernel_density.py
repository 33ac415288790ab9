"""Kernel densities against scikit-learn, histograms against numpy, and both as densities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch, Model
from genpipe.noise import Noise
from genpipe.persistence import load_model, save_model
from genpipe.plugins.densities_2d import gaussians, moons
from genpipe.plugins.densities_2d.config import GaussiansConfig, MoonsConfig
from genpipe.plugins.kernel_density import histogram, kernels, model
from genpipe.plugins.kernel_density.bandwidth import leave_one_out
from genpipe.plugins.kernel_density.boxes import Tiling, counts_at, occupancy
from genpipe.plugins.kernel_density.config import HistogramConfig, KernelDensityConfig
from genpipe.registry import registry

NOISE = Noise(0, "x")


def spec_of(num_dimensions: int) -> DataSpec:
    zeros, ones = (0.0,) * num_dimensions, (1.0,) * num_dimensions
    return DataSpec(name="rows", event="vector", shape=(num_dimensions,), mean=zeros, std=ones)


def fit(made: Model, z: Tensor) -> dict[str, float]:
    def batches() -> Iterator[Batch]:
        for first in range(0, len(z), 100):
            yield Batch(z[first : first + 100], None, Noise(0, "train", first))

    return made.fit(batches, lambda *a, **k: None)


def kernel_density(z: Tensor, **options: Any) -> tuple[Any, dict[str, float]]:
    made = model.build(KernelDensityConfig(**options), spec_of(z.shape[1]))
    return made, fit(made, z)


def boxes_of(z: Tensor, **options: Any) -> tuple[Any, dict[str, float]]:
    made = histogram.build(HistogramConfig(**options), spec_of(z.shape[1]))
    return made, fit(made, z)


def clusters(num: int = 300, num_dimensions: int = 2, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, num_dimensions))
    return torch.from_numpy(centres[rng.integers(0, 3, num)] + 0.2 * rng.normal(size=(num, num_dimensions))).float()


@pytest.mark.parametrize("num_dimensions", [1, 2, 7])
@pytest.mark.parametrize("bandwidth", [0.03, 1.0])
def test_the_kernel_density_is_scikit_learns(
    num_dimensions: int, bandwidth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, queries = clusters(num_dimensions=num_dimensions), clusters(50, num_dimensions, seed=1)
    made, _ = kernel_density(z, bandwidth=bandwidth)
    # In one leaf: between leaves its bounds let tails be off by tens of nats.
    oracle = SklearnKernelDensity(bandwidth=bandwidth, leaf_size=len(z)).fit(z.double().numpy())
    expected = oracle.score_samples(queries.double().numpy())
    np.testing.assert_allclose(made.log_density(queries, None, NOISE).numpy(), expected, rtol=1e-8, atol=1e-8)
    monkeypatch.setattr(kernels, "EXAMPLES", 37)
    monkeypatch.setattr(kernels, "QUERIES", 11)
    np.testing.assert_allclose(made.log_density(queries, None, NOISE).numpy(), expected, rtol=1e-8, atol=1e-8)
    far = made.log_density(queries + 1e3, None, NOISE)
    assert far.isfinite().all()


def test_the_score_is_the_gradient() -> None:
    made, _ = kernel_density(clusters(), bandwidth=0.3)
    z = clusters(20, seed=1)
    expected = super(model.KernelDensity, made).log_density_gradient(z, None, NOISE)
    torch.testing.assert_close(made.log_density_gradient(z, None, NOISE), expected, rtol=1e-4, atol=1e-5)


def test_leaving_one_out_is_fitting_without_it() -> None:
    z, bandwidths = clusters(40), [0.1, 0.4]
    found = leave_one_out(z, torch.arange(40), bandwidths)
    for value, bandwidth in zip(found.tolist(), bandwidths, strict=True):
        parts = []
        for i in range(40):
            rest = torch.cat([z[:i], z[i + 1 :]]).double().numpy()
            oracle = SklearnKernelDensity(bandwidth=bandwidth, leaf_size=40).fit(rest)
            parts.append(oracle.score_samples(z[i : i + 1].double().numpy())[0])
        assert value == pytest.approx(np.mean(parts), abs=1e-6)


def test_it_is_found_where_the_examples_are() -> None:
    z, chosen = clusters(40), torch.arange(40)
    with torch.device("meta"):  # where a tensor is made that does not ask for the examples' device
        found = leave_one_out(z, chosen, [0.1, 0.4])
    assert torch.equal(found, leave_one_out(z, chosen, [0.1, 0.4]))


def test_the_bandwidth_is_the_best_for_examples_left_out() -> None:
    z = clusters()
    _, numbers = kernel_density(z)
    around = [numbers["bandwidth"] * factor for factor in (0.6, 0.8, 1.0, 1.25, 1.6)]
    values = leave_one_out(z, torch.arange(len(z)), around)
    assert int(values.argmax()) == 2
    assert float(values[2]) == pytest.approx(numbers["left_out_log_likelihood"])


def test_copies_of_examples_do_not_draw_the_bandwidth_to_nothing() -> None:
    z = clusters()
    once, _ = kernel_density(z)
    _, numbers = kernel_density(torch.cat([z, z[:150]]))
    assert numbers["bandwidth"] == pytest.approx(float(once.bandwidth), rel=0.5)


@pytest.mark.parametrize(
    ("build", "truth", "config"),
    [
        (gaussians.build, gaussians.log_density, GaussiansConfig(num_examples=10_000)),
        (moons.build, moons.log_density, MoonsConfig(num_examples=10_000)),
    ],
    ids=["ring", "moons"],
)
def test_in_the_plane_it_is_near_the_truth(build: Any, truth: Any, config: Any) -> None:
    train, test = build(config, 0).x, build(config, 1).x[:1000]
    moments = {"mean": tuple(train.mean(0).tolist()), "std": tuple(train.std(0).tolist())}
    made = model.build(
        KernelDensityConfig(num_validated=100), DataSpec(name="plane", event="vector", shape=(2,), **moments)
    )
    fit(made, made.units.to_network(torch.from_numpy(train), None))
    gap = truth(config, test) - made.log_prob(torch.from_numpy(test)).nats.numpy()
    assert -0.01 < gap.mean() < 0.05


@pytest.mark.parametrize("num_bins", [1, 7, 40])
def test_the_histogram_counts_as_numpy_does(num_bins: int) -> None:
    z = clusters(2000).double()
    made, numbers = boxes_of(z, num_bins=num_bins)
    low, high = z.amin(0).numpy(), z.amax(0).numpy()
    counts, x_edges, y_edges = np.histogram2d(*z.numpy().T, num_bins, range=list(zip(low, high, strict=True)))
    assert numbers["boxes"] == (counts > 0).sum()
    assert int(made.counts.sum()) == 2000
    middles = np.stack(
        np.meshgrid((x_edges[1:] + x_edges[:-1]) / 2, (y_edges[1:] + y_edges[:-1]) / 2, indexing="ij"), axis=-1
    ).reshape(-1, 2)
    found = counts_at(made.tiling.box(torch.from_numpy(middles)), made.boxes, made.counts)
    np.testing.assert_array_equal(found.numpy(), counts.ravel())


@pytest.mark.parametrize("family", ["kernel_density", "histogram"])
def test_the_density_integrates_to_one_and_samples_have_it(family: str) -> None:
    z = clusters(400)
    made, _ = kernel_density(z) if family == "kernel_density" else boxes_of(z, num_bins=16)
    ticks = torch.linspace(-4, 4, 401 if family == "kernel_density" else 801, dtype=torch.float64)  # boxes have edges
    grid = torch.cartesian_prod(ticks, ticks)
    density = torch.cat([made.log_density(rows, None, NOISE).exp() for rows in grid.split(65536)])
    density *= float(ticks[1] - ticks[0]) ** 2
    assert float(density.sum()) == pytest.approx(1, abs=2e-3)
    samples = made.sample(20_000, seed=1).double()
    mean = (density[:, None] * grid).sum(0)
    torch.testing.assert_close(samples.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(samples.var(0), (density[:, None] * (grid - mean).square()).sum(0), atol=0.03, rtol=0.05)


def test_a_histogram_left_out_is_its_density_without_the_example() -> None:
    z = clusters(60)
    whole, numbers = boxes_of(z, num_bins=5)
    parts = []
    for i in range(60):
        rest = torch.cat([z[:i], z[i + 1 :]]).double()
        box = whole.tiling.box(rest)
        other, _ = boxes_of(z, num_bins=5)
        boxes, counts, _ = occupancy(box)
        other.set_rows("boxes", boxes)
        other.set_rows("counts", counts)
        parts.append(float(other.log_density(z[i : i + 1], None, NOISE)))
    assert numbers["left_out_log_likelihood"] == pytest.approx(np.mean(parts), abs=1e-9)


def test_in_many_dimensions_every_example_has_a_box_of_its_own() -> None:
    shared = [
        boxes_of(torch.randn(1000, d, generator=torch.Generator().manual_seed(0)), num_bins=6)[1] for d in (1, 64)
    ]
    assert shared[0]["alone"] < 0.01
    assert shared[1]["alone"] == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_boxes_are_counted_alike_in_any_number_and_dimension(num: int, dims: int, spread: int, seed: int) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).integers(-spread, spread, (num, dims))).int()
    boxes, counts, where = occupancy(rows)
    expected, inverse, numbers = np.unique(rows.numpy(), axis=0, return_inverse=True, return_counts=True)
    assert sorted(map(tuple, boxes.tolist())) == list(map(tuple, expected.tolist()))
    np.testing.assert_array_equal(counts[where].numpy(), numbers[inverse.reshape(-1)])
    torch.testing.assert_close(boxes[where], rows)
    elsewhere = rows + 2 * spread
    assert counts_at(elsewhere, boxes, counts).sum() == 0
    torch.testing.assert_close(counts_at(rows, boxes, counts), counts[where])
    tiling = Tiling(torch.zeros(dims, dtype=torch.float64), torch.ones(dims, dtype=torch.float64))
    torch.testing.assert_close(tiling.box(rows + 0.5), rows)


@pytest.mark.parametrize("family", ["kernel_density", "histogram"])
def test_bad_data_is_refused_with_the_remedy(family: str) -> None:
    fitted = kernel_density if family == "kernel_density" else boxes_of
    z = clusters()
    with pytest.raises(DataError, match="no training examples"):
        fitted(z[:0])
    with pytest.raises(DataError, match="has 1 training examples, and the fit needs 2: give more data"):
        fitted(z[:1])
    z[:, 1] = 4
    with pytest.raises(DataError, match="1 of 2 columns of data set 'rows' are constant, first column 1"):
        fitted(z)


@pytest.mark.parametrize("family", ["kernel_density", "histogram"])
def test_a_model_of_any_number_of_examples_is_loaded_as_it_was(family: str, tmp_path: Path) -> None:
    made, _ = kernel_density(clusters()) if family == "kernel_density" else boxes_of(clusters())
    save_model(made, tmp_path)
    loaded = load_model(tmp_path, registry())
    x = clusters(10, seed=1)
    assert torch.equal(loaded.log_prob(x).nats, made.log_prob(x).nats)
    assert torch.equal(loaded.sample(9, seed=1), made.sample(9, seed=1))


def test_models_that_are_not_fitted_are_the_standard_gaussian() -> None:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0, 1).log_prob(x.double()).sum(1)
    for made in (model.build(KernelDensityConfig(), spec_of(3)), histogram.build(HistogramConfig(), spec_of(3))):
        torch.testing.assert_close(made.log_prob(x).nats, expected, atol=1e-9, rtol=0)
