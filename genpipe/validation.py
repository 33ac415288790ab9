"""Raw values become typed configs; components are looked up in the registry; every mistake is collected."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from genpipe.config import Component, Config, Kind
from genpipe.errors import Problem, RecipeError, UsageError, nearest
from genpipe.recipe_source import KeyPath, Source, dotted
from genpipe.registry import Registry


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
            self.problem(
                path, f"given {as_written(raw)}; expected the name of a {label}, or a mapping with its name and options"
            )
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
            self.problem(path, f"given {as_written(raw)}; expected a mapping with {', '.join(cls.model_fields)}")
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
        if (
            isinstance(origin, type)
            and issubclass(origin, Mapping)
            and isinstance(raw, Mapping)
            and len(arguments) == 2
        ):
            pairs = {k: self._field(arguments[1], (), item, (*path, k)) for k, item in raw.items()}
            return {k: item for k, (item, _) in pairs.items()}, all(ok for _, ok in pairs.values())
        return raw, True


def _is_raw_component(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_raw_component(item) for item in value)
    return isinstance(value, str) or (isinstance(value, Mapping) and "name" in value)


def as_written(value: Any) -> str:
    """A recipe's value as its author wrote it: what Python calls None and True is null and true there."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _message(item: Any, cls: type[Config]) -> str:
    given = item["input"]
    match item["type"]:
        case "secret":  # what was given is not to be repeated
            return str(item["msg"])
        case "extra_forbidden":
            return f"unknown key{nearest(str(item['loc'][-1]), cls.model_fields)}"
        case "missing":
            field = cls.model_fields.get(str(item["loc"][-1]))
            kind = next((m.name for m in field.metadata if isinstance(m, Kind)), None) if field else None
            return f"is missing; expected a {kind.replace('_', ' ')}" if kind else "is missing"
        case "literal_error" if isinstance(given, str):
            choices = re.findall(r"'([^']*)'", item["msg"])
            return f"given {as_written(given)}; expected one of {', '.join(choices)}{nearest(given, choices) if len(choices) > 12 else ''}"
        case "value_error":
            return f"given {as_written(given)}; {item['ctx']['error']}" if item["loc"] else str(item["ctx"]["error"])
    expected = (
        item["msg"]
        .replace("Input should be", "expected")
        .replace("a valid integer", "a whole number")
        .replace("a valid ", "a ")
    )
    return f"given {as_written(given)}; {expected[0].lower()}{expected[1:]}"


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
