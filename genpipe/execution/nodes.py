"""Whether a cluster's nodes have what a run takes for granted: the same code, its plugins, its workspace, its variables.

A step's key says which code made its artifact, so a worker with other code must not make it. Found out by a task on
each node before anything is spent; the processes that it starts are those that the steps then run in.
"""

from __future__ import annotations

import logging
import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from genpipe.digest import CodeDigests
from genpipe.errors import GenpipeError
from genpipe.execution.job import Job
from genpipe.registry import KINDS, registry
from genpipe.stores import Site, Store

NEEDED = "GENPIPE_NEEDS_ENVIRONMENT"  # names of variables that every node must have; of `genpipe submit --secret`
CORE = "core_ext"  # the compiled core among the digests of code
MAX_NODES = 64  # that are asked; of more, as many, evenly over them
ANSWER_SECONDS = 60.0
NUM_NAMED = 3

logger = logging.getLogger("genpipe")


@dataclass(frozen=True)
class Account:
    """What one place runs. code: module → digest; lacking: needed variables that are not set, workspace: its problem."""

    versions: Mapping[str, str]
    code: Mapping[str, str]
    core: str = ""
    lacking: Sequence[str] = field(default=())
    workspace: str = ""


def check(jobs: Iterable[Job]) -> None:
    """GenpipeError with every node that differs from here in what the jobs need; called where Ray is connected."""
    jobs = list(jobs)
    code = {name: sha for job in jobs for name, sha in job.key_parts["code"].items()}
    needed = [name for name in os.environ.get(NEEDED, "").split(",") if name]
    here = Account(_versions(), code)
    problems: dict[str, list[str]] = {}
    for node, answer in _ask(sorted(code), needed, jobs[0].site):
        told = [answer] if isinstance(answer, str) else differences(here, answer)
        if told:
            problems.setdefault("; ".join(told), []).append(node)
    if problems:
        lines = [f"{_some(nodes)}: {problem}" for problem, nodes in problems.items()]
        raise GenpipeError("\n  ".join(["the cluster's nodes lack what this run needs:", *lines]))


def differences(here: Account, there: Account) -> list[str]:
    """What a node lacks, in words."""
    told = []
    packages: dict[str, list[str]] = {}
    for module, sha in here.code.items():
        if module != CORE and there.code.get(module) != sha:
            packages.setdefault(module.partition(".")[0], []).append(module)
    for package, modules in packages.items():
        if all(module not in there.code for module in modules) and package != "genpipe":
            told.append(f"{_plugin_of(package)} is not installed")
        else:
            versions = f"{there.versions.get('genpipe')} there, {here.versions.get('genpipe')} here"
            which = f" ({versions})" if package == "genpipe" else ""
            told.append(f"has other code of {_some(modules)} than here{which}")
    if CORE in here.code and there.code.get(CORE) != here.code[CORE]:
        told.append(there.core or "its compiled core was built from other sources than here")
    theirs, ours = (side.versions.get("torch", "").partition("+")[0] for side in (there, here))
    if theirs != ours:
        told.append(f"has torch {theirs or 'not installed'}, and here is {ours}")
    if there.lacking:
        told.append(f"the environment variable {_some(there.lacking)} is not set")
    if there.workspace:
        told.append(there.workspace)
    return told


def look(modules: Collection[str], needed: Sequence[str], site: Site) -> Account:
    """This place's account, asked for on every node."""
    core = ""
    digests = CodeDigests()
    try:
        code = digests.closure(name for name in modules if name != CORE)
    except GenpipeError as error:
        core, code = str(error), digests.closure(name for name in modules if not name.startswith("genpipe.ops"))
    workspace = ""
    try:
        site.root_here()
        if site.store is not None:
            Store.at(site.store.address).probe()  # its package and its credentials are this node's business too
    except GenpipeError as error:
        workspace = str(error)
    return Account(_versions(), code, core, [name for name in needed if not os.environ.get(name)], workspace)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("genpipe", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _ask(modules: Sequence[str], needed: Sequence[str], site: Site) -> list[tuple[str, Account | str]]:
    """Address of each node with its account, or why there is none. A node that does not answer is warned of."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    chosen = nodes[:: max(1, -(-len(nodes) // MAX_NODES))]
    tasks: dict[Any, str] = {}
    for node in chosen:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options: dict[str, Any] = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
        looking = ray.remote(**options)(look)
        tasks[looking.remote(modules, needed, site)] = node["NodeManagerAddress"]
    ready, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=ANSWER_SECONDS)
    for task in late:
        logger.warning("node %s did not say within %g seconds what it runs", tasks[task], ANSWER_SECONDS)
    answers: list[tuple[str, Account | str]] = []
    for task in ready:
        try:
            answers.append((tasks[task], ray.get(task)))
        except ray.exceptions.RayError as error:
            answers.append((tasks[task], _no_answer(str(error))))
    return answers


def _no_answer(error: str) -> str:
    missing = re.search(r"No module named '([^']+)'", error)
    if missing is None:
        last = (error.strip().splitlines() or ["it does not say why"])[-1]
        return f"its workers do not start: {last.strip()}"
    if missing[1].startswith("genpipe."):
        return f"has another genpipe, without {missing[1]}"
    return f"{missing[1]} is not installed"


def _plugin_of(package: str) -> str:
    plugins = registry()
    for provided in (provided for kind in KINDS for provided in plugins.all(kind)):
        if provided.record.build.partition(":")[0].partition(".")[0] == package:
            return f"plugin '{provided.source.name}' ({provided.source.distribution} {provided.source.version})"
    return package


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
