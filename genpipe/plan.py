"""What a run would do: each step's key, and whether its finished artifact can be reused, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genpipe.artifacts import Manifest
from genpipe.components import Stage, load_reference
from genpipe.config import key_values
from genpipe.digest import CodeDigests, changes, step_key
from genpipe.errors import ArtifactError, DataError, PluginError, StoreError, UsageError
from genpipe.finding import MISSING, find_artifacts, find_manifest
from genpipe.graph import Graph, Step
from genpipe.ports import check_ports
from genpipe.recipe import Recipe
from genpipe.registry import Registry
from genpipe.runs import Run, all_runs
from genpipe.validation import components_in
from genpipe.workspace import Workspace

MAX_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which steps of a graph to run. fresh: redo all; from_step: redo it and what follows; to_step: stop there."""

    fresh: bool = False
    from_step: str | None = None
    to_step: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step with its key.

    hit: a whole artifact is there and may be reused; reason: why not. found: its manifest, where it is a hit; here:
    whether this machine has it, and not the store alone.
    """

    step: Step
    stage: Stage
    key: str
    parts: Mapping[str, Any]
    hit: bool
    redo: bool
    reason: str
    found: Manifest | None = None
    here: bool = True

    @property
    def kind(self) -> str:
        return self.stage.gives


@dataclass(frozen=True)
class Plan:
    """The steps to take, in order. `damaged`: what is said of artifacts that did not match their checksums."""

    recipe: Recipe
    steps: Mapping[str, PlannedStep]
    damaged: tuple[str, ...] = ()

    @property
    def to_run(self) -> list[PlannedStep]:
        return [planned for planned in self.steps.values() if not planned.hit]


def build_graph(recipe: Recipe, registry: Registry) -> Graph:
    """The recipe's graph, after plugins had their say, with every port checked."""
    graph = recipe.graph()
    for implementation in registry.manager.hook.modify_graph.get_hookimpls():
        try:
            changed: Any = implementation.function(graph)
        except Exception as error:
            name = implementation.plugin_name
            raise PluginError(f"plugin '{name}' failed in modify_graph: {type(error).__name__}: {error}") from error
        graph = changed if changed is not None else graph
    check_ports(graph, lambda name: registry.get("stage", name))
    return graph


def make_plan(
    recipe: Recipe, registry: Registry, workspace: Workspace, choice: Choice | None = None, *, check_files: bool = False
) -> Plan:
    """Keys and reuse of every step. check_files: also compare checksums, so that damaged artifacts are rebuilt."""
    choice = choice or Choice()
    graph = build_graph(recipe, registry)
    wanted = graph.before(choice.to_step) if choice.to_step else set(graph.steps)
    if choice.from_step and choice.from_step not in wanted and choice.from_step in graph.steps:
        raise UsageError(f"--from {choice.from_step} redoes nothing: it is not among what --to {choice.to_step} needs")
    again = set(graph.steps) if choice.fresh else graph.after(choice.from_step) if choice.from_step else set()
    code = CodeDigests(workspace.cache / "code.json")
    parts: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, str] = {}
    for step in graph:
        if step.id in wanted:
            parts[step.id] = _key_parts(step, registry.get("stage", step.stage), keys, code, registry)
            keys[step.id] = step_key(parts[step.id])
    code.save()
    folders = {name: workspace.artifact(registry.get("stage", graph[name].stage).gives, keys[name]) for name in keys}
    found = find_artifacts({name: f for name, f in folders.items() if name not in again}, workspace, check_files)
    before = _Before(recipe, workspace)
    planned: dict[str, PlannedStep] = {}
    for name in keys:
        finding, redo = found.get(name, MISSING), name in again
        hit = finding.manifest is not None
        if redo:
            reason = "asked for by --fresh" if choice.fresh else f"asked for by --from {choice.from_step}"
        elif hit:
            reason = "" if finding.here else "in the store"
        else:
            reason = "its artifact is damaged" if finding.damage else _why(graph[name], parts[name], before, planned)
        planned[name] = PlannedStep(
            step=graph[name],
            stage=registry.get("stage", graph[name].stage),
            key=keys[name],
            parts=parts[name],
            hit=hit,
            redo=redo,
            reason=reason,
            found=finding.manifest,
            here=finding.here,
        )
    damaged = (
        f"{text}; it is {'fetched from the store' if finding.manifest else 'made again'}"
        for finding in found.values()
        for text in finding.damage
    )
    return Plan(recipe, planned, tuple(damaged))


def _key_parts(
    step: Step, stage: Stage, keys: Mapping[str, str], code: CodeDigests, registry: Registry
) -> dict[str, Any]:
    modules = [stage.build.partition(":")[0], stage.config.partition(":")[0]]
    files = {}
    may_choose = load_reference(stage.chooses)(step.config, registry) if stage.chooses else ()
    for component in components_in([step.config, *may_choose]):
        record = registry.get(component.kind, component.name)
        modules += [record.build.partition(":")[0], record.config.partition(":")[0]]
        if getattr(record, "fingerprint", None):
            try:
                files[component.name] = load_reference(record.fingerprint)(component.config)
            except DataError as error:
                raise DataError(f"step '{step.id}', {component.kind} '{component.name}': {error}") from error
    parts: dict[str, Any] = {
        "stage": stage.name,
        "config": key_values(step.config),
        "seed": step.seed,
        "inputs": {port: keys[source] for port, source in step.inputs.items()},
        "code": code.closure(modules),
    }
    if files:
        parts["files"] = files
    return parts


class _Before:
    """What the newest earlier run of a recipe of this name was made of: what people compare with."""

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self._recipe, self._workspace = recipe, workspace

    @cached_property
    def _run(self) -> Run | None:
        # the newest run alone: reading them all would slow down every plan
        return next((run for run in all_runs(self._workspace) if run.recipe == self._recipe.name), None)

    def parts(self, step: str) -> Mapping[str, Any] | None:
        """Key parts of the artifact that it had of a step; None where there is none, or it does not say."""
        record = self._run.steps.get(step) if self._run else None
        if record is None or record.status not in ("FINISHED", "CACHED"):
            return None
        try:
            folder = self._workspace.root / record.artifact
            parts: Mapping[str, Any] = find_manifest(folder, self._workspace).key_parts
            return parts
        except (ArtifactError, StoreError, AttributeError):
            return None


def _why(step: Step, parts: Mapping[str, Any], before: _Before, planned: Mapping[str, PlannedStep]) -> str:
    previous = before.parts(step.id)
    if previous is None:
        return "nothing made yet"
    differences = list(changes(previous, parts))
    own = [d for d in differences if not d.startswith("input '")]
    if own:
        more = f" and {len(own) - MAX_REASONS} more" if len(own) > MAX_REASONS else ""
        return "; ".join(own[:MAX_REASONS]) + more
    changed = [source for source in step.inputs.values() if not planned[source].hit]
    if changed:
        return f"follows {', '.join(sorted(set(changed)))}"
    return "; ".join(differences) or "its artifact is gone"
