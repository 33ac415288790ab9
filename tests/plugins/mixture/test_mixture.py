"""The mixture of Gaussians against scikit-learn, closed answers and its own sampler."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor

from genpipe.data import split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.mixture import em
from genpipe.plugins.mixture.config import MixtureConfig
from genpipe.plugins.mixture.model import GaussianMixture, build
from genpipe.registry import registry


def spec_of(num_dimensions: int) -> DataSpec:
    zeros, ones = (0.0,) * num_dimensions, (1.0,) * num_dimensions
    return DataSpec(name="rows", event="vector", shape=(num_dimensions,), mean=zeros, std=ones)


def fitted(z: Tensor, progress: Any = lambda *a, **k: None, **options: Any) -> GaussianMixture:
    model = build(MixtureConfig(**options), spec_of(z.shape[1]))

    def batches() -> Iterator[Batch]:
        for first in range(0, len(z), 100):
            yield Batch(z[first : first + 100], None, Noise(0, "train", first))

    model.fit(batches, progress)
    return model


def clusters(num: int = 300, num_dimensions: int = 3, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, num_dimensions)) * 3
    mixing = rng.normal(size=(3, num_dimensions, num_dimensions))
    which = rng.integers(0, 3, num)
    z = centres[which] + np.einsum("nij,nj->ni", mixing[which], rng.normal(size=(num, num_dimensions)))
    return torch.from_numpy(z)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("iterations", [1, 2, 7, 40])
def test_em_agrees_with_scikit_learn_from_the_same_start(covariance: Any, iterations: int) -> None:
    z = clusters()
    start = em.initial_responsibilities(z, 3, Noise(3, "start"))
    first = em.maximise(z, start, covariance, 1e-4)
    fit = em.fit(
        z,
        start,
        covariance=covariance,
        reg_covar=1e-4,
        shrinkage=0.0,
        tolerance=0.0,
        max_iterations=iterations,
        report=lambda *_: None,
    )
    if covariance == "full":
        precisions = torch.linalg.inv(first.scales @ first.scales.transpose(1, 2)).numpy()
    else:
        precisions = (first.scales**-2).numpy()
    oracle = SklearnMixture(
        3,
        covariance_type="full" if covariance == "full" else "diag",
        tol=0,
        reg_covar=1e-4,
        max_iter=iterations,
        weights_init=first.log_weights.exp().numpy(),
        means_init=first.means.numpy(),
        precisions_init=precisions,
    )
    with pytest.warns(match="did not converge"):
        oracle.fit(z.numpy())
    np.testing.assert_allclose(fit.mixture.means.numpy(), oracle.means_, atol=1e-6)
    np.testing.assert_allclose(fit.mixture.log_weights.exp().numpy(), oracle.weights_, atol=1e-6)
    ours = fit.mixture.scales
    covariances = (ours @ ours.transpose(1, 2) if covariance == "full" else ours**2).numpy()
    np.testing.assert_allclose(covariances, oracle.covariances_, atol=1e-6)
    np.testing.assert_allclose(fit.mixture.log_prob(z).numpy(), oracle.score_samples(z.numpy()), atol=1e-6)


def test_one_component_is_the_gaussian_of_maximum_likelihood() -> None:
    z = clusters()
    model = fitted(z, num_components=1, reg_covar=1e-9)
    torch.testing.assert_close(model.means[0], z.mean(0))
    torch.testing.assert_close(model.scales[0] @ model.scales[0].T, torch.cov(z.T, correction=0), atol=1e-7, rtol=0)
    expected = torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.T, correction=0)).log_prob(z)
    torch.testing.assert_close(model.log_density(z, None, Noise(0, "x")), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"covariance": "diagonal"}, {"shrinkage": 0.5}])
def test_the_density_integrates_to_one(options: dict[str, Any]) -> None:
    z = clusters(num_dimensions=2)
    model = fitted(z, num_components=3, **options)
    ticks = torch.linspace(-30, 30, 1501, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    total = model.log_density(grid, None, Noise(0, "x")).exp().sum() * float(ticks[1] - ticks[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-6)


def test_the_likelihood_never_falls() -> None:
    seen: list[float] = []
    fitted(clusters(), lambda at, total, **n: seen.append(n["log_likelihood"]), num_components=4, reg_covar=1e-9)
    steps = seen[:-1]  # the last report repeats the best
    assert len(steps) > 3
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(steps))


def test_shrinkage_scales_what_is_off_the_diagonal_and_nothing_else() -> None:
    z, ones = clusters(), torch.ones(300, 1, dtype=torch.float64)
    plain, shrunk = (em.maximise(z, ones, "full", 1e-9, shrinkage=s).scales[0] for s in (0.0, 0.25))
    plain, shrunk = plain @ plain.T, shrunk @ shrunk.T
    torch.testing.assert_close(shrunk.diagonal(), plain.diagonal())
    torch.testing.assert_close(shrunk.tril(-1), 0.75 * plain.tril(-1), atol=1e-7, rtol=0)


def test_more_starts_are_never_worse() -> None:
    z = clusters(seed=4)
    one, five = (fitted(z, num_components=5, num_starts=n) for n in (1, 5))
    noise = Noise(0, "x")
    assert five.log_density(z, None, noise).mean() >= one.log_density(z, None, noise).mean() - 1e-9


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_samples_have_the_mixtures_moments(covariance: str) -> None:
    model = fitted(clusters(), num_components=3, covariance=covariance)
    weights = model.log_weights.exp()[:, None]
    scales = model.scales if covariance == "full" else torch.diag_embed(model.scales)
    mean = (weights * model.means).sum(0)
    centred = model.means - mean
    within = (weights[..., None] * (scales @ scales.transpose(1, 2))).sum(0)
    covariances = within + (weights * centred).T @ centred
    x = model.sample(40_000, seed=1).double()
    torch.testing.assert_close(x.mean(0), mean, atol=4 * float(covariances.diagonal().max()) ** 0.5 / 200, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), covariances, atol=0.04 * float(covariances.abs().max()), rtol=0)


def test_starts_spread_over_the_clusters() -> None:
    z = torch.cat([torch.full((50, 2), float(c)) + 1e-3 * torch.randn(50, 2) for c in (0, 10, 20, 30)])
    for seed in range(10):
        chosen = em.kmeans_plus_plus(z, 4, Noise(seed, "start"))
        assert sorted((chosen // 50).tolist()) == [0, 1, 2, 3]


def test_fewer_examples_than_components_is_refused() -> None:
    with pytest.raises(DataError, match="5 training examples for 10 components"):
        fitted(clusters(5), num_components=10)


def test_too_few_different_examples_are_refused() -> None:
    with pytest.raises(DataError, match="only 2 different examples for 3 components: lower num_components"):
        fitted(torch.tensor([[0.0, 0.0], [1.0, 2.0]] * 10), num_components=3)


def test_a_constant_column_is_refused() -> None:
    z = clusters()
    z[:, 1] = 4.0
    with pytest.raises(DataError, match="1 of 3 columns of data set 'rows' are constant, first column 1"):
        fitted(z, num_components=2)


def test_a_singular_covariance_is_refused_with_the_remedy() -> None:
    z = clusters()
    z[:, 2] = z[:, 1] * 1e9
    with pytest.raises(DataError, match="singular: raise reg_covar"):
        fitted(z, num_components=2, reg_covar=1e-30)


def test_stopping_short_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fitted(clusters(), num_components=5, max_iterations=2, tolerance=0)
    assert "max_iterations = 2" in caplog.text


def test_digits_are_modelled_better_than_by_one_gaussian() -> None:
    raw = registry().get("dataset", "digits").builder(registry().get("dataset", "digits").config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    train, test = (torch.from_numpy(raw.x[indices[name]]) for name in ("train", "test"))
    found = {}
    for name, options in {
        "one": {"num_components": 1, "reg_covar": 1e-4},
        "many": {"num_components": 40, "shrinkage": 0.5, "reg_covar": 1e-4},
    }.items():
        model = build(MixtureConfig(**options), raw.spec)
        noise = Noise(0, "train")
        batch = Batch(model.units.to_network(train, noise), None, noise)
        model.fit(lambda batch=batch: iter([batch]), lambda *a, **k: None)
        found[name] = float(model.units.bits_per_dim(model.log_prob(test).nats).mean())
    assert found["one"] == pytest.approx(2.95, abs=0.03)
    assert found["many"] < 2.64


def test_a_model_that_is_not_fitted_is_the_standard_gaussian() -> None:
    model = build(MixtureConfig(num_components=7), spec_of(2))
    nats = model.log_prob(torch.zeros(1, 2)).nats
    assert float(nats) == pytest.approx(-math.log(2 * math.pi))
