"""Naive Bayes against scikit-learn, and as a distribution: its probabilities sum to one and its samples have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from torch import Tensor

from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.naive_bayes import discrete, gaussian
from genpipe.plugins.naive_bayes.config import DiscreteNaiveBayesConfig, NaiveBayesConfig
from genpipe.plugins.naive_bayes.gaussian import ColumnMoments
from genpipe.plugins.naive_bayes.joint import NaiveBayes


def fit(model: NaiveBayes, x: np.ndarray, y: np.ndarray) -> NaiveBayes:
    noise = Noise(0, "train")
    z, labels = model.units.to_network(torch.from_numpy(x), noise), torch.from_numpy(y)

    def batches() -> Iterator[Batch]:
        for first in range(0, len(z), 50):
            yield Batch(z[first : first + 50], labels[first : first + 50], noise.at(first))

    model.fit(batches, lambda *a, **k: None)
    return model


def fractions(y: np.ndarray) -> dict[str, Any]:
    return {"num_classes": int(y.max()) + 1, "class_fractions": tuple((np.bincount(y) / len(y)).tolist())}


def real_values() -> tuple[np.ndarray, np.ndarray, DataSpec]:
    rng = np.random.default_rng(0)
    y = rng.choice(3, 300, p=[0.5, 0.3, 0.2])
    x = (rng.normal(size=(300, 4)) * (1 + y[:, None]) + rng.normal(size=(3, 4))[y] * 3 + 7).astype(np.float32)
    moments = {"mean": tuple(x.mean(0).tolist()), "std": tuple(x.std(0).tolist())}
    return x, y, DataSpec(name="rows", event="vector", shape=(4,), **fractions(y), **moments)


def whole_numbers(levels: int, event: str = "vector", num: int = 300) -> tuple[np.ndarray, np.ndarray, DataSpec]:
    rng = np.random.default_rng(1)
    y = rng.choice(3, num, p=[0.5, 0.3, 0.2])
    probabilities = rng.dirichlet(np.ones(levels), (3, 5))
    x = np.stack([[rng.choice(levels, p=probabilities[k, d]) for d in range(5)] for k in y]).astype(np.uint8)
    return x, y, DataSpec(name="counts", event=event, shape=(5,), levels=levels, **fractions(y))


def numbers_model(conditionals: str, spec: DataSpec, alpha: float = 1.0) -> NaiveBayes:
    return discrete.build(DiscreteNaiveBayesConfig(conditionals=conditionals, alpha=alpha), spec)


def log_posterior(model: NaiveBayes, x: np.ndarray) -> np.ndarray:
    return model.log_joint(torch.from_numpy(x)).log_softmax(1).numpy()


def test_gaussian_is_scikit_learns() -> None:
    x, y, spec = real_values()
    model = fit(gaussian.build(NaiveBayesConfig(reg_covar=0), spec), x, y)
    oracle = GaussianNB(var_smoothing=0).fit(x.astype(np.float64), y)
    joint = model.log_joint(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(joint, oracle.predict_joint_log_proba(x.astype(np.float64)), atol=1e-3)
    marginal = model.log_prob(torch.from_numpy(x))
    assert marginal.kind == "exact"
    np.testing.assert_allclose(marginal.nats.numpy(), np.logaddexp.reduce(joint, axis=1), atol=1e-9)


@pytest.mark.parametrize(
    ("conditionals", "levels", "oracle"),
    [
        ("categorical", 4, CategoricalNB(alpha=0.5, min_categories=4)),
        ("categorical", 2, BernoulliNB(alpha=0.5)),
        ("bernoulli", 2, BernoulliNB(alpha=0.5)),
        ("bernoulli", 6, BernoulliNB(alpha=0.5, binarize=2.5)),
        ("multinomial", 6, MultinomialNB(alpha=0.5)),
    ],
)
def test_whole_numbers_are_as_likely_as_scikit_learn_says(conditionals: str, levels: int, oracle: Any) -> None:
    x, y, spec = whole_numbers(levels)
    model = fit(numbers_model(conditionals, spec, 0.5), x, y)
    oracle.fit(x, y)
    if conditionals != "multinomial":
        np.testing.assert_allclose(log_posterior(model, x), oracle.predict_log_proba(x), atol=1e-9)
    if conditionals == "multinomial":
        # Theirs is of the counts given their total; what ours adds for the total is the class's own.
        totals = model.conditional_distribution.log_totals[:, x.sum(1)].T.numpy()
        given = model.log_joint(torch.from_numpy(x)).numpy() - totals
        given -= np.logaddexp.reduce(given, axis=1, keepdims=True)
        np.testing.assert_allclose(given, oracle.predict_log_proba(x), atol=1e-9)
    elif levels == 2 or conditionals == "categorical":
        joint = model.log_joint(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(joint, oracle.predict_joint_log_proba(x), atol=1e-9)


def test_the_tokens_of_a_sequence_are_a_bag_of_words() -> None:
    x, y, spec = whole_numbers(4, "sequence")
    model = fit(numbers_model("multinomial", spec, 0.5), x, y)
    bags = np.stack([np.bincount(row, minlength=4) for row in x])
    oracle = MultinomialNB(alpha=0.5).fit(bags, y)
    np.testing.assert_allclose(
        model.log_joint(torch.from_numpy(x)).numpy(), oracle.predict_joint_log_proba(bags), atol=1e-9
    )


@pytest.mark.parametrize(
    ("conditionals", "event"),
    [("categorical", "vector"), ("bernoulli", "vector"), ("multinomial", "vector"), ("multinomial", "sequence")],
)
def test_probabilities_sum_to_one_and_samples_have_them(conditionals: str, event: str) -> None:
    x, y, spec = whole_numbers(3, event)
    spec = DataSpec(name="counts", event=event, shape=(2,), levels=3, **fractions(y))
    model = fit(numbers_model(conditionals, spec), np.ascontiguousarray(x[:, :2]), y)
    every = torch.tensor(list(itertools.product(range(3), repeat=2)), dtype=torch.uint8)
    probabilities = model.log_prob(every).nats.exp()
    drawn = model.sample(20_000, seed=1).long()
    found = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / 20_000
    if (conditionals, event) == ("multinomial", "vector"):
        assert 0.8 < float(probabilities.sum()) <= 1  # the rest is of counts beyond the data's levels
        inside = (every < 2).all(1)  # counts that no clipping makes
        torch.testing.assert_close(found[inside].double(), probabilities[inside], atol=0.015, rtol=0)
    else:
        assert float(probabilities.sum()) == pytest.approx(1)
        torch.testing.assert_close(found.double(), probabilities, atol=0.015, rtol=0)


def test_totals_and_draws_of_a_multinomial_sum_to_one() -> None:
    x, y, spec = whole_numbers(6)
    distribution = fit(numbers_model("multinomial", spec), x, y).conditional_distribution
    torch.testing.assert_close(distribution.log_totals.exp().sum(1), torch.ones(3, dtype=torch.float64))
    # Given a total of 3, over all counts of five columns.
    every = torch.tensor([c for c in itertools.product(range(4), repeat=5) if sum(c) == 3])
    nats: Tensor = distribution.log_prob(every, torch.zeros(len(every), dtype=torch.int64))
    assert float(nats.exp().sum()) == pytest.approx(float(distribution.log_totals[0, 3].exp()))


def test_moments_are_the_same_in_any_blocks() -> None:
    x, y, _ = real_values()
    z, labels = torch.from_numpy(x).double() + 1e6, torch.from_numpy(y)
    moments = ColumnMoments(torch.zeros(3, 4, dtype=torch.float64))
    for rows, own in zip(z.split(17), labels.split(17), strict=True):
        moments.add(rows, own)
    for k in range(3):
        assert moments.counts[k] == (y == k).sum()
        torch.testing.assert_close(moments.means[k], z[labels == k].mean(0), rtol=1e-14, atol=0)
        torch.testing.assert_close(
            moments.squares[k] / moments.counts[k], z[labels == k].var(0, correction=0), rtol=1e-7, atol=0
        )


def test_bad_data_is_refused_with_the_remedy() -> None:
    x, y, spec = real_values()
    model = gaussian.build(NaiveBayesConfig(reg_covar=0), spec)
    with pytest.raises(DataError, match="1 of 3 classes of data set 'rows' have no training examples, first class 2"):
        fit(model, x, np.where(y == 2, 0, y))
    constant = x.copy()
    constant[:, 1] = 3
    with pytest.raises(DataError, match="1 of 4 columns of data set 'rows' are constant, first column 1"):
        fit(model, constant, y)
    constant[:, 1] = y
    with pytest.raises(DataError, match=r"column 1 of data set 'rows' is constant in class 0.* set reg_covar above 0"):
        fit(model, constant, y)
    assert fit(gaussian.build(NaiveBayesConfig(), spec), constant, y).variances.min() > 0
    with pytest.raises(UsageError, match="has no labels"):
        gaussian.build(NaiveBayesConfig(), DataSpec(name="rows", event="vector", shape=(1,), mean=(0.0,), std=(1.0,)))
    with pytest.raises(UsageError, match="models whole numbers"):
        numbers_model("categorical", spec)
    with pytest.raises(UsageError, match="tokens of 'counts' have no order: expected categorical or multinomial"):
        numbers_model("bernoulli", whole_numbers(4, "sequence", 10)[2])


def test_one_class_is_a_product_over_columns() -> None:
    x, y, spec = real_values()
    spec = DataSpec(name="rows", event="vector", shape=(4,), num_classes=1, mean=spec.mean, std=spec.std)
    model = fit(gaussian.build(NaiveBayesConfig(reg_covar=0), spec), x, np.zeros_like(y))
    expected = torch.distributions.Normal(
        torch.from_numpy(x).double().mean(0), torch.from_numpy(x).double().std(0, correction=0)
    )
    torch.testing.assert_close(
        model.log_prob(torch.from_numpy(x)).nats, expected.log_prob(torch.from_numpy(x)).sum(1), atol=1e-4, rtol=0
    )
