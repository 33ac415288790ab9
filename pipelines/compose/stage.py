"""Writes a model artifact that holds its parts, and history.jsonl and curves.png of both trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from genpipe.artifacts import read_manifest
from genpipe.components import Family
from genpipe.errors import UsageError
from genpipe.model import Model
from genpipe.persistence import load_model, save_model
from genpipe.pipelines.compose.config import ComposeStageConfig
from genpipe.pipelines.train.curves import write_history
from genpipe.steps import StepContext


def run(context: StepContext) -> None:
    """The parts are trained already: nothing is computed here."""
    config: ComposeStageConfig = context.config
    family: Family = context.registry.get("family", config.model.name)
    if set(family.parts) != set(context.inputs):
        made_of = " and ".join(family.parts) or "no other models"
        raise UsageError(f"compose: family '{family.name}' is made of {made_of}, not of {' and '.join(context.inputs)}")
    parts = {name: load_model(context.inputs[name], context.registry) for name in family.parts}
    model: Model = family.builder(config.model.config, parts)
    save_model(model, context.out, context.registry)
    write_history([entry for name in family.parts for entry in _history(name, context.inputs[name])], context.out)
    manifests = {name: read_manifest(context.inputs[name]) for name in family.parts}
    context.summary.update(
        family=family.name,
        parts={name: part.family.name for name, part in parts.items()},
        num_parameters=sum(manifest.summary["num_parameters"] for manifest in manifests.values()),
        num_examples=manifests[family.parts[0]].summary["num_examples"],
        steps=sum(manifest.summary["steps"] for manifest in manifests.values()),
        training_seconds=sum(manifest.summary["training_seconds"] for manifest in manifests.values()),
        metrics={
            f"{name}_{term}": value
            for name, manifest in manifests.items()
            for term, value in manifest.summary.get("metrics", {}).items()
        },
    )


def _history(name: str, folder: Path) -> Iterator[dict[str, float]]:
    """A part's logged steps, its terms by the part's name; nothing of a closed form."""
    path = folder / "history.jsonl"
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        yield {term if term == "step" else f"{name}_{term}": value for term, value in entry.items()}
