"""Recipes: YAML with overrides becomes one validated config, or one error with every mistake in it."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from genpipe.components import Pipeline, load_reference
from genpipe.config import Component, Config, Kind
from genpipe.errors import Problem, RecipeError, UsageError, nearest
from genpipe.graph import Graph
from genpipe.registry import Registry

KeyPath = tuple[str | int, ...]
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


# -- finding and reading --------------------------------------------------------------------------------------


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
    path = Path(reference).expanduser()
    if path.suffix in SUFFIXES or os.sep in reference:
        if not path.is_file():
            near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            raise UsageError(f"there is no recipe file {path}{nearest(path.name, near) if near else ''}")
        return path
    shipped = shipped_recipes(registry)
    if reference not in shipped:
        raise UsageError(
            f"there is no recipe '{reference}'{nearest(reference, shipped)} "
            "(`genpipe recipes` lists those that ship; a file's name ends in .yaml)"
        )
    return shipped[reference]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 reads 1e-3 as text; people mean the number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class Source:
    """A recipe's raw values, with the line or the override that each came from."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._where: dict[KeyPath, str] = {}

    def where(self, path: KeyPath) -> str:
        """Where the value at `path`, or the closest thing around it, was written."""
        for end in range(len(path), -1, -1):
            if path[:end] in self._where:
                return self._where[path[:end]]
        return self.name

    def read(self, path: Path) -> None:
        label = str(path) if len(str(path)) <= 60 else path.name
        try:
            text = path.read_text(encoding="utf-8")
            loader = _Loader(text)
            node = loader.get_single_node()
        except UnicodeDecodeError as error:
            raise RecipeError(self.name, [Problem(label, "", f"is not UTF-8 text: {error.reason}")]) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{label}:{mark.line + 1}" if mark else label
            problem = getattr(error, "problem", None) or str(error)
            raise RecipeError(self.name, [Problem(place, "", f"is not YAML: {problem}")]) from None
        if node is None:
            raise RecipeError(self.name, [Problem(label, "", "is empty")])
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(self.name, [Problem(f"{label}:1", "", "a recipe is a mapping of sections")])
        self.values = self._construct(loader, node, (), label)

    def _construct(self, loader: Any, node: yaml.Node, path: KeyPath, label: str) -> Any:
        self._where.setdefault(path, f"{label}:{node.start_mark.line + 1}")
        if isinstance(node, yaml.MappingNode):
            mapping = {}
            for key_node, value_node in node.value:
                key = str(loader.construct_object(key_node, deep=True))
                line = key_node.start_mark.line + 1
                if key in mapping:
                    self.problems.append(
                        Problem(f"{label}:{line}", dotted((*path, key)), "is given twice; the first is at "
                                f"{self._where[*path, key]}")
                    )
                self._where[*path, key] = f"{label}:{line}"
                mapping[key] = self._construct(loader, value_node, (*path, key), label)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(loader, item, (*path, i), label) for i, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(Problem(f"{label}:{node.start_mark.line + 1}", dotted(path), f"cannot be read: {error}"))
            return None

    def override(self, text: str) -> None:
        """Applies `a.b=value`; the value is YAML."""
        key, equals, raw = text.partition("=")
        label = f"override '{text}'"
        if not equals or not key.strip():
            self.problems.append(Problem(label, "", "expected KEY=VALUE, such as train.steps=500"))
            return
        try:
            value = yaml.load(raw, _Loader)  # noqa: S506: _Loader is a SafeLoader
        except yaml.YAMLError:
            self.problems.append(Problem(label, key, f"{raw!r} is not a YAML value"))
            return
        self.assign(tuple(int(p) if p.isdecimal() else p for p in key.strip().split(".")), value, label)

    def assign(self, path: KeyPath, value: Any, label: str) -> None:
        target: Any = self.values
        for depth, part in enumerate(path[:-1]):
            child = self._child(target, part)
            if isinstance(child, str) or child is None:
                # `model: vae` is short for `model: {name: vae}`, so that an option can be set inside it
                child = {"name": child} if child else {}
                self._set(target, part, child)
                self._where.setdefault(path[: depth + 1], label)
            if not isinstance(child, dict | list):
                self.problems.append(Problem(label, dotted(path), f"'{dotted(path[: depth + 1])}' has no keys inside"))
                return
            target = child
        if not self._set(target, path[-1], value):
            self.problems.append(Problem(label, dotted(path), "no such place in the recipe"))
            return
        for known in [p for p in self._where if p[: len(path)] == path]:
            del self._where[known]
        self._where[path] = label

    @staticmethod
    def _child(target: Any, part: str | int) -> Any:
        if isinstance(target, list):
            return target[part] if isinstance(part, int) and part < len(target) else 0
        return target.get(str(part))

    @staticmethod
    def _set(target: Any, part: str | int, value: Any) -> bool:
        if isinstance(target, list):
            if not isinstance(part, int) or part >= len(target):
                return False
            target[part] = value
        else:
            target[str(part)] = value
        return True


def dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)


# -- validating -----------------------------------------------------------------------------------------------


class Resolver:
    """Turns raw values into configs, collecting every mistake. `where` tells what to name in messages."""

    def __init__(self, registry: Registry, source: Source) -> None:
        self.registry, self.source = registry, source
        self.problems: list[Problem] = []

    def problem(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.source.where(path), dotted(path), message))

    def component(self, kind: str, raw: Any, path: KeyPath) -> Component | None:
        label = kind.replace("_", " ")
        if isinstance(raw, str):
            raw = {"name": raw}
        if not isinstance(raw, Mapping):
            self.problem(path, f"given {raw!r}; expected the name of a {label}, or a mapping with its name and options")
            return None
        if not isinstance(raw.get("name"), str):
            known = self.registry.names(kind)
            self.problem(path, f"has no name; expected the name of a {label}: {', '.join(known)}")
            return None
        try:
            record = self.registry.get(kind, raw["name"])
        except UsageError as error:
            where: KeyPath = (*path, "name")
            self.problem(where if self.source.where(where) != self.source.where(path) else path, str(error))
            return None
        config = self.config(record.config_class, {k: v for k, v in raw.items() if k != "name"}, path)
        return None if config is None else Component(kind, record.name, config)

    def config(self, cls: type[Config], raw: Any, path: KeyPath) -> Config | None:
        if raw is None:
            raw = {}
        if not isinstance(raw, Mapping):
            self.problem(path, f"given {raw!r}; expected a mapping with {', '.join(cls.model_fields)}")
            return None
        before, values, failed = len(self.problems), dict(raw), set()
        for name, field in cls.model_fields.items():
            given = values.get(name)
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            if isinstance(given, Mapping) and "name" not in given and isinstance(default, str):
                given = {"name": default, **given}  # options alone are for the component that is the default
            if name not in values:
                if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
                    given = {}  # a section left out is a section of defaults
                elif field.is_required():
                    continue
                else:
                    given = default
                    if not _is_raw_component(given):
                        continue  # only defaults that name components need resolving
            resolved, ok = self._field(field.annotation, field.metadata, given, (*path, name))
            values[name] = resolved
            if not ok:
                failed.add(name)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=True):
                if not item["loc"] or item["loc"][0] not in failed:
                    self.problem((*path, *item["loc"]), _message(item, cls))
            return None
        return config if len(self.problems) == before else None

    def _field(self, annotation: Any, metadata: Sequence[Any], raw: Any, path: KeyPath) -> tuple[Any, bool]:
        """The field's value with components and nested configs resolved, and whether that went well."""
        kind = next((m.name for m in metadata if isinstance(m, Kind)), None)
        if kind is not None:
            if isinstance(raw, Component):
                return raw, True
            component = self.component(kind, raw, path)
            return component, component is not None
        if typing.get_origin(annotation) is typing.Annotated:
            inner, *marks = typing.get_args(annotation)
            return self._field(inner, marks, raw, path)
        if isinstance(annotation, type) and issubclass(annotation, Config) and not isinstance(raw, Config):
            config = self.config(annotation, raw, path)
            return config, config is not None
        arguments = typing.get_args(annotation)
        if type(None) in arguments:
            if raw is None:
                return None, True
            rest = [a for a in arguments if a is not type(None)]
            return self._field(rest[0], (), raw, path) if len(rest) == 1 else (raw, True)
        origin = typing.get_origin(annotation)
        if origin in (list, tuple) and isinstance(raw, list | tuple) and arguments:
            items = [self._field(arguments[0], (), item, (*path, i)) for i, item in enumerate(raw)]
            return [item for item, _ in items], all(ok for _, ok in items)
        if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(raw, Mapping) and len(arguments) == 2:
            pairs = {k: self._field(arguments[1], (), item, (*path, k)) for k, item in raw.items()}
            return {k: item for k, (item, _) in pairs.items()}, all(ok for _, ok in pairs.values())
        return raw, True


def _is_raw_component(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_raw_component(item) for item in value)
    return isinstance(value, str) or (isinstance(value, Mapping) and "name" in value)


def _message(item: Any, cls: type[Config]) -> str:
    given = item["input"]
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key{nearest(str(item['loc'][-1]), cls.model_fields)}"
        case "missing":
            field = cls.model_fields.get(str(item["loc"][-1]))
            kind = next((m.name for m in field.metadata if isinstance(m, Kind)), None) if field else None
            return f"is missing; expected a {kind.replace('_', ' ')}" if kind else "is missing"
        case "literal_error" if isinstance(given, str):
            choices = re.findall(r"'([^']*)'", item["msg"])
            return f"given {given!r}; expected one of {', '.join(choices)}{nearest(given, choices) if len(choices) > 12 else ''}"
        case "value_error":
            return f"given {given!r}; {item['ctx']['error']}" if item["loc"] else str(item["ctx"]["error"])
    expected = item["msg"].replace("Input should be", "expected").replace("a valid integer", "a whole number").replace("a valid ", "a ")
    return f"given {given!r}; {expected[0].lower()}{expected[1:]}"


# -- the whole ------------------------------------------------------------------------------------------------


def load_recipe(
    reference: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    registry: Registry,
) -> Recipe:
    """Reads, overrides and checks a recipe.

    reference: a file, the name of a shipped recipe, or the mapping itself. overrides: `["train.steps=500"]` or
    `{"train.steps": 500}`. Raises RecipeError with all mistakes.
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
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            source.assign(tuple(key.split(".")), _copied(value), f"override '{key}'")
    else:
        for text in overrides:
            source.override(text)
    return _resolve(name, source, registry)


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
        resolver.problem(("seed",), f"given {seed!r}; expected a whole number from 0 to {MAX_SEED}")
    if not isinstance(description, str):
        resolver.problem(("description",), f"given {description!r}; expected text")
    if not isinstance(pipeline_name, str):
        message = "is missing" if pipeline_name is None else f"given {pipeline_name!r}"
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
    if config is not None and record.check is not None:
        for key, message in load_reference(record.check)(config, registry):
            resolver.problem(tuple(int(p) if p.isdecimal() else p for p in key.split(".")), message)
    if resolver.problems or config is None:
        raise RecipeError(name, resolver.problems)
    resolved = {"pipeline": pipeline_name, "description": description, "seed": seed, **config.model_dump(mode="json")}
    return Recipe(name, description, seed, record, config, resolved)


def restore_config(cls: type[Config], values: Mapping[str, Any], registry: Registry) -> Config:
    """A config from its own `model_dump`; for workers, which are sent plain data."""
    resolver = Resolver(registry, Source("step"))
    config = resolver.config(cls, values, ())
    if config is None:
        raise RecipeError("step", resolver.problems)
    return config


def components_in(config: Any) -> Iterator[Component]:
    """Every component that a config names, outermost first."""
    if isinstance(config, Component):
        yield config
        yield from components_in(config.config)
    elif isinstance(config, Config):
        for name in type(config).model_fields:
            yield from components_in(getattr(config, name))
    elif isinstance(config, list | tuple):
        for item in config:
            yield from components_in(item)
    elif isinstance(config, Mapping):
        for item in config.values():
            yield from components_in(item)
