"""What every family that trains by gradients keeps under the shared loop: the same result for any number of workers,
any cut into micro-batches, and after any kill."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from genpipe.components import Family
from genpipe.model import Model
from genpipe.steps import ProgressFile
from genpipe.training import blocks, checkpoints
from genpipe.training.config import TrainConfig
from genpipe.training.group import Group
from genpipe.training.loop import TrainResult, build_model, train
from tests.contracts.cases import SPLITS, Case, defaults, members
from tests.training.lockstep import in_lockstep
from tests.training.loose_state import Snapshot
from tests.training.processes import in_processes
from tests.training.toys import StopAt, same_weights

GRADIENT_CASES = [
    pytest.param(case.family, case.event, id=str(case)) for case in defaults() if case.family.training == "gradient"
]
STEPS = 4

Weights = Mapping[str, torch.Tensor]


def trained(
    family: Family,
    event: str,
    scratch: Path,
    group: Group | None = None,
    progress: ProgressFile | None = None,
    model: Model | None = None,
    **options: Any,
) -> tuple[Model, TrainResult]:
    split = SPLITS[event]
    dropout = {"dropout": 0.2} if "dropout" in family.config_class.model_fields else {}
    model = model or build_model(family, family.config_class(**dropout), split.spec, seed=0)
    config = TrainConfig(
        **{"steps": STEPS, "batch_size": 12, "warmup_steps": 0, "log_every": 1, "ema_decay": 0.5, **options}
    )
    result = train(
        model,
        split,
        config,
        seed=3,
        device="cpu",
        scratch=scratch,
        progress=progress or ProgressFile(None),
        group=group,
    )
    return model, result


_alone: dict[tuple[str, str], tuple[Model, TrainResult]] = {}


def trained_alone(family: Family, event: str, scratch: Path) -> tuple[Model, TrainResult]:
    """By one worker, made once per module."""
    key = (family.name, event)
    if key not in _alone:
        _alone[key] = trained(family, event, scratch)
    return _alone[key]


def weights_of(trained: tuple[Model, TrainResult]) -> tuple[Weights, TrainResult]:
    return trained[0].state_dict(), trained[1]


def assert_same_to_rounding(first: tuple[Weights, TrainResult], second: tuple[Weights, TrainResult]) -> None:
    for ours, theirs in zip(first[1].history, second[1].history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    for name, tensor in first[0].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, second[0][name], rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("family", "event"), GRADIENT_CASES)
@pytest.mark.parametrize("num_workers", [2, 4])
def test_any_number_of_workers_follows_one_workers_curve(
    num_workers: int, family: Family, event: str, tmp_path: Path
) -> None:
    alone = trained_alone(family, event, tmp_path / "alone")
    workers = in_lockstep(num_workers, lambda group: trained(family, event, tmp_path / "group", group))
    for worker in workers:
        if isinstance(worker, Exception):
            raise worker
        assert same_weights(worker[0], workers[0][0])
        assert worker[1].history == workers[0][1].history
    assert_same_to_rounding(weights_of(workers[0]), weights_of(alone))


def train_in_parts(group: Group, folder: Path) -> dict[str, Any]:
    """What every gradient family gives that trains with its weights in parts, from the start and from a checkpoint.

    folder: named by the kind of data.
    """
    blocks.MIN_BLOCK = 200  # so that families this small have some
    given = {}
    for case in GRADIENT_CASES:
        family, event = case.values
        if event != folder.name:
            continue
        scratch = folder / family.name  # type: ignore[union-attr]
        runs = []
        for _ in range(2):
            model, result = trained(family, event, scratch, group, parallel="shard", checkpoint_every=2)  # type: ignore[arg-type]
            runs.append((model.state_dict(), result))
            if group.rank == 0:
                shutil.rmtree(scratch / f"{checkpoints.PREFIX}{STEPS:08d}")
            group.tell(None)
        given[family.name] = runs  # type: ignore[union-attr]
    return given


_in_parts: dict[str, list[dict[str, Any]]] = {}


def in_parts(event: str, folder: Path) -> list[dict[str, Any]]:
    """What each of two processes gave on a kind of data; started once per module."""
    if event not in _in_parts:
        (folder / event).mkdir()
        _in_parts[event] = in_processes(2, f"{__name__}:{train_in_parts.__name__}", folder / event)
    return _in_parts[event]


# Networks of images take their time; vectors have the same loop, optimisers and blocks.
CASES_IN_PARTS = [
    pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] if case.values[1] != "vector" else [])
    for case in GRADIENT_CASES
]


@pytest.mark.parametrize(("family", "event"), CASES_IN_PARTS)
def test_weights_in_parts_follow_one_workers_curve_and_go_on_to_the_same_bits(
    family: Family, event: str, tmp_path: Path
) -> None:
    alone = trained_alone(family, event, tmp_path)
    for worker in in_parts(event, tmp_path):
        (weights, result), (resumed_weights, resumed) = worker[family.name]
        assert_same_to_rounding((weights, result), weights_of(alone))
        assert resumed.resumed_from == 2
        assert all(torch.equal(tensor, resumed_weights[name]) for name, tensor in weights.items())


@pytest.mark.parametrize(("family", "event"), GRADIENT_CASES)
def test_micro_batches_follow_the_whole_batchs_curve(family: Family, event: str, tmp_path: Path) -> None:
    cut = trained(family, event, tmp_path / "cut", accumulation=3)
    assert_same_to_rounding(weights_of(cut), weights_of(trained_alone(family, event, tmp_path / "alone")))


@pytest.mark.parametrize(("family", "event"), GRADIENT_CASES)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    num_workers: int, family: Family, event: str, tmp_path: Path
) -> None:
    def go(name: str, progress: ProgressFile | None = None) -> list[Any]:
        if num_workers == 1:
            return in_lockstep(1, lambda _: trained(family, event, tmp_path / name, None, progress, checkpoint_every=2))
        return in_lockstep(
            num_workers, lambda group: trained(family, event, tmp_path / name, group, progress, checkpoint_every=2)
        )

    straight = go("straight")
    assert all(isinstance(error, Exception) for error in go("killed", StopAt(3)))
    for (model, result), (expected, _) in zip(go("killed"), straight, strict=True):
        assert result.resumed_from == 2
        assert same_weights(model, expected)


@pytest.mark.parametrize(("family", "event"), GRADIENT_CASES)
def test_all_that_moves_in_training_is_a_parameter_or_a_buffer(family: Family, event: str, tmp_path: Path) -> None:
    model = build_model(family, family.config_class(), SPLITS[event].spec, seed=0)
    before = Snapshot(model)
    trained(family, event, tmp_path, None, before, model)
    moved = before.moved()
    assert not moved, f"declare {moved}: register_buffer, or register_train_state for what training alone needs"


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in [*defaults(), *members()] if case.family.training == "gradient"], ids=str
)
def test_in_bfloat16_the_curve_begins_as_in_float32(case: Case, tmp_path: Path) -> None:
    curves = []
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(steps=3, batch_size=16, warmup_steps=0, log_every=1, ema_decay=0, precision=precision)
        model, scratch = case.build(), tmp_path / precision
        result = train(model, case.split, config, seed=0, device="cpu", scratch=scratch, progress=ProgressFile(None))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        curves.append([entry["loss"] for entry in result.history])
    assert curves[1] == pytest.approx(curves[0], rel=0.1, abs=0.05)
