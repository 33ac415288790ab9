"""The recipe that scores samples of another program: what reads them, and the data that they are held against."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genpipe.errors import UsageError, nearest
from genpipe.readers import reader_of
from genpipe.recipe import Recipe, load_recipe
from genpipe.recipe_source import Override, parse_value
from genpipe.registry import Registry
from genpipe.runs import all_runs, find_run
from genpipe.workspace import Workspace

PIPELINE = "external"
Reference = str | Path | Mapping[str, Any]


def external_recipe(
    samples: str | Path,
    reference: Reference,
    overrides: Sequence[str] | Mapping[str, Any],
    *,
    registry: Registry,
    workspace: Workspace,
) -> Recipe:
    """The checked recipe of a run that scores samples against a data set.

    samples: a file, a folder, a pattern or an address. reference: a data set's name or mapping; a path to real
    examples; or a run, whose data and splits are taken. overrides: of the recipe's keys, where `reference.K` is an
    option of the data set, and `samples.K` one of what reads the samples if the section has none of that name.

    UsageError where samples or reference are not found, RecipeError with all other mistakes.
    """
    given = list(_in_full(overrides, registry))
    problems: list[str] = []
    values: dict[str, Any] = {}
    named = next(
        (item.value for item in given if isinstance(item, Override) and item.key == "samples.source.name"), None
    )
    try:
        source = {"name": named or reader_of(str(samples), registry), "path": str(samples)}
        values["samples"] = {"source": source}
    except UsageError as error:
        problems.append(f"samples: {error} (samples.name=… names a reader)")
    try:
        values |= _data(reference, registry, workspace)
    except UsageError as error:
        problems.append(f"reference: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    name = Path(str(samples).rstrip("/")).name.partition(".")[0].strip("*?[]{}")
    return load_recipe(
        {"name": f"evaluate-{name or 'samples'}", "pipeline": PIPELINE, **values}, given, registry=registry
    )


def kept_array(samples: Any, workspace: Workspace) -> Path:
    """The file of an array (N, *event), NumPy's or torch's, in the workspace: a run that goes on needs it again."""
    import numpy as np

    from genpipe.artifacts import disk_errors_named

    try:
        x = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    except ValueError as error:
        raise UsageError(f"samples are no array, but a {type(samples).__name__}: {error}") from None
    if x.dtype.kind not in "uif" or x.ndim < 2:
        raise UsageError(
            f"samples have type {x.dtype} and shape {x.shape}, expected numbers of shape (N, …), or a path"
        )
    x = np.ascontiguousarray(x)
    name = hashlib.sha256(f"{x.dtype.str} {x.shape}".encode() + x.tobytes()).hexdigest()[:16]
    path = workspace.root / "given" / f"samples-{name}.npy"
    if not path.exists():
        with disk_errors_named(workspace.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{os.getpid()}-{path.name}")
            np.save(aside, x, allow_pickle=False)
            aside.replace(path)
    return path


def _data(reference: Reference, registry: Registry, workspace: Workspace) -> dict[str, Any]:
    """The section `data`, and the seed of its splits where they are a run's."""
    if isinstance(reference, Mapping):
        return {"data": {"dataset": dict(reference)}}
    text, names = str(reference), registry.names("dataset")
    if text in names:
        return {"data": {"dataset": {"name": text}}}
    is_run = os.path.isfile(Path(text) / "run.json")
    if not is_run and ("://" in text or os.path.exists(os.path.expanduser(text))):
        return {"data": {"dataset": {"name": reader_of(text, registry), "path": text}}}
    try:
        run = find_run(workspace, text)
    except UsageError:
        hint = nearest(text, {*names, *(run.recipe for run in all_runs(workspace))})
        raise UsageError(f"there is no data set, run or file '{text}'{hint}") from None
    recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    if not isinstance(recipe, Mapping) or "data" not in recipe:
        raise UsageError(f"run {run.id} has no section 'data', so its data set cannot be told")
    return {"data": recipe["data"], "seed": recipe.get("seed", 0)}


def _in_full(overrides: Sequence[str] | Mapping[str, Any], registry: Registry) -> Iterator[str | Override]:
    """Short keys as the recipe has them; mistakes in them are told as they were typed."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            yield Override(_full_key(key, registry), value, f"override '{key}'")
        return
    for text in overrides:
        key, equals, raw = text.partition("=")
        full = _full_key(key.strip(), registry)
        try:
            yield Override(full, parse_value(raw), f"override '{text}'") if equals and full != key else text
        except ValueError:
            yield text  # which the recipe's reader complains of


def _full_key(key: str, registry: Registry) -> str:
    section, _, rest = key.partition(".")
    if section == "reference":
        return f"data.dataset.{rest}" if rest else "data.dataset"
    own = registry.get("pipeline", PIPELINE).config_class.model_fields["samples"].annotation.model_fields
    if section == "samples" and rest and rest.partition(".")[0] not in own:
        return f"samples.source.{rest}"
    return key
