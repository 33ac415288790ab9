"""What a family can do, and for which data: asked before it is tried."""

from __future__ import annotations

from collections.abc import Iterable

from genpipe.components import CAPABILITIES, EventKind, Family
from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError, UsageError
from genpipe.registry import Registry, registry


def need(family: Family, capability: str) -> None:
    """CapabilityError where the family cannot do this, with those that can."""
    if capability not in family.capabilities:
        can = ", ".join(each for each in CAPABILITIES if each in family.capabilities)
        others = [each.name for each in families(registry()) if capability in each.capabilities]
        raise CapabilityError(
            f"family '{family.name}' has no {capability}; it can: {can}"
            + (f". Families that have it: {', '.join(others)}" if others else "")
        )


def need_data(family: Family, spec: DataSpec) -> None:
    """UsageError where the family models no such data, with those that do."""
    if spec.event not in family.events:
        raise UsageError(
            f"family '{family.name}' models {kinds(family.events)}, not the {spec.event}s of '{spec.name}'"
            + that_model((spec.event,), registry(), whole_numbers=spec.levels is not None)
        )
    if family.discrete and spec.levels is None:
        raise UsageError(
            f"family '{family.name}' models whole numbers, not the real values of '{spec.name}'"
            + that_model((spec.event,), registry(), whole_numbers=False)
            + "; whole numbers are told by levels, an option of the data set"
        )


def that_model(events: Iterable[EventKind], plugins: Registry, *, whole_numbers: bool = True) -> str:
    """Which families model one of these kinds of data, as the end of a sentence; empty where none does.

    whole_numbers: whether the data are; else families of whole numbers are no help.
    """
    wanted = set(events)
    found = [
        each.name for each in families(plugins) if wanted & set(each.events) and (whole_numbers or not each.discrete)
    ]
    return (
        f"; families of {kinds(events)}{'' if whole_numbers else ' of real values'}: {', '.join(found)}"
        if found
        else ""
    )


def families(plugins: Registry) -> list[Family]:
    """Those that are trained, as a recipe's section `model` names them."""
    found: list[Family] = [provided.record for provided in plugins.all("family")]
    return [family for family in found if family.training != "composed"]


def kinds(events: Iterable[EventKind]) -> str:
    """ "images and vectors"."""
    return " and ".join(f"{event}s" for event in events)


def need_few_dimensions(family: Family, name: str, spec: DataSpec) -> None:
    """UsageError where one of the family's samplers or estimators is for smaller examples than these."""
    most = family.max_dimensions.get(name, spec.num_dimensions)
    if spec.num_dimensions > most:
        beside = next((table for table in (family.samplers, family.estimators) if name in table), {})
        others = " or ".join(f"'{other}'" for other in beside if other not in family.max_dimensions)
        raise UsageError(
            f"'{name}' of family '{family.name}' is for examples of at most {most} numbers, and those of '{spec.name}' have "
            f"{spec.num_dimensions}: use {others}"
        )
