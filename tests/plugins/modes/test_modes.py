import math

import pytest
import torch

from genpipe.dataspec import DataSpec
from genpipe.evaluation import Modes, Reference, Shard
from genpipe.plugins.modes.config import ModesConfig
from genpipe.plugins.modes.metric import COVERED, IN_A_MODE, KL, ModeCoverage

STD = 0.05
TICKS = torch.linspace(-4, 4, 5, dtype=torch.float64)
GRID = torch.cartesian_prod(TICKS, TICKS)
SPEC = DataSpec(name="grid", event="vector", shape=(2,))


def samples(modes, num, seed=0):
    """num of each mode."""
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(len(modes) * num, 2, generator=generator, dtype=torch.float64)
    return modes.repeat(num, 1) + STD * e


OF_GRID = Modes(GRID, STD)


def score(x, num_shards=1):
    metric = ModeCoverage(ModesConfig())
    metric.prepare(
        Reference(
            spec=SPEC, train=x, held_out=x, train_features=x, held_out_features=x, extractor="identity", modes=OF_GRID
        )
    )
    states = [metric.shard(Shard(x=part)) for part in x.chunk(num_shards)]
    whole = states[0]
    for state in states[1:]:
        whole = metric.merge(whole, state)
    return {cell.name: cell for cell in metric.result(whole)}


def test_a_grid_of_25_with_5_dropped_has_20_modes_and_the_logarithm_of_five_quarters():
    cells = score(samples(GRID[5:], 200))
    assert cells[COVERED].value == 20
    assert cells[KL].value == pytest.approx(math.log(25 / 20), abs=1e-3)
    assert abs(cells[KL].value - math.log(25 / 20)) < 3 * cells[KL].standard_error


def test_the_data_itself_covers_all_modes_and_its_divergence_is_within_its_error():
    generator = torch.Generator().manual_seed(1)
    x = GRID[torch.randint(25, (5000,), generator=generator)]
    cells = score(x + STD * torch.randn(5000, 2, generator=generator))
    assert cells[COVERED].value == 25
    assert cells[IN_A_MODE].value == pytest.approx(100 * (1 - math.exp(-4.5)), abs=4 * cells[IN_A_MODE].standard_error)
    assert 0 < cells[KL].value < 24 / 2 / 5000 + 4 * cells[KL].standard_error


def test_one_mode_is_one_and_the_logarithm_of_all():
    cells = score(samples(GRID[:1], 300))
    assert cells[COVERED].value == 1
    assert cells[KL].value == pytest.approx(math.log(25))


def test_noise_between_the_modes_is_told_by_the_share_in_one():
    generator = torch.Generator().manual_seed(2)
    cells = score(10 * torch.rand(5000, 2, generator=generator, dtype=torch.float64) - 5)
    assert cells[IN_A_MODE].value < 4


def test_samples_that_are_nowhere_are_infinitely_far():
    cells = score(torch.full((100, 2), 50.0))
    assert cells[COVERED].value == 0
    assert cells[KL].value == math.inf
    assert cells[KL].notes


def test_few_samples_are_said_to_be_few():
    assert "25 modes" in score(samples(GRID, 2))[KL].notes[0]


def test_data_without_modes_has_no_cells_and_says_why():
    metric, x = ModeCoverage(ModesConfig()), samples(GRID, 2)
    metric.prepare(
        Reference(spec=SPEC, train=x, held_out=x, train_features=x, held_out_features=x, extractor="identity")
    )
    assert metric.result(metric.shard(Shard(x=x))) == []
    assert "no modes" in metric.why_absent()


@pytest.mark.parametrize("num_shards", [2, 64])
def test_shards_change_nothing(num_shards):
    x = samples(GRID[3:], 30)
    assert score(x, num_shards) == score(x)
