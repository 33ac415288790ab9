import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Reference, Shard
from genpipe.plugins.novelty.config import NoveltyConfig
from genpipe.plugins.novelty.metric import COPIES, RATIO, Novelty
from tests.metrics import ready

SPEC = DataSpec(name="points", event="vector", shape=(4,))


def normals(num, seed):
    return torch.randn(num, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def train():
    return normals(3000, 0)


@pytest.fixture(scope="module")
def metric(train):
    held_out = normals(2000, 1)
    made = Novelty(NoveltyConfig())
    ready(
        made,
        Reference(
            spec=SPEC,
            train=train,
            held_out=held_out,
            train_features=train,
            held_out_features=held_out,
            extractor="identity",
        ),
    )
    return made


def score(metric, features, num_shards=1):
    state, start = None, 0
    for part in features.chunk(num_shards):
        shard = metric.shard(Shard(x=part, features=part, first_index=start))
        state = shard if state is None else metric.merge(state, shard)
        start += len(part)
    return {cell.name: cell for cell in metric.result(state)}


@pytest.mark.parametrize("percent", [0, 1, 5, 100])
def test_the_rate_of_planted_copies_comes_back(metric, train, percent):
    samples = normals(4000, 2)
    planted = 4000 * percent // 100
    samples[:planted] = train[torch.arange(planted) % len(train)]
    cell = score(metric, samples)[COPIES]
    assert cell.value == pytest.approx(percent, abs=max(3 * cell.standard_error, 0.8))


def test_held_out_data_itself_scores_zero(metric):
    assert score(metric, normals(2000, 1))[COPIES].value == pytest.approx(0, abs=1e-12)


def test_noise_far_from_everything_is_no_copy(metric):
    cells = score(metric, normals(500, 3) * 100)
    assert cells[COPIES].value == pytest.approx(-1, abs=0.1)
    assert cells[RATIO].value > 10


def test_new_draws_have_a_median_ratio_near_one_and_copies_zero(metric, train):
    assert score(metric, normals(1000, 4))[RATIO].value == pytest.approx(1, abs=0.15)
    assert score(metric, train[:100])[RATIO].value == 0


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(metric, num_shards):
    samples = normals(700, 5)
    one, many = score(metric, samples), score(metric, samples, num_shards)
    for name in one:
        assert many[name].value == pytest.approx(one[name].value, rel=1e-12)
        assert many[name].standard_error == pytest.approx(one[name].standard_error, rel=1e-12)


def test_copies_of_a_duplicated_training_example_are_copies():
    train = torch.cat([normals(200, 6), normals(200, 6)])
    made = Novelty(NoveltyConfig())
    ready(
        made,
        Reference(
            spec=SPEC, train=train, held_out=normals(200, 7), train_features=train,
            held_out_features=normals(200, 7), extractor="identity",
        ),
    )  # fmt: skip
    assert score(made, train[:50])[COPIES].value == pytest.approx(100)
