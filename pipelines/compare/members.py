"""What was trained, drawn and scored for each model and seed, read from the artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genpipe.artifacts import Manifest, read_manifest
from genpipe.errors import UsageError
from genpipe.steps import StepContext
from genpipe.table import Estimate, Row, Table

TRAINING, SAMPLING, PARAMETERS = "training [s]", "sampling [ms/sample]", "parameters"
COSTS = (TRAINING, SAMPLING, PARAMETERS)
PORTS = {"model": "train", "samples": "sample", "evaluation": "evaluate"}  # port → the step that fills it


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model trained with one seed. manifests: of the ports `model`, `samples` and `evaluation`."""

    label: str
    seed: int
    table: Table
    samples: Path
    manifests: Mapping[str, Manifest]

    @property
    def row(self) -> Row:
        return self.table.subject

    @property
    def family(self) -> str:
        return str(self.manifests["model"].config["model"]["name"])

    def costs(self) -> list[Estimate]:
        """What it took; nothing is said of samples that an interrupted attempt had drawn before."""
        model, samples = self.manifests["model"].summary, self.manifests["samples"].summary
        cells = [Estimate(name=TRAINING, value=float(model["training_seconds"]), better="lower")]
        if (seconds := samples["metrics"].get("seconds_per_sample")) is not None:
            num = int(samples["num_samples"])
            cells.append(Estimate(name=SAMPLING, value=1000 * float(seconds), better="lower", num=num))
        cells.append(Estimate(name=PARAMETERS, value=float(model["num_parameters"])))
        return cells

    @property
    def hardware(self) -> str:
        """What it was trained and sampled on, in words."""
        found = [self.manifests[port].environment for port in ("model", "samples")]
        return " and ".join(dict.fromkeys(map(_hardware, found)))


def _hardware(environment: Mapping[str, Any]) -> str:
    if "gpu" in environment:
        return str(environment["gpu"])
    cpus = int(environment.get("cpus", 1))
    return f"{cpus} CPU{'s' if cpus > 1 else ''} ({environment.get('machine', 'of an unknown kind')})"


def read_members(context: StepContext, labels: tuple[str, ...], seeds: tuple[int, ...]) -> list[Member]:
    """Those whose steps all gave something, in the order of labels. UsageError where their rows do not compare."""
    found = {port: context.inputs_at(f"{port}.*") for port in PORTS}
    members = [
        _read({port: found[port][name] for port in PORTS}, label, seed)
        for label in labels
        for seed in seeds
        if all((name := f"{label}.{seed}") in found[port] for port in PORTS)
    ]
    if not members:
        raise UsageError("no model was trained, sampled and evaluated: there is nothing to compare")
    first = members[0].table
    for member in members:
        for fact in ("num", "reference", "num_reference", "fingerprint"):
            own, other = getattr(member.table, fact), getattr(first, fact)
            if own != other:
                raise UsageError(
                    f"'{member.label}' was scored with {fact} {own}, and '{members[0].label}' with {other}: such numbers "
                    "do not compare"
                )
    return members


def read_failures(context: StepContext, label: str, seeds: tuple[int, ...]) -> dict[int, str]:
    """Seed → the first step of its branch that gave nothing."""
    found = {port: context.inputs_at(f"{port}.*") for port in PORTS}
    failed = {}
    for seed in seeds:
        lacking = [step for port, step in PORTS.items() if f"{label}.{seed}" not in found[port]]
        if lacking:
            failed[seed] = f"{lacking[0]}.{label}.{seed}"
    return failed


def _read(folders: Mapping[str, Path], label: str, seed: int) -> Member:
    return Member(
        label=label,
        seed=seed,
        table=Table.read(folders["evaluation"] / "table.json"),
        samples=folders["samples"] / "samples.npy",
        manifests={port: read_manifest(folder) for port, folder in folders.items()},
    )
