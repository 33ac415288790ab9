import pytest
import torch
from scipy.stats import mannwhitneyu

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Reference, Shard
from genpipe.plugins.novelty.cells import centres, data_copying, z_score
from genpipe.plugins.novelty.config import NoveltyConfig
from genpipe.plugins.novelty.metric import AUTHENTICITY, C_T, COPIES, RATIO, Novelty
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
    assert cell.value == pytest.approx(percent, abs=1)


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


def test_authenticity_has_the_honest_baseline_of_held_out_data_beside_it(metric, train):
    cells = score(metric, normals(2000, 8))
    baseline = score(metric, normals(2000, 1))[AUTHENTICITY].value
    assert 40 < baseline < 60  # in four dimensions
    assert cells[AUTHENTICITY].value == pytest.approx(baseline, abs=4 * cells[AUTHENTICITY].standard_error)
    assert cells[AUTHENTICITY].notes == (f"held-out data gets {baseline:.1f} %",)
    assert score(metric, train[:500])[AUTHENTICITY].value == 0


def test_c_t_is_near_zero_for_new_draws_far_below_for_copies_and_far_above_for_noise(metric, train):
    fresh = score(metric, normals(2000, 9))[C_T]
    assert abs(fresh.value) < 3 * fresh.standard_error + 1e-9
    assert fresh.notes == ()
    copied = score(metric, train[:2000] + 0.01 * normals(2000, 10))[C_T]
    assert copied.value < -5
    assert "copying" in copied.notes[0]
    noisy = score(metric, 2 * normals(2000, 11))[C_T]
    assert noisy.value > 5
    assert "underfitting" in noisy.notes[0]


def test_c_t_scatters_by_its_standard_error_where_nothing_is_copied(metric):
    cells = [score(metric, normals(2000, seed))[C_T] for seed in range(20, 32)]
    assert all(abs(cell.value) < 4 * cell.standard_error for cell in cells)
    spread = torch.tensor([cell.value for cell in cells]).std()
    assert 0.3 < float(spread) / cells[0].standard_error < 2


@pytest.mark.parametrize("step", [0.001, 0.5])
def test_the_z_score_is_that_of_mann_and_whitney_with_and_without_ties(step):
    generator = torch.Generator().manual_seed(12)
    first, second = ((torch.randn(n, generator=generator).double() / step).round() * step for n in (70, 45))
    expected = mannwhitneyu(
        first.numpy(), second.numpy(), alternative="less", method="asymptotic", use_continuity=False
    )
    z = torch.tensor(z_score(first, second), dtype=torch.float64)
    assert float(torch.special.ndtr(z)) == pytest.approx(expected.pvalue, rel=1e-9)
    assert z_score(torch.zeros(5), torch.zeros(6)) == 0


def test_cells_with_few_examples_do_not_count_and_none_gives_no_number():
    cell = torch.tensor([0] * 30 + [1] * 5)
    distance = torch.rand(35, generator=torch.Generator().manual_seed(13)).double()
    found = data_copying(distance, cell, distance, cell, num_cells=2, min_in_cell=20)
    assert (found.num_used, found.num_cells, found.value, found.standard_error) == (1, 2, 0, 1)
    assert data_copying(distance, cell, distance, cell, num_cells=2, min_in_cell=40) is None


def test_cells_are_those_of_the_clusters():
    corners = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]], dtype=torch.float64)
    train = corners.repeat(50, 1) + 0.1 * normals(150, 14)[:, :2]
    found = centres(train, 3)
    assert torch.cdist(corners, found).min(dim=1).values.max() < 0.1
    assert len(centres(corners[:2], 5)) == 2
