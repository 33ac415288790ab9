"""Weights in parts (train.parallel=shard): the result is that of whole weights, and so is what is kept of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genpipe.training import blocks, checkpoints
from genpipe.training.blocks import blocks as blocks_of
from genpipe.training.config import TrainConfig
from tests.training.processes import in_processes
from tests.training.shard_work import (
    CASES,
    QUICK,
    RESUMED,
    RESUMED_AT,
    Deep,
    Said,
    Tied,
    lose_one,
    train_all,
    train_quick,
    trained,
)
from tests.training.toys import Tiny, run, same_weights

Groups = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Groups:
    """What each worker gave, of the groups that were asked for."""
    work = {"quick": (2, train_quick), "two": (2, train_all), "four": (4, train_all)}

    class Started(dict[str, list[dict[str, Any]]]):
        def __missing__(self, name: str) -> list[dict[str, Any]]:
            size, function = work[name]
            folder = tmp_path_factory.mktemp(name)
            self[name] = in_processes(size, f"{function.__module__}:{function.__name__}", folder)
            return self[name]

    return Started()


def in_groups(cases: Iterable[str]) -> pytest.MarkDecorator:
    """Cases by two workers, the slow ones apart, and by four."""
    chosen = [(case, "quick") for case in cases if case in QUICK]
    chosen_slow = [(case, "two") for case in cases if case not in QUICK] + [(case, "four") for case in cases]
    slow = [pytest.param(*choice, marks=pytest.mark.slow) for choice in chosen_slow]
    return pytest.mark.parametrize(("case", "group"), [*chosen, *slow])


def assert_as_one_worker(workers: list[dict[str, Any]], case: str, folder: Path) -> None:
    expected = trained(case, folder)
    tolerance = 2e-2 if case == "bfloat16" else 2e-4
    for worker in workers:
        for ours, theirs in zip(worker[case]["history"], expected["history"], strict=True):
            assert ours.keys() == theirs.keys()
            for name in ours.keys() & {"loss", "validation_loss"}:
                assert ours[name] == pytest.approx(theirs[name], rel=tolerance, abs=1e-6)
        assert worker[case]["tensors"].keys() == expected["tensors"].keys()
        for name, tensor in expected["tensors"].items():
            torch.testing.assert_close(worker[case]["tensors"][name], tensor, rtol=10 * tolerance, atol=tolerance)
            assert torch.equal(worker[case]["tensors"][name], workers[0][case]["tensors"][name])


@in_groups(CASES)
def test_workers_with_parts_follow_one_with_all(case: str, group: str, groups: Groups, tmp_path: Path) -> None:
    assert_as_one_worker(groups[group], case, tmp_path)


@in_groups(RESUMED)
def test_parts_that_go_on_from_a_checkpoint_end_with_the_same_bits(case: str, group: str, groups: Groups) -> None:
    for worker in groups[group]:
        assert worker[f"{case}, resumed"]["resumed_from"] == RESUMED_AT
        for name, tensor in worker[case]["tensors"].items():
            assert torch.equal(worker[f"{case}, resumed"]["tensors"][name], tensor), name


@pytest.mark.parametrize("how", ["resumed whole", "resumed in parts"])
@in_groups(RESUMED)
def test_a_checkpoint_says_nothing_of_how_weights_were_held(case: str, group: str, how: str, groups: Groups) -> None:
    for worker in groups[group]:
        assert worker[f"{case}, {how}"]["resumed_from"] == RESUMED_AT
        for name, tensor in worker[case]["tensors"].items():
            torch.testing.assert_close(worker[f"{case}, {how}"]["tensors"][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_block_that_is_used_but_by_its_forward_is_named_with_the_remedy(groups: Groups) -> None:
    for worker in groups["quick"]:
        assert worker["outside"].startswith("PluginError: family 'tiny' uses weights of a block but by")
        assert "Model.shard_blocks" in worker["outside"]


def test_a_buffer_that_workers_learn_apart_is_found_beside_parts(groups: Groups) -> None:
    for worker in groups["quick"]:
        assert "'norm.running_mean' is not the same on all 2 workers" in worker["apart"]


@pytest.mark.slow
def test_a_worker_whose_peer_dies_says_so_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    told, _ = in_processes(2, f"{lose_one.__module__}:{lose_one.__name__}", tmp_path, dies=1)
    assert told.startswith("GroupLost: another worker of the group is gone or silent")
    assert checkpoints.newest_step(tmp_path / "lost") == 5


def test_one_worker_has_all_and_the_bits_of_replicate(tmp_path: Path) -> None:
    whole, alone = Tiny(), Tiny()
    run(whole, tmp_path / "whole")
    run(alone, tmp_path / "alone", parallel="shard")
    assert same_weights(whole, alone)


def test_how_weights_are_held_is_no_part_of_the_result() -> None:
    from genpipe.config import key_values

    assert key_values(TrainConfig(parallel="shard")) == key_values(TrainConfig())


def names_of(model: Any) -> list[str]:
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)] for module in blocks_of(model)]


def test_blocks_are_found_by_size_from_the_innermost_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MIN_BLOCK", 30)
    assert sorted(names_of(Deep())) == ["outer.0", "outer.1.0", "outer.1.1"]
    monkeypatch.setattr(blocks, "MIN_BLOCK", 60)
    assert names_of(Deep()) == ["outer.1"]
    monkeypatch.setattr(blocks, "MIN_BLOCK", 90)
    assert names_of(Deep()) == ["outer"]
    monkeypatch.setattr(blocks, "MIN_BLOCK", 1000)
    assert names_of(Deep()) == []


def test_what_shares_a_weight_is_in_one_block_and_a_family_may_name_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MIN_BLOCK", 30)
    assert sorted(names_of(Tied())) == ["outer", "outer.1.1"]
    assert names_of(Said()) == ["outer.1"]
    listed = Deep()
    listed.outer = nn.ModuleList([listed.outer])  # type: ignore[assignment]
    assert "outer" not in names_of(listed)
