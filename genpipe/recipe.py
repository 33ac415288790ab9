"""Recipes: YAML with overrides becomes one validated config, or one error with every mistake in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.components import Pipeline, load_reference
from genpipe.config import Config
from genpipe.errors import Problem, RecipeError, UsageError, nearest
from genpipe.graph import Graph
from genpipe.recipe_source import KeyPath, Override, Source, dotted, key_path
from genpipe.redact import has_password, redacted
from genpipe.registry import Registry
from genpipe.validation import Resolver, as_written

SUFFIXES = (".yaml", ".yml")
MAX_SEED = 2**63 - 1  # seeds are int64 in the compiled core


@dataclass(frozen=True)
class Recipe:
    """A recipe, read and checked. `resolved` is the whole of it, defaults filled in, as plain data."""

    name: str
    description: str
    seed: int
    pipeline: Pipeline
    config: Config
    resolved: Mapping[str, Any]

    def graph(self) -> Graph:
        return Graph(self.pipeline.builder(self.config, self.seed))


def shipped_recipes(registry: Registry) -> dict[str, Path]:
    """Recipes that come with plugins, by name."""
    found = {}
    for folder in registry.recipe_folders():
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES:
                found[path.stem] = path
    return found


def find_recipe(reference: str, registry: Registry) -> Path:
    """The file for a path or a shipped recipe's name."""
    path = Path(os.path.expanduser(reference))  # as it stands where `~name` is nobody
    if path.suffix in SUFFIXES or os.sep in reference:
        if not path.is_file():
            near = [p.name for p in path.parent.glob("*.y*ml") if p.is_file()] if path.parent.is_dir() else []
            raise UsageError(f"there is no recipe file {path}{nearest(path.name, near) if near else ''}")
        return path
    shipped = shipped_recipes(registry)
    if reference not in shipped:
        raise UsageError(
            f"there is no recipe '{reference}'{nearest(reference, shipped)} "
            "(`genpipe recipes` lists those that ship; a file's name ends in .yaml)"
        )
    return shipped[reference]


def load_recipe(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str | Override] | Mapping[str, Any] = (),
    *,
    registry: Registry,
    workers: int | None = None,
) -> Recipe:
    """Reads, overrides and checks a recipe.

    reference: a file, the name of a shipped recipe, or the mapping itself. overrides: `["train.steps=500"]`,
    `{"train.steps": 500}`, or Overrides with labels of their own. workers: of every section that has that
    option, where no override says otherwise. Raises RecipeError with all mistakes.
    """
    if isinstance(reference, Mapping):
        source = Source("recipe")
        source.values = _copied(reference)
        name = str(reference.get("name", "recipe"))
        source.values.pop("name", None)
    else:
        path = find_recipe(str(reference), registry)
        name = path.stem
        source = Source(name)
        source.read(path)
    if workers is not None:
        for section in _sections_with_workers(source.values.get("pipeline"), registry):
            source.assign((section, "workers"), workers, f"--workers {workers}")
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            source.assign(tuple(key.split(".")), _copied(value), f"override '{key}'")
    else:
        for item in overrides:
            if isinstance(item, Override):
                source.assign(key_path(item.key), _copied(item.value), item.label)
            else:
                source.override(item)
    return _resolve(name, source, registry)


def _sections_with_workers(pipeline: Any, registry: Registry) -> list[str]:
    """Sections of a pipeline's recipes that say how many processes share a step."""
    if pipeline not in registry.names("pipeline"):
        return []  # a mistake that is told later
    sections = registry.get("pipeline", pipeline).config_class.model_fields
    classes = {name: field.annotation for name, field in sections.items()}
    return [
        n for n, c in classes.items() if isinstance(c, type) and issubclass(c, Config) and "workers" in c.model_fields
    ]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list | tuple) else value


def _resolve(name: str, source: Source, registry: Registry) -> Recipe:
    resolver = Resolver(registry, source)
    resolver.problems.extend(source.problems)
    values = dict(source.values)
    pipeline_name, seed = values.pop("pipeline", None), values.pop("seed", 0)
    description = values.pop("description", "") or ""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        resolver.problem(("seed",), f"given {as_written(seed)}; expected a whole number from 0 to {MAX_SEED}")
    if not isinstance(description, str):
        resolver.problem(("description",), f"given {as_written(description)}; expected text")
    if not isinstance(pipeline_name, str):
        message = "is missing" if pipeline_name is None else f"given {as_written(pipeline_name)}"
        resolver.problem(("pipeline",), f"{message}; expected one of {', '.join(registry.names('pipeline'))}")
        raise RecipeError(name, resolver.problems)
    try:
        record = registry.get("pipeline", pipeline_name)
    except UsageError as error:
        resolver.problem(("pipeline",), str(error))
        raise RecipeError(name, resolver.problems) from None
    config_class = record.config_class
    for key in [k for k in values if k not in config_class.model_fields]:
        known = [*config_class.model_fields, "pipeline", "seed", "description"]
        resolver.problem((key,), f"unknown key{nearest(key, known)}")
        del values[key]
    config = resolver.config(config_class, values, ())
    checked = config if config is not None else _without_mistakes(config_class, values, resolver)
    if checked is not None and record.check is not None:
        told = [problem.key for problem in resolver.problems]
        for key, message in load_reference(record.check)(checked, registry):
            if not any(f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in told):
                resolver.problem(tuple(int(p) if p.isdecimal() else p for p in key.split(".")), message)
    if resolver.problems or config is None:
        raise RecipeError(name, resolver.problems)
    for path, text in _texts(config.model_dump(mode="json")):
        if has_password(text):
            where = redacted(source.where(path))
            message = "holds a password; a recipe is kept and shown, so leave it out and set it in the environment"
            resolver.problems.append(Problem(where, dotted(path), message))
    if resolver.problems:
        raise RecipeError(name, resolver.problems)
    resolved = {"pipeline": pipeline_name, "description": description, "seed": seed, **config.model_dump(mode="json")}
    return Recipe(name, description, seed, record, config, resolved)


def _without_mistakes(config_class: type[Config], values: Mapping[str, Any], resolver: Resolver) -> Config | None:
    """The config with defaults where a value was wrong, by which mistakes between the others can be told as well; None
    where no default can stand for it. `conditional` is asked for by other sections, so that none stands for that."""
    kept = _copied(values)
    for problem in resolver.problems:
        *sections, key = problem.key.split(".")
        section = kept
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or key == "conditional":
            return None
        section.pop(key, None)
    return Resolver(resolver.registry, resolver.source).config(config_class, kept, ())


def _texts(values: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text in nested plain data, with where it stands."""
    if isinstance(values, str):
        yield path, values
    items = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield from _texts(value, (*path, key))
