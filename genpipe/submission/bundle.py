"""The small folder that goes with a job: the recipe, and the local files that were asked for."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from genpipe.digest import digest
from genpipe.errors import UsageError
from genpipe.recipe import Recipe
from genpipe.submission.places import placed

MAX_BYTES = 32 * 2**20
NUM_LARGEST = 3
NEVER = frozenset({"__pycache__", "venv", "node_modules", "mlruns"})  # nor anything hidden: .git, .venv, .env, .genpipe
PURE_WHEEL = "-none-any.whl"

Files = dict[str, Path | bytes]  # place in the folder → what goes there


def bundle(recipe: Recipe, include: Iterable[str]) -> Files:
    """The files of a job: `NAME.yaml`, the recipe with every default filled in, and what `include` names.

    A wheel is unpacked, and a folder in which distributions are installed gives its contents, so that the plugins
    in them are found; anything else keeps its path relative to the current folder, or its name where it lies
    outside. UsageError where it would be too large.
    """
    included: Files = {}
    for given in include:
        included.update(_included(Path(os.path.expanduser(given))))
    places = {os.path.abspath(content): place for place, content in included.items() if isinstance(content, Path)}
    values = placed(dict(recipe.resolved), places)
    files: Files = {recipe_file(recipe): yaml.safe_dump(values, sort_keys=False).encode(), **included}
    sizes = {place: len(c) if isinstance(c, bytes) else c.stat().st_size for place, c in files.items()}
    if sum(sizes.values()) > MAX_BYTES:
        largest = sorted(sizes, key=lambda place: -sizes[place])[:NUM_LARGEST]
        raise UsageError(
            f"what goes with the job has {_mib(sum(sizes.values()))}, and at most {_mib(MAX_BYTES)} may; largest: "
            f"{', '.join(f'{place} ({_mib(sizes[place])})' for place in largest)}. Put data where the cluster's nodes "
            "see it, and name that place in the recipe"
        )
    return files


def recipe_file(recipe: Recipe) -> str:
    """What the recipe is called in the folder; the run on the cluster is named after it."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', recipe.name).strip('.-') or 'recipe'}.yaml"


def bundle_digest(files: Mapping[str, Path | bytes]) -> str:
    return digest({place: hashlib.sha256(_read(content)).hexdigest() for place, content in files.items()})


def write(files: Mapping[str, Path | bytes], folder: Path) -> None:
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_read(content))


def _included(path: Path) -> Iterator[tuple[str, Path | bytes]]:
    if not path.exists():
        raise UsageError(f"--include {path}: there is nothing there")
    if path.suffix == ".whl":
        yield from _unpacked(path)
    elif path.is_file():
        yield _place(path), path
    elif (path / "pyproject.toml").exists() or (path / "setup.py").exists():
        raise UsageError(
            f"--include {path}: is the source of a distribution; `pip wheel --no-deps {path}` makes a wheel of it, "
            "which can be included"
        )
    else:
        installed = any(path.glob("*.dist-info")) or any(path.glob("*.egg-info"))
        base = "" if installed else f"{_place(path)}/"
        for file in _files_in(path):
            yield f"{base}{file.relative_to(path).as_posix()}", file


def _unpacked(wheel: Path) -> Iterator[tuple[str, bytes]]:
    if not wheel.name.endswith(PURE_WHEEL):
        raise UsageError(
            f"--include {wheel}: holds compiled code for one kind of machine; install it on the cluster's nodes"
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("/") or ".." in Path(name).parts:
                    raise UsageError(f"--include {wheel}: {name!r} would lie outside of the folder")
                if not name.endswith("/"):
                    yield name, archive.read(name)
    except zipfile.BadZipFile:
        raise UsageError(f"--include {wheel}: is no wheel (not a zip file)") from None


def _files_in(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in NEVER)
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield Path(root, name)


def _place(path: Path) -> str:
    """Where a file or folder goes: its path from here, so that a recipe's relative paths go on to hold."""
    whole = Path(os.path.abspath(path))
    inside = whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else Path(whole.name)
    if inside == Path("."):
        raise UsageError(f"--include {path}: is the current folder; name what the recipe needs of it")
    if any(part.startswith(".") or part in NEVER for part in inside.parts):
        raise UsageError(f"--include {path}: hidden folders, environments and caches are never sent")
    return inside.as_posix()


def _read(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _mib(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"
