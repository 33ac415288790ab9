"""Whether a cluster can hold what steps ask for: a task that no node can hold would wait forever."""

from __future__ import annotations

from collections.abc import Iterable

from genpipe.errors import UsageError
from genpipe.execution.job import Job


def check(jobs: Iterable[Job]) -> None:
    """UsageError where no node of the cluster can hold a step."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for job in jobs:
        asked = job.resources
        if not any(n.get("CPU", 0) >= asked.cpus and n.get("GPU", 0) >= asked.gpus for n in nodes):
            most = max((n.get("CPU", 0) for n in nodes), default=0)
            gpus = max((n.get("GPU", 0) for n in nodes), default=0)
            raise UsageError(
                f"step '{job.step}' asks for {asked.cpus} CPUs and {asked.gpus} GPUs; the largest node has "
                f"{most:g} CPUs and {gpus:g} GPUs (resources.{job.step}.cpus, resources.{job.step}.gpus)"
            )
