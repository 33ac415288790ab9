"""Whether a cluster can hold what steps ask for: a task that no node can hold would wait forever."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from genpipe.errors import UsageError, first_line, nearest
from genpipe.execution.job import Job
from genpipe.parallel.resources import GIB

Amounts = Mapping[str, float]  # Ray's name of a resource → how much, memory in bytes

ACCELERATOR = "accelerator_type:"  # of a node's resource that names its GPU
OPTIONS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_gib"}
LOOK_SECONDS = 30.0

logger = logging.getLogger("genpipe")


def check(jobs: Iterable[Job], *, may_grow: bool) -> None:
    """UsageError with every step that the cluster has no room for; a warning where its autoscaler may make some.

    may_grow: false on a Ray of this run's own, which never gets another node.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    problems = [problem for job in jobs if (problem := shortage(job, nodes)) is not None]
    if not problems:
        return
    if may_grow and _has_autoscaler():
        for problem in problems:
            logger.warning("%s; the step waits until the cluster's autoscaler brings what is missing", problem)
        return
    head = [f"the cluster has no room for {len(problems)} steps:"] if len(problems) > 1 else []
    raise UsageError("\n  ".join([*head, *problems]))


def shortage(job: Job, nodes: Sequence[Amounts]) -> str | None:
    """Why `nodes` can never run a step, all being free; None where they can."""
    asked = dict(job.resources.amounts())
    if job.resources.accelerator_type is not None:
        asked[f"{ACCELERATOR}{job.resources.accelerator_type}"] = 0.001  # as Ray does it
    room = sum(_fits(asked, node) for node in nodes)
    needed = (job.min_workers or job.workers) if job.as_group else 1
    if room >= needed:
        return None
    if room:
        each = f" with {_words(asked)} each" if job.workers > 1 else ""
        return (
            f"step '{job.step}' asks for {needed} workers{each}, and the cluster has room for {room}: "
            f"{_words(_total(nodes, asked))} on {len(nodes)} nodes (lower the step's workers or "
            f"{_keys(job.step, [name for name in asked if not name.startswith(ACCELERATOR)])})"
        )
    lacking = [name for name, amount in asked.items() if all(node.get(name, 0) < amount for node in nodes)]
    if not lacking:  # each is somewhere, and nowhere all
        have = "; ".join(_words({name: node.get(name, 0) for name in asked}) for node in _distinct(nodes, asked)[:3])
        return f"step '{job.step}' asks for {_words(asked)}, and no node has all of it; nodes have {have} ({_keys(job.step, asked)})"
    unknown = [name for name in lacking if name not in OPTIONS and not any(name in node for node in nodes)]
    if unknown:
        return f"step '{job.step}' asks for {_unknown(unknown[0], nodes)} ({_keys(job.step, unknown[:1])})"
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in lacking}
    wanted = {name: asked[name] for name in lacking}
    return (
        f"step '{job.step}' asks for {_words(wanted)}; the largest node has {_words(most)} ({_keys(job.step, lacking)})"
    )


def _fits(asked: Amounts, node: Amounts) -> int:
    """How many workers a node holds."""
    return min(math.floor(node.get(name, 0) / amount + 1e-9) for name, amount in asked.items() if amount)


def _total(nodes: Sequence[Amounts], names: Iterable[str]) -> Amounts:
    return {name: sum(node.get(name, 0) for node in nodes) for name in names if not name.startswith(ACCELERATOR)}


def _distinct(nodes: Sequence[Amounts], names: Iterable[str]) -> list[Amounts]:
    return list({tuple(node.get(name, 0) for name in names): node for node in nodes}.values())


def _unknown(name: str, nodes: Sequence[Amounts]) -> str:
    """A resource that no node has, with those that nodes have of its kind."""
    if name.startswith(ACCELERATOR):
        kind, given = "accelerator", name.removeprefix(ACCELERATOR)
        known = {n.removeprefix(ACCELERATOR) for node in nodes for n in node if n.startswith(ACCELERATOR)}
    else:
        kind, given = "custom resource", name
        own = ("node:", ACCELERATOR)
        named = {n for node in nodes for n in node if not n.startswith(own) and "_group_" not in n}
        known = named - {*OPTIONS, "object_store_memory"}
    return f"the {kind} '{given}', which no node has{nearest(given, known)}"


def _words(amounts: Amounts) -> str:
    words = []
    for name, amount in amounts.items():
        if name == "memory":
            words.append(f"{amount / GIB:.3g} GiB of memory")
        elif name in OPTIONS:
            words.append(f"{amount:g} {name}{'' if amount == 1 else 's'}")
        elif name.startswith(ACCELERATOR):
            words.append(f"{'no' if not amount else 'a'} {name.removeprefix(ACCELERATOR)}")
        else:
            words.append(f"{amount:g} of '{name}'")
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _keys(step: str, names: Iterable[str]) -> str:
    """Where a recipe says so."""
    keys = []
    for name in names:
        option = "accelerator_type" if name.startswith(ACCELERATOR) else OPTIONS.get(name, f"custom.{name}")
        keys.append(f"resources.{step.partition('.')[0]}.{option}")  # of train.LABEL.SEED, too
    return ", ".join(keys)


def _has_autoscaler() -> bool:
    """Whether nodes may still come, as the cluster itself tells; a driver outside of it cannot ask but by a task."""
    import ray

    task = ray.remote(num_cpus=0)(_look_for_autoscaler).remote()
    try:
        return bool(ray.get(task, timeout=LOOK_SECONDS))
    except ray.exceptions.RayError as error:
        logger.warning("the cluster does not tell whether it has an autoscaler: %s", first_line(error))
        return False


def _look_for_autoscaler() -> bool:
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2(fetch_from_server=True):
        return True
    report = json.loads(_internal_kv_get("__autoscaling_status") or b"{}").get("autoscaler_report") or {}
    # of a cluster that nobody scales, Ray reports each node as a type of its own
    types = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node}" for node, kind in types.items())
