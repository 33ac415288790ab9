"""How to sample where there is a choice: one of a family's samplers, with its options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genpipe.components import Family, SamplerOption
from genpipe.errors import UsageError, nearest


@dataclass(frozen=True)
class Sampler:
    """name: one of the family's `samplers`, None for its default; options: of that sampler.

    `choose_sampler` fills in the name, and the default of every option that is not given. Families read
    `sampler.options["num_steps"]`.
    """

    name: str | None = None
    options: Mapping[str, SamplerOption] = field(default_factory=dict)

    def __str__(self) -> str:
        """Its name and the options that are set."""
        given = [f"{option} {value:g}" for option, value in self.options.items() if value is not None]
        return ", ".join([self.name or "the family's only way", *given])


SamplerChoice = Sampler | str | Mapping[str, Any] | None
"""A sampler as people give it: a name, a mapping with options and perhaps a name, or None for the family's default."""


def choose_sampler(family: Family, choice: SamplerChoice) -> Sampler:
    """The sampler meant, with all of its options.

    UsageError, with the nearest name, where the family has no such sampler, or that no such option.
    """
    name, given = _name_and_options(choice)
    samplers = family.samplers
    if not samplers:
        if name is None and not given:
            return Sampler()
        what = f"sampler '{name}'" if name is not None else f"sampler, and so no option '{min(given)}' of one"
        raise UsageError(f"family '{family.name}' has no {what}: it samples in one way only")
    if name is None:
        name = next(iter(samplers))
    if name not in samplers:
        raise UsageError(f"family '{family.name}' has no sampler '{name}'{nearest(name, samplers)}")
    defaults = samplers[name]
    for option, value in given.items():
        if option not in defaults:
            raise UsageError(f"the sampler '{name}' has no option '{option}'{_there_is(option, name, family)}")
        if value is not None and (expected := _expected(option, defaults[option], value)):
            raise UsageError(f"the sampler '{name}': {option} is {value!r}, expected {expected}")
    return Sampler(name, {**defaults, **{option: value for option, value in given.items() if value is not None}})


def _name_and_options(choice: SamplerChoice) -> tuple[str | None, dict[str, Any]]:
    if choice is None or isinstance(choice, str):
        return choice, {}
    if isinstance(choice, Sampler):
        return choice.name, dict(choice.options)
    if not isinstance(choice, Mapping):
        raise UsageError(
            f"the sampler is {choice!r}, expected a name, or a mapping with its options and perhaps its name"
        )
    options = dict(choice)
    name = options.pop("name", None)
    if name is not None and not isinstance(name, str):
        raise UsageError(f"the sampler's name is {name!r}, expected a word")
    return name, options


def _there_is(option: str, name: str, family: Family) -> str:
    """What is near, or which other samplers have it."""
    others = [other for other, options in family.samplers.items() if option in options]
    if others:
        return f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'} one"
    return nearest(option, family.samplers[name]) or "; it has none"


def _expected(option: str, default: SamplerOption, value: Any) -> str:
    """What a value should have been; empty where it is right. Numbers of things are whole and positive."""
    if option.startswith("num_"):
        return (
            "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "a whole number from 1 on"
        )
    if isinstance(default, int):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if is_number else "a number"
