"""The Gaussian against torch.distributions and scikit-learn: density, classes and linear regression."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from torch import Tensor

from genpipe.data import split_by_hash
from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError, DataError, UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.gaussian.config import GaussianConfig
from genpipe.plugins.gaussian.model import Gaussian, build
from genpipe.registry import registry


def rows(num: int = 400, num_dimensions: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping classes of skewed rows, far from the origin and on different scales."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, num)
    mixing = rng.normal(size=(2, num_dimensions, num_dimensions))
    x = np.einsum("nij,nj->ni", mixing[y], rng.gamma(2.0, size=(num, num_dimensions)))
    return (x * np.arange(1, num_dimensions + 1) + 20).astype(np.float32), y


def spec_of(x: np.ndarray, num_classes: int | None = None) -> DataSpec:
    moments = {"mean": tuple(x.mean(0).tolist()), "std": tuple((x.std(0) + (x.std(0) == 0)).tolist())}
    return DataSpec(name="rows", event="vector", shape=(x.shape[1],), num_classes=num_classes, **moments)


def fitted(x: np.ndarray, y: np.ndarray | None = None, block: int = 64, **options: Any) -> Gaussian:
    spec = spec_of(x, None if y is None else int(y.max()) + 1)
    model = build(GaussianConfig(reg_covar=options.pop("reg_covar", 0), conditional=y is not None, **options), spec)
    z = model.units.to_network(torch.from_numpy(x), None)

    def batches() -> Iterator[Batch]:
        for first in range(0, len(z), block):
            labels = None if y is None else torch.from_numpy(y[first : first + block])
            yield Batch(z[first : first + block], labels, Noise(0, "train", first))

    model.numbers = model.fit(batches, lambda *a, **k: None)
    return model


def test_it_is_the_gaussian_of_maximum_likelihood() -> None:
    x, _ = rows()
    model = fitted(x)
    oracle = EmpiricalCovariance().fit(x.astype(np.float64))
    expected = torch.distributions.MultivariateNormal(
        torch.from_numpy(oracle.location_), torch.from_numpy(oracle.covariance_)
    )
    nats = model.log_prob(torch.from_numpy(x)).nats
    torch.testing.assert_close(nats, expected.log_prob(torch.from_numpy(x).double()), atol=1e-3, rtol=0)
    told = model.numbers["log_likelihood"] + model.units.log_det
    assert told == pytest.approx(float(nats.mean()), abs=1e-4)
    assert told == pytest.approx(oracle.score(x.astype(np.float64)), abs=1e-4)


def test_a_diagonal_one_is_a_product_over_columns() -> None:
    x, _ = rows()
    model = fitted(x, covariance="diagonal")
    expected = torch.distributions.Normal(torch.from_numpy(x).double().mean(0), torch.from_numpy(x.std(0, dtype=float)))
    nats = model.log_prob(torch.from_numpy(x)).nats
    torch.testing.assert_close(nats, expected.log_prob(torch.from_numpy(x).double()).sum(1), atol=1e-3, rtol=0)
    told = model.numbers["log_likelihood"] + model.units.log_det
    assert told == pytest.approx(float(nats.mean()), abs=1e-4)


def test_the_fit_is_the_same_in_any_batches() -> None:
    x, _ = rows()
    one, many = fitted(x, block=400), fitted(x, block=7)
    torch.testing.assert_close(one.means, many.means, atol=1e-12, rtol=0)
    torch.testing.assert_close(one.scales, many.scales, atol=1e-12, rtol=0)


def test_by_class_it_is_quadratic_discriminant_analysis() -> None:
    x, y = rows()
    model = fitted(x, y)
    for k in (0, 1):
        mean, covariance = x[y == k].mean(0, dtype=float), np.cov(x[y == k].T.astype(float), bias=True)
        expected = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(covariance))
        nats = model.log_prob(torch.from_numpy(x), torch.full((len(x),), k)).nats
        torch.testing.assert_close(nats, expected.log_prob(torch.from_numpy(x).double()), atol=1e-3, rtol=0)
    mixed = model.log_prob(torch.from_numpy(x), torch.from_numpy(y)).nats
    own = torch.stack([model.log_prob(torch.from_numpy(x), torch.full((len(x),), k)).nats for k in (0, 1)], dim=1)
    torch.testing.assert_close(mixed, own[torch.arange(len(x)), torch.from_numpy(y)])
    assert model.numbers["log_likelihood"] + model.units.log_det == pytest.approx(float(mixed.mean()), abs=1e-4)
    oracle = QuadraticDiscriminantAnalysis().fit(x.astype(np.float64), y)
    posterior = (own + torch.from_numpy(np.bincount(y) / len(y)).log()).softmax(1)
    # Versions of scikit-learn divide by n or by n − 1.
    np.testing.assert_allclose(posterior.numpy(), oracle.predict_proba(x.astype(np.float64)), atol=0.03)


@pytest.mark.parametrize("targets", [[3], [0, 2]])
def test_a_conditional_is_least_squares(targets: list[int]) -> None:
    x, _ = rows()
    model = fitted(x)
    found = model.regression(targets)
    others = [i for i in range(4) if i not in targets]
    oracle = LinearRegression().fit(x[:, others].astype(np.float64), x[:, targets].astype(np.float64))
    np.testing.assert_allclose(found.weights.numpy(), oracle.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.intercept.numpy(), oracle.intercept_, rtol=1e-4, atol=1e-3)
    residuals = x[:, targets] - oracle.predict(x[:, others])
    np.testing.assert_allclose(found.covariance.numpy(), residuals.T @ residuals / len(x), rtol=1e-3, atol=1e-4)
    # The chain rule: p(x) = p(others) p(targets | others).
    whole = model.log_prob(torch.from_numpy(x)).nats
    marginal = fitted(np.ascontiguousarray(x[:, others])).log_prob(torch.from_numpy(x[:, others])).nats
    torch.testing.assert_close(found.log_prob(torch.from_numpy(x)), whole - marginal, atol=1e-3, rtol=0)


def test_regression_says_what_it_needs() -> None:
    x, _ = rows()
    model = fitted(x)
    for wrong in ([4], [], [1, 1], [0, 1, 2, 3]):
        with pytest.raises(UsageError, match="expected different columns from 0 to 3 of 'rows'"):
            model.regression(wrong)
    with pytest.raises(DataError, match=r"expected \(B, 3\)"):
        model.regression([0]).predict(torch.zeros(2, 4))
    with pytest.raises(UsageError, match="one Gaussian for all classes: leave it out"):
        model.regression([0], 1)
    by_class = fitted(*rows())
    for label in (None, -1, 2):
        with pytest.raises(UsageError, match=f"label is {label}, .* for each class: expected 0 to 1"):
            by_class.regression([0], label)
    digits = DataSpec(name="digits", event="image", shape=(1, 2, 2), levels=17)
    with pytest.raises(CapabilityError, match="columns of real values"):
        build(GaussianConfig(), digits).regression([0])


def test_codes_are_white_and_samples_have_the_moments() -> None:
    x, _ = rows(4000)
    model = fitted(x)
    codes = model.encode(torch.from_numpy(x))
    torch.testing.assert_close(codes.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(codes.T, correction=0), torch.eye(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(model.decode(codes), torch.from_numpy(x), atol=1e-3, rtol=0)
    samples = model.sample(40_000, seed=1).numpy()
    np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=4 * x.std(0).max() / 200)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(x.T), atol=0.04 * np.cov(x.T).max())


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_its_score_is_the_gradient(covariance: str) -> None:
    x, _ = rows()
    model = fitted(x, covariance=covariance)
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    expected = super(Gaussian, model).log_density_gradient(z, None, Noise(0, "x"))
    torch.testing.assert_close(model.log_density_gradient(z, None, Noise(0, "x")), expected, rtol=1e-4, atol=1e-4)


def test_shrinkage_scales_what_is_off_the_diagonal_alone() -> None:
    x, _ = rows()
    plain, shrunk, bare = (fitted(x, shrinkage=s).scales[0] for s in (0.0, 0.25, 1.0))
    plain, shrunk = plain @ plain.T, shrunk @ shrunk.T
    torch.testing.assert_close(shrunk.diagonal(), plain.diagonal())
    torch.testing.assert_close(shrunk.tril(-1), 0.75 * plain.tril(-1))
    torch.testing.assert_close(bare, fitted(x, covariance="diagonal").scales[0].diag())


def test_bad_data_is_refused_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    x, _ = rows(40)
    constant = x.copy()
    constant[:, 2] = 3
    with pytest.raises(DataError, match="1 of 4 columns of data set 'rows' are constant, first column 2"):
        fitted(constant)
    copied = x.copy()
    copied[:, 2] = copied[:, 1]
    with pytest.raises(DataError, match=r"singular, as where columns are copies .* raise reg_covar \(now 0\)"):
        fitted(copied)
    assert fitted(copied, reg_covar=1e-6).scales.isfinite().all()
    with pytest.raises(DataError, match=r"the covariance of data set 'rows' is singular"):
        fitted(x[:1])
    spread = np.where(np.arange(40) % 2 == 0, 2, 0)
    with pytest.raises(DataError, match=r"class 1 of data set 'rows' has no training examples: .* leave the class out"):
        fitted(x, spread)
    with pytest.raises(DataError, match="no training examples"):
        build(GaussianConfig(), spec_of(x)).fit(lambda: iter(()), lambda *a, **k: None)
    with caplog.at_level(logging.WARNING):
        fitted(x[:4], reg_covar=1e-6)
    assert "4 examples are too few for a covariance of 4 dimensions" in caplog.text


def test_digits_are_worth_what_they_were_measured_to_be() -> None:
    raw = registry().get("dataset", "digits").builder(registry().get("dataset", "digits").config_class(), 0)
    indices = split_by_hash(len(raw.x), {"test": 0.2}, 0)
    train, test = (torch.from_numpy(raw.x[indices[name]]) for name in ("train", "test"))
    model = build(GaussianConfig(reg_covar=1e-4), raw.spec)
    noise = Noise(0, "train")
    batch = Batch(model.units.to_network(train, noise), None, noise)
    model.fit(lambda: iter([batch]), lambda *a, **k: None)
    assert float(model.units.bits_per_dim(model.log_prob(test).nats).mean()) == pytest.approx(2.95, abs=0.03)
    nats: Tensor = model.log_prob(test).nats
    assert nats.isfinite().all()
