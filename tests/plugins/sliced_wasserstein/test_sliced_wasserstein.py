import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genpipe.errors import GenpipeError
from genpipe.plugins.sliced_wasserstein.config import SlicedWassersteinConfig
from genpipe.plugins.sliced_wasserstein.lines import monotone, transport
from genpipe.plugins.sliced_wasserstein.metric import SlicedWasserstein, directions
from tests.metrics import normals, ready, reference_of, score

W1, W2 = "sliced W1", "sliced W2"


def made(train, **options):
    return ready(SlicedWasserstein(SlicedWassersteinConfig(**options)), reference_of(train))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100), st.sampled_from([1, 2]))
def test_potentials_prove_that_the_cost_is_the_least(n, m, seed, order):
    """What the two potentials promise together is the cost, and nowhere more than moving costs: linear programming's
    certificate."""
    x, y = normals(n, 1, seed)[:, 0].sort().values[None], 2 * normals(m, 1, seed + 1)[:, 0].sort().values[None]
    cost, phi, psi = transport(x, y, order)
    assert phi.mean() + psi.mean() + _offset(x, y, phi, psi, order) == pytest.approx(cost.item(), abs=1e-9)
    slack = (x.T - y).abs() ** order - (phi.T + psi + _offset(x, y, phi, psi, order))
    assert slack.min() > -1e-9


def _offset(x, y, phi, psi, order):
    """Potentials are known up to a constant: that of the first piece."""
    return ((x[0, 0] - y[0, 0]).abs() ** order - phi[0, 0] - psi[0, 0]).item()


def test_the_monotone_coupling_has_the_weights_of_both_sides():
    coupling = monotone(4, 6)
    for place, num in ((coupling.first, 4), (coupling.second, 6)):
        torch.testing.assert_close(
            torch.bincount(place, coupling.mass), torch.full((num,), 1 / num, dtype=torch.float64)
        )


def test_the_numbers_are_those_of_pot():
    ot = pytest.importorskip("ot")
    train, samples = normals(120, 5), normals(90, 5, 1) * 1.3 + 0.2
    lines = directions(40, 5).T.numpy()
    found = score(made(train, num_projections=40), samples)
    for order, name in ((1, W1), (2, W2)):
        expected = ot.sliced_wasserstein_distance(samples.numpy(), train.numpy(), projections=lines, p=order)
        assert found[name].value == pytest.approx(expected, rel=1e-10)


def test_of_a_shift_is_its_length_over_the_root_of_the_dimension():
    train = normals(2000, 4)
    shift = torch.tensor([3.0, 0, -4, 0], dtype=torch.float64)
    cell = score(made(train, num_projections=2000), train + shift)[W2]
    assert cell.value**2 == pytest.approx(25 / 4, abs=4 * 2 * cell.value * cell.standard_error)
    assert cell.value**2 == pytest.approx(25 / 4, rel=0.06)


def test_of_a_set_and_itself_in_another_order_is_nothing():
    train = normals(300, 4)
    found = score(made(train), train.flip(0))
    assert found[W1].value == 0
    assert found[W2].value == 0
    assert found[W2].standard_error == 0


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    metric = made(normals(300, 5), max_examples=200)
    samples = normals(260, 5, 1) * 1.2
    one, many = score(metric, samples), score(metric, samples, num_shards)
    for name, cell in one.items():
        assert many[name].value == pytest.approx(cell.value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(cell.standard_error, rel=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_standard_error_is_the_spread_between_draws(order):
    """Of sampling; the lines are the same in all draws, and on a line there is but one."""
    values, errors = [], []
    for seed in range(100):
        train, samples = normals(150, 1, 2 * seed), normals(200, 1, 2 * seed + 1) * 1.5 + 0.7
        cell = score(made(train, num_projections=2), samples)[f"sliced W{order}"]
        values.append(cell.value)
        errors.append(cell.standard_error)
    assert sum(errors) / 100 == pytest.approx(torch.tensor(values).std().item(), rel=0.2)


def test_fewer_lines_have_a_larger_error():
    train, samples = normals(500, 30), normals(500, 30, 1) + torch.eye(30, dtype=torch.float64)[0]
    few, many = (score(made(train, num_projections=num), samples)[W2] for num in (16, 1024))
    assert few.standard_error > 1.5 * many.standard_error
    assert few.value == pytest.approx(many.value, abs=4 * few.standard_error)


def test_one_example_is_refused():
    with pytest.raises(GenpipeError, match="at least 2 examples, got 1 of the row"):
        score(made(normals(20)), normals(1))


def test_two_draws_of_one_distribution_are_apart_by_less_the_more_there_are():
    few, many = (score(made(normals(num, 2)), normals(num, 2, 1))[W1].value for num in (100, 6400))
    assert 0 < many < few / 4
    assert math.isfinite(few)
