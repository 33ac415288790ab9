import itertools
import math

import pytest
import torch

from genpipe.errors import GenpipeError
from genpipe.ops import Moments
from genpipe.plugins.frechet.config import FrechetConfig
from genpipe.plugins.frechet.distance import correction, frechet_distance, gaussian
from genpipe.plugins.frechet.metric import Frechet
from genpipe.plugins.frechet.moments import CHUNK, FLOAT32_DIMS, merge, moments, total
from tests.metrics import normals, ready, reference_of, score


def state_of(mean, covariance, num=101):
    mean, covariance = (torch.as_tensor(given, dtype=torch.float64) for given in (mean, covariance))
    return Moments(torch.tensor(num), mean, covariance * (num - 1))


def fd(first, second):
    return frechet_distance(gaussian(first), gaussian(second)).value


def moments_of(features):
    return total(moments(features, 0))


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
    covariance = moments_of(features).m2 / 999
    torch.testing.assert_close(covariance, torch.cov(features.T), rtol=1e-6, atol=1e-6)


def test_merging_with_nothing_changes_nothing():
    empty, full = moments(normals(0, 3), 10), moments(normals(10, 3), 0)
    for state in (merge(empty, full), merge(full, empty)):
        for name in full:
            torch.testing.assert_close(state[name], full[name])


def test_many_dimensions_are_multiplied_in_float32_and_no_shard_shows():
    num, dims = 2 * CHUNK + 700, FLOAT32_DIMS
    features = normals(num, dims) * torch.logspace(-3, 3, dims, dtype=torch.float64) + 1e4
    whole = total(moments(features, 0))
    covariance, spread = torch.cov(features.T), features.std(dim=0)
    assert ((whole.m2 / (num - 1) - covariance) / (spread[:, None] * spread)).abs().max() < 1e-6
    starts = [0, 5, CHUNK - 1, CHUNK + 2, 3000, 2 * CHUNK + 1, num]
    parts = [moments(features[a:b], a) for a, b in itertools.pairwise(starts)]
    state = parts[3]  # in no order
    for part in (parts[0], parts[5], parts[1], parts[4], parts[2]):
        state = merge(part, state)
    assert len(state["waiting"]) == 700
    found = total(state)
    assert found.num == num
    torch.testing.assert_close(found.m2, whole.m2, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    metric = Frechet(FrechetConfig())
    ready(metric, reference_of(normals(600, 8)))
    samples = normals(400, 8, 1) * 1.5 + 0.3
    one, many = score(metric, samples), score(metric, samples, num_shards)
    for name, cell in one.items():
        assert many[name].value == pytest.approx(cell.value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(cell.standard_error, rel=1e-9)


def test_bias_correction_removes_the_bias_between_draws_of_one_gaussian():
    dims, num = 8, 200
    plain, corrected = [], []
    for seed in range(40):
        metric = Frechet(FrechetConfig())
        ready(metric, reference_of(normals(num, dims, 2 * seed)))
        cells = score(metric, normals(num, dims, 2 * seed + 1))
        plain.append(cells["FD(identity)"].value)
        corrected.append(cells["FD(identity), bias-corrected"].value)
    bias = (dims**2 + 5 * dims) / 4 * (2 / num)
    assert sum(plain) / 40 == pytest.approx(bias, rel=0.15)
    assert abs(sum(corrected) / 40) < 0.15 * bias


def left_out(first, second):
    """The bias and variance of leaving out one example of `first` after the other, each fitted anew."""
    value, num = fd(moments_of(first), moments_of(second)), len(first)
    kept = [torch.cat([first[:i], first[i + 1 :]]) for i in range(num)]
    values = torch.tensor([fd(moments_of(x), moments_of(second)) for x in kept], dtype=torch.float64)
    return (num - 1) * (values.mean().item() - value), (num - 1) * values.var(correction=0).item()


@pytest.mark.parametrize("dims", [1, 4, 30])
def test_the_correction_is_leaving_out_every_example_exactly(dims):
    first = normals(60, dims).exp() @ normals(dims, dims, 5)
    second = normals(45, dims, 1) @ normals(dims, dims, 6) + 0.5
    found = correction(frechet_distance(gaussian(moments_of(first)), gaussian(moments_of(second))), first, second)
    exact = [left_out(first, second), left_out(second, first)]
    assert found.bias == pytest.approx(sum(bias for bias, _ in exact), rel=1e-8)
    assert found.variance == pytest.approx(sum(variance for _, variance in exact), rel=1e-8)


@pytest.mark.parametrize("num", [160, 1000])
def test_the_correction_holds_also_with_few_examples_for_the_dimensions(num):
    dims = 60
    biases, values = [], []
    for seed in range(5):
        first, second = normals(num, dims, 2 * seed), normals(num, dims, 2 * seed + 1)
        found = frechet_distance(gaussian(moments_of(first)), gaussian(moments_of(second)))
        values.append(found.value)
        biases.append(correction(found, first[:100], second[:100]).bias)
    assert sum(biases) == pytest.approx(sum(values), rel=0.03)  # all of it is bias


def test_constant_and_dependent_features_change_neither_value_nor_correction():
    train, samples = normals(300, 5), normals(200, 5, 1) * 1.2 + 0.1
    plain = score(ready(Frechet(FrechetConfig()), reference_of(train)), samples)

    def wide(x):
        return torch.cat([x, torch.full((len(x), 2), 7.0, dtype=torch.float64)], dim=1) @ turn

    turn = torch.linalg.qr(normals(7, 7, 3)).Q
    found = score(ready(Frechet(FrechetConfig()), reference_of(wide(train))), wide(samples))
    for name, cell in plain.items():
        assert found[name].value == pytest.approx(cell.value, rel=1e-9)
        assert found[name].standard_error == pytest.approx(cell.standard_error, rel=1e-9)


def test_a_part_of_the_examples_gives_the_same_error_to_sampling():
    train, samples = normals(4000, 6), normals(3000, 6, 1) * 1.3
    whole = score(ready(Frechet(FrechetConfig(num_corrected=4000)), reference_of(train)), samples)
    part = score(ready(Frechet(FrechetConfig(num_corrected=500)), reference_of(train)), samples)
    for name, cell in whole.items():
        assert part[name].standard_error == pytest.approx(cell.standard_error, rel=0.15)
        assert part[name].value == pytest.approx(cell.value, abs=0.2 * cell.standard_error)


def test_standard_error_is_the_spread_between_draws():
    values, errors = [], []
    for seed in range(60):
        metric = Frechet(FrechetConfig())
        ready(metric, reference_of(normals(300, 4, 2 * seed)))
        cell = score(metric, normals(300, 4, 2 * seed + 1) + 1.0)["FD(identity)"]
        values.append(cell.value)
        errors.append(cell.standard_error)
    spread = torch.tensor(values).std().item()
    assert sum(errors) / 60 == pytest.approx(spread, rel=0.25)


def test_copies_score_below_nothing_and_it_is_said():
    train = normals(600, 8)
    cells = score(ready(Frechet(FrechetConfig()), reference_of(train)), train.flip(0))
    assert cells["FD(identity)"].value < 1e-9
    corrected = cells["FD(identity), bias-corrected"]
    assert corrected.value < 0
    assert "closer to the training split than another draw" in corrected.notes[-1]


def test_too_few_examples_are_said():
    metric = Frechet(FrechetConfig())
    ready(metric, reference_of(normals(50, 30)))
    cell = score(metric, normals(50, 30, 1))["FD(identity)"]
    assert "fewer than twice the dimensions" in cell.notes[0]
    few = score(metric, normals(10, 30, 1))["FD(identity)"]
    assert few.standard_error is None
    assert math.isfinite(few.value)
    assert any("no standard error" in note for note in few.notes)
    with pytest.raises(GenpipeError, match="at least 2 examples, got 1 of the row"):
        score(metric, normals(1, 30, 1))
