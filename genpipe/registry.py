"""Finds plugins and what they register; loads each when it is needed, and names a broken one without failing the rest.

Two places, one mechanism: the folders `genpipe/plugins` and `genpipe/pipelines` that ship with the package, then the
entry-point group `genpipe` of every installed distribution. Both give modules with `@genpipe.hookimpl` functions.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from genpipe import hookspecs
from genpipe.components import API_VERSION, ComponentRecord
from genpipe.errors import PluginError, UsageError, nearest

KINDS = {
    "family": "register_families",
    "dataset": "register_datasets",
    "metric": "register_metrics",
    "feature_extractor": "register_feature_extractors",
    "stage": "register_stages",
    "pipeline": "register_pipelines",
}

SHIPPED_FOLDERS = ("genpipe.plugins", "genpipe.pipelines")
ENTRY_POINT_GROUP = "genpipe"


@dataclass(frozen=True)
class PluginSource:
    """Where a plugin comes from. shipped: it is a folder of genpipe's own."""

    name: str
    module: str
    distribution: str
    version: str
    shipped: bool


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded: its source, the error in a line, the traceback."""

    source: PluginSource
    error: str
    traceback: str

    def __str__(self) -> str:
        return f"plugin '{self.source.name}' of {self.source.distribution} {self.source.version}: {self.error}"


@dataclass(frozen=True)
class Provided:
    """A component and the plugin that provides it."""

    kind: str
    record: Any
    source: PluginSource


def find_plugins() -> Iterator[PluginSource]:
    """Every plugin there is, without importing any."""
    version = importlib.metadata.version("genpipe")
    for folder in SHIPPED_FOLDERS:
        spec = importlib.util.find_spec(folder)
        if spec is None or spec.submodule_search_locations is None:
            raise PluginError(f"the package {folder} is missing: the installation of genpipe is incomplete")
        for found in sorted(pkgutil.iter_modules(spec.submodule_search_locations), key=lambda m: m.name):
            if found.ispkg:
                yield PluginSource(found.name, f"{folder}.{found.name}", "genpipe", version, shipped=True)
    seen = set()
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        dist = entry.dist
        name, version = (dist.name, dist.version) if dist else ("unknown distribution", "?")
        if (entry.name, entry.value, name) not in seen:  # editable installs can be listed twice
            seen.add((entry.name, entry.value, name))
            yield PluginSource(entry.name, entry.value, name, version, shipped=False)


class Registry:
    """All components, by kind and name."""

    def __init__(self, sources: Iterator[PluginSource] | None = None) -> None:
        self.plugins = tuple(sources if sources is not None else find_plugins())
        self.broken: list[BrokenPlugin] = []
        self.manager = pluggy.PluginManager("genpipe")
        self.manager.add_hookspecs(hookspecs)
        self._components: dict[tuple[str, str], Provided] = {}
        self._recipe_folders: list[Path] = []
        disabled = {n.strip() for n in os.environ.get("GENPIPE_DISABLE_PLUGINS", "").split(",") if n.strip()}
        for source in self.plugins:
            if source.name not in disabled:
                self._load(source)

    def _load(self, source: PluginSource) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for what was asked for
                module: ModuleType = importlib.import_module(source.module)
            self.manager.register(module, name=f"{source.distribution}:{source.name}")
            self.manager.check_pending()
            components = [
                self._checked(Provided(kind, record, source))
                for kind, hook in KINDS.items()
                for record in self._call(module, hook)
            ]
            folders = [Path(folder) for folder in self._call(module, "register_recipes")]
        except (Exception, SystemExit) as error:
            if source.shipped:
                raise  # a broken installation of genpipe itself is a bug to see, not to work around
            if self.manager.has_plugin(f"{source.distribution}:{source.name}"):
                self.manager.unregister(name=f"{source.distribution}:{source.name}")
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self.broken.append(BrokenPlugin(source, text, traceback.format_exc()))
            return
        for provided in components:
            self._components[provided.kind, provided.record.name] = provided
        self._recipe_folders.extend(folders)

    @staticmethod
    def _call(module: ModuleType, hook: str) -> list[Any]:
        implementation = getattr(module, hook, None)
        marked = implementation is not None and hasattr(implementation, "genpipe_impl")
        return list(implementation()) if marked and implementation is not None else []

    def _checked(self, provided: Provided) -> Provided:
        record = provided.record
        if not isinstance(record, ComponentRecord):
            raise TypeError(
                f"{KINDS[provided.kind]} gave a {type(record).__name__}, expected records of genpipe.components"
            )
        if record.api_version != API_VERSION:
            raise ValueError(
                f"{provided.kind} '{record.name}' is written for plugin API {record.api_version}; this genpipe has {API_VERSION}"
            )
        other = self._components.get((provided.kind, record.name))
        if other is not None:
            raise ValueError(
                f"{provided.kind} '{record.name}' is already provided by plugin '{other.source.name}' "
                f"of {other.source.distribution}"
            )
        return provided

    def names(self, kind: str) -> list[str]:
        """Names of the components of a kind, sorted."""
        return sorted(name for k, name in self._components if k == kind)

    def all(self, kind: str) -> list[Provided]:
        return [self._components[kind, name] for name in self.names(kind)]

    def find(self, kind: str, name: str) -> Provided:
        """The component; UsageError with the nearest name, and the broken plugins that may have had it."""
        found = self._components.get((kind, name))
        if found is None:
            lines = [f"there is no {kind.replace('_', ' ')} '{name}'{nearest(name, self.names(kind))}"]
            lines += [f"({broken} could not be loaded and may have provided it)" for broken in self.broken]
            raise UsageError("\n".join(lines))
        return found

    def get(self, kind: str, name: str) -> Any:
        """The record of a component."""
        return self.find(kind, name).record

    def recipe_folders(self) -> list[Path]:
        return list(self._recipe_folders)


@cache
def registry() -> Registry:
    """This process's registry."""
    return Registry()
