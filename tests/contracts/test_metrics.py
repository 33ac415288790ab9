"""What every registered metric keeps, ours and a stranger's alike."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from genpipe import components
from genpipe.components import LikelihoodKind
from genpipe.dataspec import DataSpec
from genpipe.evaluation import Estimate, Metric, Modes, Reference, Shard, State
from genpipe.model import LogProb
from genpipe.registry import registry

METRICS = [provided.record for provided in registry().all("metric")]
NUM = 256


def images(seed: int) -> Tensor:
    """Blurred blobs of 17 levels, (NUM, 1, 3, 4)."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.rand(NUM, 1, 1, 1, generator=generator)
    return (16 * (0.6 * common + 0.4 * torch.rand(NUM, 1, 3, 4, generator=generator))).to(torch.uint8)


def points(seed: int) -> Tensor:
    return torch.randn(NUM, 3, generator=torch.Generator().manual_seed(seed)) * 2 + 1


SPECS = {
    "images": DataSpec(name="images", event="image", shape=(1, 3, 4), levels=17),
    "points": DataSpec(name="points", event="vector", shape=(3,), mean=(1.0,) * 3, std=(2.0,) * 3),
}
DATA = {"images": images, "points": points}
# Of the points: what metrics need that compare densities.
TRUTH = {
    "log_density": lambda x: -0.125 * (x.to(torch.float64) - 1).square().sum(1) - 1.5 * math.log(8 * math.pi),
    "score": lambda x: -0.25 * (x.to(torch.float64) - 1),
    "modes": Modes(torch.ones(1, 3, dtype=torch.float64), 2.0),
}


def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
    """Differs between examples, and between seeds as dequantised likelihoods do."""
    nats = -0.5 * x.to(torch.float64).flatten(1).square().sum(1) - 0.01 * seed
    return LogProb(nats, "lower_bound")


def features(x: Tensor) -> Tensor:
    return x.to(torch.float64).flatten(start_dim=1)


def logits(x: Tensor) -> Tensor:
    """Of three classes, (B, 3)."""
    return features(x)[:, :3]


def prepared(record: components.Metric, name: str, num_shards: int = 1) -> Metric:
    """Made ready with real data in so many shards."""
    metric: Metric = record.builder(record.config_class())
    real = {"train": DATA[name](0), "held_out": DATA[name](1)}
    metric.prepare(
        Reference(
            spec=SPECS[name],
            train=real["train"],
            held_out=real["held_out"],
            train_features=features(real["train"]),
            held_out_features=features(real["held_out"]),
            extractor="identity",
            fingerprint="identity",
            **(TRUTH if name == "points" else {}),
        )
    )
    wanted = {row: shards(name, num_shards, real[row]) for row in metric.calibrates_on}
    metric.calibrate({row: merged(metric, [metric.shard(s) for s in parts]) for row, parts in wanted.items()})
    return metric


def shard(x: Tensor, held_out: Tensor, first_index: int = 0) -> Shard:
    return Shard(
        x=x,
        features=features(x),
        logits=logits(x),
        held_out=held_out,
        y=torch.arange(first_index, first_index + len(x)) % 3,
        first_index=first_index,
        log_prob=log_prob,
    )


def shards(name: str, num_shards: int, x: Tensor | None = None) -> list[Shard]:
    start, made = 0, []
    for part in (DATA[name](2) if x is None else x).chunk(num_shards):
        held_out = DATA[name](1)[start : start + len(part)]
        made.append(shard(part, held_out, start))
        start += len(part)
    return made


def merged(metric: Metric, states: list[State]) -> State:
    whole = states[0]
    for state in states[1:]:
        whole = metric.merge(whole, state)
    return whole


def assert_equal(first: list[Estimate], second: list[Estimate]) -> None:
    assert [e.name for e in first] == [e.name for e in second]
    for one, other in zip(first, second, strict=True):
        # Traces of covariances, and a jackknife's correction, are differences of numbers many times their size.
        assert other.value == pytest.approx(one.value, rel=1e-12, abs=1e-11), one.name
        assert (one.standard_error is None) == (other.standard_error is None)
        if one.standard_error is not None:
            assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9, abs=1e-12), one.name
        assert (one.kind, one.num, one.notes) == (other.kind, other.num, other.notes)


CASES = [
    pytest.param(record, data, id=f"{data}-{record.name}")
    for data in DATA
    for record in METRICS
    if record.needs != "densities" or data == "points"
]
pytestmark = pytest.mark.parametrize(("record", "data"), CASES)


def test_cells_are_finite_named_and_counted(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    cells = metric.result(merged(metric, [metric.shard(part) for part in shards(data, 4)]))
    assert cells
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.name.strip()
        assert math.isfinite(cell.value)
        assert cell.standard_error is None or cell.standard_error >= 0
        assert cell.kind is None or cell.kind in get_args(LikelihoodKind)
        assert cell.better in ("higher", "lower", None)
        assert cell.num == NUM


def test_only_likelihoods_have_a_kind_and_it_is_the_models(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    kinds = {cell.kind for cell in metric.result(metric.shard(shards(data, 1)[0]))}
    if record.needs == "likelihood":
        assert "lower_bound" in kinds
    allowed = {"lower_bound"} if record.needs in ("likelihood", "densities") else set()
    assert kinds <= allowed | {None}


def test_shards_change_nothing(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    whole = metric.result(metric.shard(shards(data, 1)[0]))
    for num_shards in (2, 64):
        assert_equal(whole, metric.result(merged(metric, [metric.shard(s) for s in shards(data, num_shards)])))


def test_shards_of_the_real_data_that_it_calibrates_on_change_nothing(record: components.Metric, data: str) -> None:
    assert set(prepared(record, data).calibrates_on) <= {"train", "held_out"}
    assert record.needs not in ("likelihood", "densities") or not prepared(record, data).calibrates_on
    example = shards(data, 1)[0]
    whole, parts = (prepared(record, data, num_shards) for num_shards in (1, 7))
    assert_equal(whole.result(whole.shard(example)), parts.result(parts.shard(example)))


def test_a_process_that_gives_results_need_not_be_one_that_saw_examples(record: components.Metric, data: str) -> None:
    here, there = prepared(record, data), prepared(record, data)
    state = here.shard(shards(data, 1)[0])
    assert_equal(here.result(state), there.result({name: tensor.clone() for name, tensor in state.items()}))


def test_merging_is_associative_and_takes_any_order(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    a, b, c = (metric.shard(part) for part in shards(data, 3))
    left = metric.result(metric.merge(metric.merge(a, b), c))
    assert_equal(left, metric.result(metric.merge(a, metric.merge(b, c))))
    assert_equal(left, metric.result(metric.merge(c, metric.merge(b, a))))


def test_states_are_plain_tensors_that_merging_leaves_alone(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    a, b = (metric.shard(part) for part in shards(data, 2))
    before = {name: tensor.clone() for name, tensor in a.items()}
    together = metric.merge(a, b)
    for name, tensor in together.items():
        assert tensor.dtype in (torch.float64, torch.int64), name
        assert torch.equal(a[name], before[name]), name


def test_a_metric_can_score_row_after_row(record: components.Metric, data: str) -> None:
    metric = prepared(record, data)
    (whole,) = shards(data, 1)
    first = metric.result(metric.shard(whole))
    metric.result(metric.shard(shard(DATA[data](3), DATA[data](1))))
    assert_equal(first, metric.result(metric.shard(whole)))
