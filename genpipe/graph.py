"""A run's graph: steps, each a stage with its config and the steps whose artifacts it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genpipe.errors import UsageError, nearest

if TYPE_CHECKING:
    from genpipe.config import Config, Resources


@dataclass(frozen=True, kw_only=True)
class Group:
    """Steps that belong together where a graph has several of each stage: one of several models.

    name: what trackers call it ("vae.0"); section: the key of the recipe's section that is its own ("models.vae").
    """

    name: str
    section: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a graph.

    id: unique in the graph ("train", or "train.vae" where there are several).
    stage: name of a registered stage; config: its validated config.
    inputs: for each of the stage's ports, the id of the step whose artifact goes there. A stage's port whose
    kind ends in "?" may be left out; one whose name ends in "*" takes any number ({"evaluation.vae": "evaluate.vae"} is
    one at "evaluation.*").
    seed: the step's own; resources: asked of the executor, no part of the key. workers: processes that share the
    step's work, each with these resources; min_workers: as few of them as it can go on with, all where it is None.
    group: what it is a part of, beside the run.
    """

    id: str
    stage: str
    config: Config
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    resources: Resources | None = None
    workers: int = 1
    min_workers: int | None = None
    group: Group | None = None


class Graph:
    """Steps in an order in which each follows its inputs."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = {step.id: step for step in steps}
        self._order = self._sorted()

    def _sorted(self) -> list[str]:
        order: list[str] = []
        state: dict[str, str] = {}

        def visit(step_id: str, chain: tuple[str, ...]) -> None:
            if state.get(step_id) == "done":
                return
            if state.get(step_id) == "open":
                raise UsageError(f"the graph has a cycle: {' → '.join((*chain, step_id))}")
            state[step_id] = "open"
            for source in self.steps[step_id].inputs.values():
                if source not in self.steps:
                    raise UsageError(f"step '{step_id}' takes from '{source}', which is not in the graph")
                visit(source, (*chain, step_id))
            state[step_id] = "done"
            order.append(step_id)

        for step_id in self.steps:
            visit(step_id, ())
        return order

    def __iter__(self) -> Iterator[Step]:
        return iter([self.steps[i] for i in self._order])

    def __getitem__(self, step_id: str) -> Step:
        if step_id not in self.steps:
            raise UsageError(f"the graph has no step '{step_id}'{nearest(step_id, self.steps)}")
        return self.steps[step_id]

    def __len__(self) -> int:
        return len(self.steps)

    def before(self, step_id: str) -> set[str]:
        """The step and all that it depends on."""
        found = {step_id}
        for source in self[step_id].inputs.values():
            found |= self.before(source)
        return found

    def after(self, step_id: str) -> set[str]:
        """The step and all that depend on it."""
        self[step_id]
        return {other for other in self.steps if step_id in self.before(other)}
