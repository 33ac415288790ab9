import pytest

from genpipe.errors import GenpipeError
from genpipe.plugins.prdc.config import PrdcConfig
from genpipe.plugins.prdc.metric import Prdc
from tests.metrics import normals, ready, reference_of, score


def prepared(train, **options):
    return ready(Prdc(PrdcConfig(**options)), reference_of(train))


def test_the_numbers_are_those_of_the_package_prdc():
    compute = pytest.importorskip("prdc").compute_prdc
    real, fake = normals(400), normals(400, seed=1) * 0.8 + 0.3
    expected = compute(real.numpy(), fake.numpy(), nearest_k=5)
    found = score(prepared(real), fake)
    assert {name: cell.value for name, cell in found.items()} == pytest.approx(expected, abs=1e-12)


def test_coverage_of_another_draw_is_its_known_value():
    num, k = 1500, 5
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (num - i) / (2 * num - i)
    cells = score(prepared(normals(num)), normals(num, seed=1))
    assert cells["coverage"].value == pytest.approx(1 - missed, abs=4 * cells["coverage"].standard_error)
    assert cells["density"].value == pytest.approx(1, abs=4 * cells["density"].standard_error)


def test_a_missing_half_costs_recall_and_coverage_and_noise_costs_precision_and_density():
    real, fake = normals(800, 2), normals(800, 2, seed=1)
    real[::2] += 100
    found = score(prepared(real), fake)
    assert found["precision"].value > 0.9
    assert found["recall"].value < 0.55
    assert found["coverage"].value < 0.55
    fake[::2] = 1000 * normals(400, 2, seed=2)
    found = score(prepared(real), fake)
    assert found["precision"].value < 0.55
    assert found["density"].value < 0.8


def test_copies_score_full_marks():
    real = normals(100)
    found = score(prepared(real), real)
    assert all(found[name].value == 1 for name in ("precision", "recall", "coverage"))
    assert found["precision"].standard_error > 0


@pytest.mark.parametrize("num_shards", [2, 7, 64])
def test_the_part_of_many_examples_is_the_same_in_any_shards(num_shards):
    metric = prepared(normals(300), max_examples=120)
    samples = normals(250, seed=1)
    one, many = score(metric, samples), score(metric, samples, num_shards)
    assert one["precision"].num == 120
    assert {n: c.value for n, c in one.items()} == {n: c.value for n, c in many.items()}


def test_fewer_samples_meet_as_few_training_examples_and_more_are_said():
    metric = prepared(normals(300))
    assert score(metric, normals(100, seed=1))["coverage"].value == pytest.approx(1 - 0.5**5, abs=0.12)
    assert "400 samples against 300" in score(metric, normals(400, seed=1))["recall"].notes[0]


def test_too_few_examples_are_refused():
    with pytest.raises(GenpipeError, match="k = 5 neighbours need more than 5 examples, got 5 of the training split"):
        prepared(normals(5))
    with pytest.raises(GenpipeError, match="got 3 of the row"):
        score(prepared(normals(50), k=3), normals(3))
