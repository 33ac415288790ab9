import math

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.errors import GenpipeError
from genpipe.evaluation import Reference, Shard
from genpipe.model import Estimator, LogProb
from genpipe.plugins.likelihood.config import LikelihoodConfig
from genpipe.plugins.likelihood.metric import BITS, ENERGY, NATS, Likelihood

IMAGES = DataSpec(name="images", event="image", shape=(1, 2, 2), levels=256)
POINTS = DataSpec(name="points", event="vector", shape=(2,), mean=(0.0, 0.0), std=(1.0, 1.0))


def prepared(spec, **options):
    metric = Likelihood(LikelihoodConfig(**options))
    x = torch.zeros(4, *spec.shape)
    f = x.flatten(1).double()
    metric.prepare(
        Reference(spec=spec, train=x, held_out=x, train_features=f, held_out_features=f, extractor="identity")
    )
    return metric


def score(metric, x, log_prob, num_shards=1, estimators=None):
    state, start = None, 0
    for part in x.chunk(num_shards):
        shard = metric.shard(Shard(x=part, first_index=start, log_prob=log_prob, estimators=estimators or {}))
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    return {cell.name: cell for cell in metric.result(state)}


def constant(nats, kind="exact"):
    return lambda x, y=None, *, seed=0, first_index=0: LogProb(torch.full((len(x),), nats), kind)


def standard_normal(x, y=None, *, seed=0, first_index=0):
    return LogProb((-0.5 * x.double().square() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1), "exact")


def test_uniform_over_256_levels_is_exactly_8_bits_per_dimension():
    cells = score(prepared(IMAGES), torch.zeros(10, 1, 2, 2, dtype=torch.uint8), constant(-4 * math.log(256)))
    assert cells[BITS].value == pytest.approx(8, abs=1e-6)
    assert cells[BITS].standard_error == 0
    assert cells[BITS].better == "lower"
    assert cells[NATS].better == "higher"


def test_real_values_have_no_bits_per_dimension():
    assert list(score(prepared(POINTS), torch.zeros(4, 2), standard_normal)) == [NATS]


def test_mean_and_standard_error_are_those_over_examples():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    nats = standard_normal(x).nats
    cell = score(prepared(POINTS), x, standard_normal)[NATS]
    assert cell.value == pytest.approx(nats.mean().item(), rel=1e-12)
    assert cell.standard_error == pytest.approx(nats.std().item() / math.sqrt(500), rel=1e-9)
    assert cell.num == 500


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(1)) * 10
    one = score(prepared(POINTS), x, standard_normal)[NATS]
    many = score(prepared(POINTS), x, standard_normal, num_shards)[NATS]
    assert many.value == pytest.approx(one.value, rel=1e-12)
    assert many.standard_error == pytest.approx(one.standard_error, rel=1e-12)


def test_kinds_never_mix():
    metric = prepared(POINTS)
    x = torch.zeros(3, 2)
    exact, bound = (metric.shard(Shard(x=x, log_prob=constant(0.0, k))) for k in ("exact", "lower_bound"))
    with pytest.raises(GenpipeError, match="exact and lower_bound"):
        metric.merge(exact, bound)


def test_an_energy_is_not_shown_as_a_likelihood():
    cells = score(prepared(IMAGES), torch.zeros(4, 1, 2, 2, dtype=torch.uint8), constant(3.0, "unnormalized"))
    assert list(cells) == [ENERGY]
    assert cells[ENERGY].better is None


def test_dequantisations_are_averaged_over_their_seeds():
    seen = []

    def log_prob(x, y=None, *, seed=0, first_index=0):
        seen.append(seed)
        return LogProb(torch.full((len(x),), float(seed)), "exact")

    metric = prepared(IMAGES, num_dequantisations=4)
    cell = score(metric, torch.zeros(2, 1, 2, 2, dtype=torch.uint8), log_prob)[NATS]
    assert seen == [0, 1, 2, 3]
    assert cell.value == pytest.approx(1.5)


def test_an_impossible_example_makes_the_mean_minus_infinity_and_says_so():
    def log_prob(x, y=None, *, seed=0, first_index=0):
        return LogProb(torch.tensor([-1.0, -math.inf]), "exact")

    cell = score(prepared(POINTS), torch.zeros(2, 2), log_prob)[NATS]
    assert cell.value == -math.inf
    assert "1 of 2" in cell.notes[0]


def test_nan_is_an_error():
    with pytest.raises(GenpipeError, match="NaN for 3 of 3"):
        score(prepared(POINTS), torch.zeros(3, 2), constant(math.nan))


def estimator(gain=0.5, kind="lower_bound", check=None):
    """The standard normal's log-density and `gain`, of K = 7 where none is asked for."""

    def log_prob(x, y=None, *, estimator, seed=0, first_index=0):
        nats = standard_normal(x).nats + gain
        chosen = Estimator(name=estimator.name, num_samples=estimator.num_samples or 7)
        return LogProb(nats, kind, check=None if check is None else torch.full((len(x),), check), estimator=chosen)

    return log_prob


def test_each_estimator_has_columns_of_its_own_with_its_kind_and_its_size():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
    metric = prepared(POINTS, estimators=({"name": "iwae"}, {"name": "iwae", "num_samples": 64}, {"name": "missing"}))
    cells = score(metric, x, standard_normal, estimators={"iwae": estimator()})
    assert list(cells) == [NATS, "IWAE, 7 samples [nats]", "IWAE, 64 samples [nats]"]
    assert cells[NATS].kind == "exact"
    assert cells["IWAE, 64 samples [nats]"].kind == "lower_bound"
    assert cells["IWAE, 64 samples [nats]"].value == pytest.approx(cells[NATS].value + 0.5)
    assert list(score(metric, x, standard_normal)) == [NATS]


def test_an_estimator_on_integers_has_bits_per_dimension_too():
    metric = prepared(IMAGES, estimators=({"name": "iwae"},))
    cells = score(
        metric,
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        constant(-4 * math.log(256)),
        estimators={"iwae": lambda x, y=None, **_: LogProb(torch.full((len(x),), -4 * math.log(128)), "lower_bound")},
    )
    assert cells[BITS].value == pytest.approx(8, abs=1e-6)
    assert cells["IWAE [bits/dim]"].value == pytest.approx(7, abs=1e-6)


def test_a_check_that_finds_too_few_steps_is_told_beside_the_number_it_is_of():
    metric = prepared(POINTS, estimators=({"name": "probability_flow"},))
    x = torch.zeros(20, 2)
    bad = score(metric, x, standard_normal, estimators={"probability_flow": estimator(kind="estimate", check=0.85)})
    assert bad["step-halving error [nats]"].value == pytest.approx(0.85)
    assert "+0.85 nats" in bad["probability flow, 7 samples [nats]"].notes[0]
    good = score(metric, x, standard_normal, estimators={"probability_flow": estimator(kind="estimate", check=0.01)})
    assert good["probability flow, 7 samples [nats]"].notes == ()
    assert good["step-halving error [nats]"].value == pytest.approx(0.01)


@pytest.mark.parametrize("num_shards", [1, 2, 64])
def test_an_estimator_is_asked_about_the_first_examples_alone(num_shards):
    asked = []

    def log_prob(x, y=None, *, estimator, seed=0, first_index=0):
        asked.extend(range(first_index, first_index + len(x)))
        return LogProb(x[:, 0].double(), "lower_bound", check=x[:, 1].double())

    metric = prepared(POINTS, estimators=({"name": "ais", "max_examples": 70},))
    x = torch.randn(128, 2, generator=torch.Generator().manual_seed(4))
    cells = score(metric, x, standard_normal, num_shards, estimators={"ais": log_prob})
    assert asked == list(range(70))
    assert cells["AIS [nats]"].num == 70
    assert cells["AIS [nats]"].value == pytest.approx(float(x[:70, 0].double().mean()), rel=1e-12)
    assert cells["AIS gap on own samples [nats]"].value == pytest.approx(float(x[:70, 1].double().mean()), rel=1e-12)
    assert cells[NATS].num == 128


@pytest.mark.parametrize("num_shards", [1, 8])
def test_an_error_that_all_examples_share_is_not_averaged_away(num_shards):
    def log_prob(x, y=None, *, estimator, seed=0, first_index=0):
        return LogProb(x[:, 0].double(), "estimate", shared_error=0.3)

    metric = prepared(POINTS, estimators=({"name": "ais"},))
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(5))
    cell = score(metric, x, standard_normal, num_shards, estimators={"ais": log_prob})["AIS [nats]"]
    assert cell.standard_error == pytest.approx(math.hypot(0.3, float(x[:, 0].double().std()) / 20), rel=1e-9)


def test_nan_from_an_estimator_names_it():
    metric = prepared(POINTS, estimators=({"name": "ais"},))
    with pytest.raises(GenpipeError, match="ais gave NaN for 3 of 3"):
        score(metric, torch.zeros(3, 2), standard_normal, estimators={"ais": estimator(gain=math.nan)})
