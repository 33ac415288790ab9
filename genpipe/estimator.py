"""How to estimate a log-probability where there is a choice: one of a family's estimators, with its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from genpipe.capabilities import need_few_dimensions
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """How to estimate a log-probability where `log_density` is not the only way.

    name: one of the family's `estimators`; num_samples: codes, chains or probes for each example; num_steps:
    temperatures, or a solver's steps. None means the family's default, and stays where the estimator has no such thing.
    """

    name: str
    num_samples: int | None = None
    num_steps: int | None = None


def choose_estimator(family: Family, estimator: Estimator | str | Mapping[str, Any], spec: DataSpec) -> Estimator:
    """The estimator meant, checked against the family's and the data, with its defaults."""
    options = {"name": estimator} if isinstance(estimator, str) else estimator
    if not isinstance(options, Estimator | Mapping):
        raise UsageError(f"the estimator is {estimator!r}, expected a name, or a mapping with its name and options")
    given = asdict(options) if isinstance(options, Estimator) else dict(options)
    name = given.pop("name", None)
    if name not in family.estimators:
        hint = nearest(str(name), family.estimators) or "; there is none: leave the estimator out"
        raise UsageError(f"family '{family.name}' has no estimator '{name}' of its likelihood{hint}")
    need_few_dimensions(family, name, spec)
    defaults = family.estimators[name]
    for option, value in given.items():
        if option not in defaults and value is not None:
            raise UsageError(f"estimator '{name}' has no option '{option}'{nearest(option, defaults)}")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"estimator '{name}': {option} is {value!r}, expected a whole number from 1 on")
    return Estimator(name=name, **{**defaults, **{k: v for k, v in given.items() if v is not None}})
