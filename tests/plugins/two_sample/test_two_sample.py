import math

import pytest
import torch

from genpipe.errors import GenpipeError
from genpipe.plugins.two_sample.classifiers import CLASSIFIERS
from genpipe.plugins.two_sample.config import TwoSampleConfig
from genpipe.plugins.two_sample.metric import TwoSample
from tests.metrics import normals, ready, reference_of, score

ACCURACY, P_VALUE = "two-sample accuracy", "two-sample p-value"
KINDS = list(CLASSIFIERS)


def made(train, **options):
    return ready(TwoSample(TwoSampleConfig(**options)), reference_of(train))


@pytest.mark.parametrize(("kind", "short"), [("logistic", 0.0), ("mlp", 0.02), ("knn", 0.02)])
def test_a_shift_reaches_what_the_best_of_all_rules_does(kind, short):
    mu = 1.5
    cell = score(made(normals(4000, 1), classifier=kind), normals(4000, 1, 1) + mu)[ACCURACY]
    best = 0.5 * math.erfc(-mu / 2 / math.sqrt(2))
    assert cell.value == pytest.approx(best - short / 2, abs=short / 2 + 4 * cell.standard_error)


@pytest.mark.parametrize("kind", KINDS)
def test_of_equal_distributions_is_a_half_and_p_values_are_uniform(kind):
    cells = [score(made(normals(200, 3, 2 * i), classifier=kind), normals(200, 3, 2 * i + 1)) for i in range(12)]
    assert sum(c[ACCURACY].value for c in cells) / 12 == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(12 * 200))
    assert 0.2 < sum(c[P_VALUE].value for c in cells) / 12 < 0.8
    assert sum(c[P_VALUE].value < 0.05 for c in cells) <= 3


@pytest.mark.parametrize("kind", ["mlp", "knn"])
def test_a_spread_is_seen_where_a_plane_sees_nothing(kind):
    train, samples = normals(2000, 4), 2 * normals(2000, 4, 1)
    found = score(made(train, classifier=kind), samples)
    assert found[ACCURACY].value > 0.6
    assert found[P_VALUE].value < 1e-6
    plane = score(made(train, classifier="logistic"), samples)[ACCURACY]
    assert plane.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_change_nothing_at_all(kind):
    metric = made(normals(300, 5), classifier=kind, max_examples=200)
    samples = normals(260, 5, 1) * 1.2
    one = score(metric, samples)
    assert one == score(metric, samples, 2) == score(metric, samples, 64)
    assert one[ACCURACY].num == 200


def test_the_p_value_is_that_of_as_many_tosses():
    found = score(made(normals(400, 2), classifier="logistic"), normals(400, 2, 1) + 0.3)
    z = (found[ACCURACY].value - 0.5) * 2 * math.sqrt(400)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert found[P_VALUE].value == pytest.approx(1 - normal.cdf(torch.tensor(z)).item(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features_say_nothing(kind):
    cell = score(made(torch.ones(50, 3, dtype=torch.float64), classifier=kind), torch.ones(50, 3, dtype=torch.float64))
    assert cell[ACCURACY].value == pytest.approx(0.5, abs=1e-9)


def test_few_examples_are_said_and_fewer_refused():
    cell = score(made(normals(60)), normals(60, seed=1))[ACCURACY]
    assert "60 test examples: an accuracy below 0.61 cannot be told from chance" in cell.notes[0]
    with pytest.raises(GenpipeError, match="at least 4 examples on either side, got 3 of the row and 60"):
        score(made(normals(60)), normals(3, seed=1))
