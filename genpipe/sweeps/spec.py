"""What a sweep tries: its trials, every one checked against the recipe before anything starts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.errors import Problem, RecipeError, UsageError
from genpipe.recipe import MAX_SEED, Recipe, load_recipe
from genpipe.recipe_source import Override
from genpipe.registry import Registry
from genpipe.sweeps.domains import Domain, Grid, Range, parse_domain, points

DEFAULT_TRIALS = 16
MAX_TRIALS = 10_000
SEED_KEY = "seed"
LISTS = "in a sweep a list is a grid of values; a value that is a list goes in one more pair of brackets"


@dataclass(frozen=True)
class TrialSpec:
    """One configuration: the swept keys' values, and its recipe, once for each seed."""

    number: int
    values: Mapping[str, Any]
    recipes: tuple[Recipe, ...]

    @property
    def typed(self) -> str:
        """The values as overrides on a command line."""
        return typed(self.values)


@dataclass(frozen=True)
class SweepSpec:
    """A recipe, the domains of its swept keys, plain overrides, and the trials that they make.

    draw_seed: of the values drawn, no part of any trial.
    """

    name: str
    domains: Mapping[str, Domain]
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    draw_seed: int
    trials: tuple[TrialSpec, ...]

    def record(self) -> dict[str, Any]:
        return {
            "recipe": self.name,
            "domains": {key: str(domain) for key, domain in self.domains.items()},
            "overrides": list(self.overrides),
            "seeds": list(self.seeds),
            "draw_seed": self.draw_seed,
            "trials": [{"number": trial.number, "values": dict(trial.values)} for trial in self.trials],
        }


def typed(values: Mapping[str, Any]) -> str:
    """`a=1 b=0.5`: values as overrides, which give them back exactly."""
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read_sweep(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any],
    *,
    registry: Registry,
    num_trials: int | None = None,
    num_seeds: int | None = None,
    draw_seed: int = 0,
) -> SweepSpec:
    """The sweep that `key=domain` and `key=value` ask for.

    num_trials: configurations; all of the grid where nothing is drawn. num_seeds: each is run with as many seeds.
    Raises RecipeError with all mistakes: of the domains, and of the values at their ends and in each trial.
    """
    name = str(reference.get("name", "recipe")) if isinstance(reference, Mapping) else Path(str(reference)).stem
    asked = _Asked(overrides)
    check = _Check(reference, asked, registry)
    base = check.recipe({key: domain.probes[0] for key, domain in asked.domains.items()})
    for key, domain in asked.domains.items():
        for probe in domain.probes[1:]:
            check.recipe({**{k: d.probes[0] for k, d in asked.domains.items()}, key: probe})
    if check.problems:
        raise RecipeError(name, check.problems)
    assert base is not None
    seeds = _seeds(asked.seeds, num_seeds, base.seed)
    if not asked.domains and len(seeds) == 1:
        raise UsageError(
            "there is nothing to sweep: give a key a range or a list, such as train.learning_rate=log(1e-4,1e-2), "
            "or repeat the recipe with --seeds 3"
        )
    trials = []
    for number, values in enumerate(combinations(asked.domains, num_trials, draw_seed)):
        recipes = [check.recipe({**values, SEED_KEY: seed}) for seed in seeds]
        trials.append(TrialSpec(number, values, tuple(recipe for recipe in recipes if recipe is not None)))
    if check.problems:
        raise RecipeError(name, check.problems)
    return SweepSpec(base.name, asked.domains, asked.plain_texts, seeds, draw_seed, tuple(trials))


def combinations(domains: Mapping[str, Domain], num_trials: int | None, draw_seed: int) -> Iterable[dict[str, Any]]:
    """The values of each trial: the grid's combinations in turn, with drawn values that are other ones each time."""
    grids = [key for key, domain in domains.items() if isinstance(domain, Grid)]
    drawn = [key for key in domains if key not in grids]
    cells = list(itertools.product(*(domains[key].probes for key in grids)))
    num = num_trials if num_trials is not None else max(DEFAULT_TRIALS, len(cells)) if drawn else len(cells)
    if num > MAX_TRIALS:
        raise UsageError(f"{num} trials; at most {MAX_TRIALS}")
    if num < len(cells):
        raise UsageError(f"{num} trials leave out some of the grid's {len(cells)} combinations; --trials {len(cells)}")
    if not drawn and num > len(cells):
        raise UsageError(
            f"the grid has {len(cells)} combinations, and nothing is drawn that {num} trials could differ in; "
            "to repeat a trial with other seeds, --seeds 3"
        )
    for number in range(num):
        turn, cell = divmod(number, len(cells))
        at = dict(zip(drawn, points(drawn, draw_seed, turn, cell), strict=True))
        fixed = dict(zip(grids, cells[cell], strict=True))
        yield {key: fixed[key] if key in fixed else domain.at(at[key]) for key, domain in domains.items()}


def _seeds(listed: tuple[int, ...] | None, num: int | None, first: int) -> tuple[int, ...]:
    if listed is not None:
        if num is not None and num != len(listed):
            raise UsageError(f"--seeds {num}, but seed=[…] lists {len(listed)}; give one of them")
        return listed
    return tuple(range(first, first + (num or 1)))


class _Asked:
    """The command line's `key=…` apart: domains, plain overrides, and the seeds."""

    def __init__(self, overrides: Sequence[str] | Mapping[str, Any]) -> None:
        self.domains: dict[str, Domain] = {}
        self.labels: dict[str, str] = {}
        self.plain: list[str | Override] = []
        self.seeds: tuple[int, ...] | None = None
        self.problems: list[Problem] = []
        if isinstance(overrides, Mapping):
            items = [(str(key), value, f"'{key}'") for key, value in overrides.items()]
        else:
            items = [(text.partition("=")[0].strip(), text.partition("=")[2], f"'{text}'") for text in overrides]
        for (key, value, label), given in zip(items, overrides, strict=True):
            try:
                domain = parse_domain(value)
                if domain is not None and key == SEED_KEY:
                    self.seeds = _listed_seeds(domain)
                    continue
            except UsageError as error:
                self.problems.append(Problem(label, key, str(error)))
                continue
            if domain is None:
                self.plain.append(given if isinstance(overrides, Sequence) else Override(key, value, label))
            elif key in self.domains:
                self.problems.append(Problem(label, key, f"is swept twice; the first is {self.labels[key]}"))
            else:
                self.domains[key], self.labels[key] = domain, label

    @property
    def plain_texts(self) -> tuple[str, ...]:
        return tuple(f"{o.key}={_text(o.value)}" if isinstance(o, Override) else o for o in self.plain)


def _listed_seeds(domain: Domain) -> tuple[int, ...]:
    values = tuple(domain.probes)
    if not isinstance(domain, Grid):
        raise UsageError(f"given {domain}; seeds repeat each trial and are listed: seed=[0,1,2], or --seeds 3")
    if len(set(values)) != len(values) or not all(type(v) is int and 0 <= v <= MAX_SEED for v in values):
        raise UsageError(f"given {domain}; expected different whole numbers from 0 to {MAX_SEED}")
    return values


class _Check:
    """Reads the recipe with values in place, and keeps every mistake once."""

    def __init__(self, reference: str | Path | Mapping[str, Any], asked: _Asked, registry: Registry) -> None:
        self._reference, self._asked, self._registry = reference, asked, registry
        self._found: dict[tuple[str, str, str], Problem] = {}
        self._of_the_recipe: set[tuple[str, str]] = set()  # which no swept value can be blamed for
        for problem in asked.problems:
            self._keep(problem, "")
        try:
            load_recipe(reference, asked.plain, registry=registry)
        except RecipeError as error:
            self._of_the_recipe = {(problem.key, problem.message) for problem in error.problems}

    @property
    def problems(self) -> list[Problem]:
        return list(self._found.values())

    def recipe(self, values: Mapping[str, Any]) -> Recipe | None:
        labels = self._asked.labels
        swept = [Override(key, value, labels.get(key, f"seed {value}")) for key, value in values.items()]
        try:
            return load_recipe(self._reference, [*self._asked.plain, *swept], registry=self._registry)
        except RecipeError as error:
            for problem in error.problems:
                self._keep(problem, typed(values))
            return None

    def _keep(self, problem: Problem, values: str) -> None:
        where, key, message = problem.where, problem.key, problem.message
        domain, kind = self._asked.domains.get(key), message
        if domain is None or where != self._asked.labels[key]:  # a mistake of some values together
            message += f" (with {values})" if values and (key, message) not in self._of_the_recipe else ""
        elif isinstance(domain, Range):  # one end is enough
            hint = ": int(LOW,HIGH) or logint(LOW,HIGH)" if "whole number" in message else ""
            self._found.setdefault((where, key, ""), Problem(where, key, message + hint))
            return
        elif "list" in message or "tuple" in message:
            message += f"; {LISTS}"
        self._found.setdefault((where, key, kind), Problem(where, key, message))
