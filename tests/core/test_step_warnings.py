"""What a step warns of reaches who runs it, wherever the step is done."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from genpipe.execution import job as jobs
from genpipe.execution.job import Job, Outcome, run_job
from genpipe.parallel import WorkerResources
from genpipe.stores import Site


@pytest.mark.parametrize(
    ("redirect", "told"), [(True, ("few examples",)), (False, ())], ids=["a worker's", "this process's"]
)
def test_warnings_of_another_process_come_back_with_its_outcome(
    redirect: bool, told: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of this process are printed as they come."""

    def step_that_warns(job: Job, started: float, redirected: bool) -> Outcome:
        for _ in range(2):
            logging.getLogger("genpipe.plugins.some").warning("few %s", "examples")
        logging.getLogger("genpipe.plugins.some").info("as usual")
        return Outcome(step=job.step)

    monkeypatch.setattr(jobs, "_run_here", step_that_warns)
    paths = {name: str(tmp_path / name) for name in ("artifact", "scratch", "log", "progress")}
    job = Job(
        step="train",
        stage="train",
        kind="model",
        key="0",
        key_parts={},
        config={},
        seed=0,
        inputs={},
        resources=WorkerResources(),
        workers=1,
        as_group=False,
        site=Site(str(tmp_path), str(tmp_path)),
        **paths,
    )
    outcome = run_job(job, redirect=redirect)
    assert (outcome.error, tuple(outcome.warnings)) == (None, told)
