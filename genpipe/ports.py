"""What a stage's ports take. A port whose name ends in "*" takes any number: "evaluation.*" that of "evaluation.vae.0"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from genpipe.components import Stage
from genpipe.errors import UsageError, nearest
from genpipe.graph import Graph

MANY, OPTIONAL = "*", "?"
Given = TypeVar("Given")


def port_of(name: str, ports: Iterable[str]) -> str | None:
    """The port that an input of this name is for, the plain port before one for many; None where there is none."""
    fitting = [port for port in ports if port == name or _is_one_of(name, port)]
    return max(fitting, key=lambda port: (port == name, len(port)), default=None)


def inputs_at(port: str, inputs: Mapping[str, Given]) -> dict[str, Given]:
    """Of a step's inputs those at a port for many, by what stands in their names for the "*"."""
    return {
        name.removeprefix(port.removesuffix(MANY)): given for name, given in inputs.items() if _is_one_of(name, port)
    }


def _is_one_of(name: str, port: str) -> bool:
    beginning = port.removesuffix(MANY)
    return port.endswith(MANY) and name.startswith(beginning) and name != beginning


def is_optional(kind: str) -> bool:
    return kind.endswith(OPTIONAL)


def check_ports(graph: Graph, stage_of: Callable[[str], Stage]) -> None:
    """UsageError where a step lacks an input, has one that its stage has no port for, or one of another kind."""
    for step in graph:
        stage = stage_of(step.stage)
        given = {name: port_of(name, stage.takes) for name in step.inputs}
        for name, port in given.items():
            if port is None:
                hint = nearest(name, stage.takes)
                raise UsageError(f"step '{step.id}': stage '{stage.name}' has no port '{name}'{hint}")
        _check_all_there(step.id, stage, set(given.values()))
        for name, port in given.items():
            assert port is not None
            source = step.inputs[name]
            wanted, gives = stage.takes[port].rstrip(OPTIONAL), stage_of(graph[source].stage).gives
            if gives != wanted:
                raise UsageError(f"step '{step.id}': '{name}' takes a {wanted}, but step '{source}' gives a {gives}")


def _check_all_there(step: str, stage: Stage, given: Collection[str | None]) -> None:
    for port, kind in stage.takes.items():
        if port not in given and not is_optional(kind):
            raise UsageError(f"step '{step}': stage '{stage.name}' takes a {kind} at '{port}', and nothing is given")
