"""Groups that Ray Train starts: they train as one worker does, outlive the loss of a worker, and leave nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genpipe.errors import DivergedError, GenpipeError
from genpipe.parallel import WorkerResources
from genpipe.steps import ProgressFile
from genpipe.training import checkpoints
from tests.ray_here import ray_here
from tests.training.group_work import Misbehaving
from tests.training.lockstep import in_lockstep
from tests.training.toys import Codebook, run

# Ray warns of its own defaults.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*use_push_based_shuffle:DeprecationWarning"),
]
ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]))
        with ray_here(num_cpus=2):
            yield


def orders(tmp_path: Path, hang_seconds: float = 600, **acts: Any) -> Any:
    from genpipe.training.ray_train import Orders

    return Orders(
        assignment=Misbehaving(
            family="", options={}, config={}, data="", scratch=str(tmp_path / "scratch"), seed=0, device="cpu", **acts
        ),
        site=None,
        stored=None,
        log=str(tmp_path / "step.log"),
        progress=str(tmp_path / "progress.jsonl"),
        cpus=1,
        hang_seconds=hang_seconds,
    )


@pytest.fixture
def group(on_ray: None, tmp_path: Path) -> Any:
    """A function that trains by two workers and gives (what rank 0 told, the finished weights)."""
    from genpipe.training.ray_train import train_on_workers

    def train(bounds: tuple[int, int] = (2, 2), **options: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
        given = orders(tmp_path, **options)
        told = train_on_workers(given, bounds, WorkerResources(cpus=1))
        model, _ = given.assignment.carry_out(None, ProgressFile(None))
        return told, model.state_dict()

    yield train
    assert_nothing_is_left()


def assert_nothing_is_left() -> None:
    import ray

    deadline = time.monotonic() + 300
    while (num_free := ray.available_resources().get("CPU")) != 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert num_free == 2
    assert {group["state"] for group in ray.util.placement_group_table().values()} <= {"REMOVED"}


def num_attempts(tmp_path: Path) -> int:
    return len(list((tmp_path / "scratch" / "attempts").iterdir()))


def assert_weights_of_an_undisturbed_group(weights: dict[str, Tensor], tmp_path: Path) -> None:
    def work(group: Any) -> Codebook:
        model = Codebook()
        run(model, tmp_path / "straight", group=group)
        return model

    expected = in_lockstep(2, work)[0].state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_group_trains_to_the_bits_of_lockstep_and_tells_of_it(group: Any, tmp_path: Path) -> None:
    told, weights = group()
    assert_weights_of_an_undisturbed_group(weights, tmp_path)
    assert told["steps"] == 30
    assert told["resumed_from"] is None
    assert '"at": 30' in (tmp_path / "progress.jsonl").read_text().splitlines()[-1]


@pytest.mark.slow
def test_a_group_with_weights_in_parts_loses_a_worker_and_ends_as_with_whole_ones(group: Any, tmp_path: Path) -> None:
    told, weights = group(act="kill", parallel="shard")
    assert told["resumed_from"] == 10
    expected = Codebook()
    run(expected, tmp_path / "alone")
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(group: Any, tmp_path: Path) -> None:
    told, weights = group(act="kill")
    assert num_attempts(tmp_path) == 2
    assert told["resumed_from"] == 10
    assert_weights_of_an_undisturbed_group(weights, tmp_path)


@pytest.mark.slow
def test_an_elastic_group_is_as_large_as_there_is_room_for(group: Any, tmp_path: Path) -> None:
    _, weights = group(bounds=(1, 4))
    assert [path.name.split("-")[1] for path in (tmp_path / "scratch" / "attempts").iterdir()] == ["2"]
    assert_weights_of_an_undisturbed_group(weights, tmp_path)


@pytest.mark.slow
def test_a_worker_that_hangs_is_found_and_its_stack_is_in_the_log(group: Any, tmp_path: Path) -> None:
    told, weights = group(hang_seconds=20, act="hang")
    assert told["resumed_from"] == 10
    assert "in waits_for_nothing" in (tmp_path / "step.log").read_text()
    assert_weights_of_an_undisturbed_group(weights, tmp_path)


def asks_for_a_group(given: Any, pid_file: Path) -> None:
    from genpipe.training.ray_train import train_on_workers

    pid_file.write_text(str(os.getpid()))
    train_on_workers(given, (2, 2), WorkerResources(cpus=1))


@pytest.mark.slow
def test_where_the_process_that_asked_is_killed_its_group_ends_and_the_next_goes_on(group: Any, tmp_path: Path) -> None:
    import ray

    task = ray.remote(num_cpus=0, max_retries=0)(asks_for_a_group).remote(
        orders(tmp_path, act="hang"), tmp_path / "pid"
    )
    deadline = time.monotonic() + 300
    while checkpoints.newest_step(tmp_path / "scratch") < 10 and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(task, timeout=300)
    told, weights = group()
    assert told["resumed_from"] == 10
    assert_weights_of_an_undisturbed_group(weights, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "kind", "says"),
    [
        ("diverge", DivergedError, "diverged at step 14 of 30"),
        ("raise", TypeError, "the codebook has no pages"),
    ],
)
def test_a_workers_own_mistake_ends_training_at_once(
    act: str, kind: type[Exception], says: str, group: Any, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        group(act=act, times=9)
    assert num_attempts(tmp_path) == 1


@pytest.mark.slow
def test_a_group_that_gets_nowhere_is_given_up(group: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genpipe.training import ray_train

    monkeypatch.setattr(ray_train, "MAX_LOSSES", 2)
    with pytest.raises(GenpipeError, match=r"2 groups of workers in a row lost one .* after step 10"):
        group(act="kill", times=9)
    assert num_attempts(tmp_path) == 3  # the first one had written a checkpoint
    assert checkpoints.newest_step(tmp_path / "scratch") == 10
