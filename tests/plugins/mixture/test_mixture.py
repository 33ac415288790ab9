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
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import Tensor

from genpipe.data import split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.mixture import model as mixture_model
from genpipe.plugins.mixture.config import MixtureConfig
from genpipe.plugins.mixture.em import expectation_maximisation, kmeans
from genpipe.plugins.mixture.gaussians import Mixture
from genpipe.plugins.mixture.model import GaussianMixture, build
from genpipe.plugins.mixture.starts import Subset, kmeans_plus_plus, nearest_centre
from genpipe.plugins.mixture.statistics import Estimation, Statistics
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


COVARIANCES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
"""Our names of shapes, and scikit-learn's."""


def covariances(mixture: Mixture, shape: str) -> Tensor:
    """(K, D, D)"""
    k, d = mixture.means.shape
    if mixture.scales.ndim == 3:
        return (mixture.scales @ mixture.scales.transpose(1, 2)).expand(k, d, d)
    return torch.diag_embed(mixture.scales.square().expand(k, d))


def start_of(z: Tensor, num_components: int) -> Tensor:
    return z[kmeans_plus_plus(z, num_components, Noise(3, "start"))]


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("iterations", [1, 7, 40])
def test_em_agrees_with_scikit_learn_from_the_same_start(covariance: Any, iterations: int) -> None:
    z = clusters()
    centres, how = start_of(z, 3), Estimation(covariance, 1e-4)
    clustered = Statistics(centres, covariance)
    clustered.add(z, nearest_centre(z, centres)[0])
    first = clustered.maximise(how)
    fit = expectation_maximisation(
        lambda: iter(z.split(70)), centres, how, tolerance=0, max_iterations=iterations, report=lambda *_: None
    )
    precisions = torch.linalg.inv(covariances(first, covariance)).numpy()
    in_shape = {
        "full": precisions,
        "tied": precisions[0],
        "diagonal": precisions.diagonal(axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }
    oracle = SklearnMixture(
        3,
        covariance_type=COVARIANCES[covariance],
        tol=0,
        reg_covar=1e-4,
        max_iter=iterations,
        weights_init=first.log_weights.exp().numpy(),
        means_init=first.means.numpy(),
        precisions_init=in_shape[covariance],
    )
    with pytest.warns(match="did not converge"):
        oracle.fit(z.numpy())
    np.testing.assert_allclose(fit.mixture.means.numpy(), oracle.means_, atol=1e-6)
    np.testing.assert_allclose(fit.mixture.log_weights.exp().numpy(), oracle.weights_, atol=1e-6)
    np.testing.assert_allclose(fit.mixture.log_prob(z).numpy(), oracle.score_samples(z.numpy()), atol=1e-6)


def test_kmeans_agrees_with_scikit_learn_from_the_same_start() -> None:
    z = clusters()
    centres = start_of(z, 5)
    fit = kmeans(
        lambda: iter(z.split(70)),
        centres,
        Estimation("full", 1e-9),
        tolerance=0,
        max_iterations=300,
        report=lambda *_: None,
    )
    oracle = KMeans(5, init=centres.numpy(), n_init=1, tol=0, max_iter=300, algorithm="lloyd").fit(z.numpy())
    assert fit.converged
    assert fit.inertia == pytest.approx(oracle.inertia_ / len(z))
    for k in range(5):
        own = z[torch.from_numpy(oracle.labels_ == k)]
        torch.testing.assert_close(fit.mixture.means[k], own.mean(0))
        torch.testing.assert_close(
            covariances(fit.mixture, "full")[k], torch.cov(own.T, correction=0), atol=1e-8, rtol=1e-8
        )
        assert float(fit.mixture.log_weights[k].exp()) == pytest.approx(len(own) / len(z))


def test_kmeans_sends_a_centre_without_examples_to_the_furthest_one() -> None:
    z = torch.tensor([[0.0], [0.1], [0.2], [10.0], [10.1]], dtype=torch.float64)
    centres = torch.tensor([[0.1], [99.0]], dtype=torch.float64)
    fit = kmeans(
        lambda: iter([z]), centres, Estimation("diagonal", 1e-6), tolerance=0, max_iterations=9, report=lambda *_: None
    )
    torch.testing.assert_close(fit.mixture.means[:, 0].sort().values, torch.tensor([0.1, 10.05], dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"covariance": "tied"}, {"algorithm": "kmeans"}])
def test_the_fit_is_the_same_from_shards(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    z = clusters()
    whole = fitted(z, num_components=3, **options)
    monkeypatch.setattr(mixture_model, "BLOCK", 64)
    parts = fitted(z, num_components=3, **options)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_starts_are_chosen_from_the_same_examples_in_any_batches() -> None:
    z, found = clusters(1000), []
    for size in (1000, 64, 7):
        subset = Subset(40)
        for first in range(0, len(z), size):
            subset.add(z[first : first + size], Noise(0, "train", first))
        found.append(subset.rows())
    assert found[0].shape == (40, 3)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(found[0].unique(dim=0)) == 40


def test_one_component_is_the_gaussian_of_maximum_likelihood() -> None:
    z = clusters()
    model = fitted(z, num_components=1, reg_covar=1e-9)
    torch.testing.assert_close(model.means[0], z.mean(0))
    torch.testing.assert_close(model.scales[0] @ model.scales[0].T, torch.cov(z.T, correction=0), atol=1e-7, rtol=0)
    expected = torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.T, correction=0)).log_prob(z)
    torch.testing.assert_close(model.log_density(z, None, Noise(0, "x")), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options", [*({"covariance": c} for c in COVARIANCES), {"shrinkage": 0.5}, {"algorithm": "kmeans"}], ids=str
)
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
    z, found = clusters(), []
    for shrinkage in (0.0, 0.25):
        statistics = Statistics(z[:1], "full")
        statistics.add(z, torch.ones(300, 1, dtype=torch.float64))
        found.append(statistics.maximise(Estimation("full", 1e-9, shrinkage)).scales[0])
    plain, shrunk = found
    plain, shrunk = plain @ plain.T, shrunk @ shrunk.T
    torch.testing.assert_close(shrunk.diagonal(), plain.diagonal())
    torch.testing.assert_close(shrunk.tril(-1), 0.75 * plain.tril(-1), atol=1e-7, rtol=0)


def test_more_starts_are_never_worse() -> None:
    z = clusters(seed=4)
    one, five = (fitted(z, num_components=5, num_starts=n) for n in (1, 5))
    noise = Noise(0, "x")
    assert five.log_density(z, None, noise).mean() >= one.log_density(z, None, noise).mean() - 1e-9


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_samples_have_the_mixtures_moments(covariance: str) -> None:
    model = fitted(clusters(), num_components=3, covariance=covariance)
    weights = model.log_weights.exp()[:, None]
    mean = (weights * model.means).sum(0)
    centred = model.means - mean
    within = (weights[..., None] * covariances(model.mixture, covariance)).sum(0)
    whole = within + (weights * centred).T @ centred
    x = model.sample(40_000, seed=1).double()
    torch.testing.assert_close(x.mean(0), mean, atol=4 * float(whole.diagonal().max()) ** 0.5 / 200, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), whole, atol=0.04 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_score_is_the_gradient(covariance: str) -> None:
    model = fitted(clusters(), num_components=3, covariance=covariance)
    z, noise = clusters(20, seed=1).float(), Noise(0, "x")
    expected = super(GaussianMixture, model).log_density_gradient(z, None, noise)
    torch.testing.assert_close(model.log_density_gradient(z, None, noise), expected, rtol=1e-4, atol=1e-4)


def test_starts_spread_over_the_clusters() -> None:
    z = torch.cat([torch.full((50, 2), float(c)) + 1e-3 * torch.randn(50, 2) for c in (0, 10, 20, 30)])
    for seed in range(10):
        chosen = kmeans_plus_plus(z, 4, Noise(seed, "start"))
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


@pytest.mark.parametrize(("covariance", "said"), [("full", "3 of 3"), ("tied", "3 of 3"), ("diagonal", "")])
def test_covariances_that_examples_do_not_show_are_said(
    covariance: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    z = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.WARNING):
        fitted(z, num_components=3, covariance=covariance)
    assert (f"{said} components have too few examples for a covariance of 20 dimensions" in caplog.text) == bool(said)


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
