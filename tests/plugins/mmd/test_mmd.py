import math

import numpy as np
import pytest
import torch

from genpipe.errors import GenpipeError
from genpipe.plugins.mmd import u_statistic
from genpipe.plugins.mmd.config import KidConfig, MmdConfig
from genpipe.plugins.mmd.kernels import gaussians, median_distance, polynomial
from genpipe.plugins.mmd.metric import FLOAT32_DIMS, Kid, Mmd
from genpipe.plugins.mmd.u_statistic import between, squared_mmd, within
from tests.metrics import normals, ready, reference_of, score

NAME = "KID(identity)"


def estimate(x, y, kernel=polynomial):
    return squared_mmd(within(x, kernel), within(y, kernel), between(x, y, kernel))


def test_blocks_of_pairs_are_all_pairs_once(monkeypatch):
    monkeypatch.setattr(u_statistic, "BLOCK", 7)
    x, y = normals(23, 4), normals(16, 4, 1) + 0.5
    inside, across = polynomial(x, x).fill_diagonal_(0), polynomial(x, y)
    found, cross = within(x, polynomial), between(x, y, polynomial)
    torch.testing.assert_close(found.rows, inside.sum(dim=1))
    assert found.squares == pytest.approx(inside.square().sum().item())
    torch.testing.assert_close(cross.rows, across.sum(dim=1))
    torch.testing.assert_close(cross.columns, across.sum(dim=0))
    assert cross.squares == pytest.approx(across.square().sum().item())
    value, _ = estimate(x, y)
    own = polynomial(y, y).fill_diagonal_(0)
    expected = inside.sum() / (23 * 22) + own.sum() / (16 * 15) - 2 * across.mean()
    assert value == pytest.approx(expected.item(), rel=1e-12)


def test_the_kernel_means_of_two_normals_are_the_known_ones():
    """E k of N(0, a I) and N(0, b I) is 1 + 3 a b / D."""
    dims, s = 3, 4.0
    values = [estimate(normals(500, dims, 2 * i), math.sqrt(s) * normals(500, dims, 2 * i + 1)) for i in range(20)]
    expected = (1 + 3 / dims) + (1 + 3 * s * s / dims) - 2 * (1 + 3 * s / dims)
    mean = sum(value for value, _ in values) / 20
    error = math.sqrt(sum(variance for _, variance in values)) / 20
    assert mean == pytest.approx(expected, abs=4 * error)
    assert error < 0.1 * expected


@pytest.mark.parametrize("kernel", [polynomial, gaussians([0.5, 2.0])], ids=["polynomial", "gaussians"])
@pytest.mark.parametrize(("shift", "sizes"), [(0.0, (150, 150)), (0.0, (100, 300)), (0.6, (120, 200))])
def test_the_mean_is_unbiased_and_the_error_is_the_spread(kernel, shift, sizes):
    n, m = sizes
    draws = [estimate(normals(n, 3, 2 * i) + shift, normals(m, 3, 2 * i + 1), kernel) for i in range(150)]
    values = torch.tensor([value for value, _ in draws], dtype=torch.float64)
    spread = values.std().item()
    typical = math.sqrt(sum(variance for _, variance in draws) / len(draws))
    if shift == 0:
        assert 0.9 * spread < typical < 1.4 * spread
        assert abs(values.mean().item()) < 3.5 * spread / math.sqrt(len(draws))
        assert 0.3 < (values < 0).to(torch.float64).mean() < 0.8
    else:
        assert typical == pytest.approx(spread, rel=0.2)
        assert values.mean() > spread


def test_by_many_dimensions_in_float32_is_that_of_float64_to_its_digits():
    dims = FLOAT32_DIMS
    train, samples = normals(200, dims).abs(), normals(150, dims, 1).abs() * 1.1
    found = score(ready(Kid(KidConfig()), reference_of(train)), samples)[NAME]
    value, variance = estimate(samples, train)
    assert found.value == pytest.approx(value, rel=1e-5)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-4)


@pytest.mark.parametrize("num_shards", [2, 64])
@pytest.mark.parametrize("metric", [lambda: Kid(KidConfig(max_examples=200)), lambda: Mmd(MmdConfig(max_examples=200))])
def test_shards_change_nothing_at_all(metric, num_shards):
    made = ready(metric(), reference_of(normals(300, 5)))
    samples = normals(260, 5, 1) * 1.2
    assert score(made, samples) == score(made, samples, num_shards)


def test_a_third_moment_alone_is_seen_by_kid_and_a_hole_by_mmd():
    train = normals(1500, 2)
    skewed = (normals(1500, 2, 1).square() - 1) / math.sqrt(2)  # same mean and covariance
    found = score(ready(Kid(KidConfig()), reference_of(train)), skewed)[NAME]
    assert found.value > 3 * found.standard_error
    ring = normals(800, 2, 1)
    ring = ring / torch.linalg.vector_norm(ring, dim=1, keepdim=True) * math.sqrt(2)  # likewise
    found = score(ready(Mmd(MmdConfig()), reference_of(train)), ring)["MMD²"]
    assert found.value > 10 * found.standard_error


def test_the_unit_of_bandwidth_is_the_median_distance_between_training_examples():
    train, samples = normals(200, 3), normals(150, 3, 1) + 0.3
    expected, _ = estimate(samples, train, gaussians([0.7 * median_distance(train[:1000])]))
    found = score(ready(Mmd(MmdConfig(bandwidths=(0.7,))), reference_of(train)), samples)["MMD²"]
    assert found.value == pytest.approx(expected, rel=1e-9)
    # So units of the data do not matter.
    again = score(ready(Mmd(MmdConfig(bandwidths=(0.7,))), reference_of(1e3 * train)), 1e3 * samples)["MMD²"]
    assert again.value == pytest.approx(expected, rel=1e-9)


def test_training_data_without_distances_is_refused():
    with pytest.raises(GenpipeError, match="half of all pairs are the same"):
        ready(Mmd(MmdConfig()), reference_of(torch.ones(20, 3, dtype=torch.float64)))


def test_too_few_examples_are_named():
    metric = ready(Kid(KidConfig()), reference_of(normals(20, 3)))
    with pytest.raises(GenpipeError, match="needs pairs, got 1 example of the row"):
        score(metric, normals(1, 3))
    found = score(metric, normals(2, 3))[NAME]
    assert found.standard_error is None
    assert "fewer than 3" in found.notes[0]


def test_kid_is_that_of_torch_fidelity():
    """All examples as one subset are the U-statistic itself."""
    fidelity = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    train, samples = normals(300, 64), normals(300, 64, 1) * 1.1
    expected = fidelity.kid_features_to_metric(
        train, samples, kid_subsets=1, kid_subset_size=300, kid_degree=3, kid_gamma=None, kid_coef0=1, rng_seed=0,
        verbose=False,
    )  # fmt: skip
    found = score(ready(Kid(KidConfig()), reference_of(train)), samples)[NAME]
    assert found.value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_is_the_estimator_written_out():
    train, samples = normals(90, 6).numpy(), normals(70, 6, 1).numpy() + 0.4
    kernel = [(a @ b.T / 6 + 1) ** 3 for a, b in ((samples, samples), (train, train), (samples, train))]
    own = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    found = score(ready(Kid(KidConfig()), reference_of(torch.from_numpy(train))), torch.from_numpy(samples))[NAME]
    assert found.value == pytest.approx(sum(own) - 2 * kernel[2].mean(), rel=1e-12)
