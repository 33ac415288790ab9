"""A recipe's raw values: YAML with the line of each, and overrides from the command line on top."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genpipe.errors import Problem, RecipeError

KeyPath = tuple[str | int, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 reads 1e-3 as text; people mean the number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Override:
    """One value put in place of a recipe's. label: what mistakes in it are told by."""

    key: str
    value: Any
    label: str


def parse_value(text: str) -> Any:
    """A value as overrides write it, in YAML; ValueError where it is none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def key_path(key: str) -> KeyPath:
    """`a.0.b` as the way through mappings and lists."""
    return tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))


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
        except OSError as error:
            raise RecipeError(self.name, [Problem(label, "", f"cannot be read: {error.strerror}")]) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{label}:{mark.line + 1}" if mark else label
            problem = getattr(error, "problem", None) or str(error)
            raise RecipeError(self.name, [Problem(place, "", f"is not YAML: {problem}")]) from None
        if node is None:
            raise RecipeError(self.name, [Problem(label, "", "is empty")])
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(self.name, [Problem(f"{label}:1", "", "a recipe is a mapping of sections")])
        self.values = self._construct(loader, node, (), label, ())

    def _construct(self, loader: Any, node: yaml.Node, path: KeyPath, label: str, around: tuple[yaml.Node, ...]) -> Any:
        self._where.setdefault(path, f"{label}:{node.start_mark.line + 1}")
        if any(node is outer for outer in around):
            self.problems.append(
                Problem(f"{label}:{node.start_mark.line + 1}", dotted(path), "is an alias of what it stands in")
            )
            return None
        around = (*around, node)
        if isinstance(node, yaml.MappingNode):
            mapping = {}
            for key_node, value_node in node.value:
                key = str(loader.construct_object(key_node, deep=True))
                line = key_node.start_mark.line + 1
                if key in mapping:
                    self.problems.append(
                        Problem(
                            f"{label}:{line}",
                            dotted((*path, key)),
                            f"is given twice; the first is at {self._where[*path, key]}",
                        )
                    )
                self._where[*path, key] = f"{label}:{line}"
                mapping[key] = self._construct(loader, value_node, (*path, key), label, around)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(loader, item, (*path, i), label, around) for i, item in enumerate(node.value)]
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(
                Problem(f"{label}:{node.start_mark.line + 1}", dotted(path), f"cannot be read: {error}")
            )
            return None

    def override(self, text: str) -> None:
        """Applies `a.b=value`; the value is YAML."""
        key, equals, raw = text.partition("=")
        label = f"override '{text}'"
        if not equals or not key.strip():
            self.problems.append(Problem(label, "", "expected KEY=VALUE, such as train.steps=500"))
            return
        try:
            value = parse_value(raw)
        except ValueError:  # also of dates that no calendar has
            self.problems.append(Problem(label, key, f"{raw!r} is not a YAML value"))
            return
        self.assign(key_path(key), value, label)

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
