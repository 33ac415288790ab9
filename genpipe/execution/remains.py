"""What can be made of a step where some that it takes from gave nothing: the same of those that are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from genpipe.digest import step_key
from genpipe.plan import PlannedStep
from genpipe.ports import MANY, is_optional, port_of


def without_missing(planned: PlannedStep, there: Collection[str]) -> PlannedStep | None:
    """The step with the inputs whose steps are in `there`, under a key of its own; None where it needs the others.

    It does not need those at an optional port for many, as long as each port keeps one of those it was to have.
    """
    inputs, takes = planned.step.inputs, planned.stage.takes
    ports = {name: port_of(name, takes) for name in inputs}
    left = {name: source for name, source in inputs.items() if source in there}
    for name in inputs.keys() - left.keys():
        port = ports[name]
        if port is None or not port.endswith(MANY) or not is_optional(takes[port]):
            return None
    if {ports[name] for name in left} != set(ports.values()):
        return None
    return _with_inputs(planned, left, {name: planned.parts["inputs"][name] for name in left})


def after_change(planned: PlannedStep, keys: Mapping[str, str]) -> PlannedStep:
    """A step that takes from one whose key changed. keys: of the steps that it takes from."""
    inputs = planned.step.inputs
    return _with_inputs(planned, inputs, {name: keys[source] for name, source in inputs.items()})


def _with_inputs(planned: PlannedStep, inputs: Mapping[str, str], keys: Mapping[str, str]) -> PlannedStep:
    parts = {**planned.parts, "inputs": dict(keys)}
    return replace(planned, step=replace(planned.step, inputs=inputs), parts=parts, key=step_key(parts))
