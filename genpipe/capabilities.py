"""What a family can do, and for which data: asked before it is tried."""

from __future__ import annotations

from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import CapabilityError, UsageError


def need(family: Family, capability: str) -> None:
    """CapabilityError where the family cannot do this."""
    if capability not in family.capabilities:
        can = ", ".join(sorted(family.capabilities))
        raise CapabilityError(f"family '{family.name}' has no {capability}; it can: {can}")


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
