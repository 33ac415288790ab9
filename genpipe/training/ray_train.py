"""Training by a group of workers on Ray. Ray Train starts the workers, joins them, and tells when one is lost.

Checkpoints are our own (genpipe.training.checkpoints), so that a group of any size, or one process without Ray, goes on
from them; Ray Train is told of none. Its import takes seconds: who needs a group imports this module then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import logging
import os
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import ray.train
import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer

from genpipe.errors import GenpipeError, UsageError, last_line
from genpipe.execution.letters import reaching_the_driver
from genpipe.model import Model
from genpipe.parallel import WorkerResources
from genpipe.parallel.worker import output_to
from genpipe.registry import registry
from genpipe.steps import ProgressFile, StepContext
from genpipe.stores import Site, StoredFolder
from genpipe.training import checkpoints
from genpipe.training.assignment import Assignment
from genpipe.training.config import TrainConfig
from genpipe.training.group import GroupLost, TorchGroup
from genpipe.training.loop import TrainResult
from genpipe.training.ray_leftovers import leftovers_freed

log = logging.getLogger("genpipe.training")

MAX_LOSSES = 4  # groups in a row that lose a worker before they have written a checkpoint


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What every worker is sent.

    log, progress: the step's files. site: what paths are on another machine. stored: the scratch folder in the run's
    store, where it has one. hang_seconds: how long a worker may keep the others waiting.
    """

    assignment: Assignment
    site: Site | None
    stored: StoredFolder | None
    log: str | None
    progress: str | None
    cpus: int
    hang_seconds: float


def train_in_a_group(assignment: Assignment, config: TrainConfig, context: StepContext) -> tuple[Model, TrainResult]:
    """What `assignment.carry_out` gives, by `config.workers` workers with the step's resources each."""
    if context.registry.get("family", assignment.family).training == "closed_form":
        raise UsageError(f"train.workers is {config.workers}: family '{assignment.family}' is fitted by one worker")
    orders = Orders(
        assignment=assignment,
        site=context.site,
        stored=context.stored_scratch,
        log=str(context.log) if context.log else None,
        progress=str(context.progress.path) if context.progress.path else None,
        cpus=context.cpus,
        hang_seconds=config.hang_seconds,
    )
    done = checkpoints.newest_step(context.scratch, context.stored_scratch) == config.steps
    bounds = config.min_workers or config.workers, config.workers
    told = {} if done else train_on_workers(orders, bounds, context.resources)
    # The group has left its finished state as a checkpoint, from which nothing is left to do.
    here = dataclasses.replace(assignment, device="cpu")
    model, result = here.carry_out(context.registry, context.progress, stored=context.stored_scratch)
    return model, dataclasses.replace(result, **told)


def train_on_workers(orders: Orders, bounds: tuple[int, int], resources: WorkerResources) -> dict[str, Any]:
    """Trains by a group, whose finished state is then the newest checkpoint in the assignment's scratch.

    bounds: the fewest and the most workers. Between them Ray Train makes the group as large as the cluster has room for,
    when it starts and while it trains. Gives TrainResult's fields but for the history.

    A worker that is lost, or silent, costs the steps since the last checkpoint: the group is started again, until several
    in a row come to nothing. What a worker raises of itself is raised here, as if it had been trained here.
    """
    scratch = Path(orders.assignment.scratch)
    reached, losses = checkpoints.newest_step(scratch, orders.stored), 0
    while True:
        begun = time.monotonic()
        try:
            return _one_group(orders, bounds, resources)
        except WorkerGroupError as error:
            reason = _reason(error.worker_failures)
        except (TrainingFailedError, RayError) as error:  # the group did not come up, or Ray Train's own actor is gone
            reason = _sentence(error)
        step = checkpoints.newest_step(scratch, orders.stored)
        losses, reached = (losses + 1 if step == reached else 0), step
        if losses >= MAX_LOSSES:
            raise GenpipeError(
                f"{losses} groups of workers in a row lost one before they had written a checkpoint "
                f"after step {step}; the last time: {reason}"
            )
        log.warning("%s, after %.0f s; going on from step %d", reason, time.monotonic() - begun, step)


def _one_group(orders: Orders, bounds: tuple[int, int], resources: WorkerResources) -> dict[str, Any]:
    home = Path(orders.assignment.scratch) / "ray-train"  # Ray Train wants one, though it has nothing to keep there
    home.mkdir(parents=True, exist_ok=True)
    num_workers: Any = bounds if bounds[0] < bounds[1] else bounds[1]
    trainer: Any = TorchTrainer(
        cast(Any, _work),
        train_loop_config={"orders": orders},
        torch_config=TorchConfig(timeout_s=int(orders.hang_seconds)),
        scaling_config=ScalingConfig(num_workers=num_workers, **resources.scaling_options()),
        run_config=RunConfig(
            name=uuid.uuid4().hex, storage_path=str(home), failure_config=FailureConfig(max_failures=0)
        ),
    )
    try:
        with _ray_trains_settings(orders.hang_seconds), leftovers_freed():
            told: dict[str, Any] = trainer.fit().return_value
            return told
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _ray_trains_settings(hang_seconds: float) -> Iterator[None]:
    """Ray Train is told by environment variables of the process that starts it."""
    settings = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon it learns that all is done, or lost
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": f"{hang_seconds:g}",
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": f"{hang_seconds:g}",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less to wait for; a worker that is taken is a loss
        "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",  # a worker's output goes to the step's log
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _reason(failures: Mapping[int, Exception]) -> str:
    """Why a group ended whose workers were lost; raises what a worker raised of itself, were it only one."""
    own = {rank: error for rank, error in failures.items() if not isinstance(error, GroupLost) and not _is_rays(error)}
    for error in sorted(own.values(), key=lambda error: not isinstance(error, GenpipeError)):
        raise error
    lost = {rank: error for rank, error in failures.items() if _is_rays(error)}
    rank, error = min((lost or failures).items())
    return f"worker {rank} of the group was lost: {_sentence(error)}"


def _is_rays(error: Exception) -> bool:
    """Whether Ray speaks of the worker, which is gone and did not say why."""
    return type(error).__module__.split(".")[0] == "ray"


def _sentence(error: Exception) -> str:
    """The last line's first sentence; Ray goes on to tell of all that may have happened."""
    return last_line(error).partition(". ")[0]


# -- a worker's side -------------------------------------------------------------------------------------------


def _work(config: Mapping[str, Any]) -> dict[str, Any]:
    orders: Orders = config["orders"]
    rank = ray.train.get_context().get_world_rank()
    torch.set_num_threads(orders.cpus)
    with _files(orders, rank) as (log_file, progress_file):
        return _train(_on_this_machine(orders), rank, log_file, progress_file)


def _files(orders: Orders, rank: int) -> contextlib.AbstractContextManager[tuple[Path | None, Path | None]]:
    """Where this worker logs, and tells of progress: its machine's files, whose content reaches the driver."""
    log_file = Path(orders.log) if orders.log else None
    progress_file = Path(orders.progress) if orders.progress and rank == 0 else None
    if orders.site is None or log_file is None:
        return contextlib.nullcontext((log_file, progress_file))
    return reaching_the_driver(orders.site, log_file, progress_file, name=f"rank{rank}")


def _train(orders: Orders, rank: int, log_file: Path | None, progress_file: Path | None) -> dict[str, Any]:
    file = output_to(log_file, rank) if log_file else None
    device = ray.train.torch.get_device() if orders.assignment.device == "cuda" else torch.device("cpu")
    assignment = dataclasses.replace(orders.assignment, device=str(device))
    progress = ProgressFile(progress_file)
    with contextlib.closing(progress), Watch(orders.hang_seconds, file) as watch:
        try:
            group = TorchGroup(device, heard=watch.heard)
            _, result = assignment.carry_out(registry(), progress, stored=orders.stored, group=group)
        except GenpipeError:
            raise
        except Exception:
            log.error("worker %d:\n%s", rank, traceback.format_exc().rstrip())
            raise
    told = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    del told["history"]
    return told


def _on_this_machine(orders: Orders) -> Orders:
    """The orders with this machine's paths, the data brought here where it is not."""
    site = orders.site
    if site is None:
        return orders
    path, given = site.path, orders.assignment
    data = site.artifact(given.data, check=not site.is_shared)
    return dataclasses.replace(
        orders,
        assignment=dataclasses.replace(given, data=str(data), scratch=str(path(given.scratch))),
        site=site.seen_from_here(),
    )


class Watch:
    """Writes the process's stacks to the log where the group has not heard of it for most of `hang_seconds`.

    The timer is faulthandler's, which fires even where the interpreter is held.
    """

    def __init__(self, hang_seconds: float, file: TextIO | None) -> None:
        self._seconds, self._file = 0.8 * hang_seconds, file or sys.stderr
        self._armed = 0.0

    def __enter__(self) -> Watch:
        self.heard()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def heard(self) -> None:
        """The worker talks to the others. Cheap to call at every step."""
        now = time.monotonic()
        if now - self._armed > min(1.0, self._seconds / 4):
            faulthandler.dump_traceback_later(self._seconds, file=self._file)
            self._armed = now
