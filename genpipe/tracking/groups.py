"""Which steps of a run belong together, as the tracker is told: a model of several with one of its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from genpipe.plan import Plan
from genpipe.tracking.journal import flat


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A step's place in a group. parameters: the group's, flat; is_last: whether the group ends with the step."""

    group: str
    parameters: Mapping[str, Any]
    is_last: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def memberships(plan: Plan) -> dict[str, Membership]:
    """Of the steps that are in groups; a group's parameters are those of its section of the recipe."""
    found: dict[str, Membership] = {}
    last: dict[str, str] = {}
    for name, planned in plan.steps.items():
        group = planned.step.group
        if group is not None:
            parameters = {**_section(plan.recipe.resolved, group.section), "seed": planned.step.seed}
            known = found[last[group.name]] if group.name in last else None
            found[name] = Membership(
                group=group.name, parameters=known.parameters if known else flat(parameters), is_last=False
            )
            last[group.name] = name
    for name in last.values():
        found[name] = Membership(group=found[name].group, parameters=found[name].parameters, is_last=True)
    return found


def _section(recipe: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """The values below a key such as "models.vae"."""
    values: Any = recipe
    for key in section.split("."):
        values = values[key]
    return dict(values)
