import math

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Reference, Shard
from genpipe.plugins.frechet.config import FrechetConfig
from genpipe.plugins.frechet.distance import frechet_distance, gaussian
from genpipe.plugins.frechet.metric import Frechet
from genpipe.plugins.frechet.moments import leave_one_out, merge, moments, total
from tests.metrics import ready


def normals(num, dims, seed=0):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state_of(mean, covariance, num=101):
    return {
        "num": torch.tensor(num),
        "mean": torch.as_tensor(mean, dtype=torch.float64),
        "m2": torch.as_tensor(covariance, dtype=torch.float64) * (num - 1),
    }


def fd(first, second):
    return frechet_distance(gaussian(first), gaussian(second))


def moments_of(features):
    return total(moments(features, torch.arange(len(features)) % 2, 2))


def reference_of(train, held_out=None):
    held_out = train if held_out is None else held_out
    spec = DataSpec(name="points", event="vector", shape=(train.shape[1],))
    return Reference(
        spec=spec,
        train=train,
        held_out=held_out,
        train_features=train,
        held_out_features=held_out,
        extractor="identity",
    )


def score(metric, features, num_shards=1):
    state = None
    start = 0
    for part in features.chunk(num_shards):
        shard = metric.shard(Shard(x=part, features=part, first_index=start))
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    return {cell.name: cell for cell in metric.result(state)}


def test_of_diag_1_4_and_diag_9_16_is_8():
    one = state_of([0, 0], [[1, 0], [0, 4]])
    other = state_of([0, 0], [[9, 0], [0, 16]])
    assert fd(one, other) == pytest.approx(8, abs=1e-12)


def test_a_shift_of_the_mean_adds_its_squared_norm():
    one = state_of([0, 0], [[1, 0], [0, 4]])
    other = state_of([3, -4], [[9, 0], [0, 16]])
    assert fd(one, other) == pytest.approx(8 + 25, abs=1e-12)


def test_of_covariances_that_do_not_commute_matches_the_matrix_square_root():
    from scipy.linalg import sqrtm

    a, b = normals(500, 5, 1) @ normals(5, 5, 2), normals(400, 5, 3) @ normals(5, 5, 4)
    s1, s2 = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    expected = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + (s1 + s2 - 2 * sqrtm(s1 @ s2).real).trace()
    assert fd(moments_of(a), moments_of(b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("num", "dims"), [(500, 16), (40, 200)])
def test_of_identical_sets_vanishes_also_with_fewer_examples_than_dimensions(num, dims):
    features = normals(num, dims) * 100 + 1000
    shuffled = features[torch.randperm(num, generator=torch.Generator().manual_seed(1))]
    assert fd(moments_of(features), moments_of(shuffled)) < 1e-6


def test_moments_keep_their_digits_far_from_the_origin():
    features = normals(1000, 4) + 1e8
    covariance = moments_of(features)["m2"] / 999
    torch.testing.assert_close(covariance, torch.cov(features.T), rtol=1e-6, atol=1e-6)


def test_leaving_a_block_out_gives_the_moments_of_the_rest():
    features = normals(60, 3)
    block = torch.arange(60) % 5
    without, whole = leave_one_out(moments(features, block, 5))
    for i, state in enumerate(without):
        rest = features[block != i]
        torch.testing.assert_close(state["mean"], rest.mean(dim=0))
        torch.testing.assert_close(state["m2"] / (len(rest) - 1), torch.cov(rest.T))
    torch.testing.assert_close(whole["m2"] / 59, torch.cov(features.T))


def test_merging_with_an_empty_block_changes_nothing():
    empty = moments(torch.empty(0, 3, dtype=torch.float64), torch.empty(0, dtype=torch.int64), 2)
    full = moments(normals(10, 3), torch.arange(10) % 2, 2)
    for state in (merge(empty, full), merge(full, empty)):
        for name in full:
            torch.testing.assert_close(state[name], full[name])


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    metric = Frechet(FrechetConfig())
    ready(metric, reference_of(normals(600, 8)))
    samples = normals(400, 8, 1) * 1.5 + 0.3
    one, many = score(metric, samples), score(metric, samples, num_shards)
    for name, cell in one.items():
        assert many[name].value == pytest.approx(cell.value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(cell.standard_error, rel=1e-9)


def test_jackknife_removes_the_bias_between_draws_of_one_gaussian():
    dims, num = 8, 200
    plain, corrected, errors = [], [], []
    for seed in range(40):
        metric = Frechet(FrechetConfig())
        ready(metric, reference_of(normals(num, dims, 2 * seed)))
        cells = score(metric, normals(num, dims, 2 * seed + 1))
        plain.append(cells["FD(identity)"].value)
        corrected.append(cells["FD(identity), bias-corrected"].value)
        errors.append(cells["FD(identity)"].standard_error)
    bias = (dims**2 + 5 * dims) / 4 * (2 / num)
    assert sum(plain) / 40 == pytest.approx(bias, rel=0.15)
    assert abs(sum(corrected) / 40) < 0.15 * bias


def test_standard_error_is_the_spread_between_draws():
    values, errors = [], []
    for seed in range(40):
        metric = Frechet(FrechetConfig())
        ready(metric, reference_of(normals(300, 4, 2 * seed)))
        cell = score(metric, normals(300, 4, 2 * seed + 1) + 1.0)["FD(identity)"]
        values.append(cell.value)
        errors.append(cell.standard_error)
    spread = torch.tensor(values).std().item()
    assert sum(errors) / 40 == pytest.approx(spread, rel=0.35)


def test_too_few_examples_are_said():
    metric = Frechet(FrechetConfig())
    ready(metric, reference_of(normals(50, 30)))
    cell = score(metric, normals(50, 30, 1))["FD(identity)"]
    assert "fewer than twice the dimensions" in cell.notes[0]
    few = score(metric, normals(10, 30, 1))["FD(identity)"]
    assert few.standard_error is None
    assert math.isfinite(few.value)
    assert any("no standard error" in note for note in few.notes)
