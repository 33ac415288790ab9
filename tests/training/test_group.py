"""Several workers train one model: what they share, what they must not differ in, and how it ends when one fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from genpipe.errors import DivergedError, PluginError, UsageError
from genpipe.model import Batch, Model, Optimizers
from genpipe.training import checkpoints
from genpipe.training.group import Group, GroupLost
from genpipe.training.share import micro_batches
from tests.training.lockstep import in_lockstep
from tests.training.loose_state import Snapshot
from tests.training.toys import (
    BatchNormalised,
    Codebook,
    Forgetful,
    Pair,
    ReachesSome,
    Replay,
    Stop,
    StopAt,
    Tiny,
    run,
    same_weights,
)

FAMILIES = [Tiny, Pair, Codebook, Replay]


def workers(size: int, build: Callable[[], Model], scratch: Path, progress: Any = None, **options: Any) -> list[Any]:
    """(model, result), or the error, of each worker."""

    def work(group: Group) -> tuple[Model, Any]:
        model = build()
        return model, run(model, scratch, progress, group=group, **options)

    return in_lockstep(size, work)


@given(batch_size=st.integers(1, 200), size=st.integers(1, 9), accumulation=st.integers(1, 12))
def test_shares_cover_the_batch_once_and_in_equally_many_parts(batch_size: int, size: int, accumulation: int) -> None:
    if batch_size < size or batch_size % accumulation:
        return
    parts = [micro_batches(batch_size, accumulation, rank, size) for rank in range(size)]
    assert [i for part in parts for first, count in part for i in range(first, first + count)] == list(
        range(batch_size)
    )
    assert len({len(part) for part in parts}) == 1
    assert max(count for part in parts for _, count in part) <= batch_size // accumulation + 1
    assert min(count for part in parts for _, count in part) >= 1
    if size == 1:
        assert len(parts[0]) == accumulation


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("size", "accumulation"), [(2, 1), (3, 1), (2, 4)])
def test_any_world_follows_one_workers_curve(
    size: int, accumulation: int, family: Callable[[], Model], tmp_path: Path
) -> None:
    if family is Pair and accumulation > 1:
        pytest.skip("two optimisers: refused, as with one worker")
    alone = family()
    expected = run(alone, tmp_path / "alone")
    for model, result in workers(size, family, tmp_path / "group", accumulation=accumulation):
        for ours, theirs in zip(result.history, expected.history, strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        tensors = {**alone.state_dict(), **alone.train_state}
        for name, tensor in {**model.state_dict(), **model.train_state}.items():
            torch.testing.assert_close(tensor, tensors[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [1, 2])
def test_declared_state_goes_on_after_a_kill(size: int, family: Callable[[], Model], tmp_path: Path) -> None:
    straight = workers(size, family, tmp_path / "straight", checkpoint_every=5)
    workers(size, family, tmp_path / "killed", StopAt(13), checkpoint_every=5)
    for (model, result), (expected, _) in zip(workers(size, family, tmp_path / "killed"), straight, strict=True):
        assert result.resumed_from == 10
        assert same_weights(model, expected)
        assert all(torch.equal(t, expected.train_state[name]) for name, t in model.train_state.items())


def test_a_smaller_group_goes_on_where_a_larger_one_was_killed(tmp_path: Path) -> None:
    straight = Codebook()
    expected = run(straight, tmp_path / "straight")
    workers(4, Codebook, tmp_path / "elastic", StopAt(8), checkpoint_every=5)
    workers(2, Codebook, tmp_path / "elastic", StopAt(18), checkpoint_every=5)
    model = Codebook()
    result = run(model, tmp_path / "elastic")
    assert result.resumed_from == 15
    assert result.history[-1]["loss"] == pytest.approx(expected.history[-1]["loss"], rel=1e-4)


def test_state_for_training_alone_is_in_checkpoints_and_not_in_the_model(tmp_path: Path) -> None:
    model = Codebook()
    with pytest.raises(Stop):
        run(model, tmp_path, StopAt(13), checkpoint_every=5)
    newest = checkpoints.list_checkpoints(tmp_path)[0]
    assert set(load_file(newest / "train_state.safetensors")) == {"uses"}
    assert "uses" not in model.state_dict()
    assert "codes" in model.state_dict()


def test_a_buffer_that_workers_learn_apart_is_named_with_the_remedy(tmp_path: Path) -> None:
    for error in workers(2, BatchNormalised, tmp_path, checkpoint_every=5):
        assert isinstance(error, PluginError)
        assert "'norm.running_mean' is not the same on all 2 workers" in str(error)
        assert "optimizers.sum" in str(error)
    assert not checkpoints.list_checkpoints(tmp_path)


def test_state_that_was_not_declared_is_found(tmp_path: Path) -> None:
    for model, moved in ((Forgetful(), ["memory.0"]), (Codebook(), [])):
        before = Snapshot(model)
        run(model, tmp_path / type(model).__name__, before)
        assert before.moved() == moved


class DivergesFor(Tiny):
    """Its loss is not finite at step 9, for one example alone."""

    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        if step == 9:
            here = torch.arange(len(batch.z)) + batch.noise.first_index == 9 * 8 + 6
            batch = Batch(torch.where(here[:, None], float("inf"), batch.z), batch.y, batch.noise)
        return super().train_step(batch, optimizers, step)


def test_divergence_on_one_worker_stops_all_with_the_words_of_one(tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as alone:
        run(DivergesFor(), tmp_path / "alone", checkpoint_every=5)
    for error in workers(2, DivergesFor, tmp_path / "group", checkpoint_every=5):
        assert isinstance(error, DivergedError)
        assert str(error).split("; ")[0] == str(alone.value).split("; ")[0]
        assert "diverged at step 10 of 30" in str(error)


def test_a_parameter_that_only_some_workers_reach_moves_as_with_one(tmp_path: Path) -> None:
    alone = ReachesSome()
    run(alone, tmp_path / "alone", weight_decay=0.1)
    for model, _ in workers(2, ReachesSome, tmp_path / "group", weight_decay=0.1):
        for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert model.third.tolist() == [1, 1]


class Talkative(Tiny):
    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        terms = super().train_step(batch, optimizers, step)
        return terms if batch.noise.first_index % 8 == 0 else {**terms, "more": terms["loss"]}


class WrongRows(Tiny):
    def train_step(self, batch: Batch, optimizers: Optimizers, step: int) -> dict[str, Tensor]:
        optimizers.rows("codes", batch.z[:1])
        return super().train_step(batch, optimizers, step)


@pytest.mark.parametrize(
    ("family", "options", "kind", "says"),
    [
        (Talkative, {}, PluginError, "gives other loss terms on other workers"),
        (WrongRows, {}, PluginError, r"the rows 'codes' have shape \(1, 2\), expected \(4, …\)"),
        (Tiny, {"batch_size": 1}, UsageError, "train.batch_size is 1 and train.workers 2"),
    ],
)
def test_what_a_group_cannot_do_is_said(
    family: Callable[[], Model], options: Mapping[str, Any], kind: type[Exception], says: str, tmp_path: Path
) -> None:
    first = workers(2, family, tmp_path, **options)[0]
    with pytest.raises(kind, match=says):
        raise first


PROCESS = """
import os, signal, sys
sys.path.insert(0, {root!r})
import torch
from datetime import timedelta
from pathlib import Path
import torch.distributed as dist
from genpipe.training.group import GroupLost, TorchGroup
from tests.training.loose_state import Snapshot
from tests.training.toys import Codebook, StopAt, run

torch.set_num_threads(1)
rank, folder, dies_at = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

class DieAt(StopAt):
    def __call__(self, at, total=None, **_):
        if at == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

dist.init_process_group("gloo", f"file://{{folder}}/store{{dies_at}}", rank=rank, world_size=2, timeout=timedelta(seconds=400))
model = Codebook()
try:
    result = run(model, folder / "scratch", DieAt(dies_at), group=TorchGroup(), checkpoint_every=5)
except GroupLost as error:
    print("LOST", error, flush=True)
    os._exit(3)
torch.save(model.state_dict(), folder / f"rank{{rank}}.pt")
"""


def two_processes(folder: Path, dies_at: int = -1) -> list[tuple[int, str]]:
    """(exit code, output) of each of two processes that train over gloo; rank 0 is killed at a step."""
    code = PROCESS.format(root=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", code]
    children = [
        subprocess.Popen([*command, str(rank), str(folder), str(dies_at)], stdout=-1, stderr=-2, text=True)
        for rank in range(2)
    ]
    outputs = [child.communicate(timeout=500)[0] for child in children]
    return [(child.returncode, output) for child, output in zip(children, outputs, strict=True)]


def assert_both_have_the_weights_of_a_lockstep_group(folder: Path) -> None:
    expected = workers(2, Codebook, folder / "straight", checkpoint_every=5)[0][0].state_dict()
    for rank in range(2):
        weights = torch.load(folder / f"rank{rank}.pt")
        for name, tensor in expected.items():
            assert torch.equal(weights[name], tensor), name


def test_processes_over_gloo_end_with_the_bits_of_lockstep(tmp_path: Path) -> None:
    assert two_processes(tmp_path) == [(0, "")] * 2
    assert_both_have_the_weights_of_a_lockstep_group(tmp_path)


@pytest.mark.slow
def test_processes_that_lose_one_go_on_to_the_bits_of_an_undisturbed_group(tmp_path: Path) -> None:
    (died, _), (lost, said) = two_processes(tmp_path, dies_at=13)
    assert died == -9
    assert lost == 3
    assert "LOST another worker of the group is gone or silent" in said
    assert two_processes(tmp_path) == [(0, "")] * 2
    assert_both_have_the_weights_of_a_lockstep_group(tmp_path)


def test_a_worker_whose_peer_left_is_told(tmp_path: Path) -> None:
    def work(group: Group) -> None:
        if group.rank == 1:
            raise ValueError
        group.largest([1])

    first, second = in_lockstep(2, work)
    assert isinstance(first, GroupLost)
    assert isinstance(second, ValueError)
