"""One step as plain data, and the work itself: the same in this process and in a Ray worker."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from genpipe.artifacts import publish, staging, verify
from genpipe.errors import ArtifactError, GenpipeError, StoreError
from genpipe.execution.output import output_to, warnings_of
from genpipe.execution.peak_memory import PeakMemory
from genpipe.execution.pulse import STALL_SECONDS, pulsing
from genpipe.execution.turns import Taken, sole_maker
from genpipe.parallel import FanOut, InThisProcess, WorkerResources
from genpipe.redact import redacted
from genpipe.registry import registry
from genpipe.steps import ProgressFile, StepContext
from genpipe.stores import Site, Store
from genpipe.stores.patience import Patience
from genpipe.validation import restore_config


@dataclass(frozen=True, kw_only=True)
class Job:
    """A step, addressed: only plain values and absolute paths, so that it can cross to any worker.

    resources: of each of its workers; as_group: all of them are needed at once. redo: make it though it is there.
    attempt: how many times its process died. stall_seconds: after how long without a sign of life its stacks are written
    to its log. site: what the paths are on another machine.
    """

    step: str
    stage: str
    kind: str
    key: str
    key_parts: dict[str, Any]
    config: dict[str, Any]
    seed: int
    inputs: dict[str, str]
    artifact: str
    scratch: str
    log: str
    progress: str
    resources: WorkerResources = field(default_factory=WorkerResources)
    workers: int = 1
    as_group: bool = False
    min_workers: int | None = None
    redo: bool = False
    attempt: int = 0
    stall_seconds: float = STALL_SECONDS
    site: Site

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Job:
        """From what `dataclasses.asdict` made of it."""
        store = fields["site"]["store"]
        if store is not None:
            store = Store(store["address"], Patience(**store["patience"]))
        site = Site(**{**fields["site"], "store": store})
        return cls(**{**fields, "resources": WorkerResources(**fields["resources"]), "site": site})

    def on_this_machine(self) -> Job:
        """The job with this machine's paths; UsageError where the workspace is not to be seen and there is no store."""
        path = self.site.path
        job = replace(
            self,
            inputs={port: str(path(there)) for port, there in self.inputs.items()},
            artifact=str(path(self.artifact)),
            scratch=str(path(self.scratch)),
            log=str(path(self.log)),
            progress=str(path(self.progress)),
            site=self.site.seen_from_here(),
        )
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        return job


DONE, FAILED, DIED, BUSY = "done", "failed", "died", "busy"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended. Plain data.

    state: "done"; "failed", an error that would come again; "died", its process ended under it; "busy", another process
    is making the same. error: what went wrong; exit_code: what the command should end with for it. warnings: what a
    user should see though the job went on.
    """

    step: str
    state: str = DONE
    seconds: float = 0.0
    summary: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    exit_code: int = 0
    warnings: Sequence[str] = ()


def run_job(job: Job, *, redirect: bool) -> Outcome:
    """Does the step and publishes its artifact. Errors are told in the outcome and the log, not raised.

    redirect: send this process's whole output to the step's log (a worker); else only log records go there.
    """
    started = time.perf_counter()
    try:
        job = job.on_this_machine()
    except (GenpipeError, OSError) as error:  # there is no place for a log
        return _failed(job, started, str(error), getattr(error, "exit_code", 1))
    with warnings_of("genpipe" if redirect else "genpipe.stores") as warnings:
        return replace(_run_here(job, started, redirect), warnings=tuple(warnings))


def _run_here(job: Job, started: float, redirect: bool) -> Outcome:
    try:
        with open(job.log, "a", buffering=1) as log, output_to(log, redirect=redirect):
            try:
                with pulsing(Path(job.progress), log, job.stall_seconds) if redirect else contextlib.nullcontext():
                    summary = _work(job, on_ray=redirect)
                return Outcome(step=job.step, seconds=time.perf_counter() - started, summary=summary)
            except Taken:
                return Outcome(step=job.step, state=BUSY)
            except GenpipeError as error:
                _note(log, f"error: {error}\n")
                return _failed(job, started, str(error), error.exit_code)
            except MemoryError:
                _note(log, traceback.format_exc())
                return _failed(job, started, "out of memory", 1)
            except (Exception, SystemExit) as error:  # a stage that exits ends its step, not the run
                _note(log, traceback.format_exc())
                return _failed(job, started, f"{type(error).__name__}: {error}", 1)
    except OSError as error:
        return _failed(job, started, f"its log {job.log} cannot be written: {error.strerror or error}", 1)


def _note(log: TextIO, text: str) -> None:
    """Writes to the log, or not: a disk that is full must not hide the error that says so."""
    with contextlib.suppress(OSError):
        log.write(redacted(text))


def _failed(job: Job, started: float, error: str, exit_code: int) -> Outcome:
    seconds = time.perf_counter() - started
    return Outcome(step=job.step, state=FAILED, seconds=seconds, error=redacted(error), exit_code=exit_code)


def _work(job: Job, *, on_ray: bool) -> dict[str, Any]:
    with sole_maker(Path(job.scratch)):
        if not job.redo and (made := _made_meanwhile(job)) is not None:
            return made
        return _make(job, on_ray=on_ray)


def _made_meanwhile(job: Job) -> dict[str, Any] | None:
    """The summary of the artifact, where another run, or another machine, has made it since this one was planned."""
    site, final = job.site, Path(job.artifact)
    with contextlib.suppress(ArtifactError):
        summary: dict[str, Any] = verify(final).summary
        site.keep(final)
        return summary
    stored = site.stored(final)
    with contextlib.suppress(ArtifactError, StoreError):
        if stored is not None and stored.manifest() is not None:
            return dict(stored.fetch(final, replace=True).summary)
    return None


def _make(job: Job, *, on_ray: bool) -> dict[str, Any]:
    import torch

    torch.set_num_threads(job.resources.cpus)
    if job.redo and job.attempt == 0:
        _clear_scratch(job)
    inputs = {port: job.site.artifact(path, check=not job.site.is_shared) for port, path in job.inputs.items()}
    plugins = registry()
    stage = plugins.get("stage", job.stage)
    final, scratch = Path(job.artifact), Path(job.scratch)
    progress = ProgressFile(Path(job.progress))
    started, memory = time.time(), PeakMemory(gpu=bool(job.resources.gpus) and torch.cuda.is_available())
    with staging(final.parent) as folder, contextlib.closing(progress), _fan_out(job, on_ray, progress) as fan_out:
        context = StepContext(
            step=job.step,
            stage=job.stage,
            config=restore_config(stage.config_class, job.config, plugins),
            seed=job.seed,
            inputs=inputs,
            out=folder,
            scratch=scratch,
            registry=plugins,
            progress=progress,
            device="cuda" if job.resources.gpus else "cpu",
            cpus=job.resources.cpus,
            resources=job.resources,
            fan_out=fan_out,
            site=job.site,
            log=Path(job.log),
        )
        stage.builder(context)
        facts = {
            "key": job.key,
            "kind": job.kind,
            "stage": job.stage,
            "step": job.step,
            "config": job.config,
            "seed": job.seed,
            "inputs": {port: Path(path).name for port, path in job.inputs.items()},
            "key_parts": job.key_parts,
            "created": started,
            "seconds": time.time() - started,
            **memory.facts(),
            "environment": environment(job),
            "summary": context.summary,
        }
        publish(folder, final, facts, replace=job.redo)
    job.site.keep(final, replace=job.redo)
    _clear_scratch(job)  # its checkpoints have served
    return context.summary


def _clear_scratch(job: Job) -> None:
    shutil.rmtree(job.scratch, ignore_errors=True)
    stored = job.site.stored(job.scratch)
    if stored is not None:
        try:
            stored.discard()
        except StoreError as error:
            logging.getLogger("genpipe.stores").warning("checkpoints that have served are left: %s", error)


def _fan_out(job: Job, on_ray: bool, progress: ProgressFile) -> contextlib.AbstractContextManager[FanOut]:
    """Actors where there is a Ray to start them on; a step in the command's own process has that process alone."""
    if not on_ray or job.workers == 1:
        return contextlib.nullcontext(InThisProcess())
    from genpipe.parallel.actors import OnActors

    shared = OnActors(job.workers, job.resources, Path(job.log), site=job.site, alive=progress.again)
    return contextlib.closing(shared)


def environment(job: Job) -> dict[str, Any]:
    """Where a step ran, for its manifest."""
    import torch

    facts = {
        "genpipe": version("genpipe"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": job.resources.cpus,
    }
    if job.resources.gpus and torch.cuda.is_available():  # the GPUs of a step with several workers are theirs
        facts["gpu"] = torch.cuda.get_device_name()
    return facts
