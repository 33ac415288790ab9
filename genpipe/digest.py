"""Content keys: what a step's result depends on, as a digest with named parts, so that a change can be told."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genpipe.artifacts import write_atomically
from genpipe.errors import GenpipeError

KEY_LENGTH = 20

# Modules that move results about but cannot change them: an edit there must not retrain a model.
ORCHESTRATION = frozenset(
    f"genpipe.{name}"
    for name in (
        "registry",
        "errors",
        "hookspecs",
        "steps",
        "artifacts",
        "components",
        "graph",
        "recipe",
        "recipe_source",
        "validation",
        "digest",
        "_build",
        "heartbeat",
        "processes",
        "parallel.actors",
        "parallel.fan_out",
        "parallel.ledger",
        "parallel.ray_data",
        "parallel.resources",
        "parallel.worker",
    )
)
ORCHESTRATION_PACKAGES = ("genpipe.execution", "genpipe.stores")

# Python 3.11 counts the depth of a syntax tree for all threads at once, and gives up where two of them parse.
_parsing = threading.Lock()


def digest(value: Any) -> str:
    """Hex digest of JSON-like data, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class CodeDigests:
    """Digests of source files and the modules they import, found by reading, never by importing.

    Follows imports inside the packages `follow` (genpipe's and the plugin's own). Reading is cached in `cache` by
    path, size and time of change.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache_path, self._dirty = cache, False
        self._files: dict[str, list[Any]] = {}
        if cache is not None and cache.exists():
            try:
                self._files = json.loads(cache.read_text())
            except ValueError:
                self._files = {}  # only saves reading; a damaged one is made anew
        self._roots: dict[str, Path | None] = {}

    def save(self) -> None:
        if self._cache_path is not None and self._dirty:
            with contextlib.suppress(OSError, GenpipeError):  # a workspace that is read-only can be looked at too
                self._cache_path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._cache_path, json.dumps(self._files))

    def closure(self, modules: Iterable[str]) -> dict[str, str]:
        """Module → digest of its source, for the modules and all that they import of genpipe and of their package, and
        for the templates beside these."""
        found: dict[str, str] = {}
        folders: dict[Path, str] = {}
        waiting = list(modules)
        follow = {"genpipe", *(m.partition(".")[0] for m in waiting)}
        while waiting:
            module = waiting.pop()
            if module in found or module in ORCHESTRATION or module.startswith(ORCHESTRATION_PACKAGES):
                continue
            path = self._locate(module)
            if path is None:
                continue
            sha, imports = self._read(path, module)
            found[module] = sha
            folders[path.parent] = module if path.name == "__init__.py" else module.rpartition(".")[0]
            waiting.extend(name for name in imports if name.partition(".")[0] in follow)
        for folder, package in folders.items():
            for template in folder.glob("*.j2"):
                found[f"{package}/{template.name}"] = hashlib.sha256(template.read_bytes()).hexdigest()
        if "genpipe.ops" in found:
            found["core_ext"] = _compiled_digest()
        return dict(sorted(found.items()))

    def _root(self, package: str) -> Path | None:
        if package not in self._roots:
            spec = importlib.util.find_spec(package)
            locations = list(spec.submodule_search_locations or ()) if spec else []
            self._roots[package] = (
                Path(locations[0]) if locations else Path(spec.origin) if spec and spec.origin else None
            )
        return self._roots[package]

    def _locate(self, module: str) -> Path | None:
        """The source file of a module, without importing its parents; None for a name that is no module."""
        parts = module.split(".")
        # genpipe.plugins and genpipe.pipelines may lie elsewhere than genpipe (an editable install)
        depth = 2 if module.startswith(("genpipe.plugins", "genpipe.pipelines")) else 1
        root = self._root(".".join(parts[:depth]))
        if root is None:
            return None
        if root.is_file():
            return root if len(parts) == depth else None
        base = root.joinpath(*parts[depth:])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def _read(self, path: Path, module: str) -> tuple[str, list[str]]:
        stat = path.stat()
        known = self._files.get(str(path))
        if known is not None and known[0] == stat.st_size and known[1] == stat.st_mtime_ns:
            return known[2], known[3]
        source = path.read_bytes()
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        with _parsing:
            tree = ast.parse(source)
        imports = sorted(set(_imports(tree.body, package)))
        sha = hashlib.sha256(source).hexdigest()
        self._files[str(path)] = [stat.st_size, stat.st_mtime_ns, sha, imports]
        self._dirty = True
        return sha, imports


def _imports(body: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Every module that the statements import, also inside functions, but not for type checking alone."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.orelse, package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # each may be a module or a name in one
        else:
            yield from _imports(ast.iter_child_nodes(node), package)


def _compiled_digest() -> str:
    """Digest of the sources that the compiled core was built from; the build leaves it beside the library."""
    path = Path(__file__).with_name("_build.json")
    if not path.is_file():
        raise GenpipeError(f"the compiled core is missing ({path} is not there): install genpipe again")
    return str(json.loads(path.read_text())["source_digest"])


def step_key(parts: Mapping[str, Any]) -> str:
    """The key of a step from its parts: stage, config, code, inputs, seed, files."""
    return digest(parts)[:KEY_LENGTH]


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What differs between two sets of key parts, in words, one line each."""
    for key in sorted({*old, *new}, key=str):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, f"{name}.")
        elif name.startswith("code."):
            verb = "changed" if before and after else "added" if after else "gone"
            yield f"code of {name.removeprefix('code.')} {verb}"
        elif name.startswith("inputs."):
            yield f"input '{name.removeprefix('inputs.')}' is another"
        elif name.startswith("files"):
            yield "files on disk changed"
        else:
            yield f"{name.removeprefix('config.')}: {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 40 else f"{text[:37]}…"
