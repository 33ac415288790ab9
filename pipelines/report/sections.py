"""The page's sections as plain text, ready for the template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from genpipe import words
from genpipe.artifacts import Manifest
from genpipe.display import duration
from genpipe.evaluation import Estimate
from genpipe.pipelines.report.contents import PORTS, Contents
from genpipe.table import Row, Table

MAX_TILES = 4


@dataclass(frozen=True, kw_only=True)
class CellText:
    """A cell of the table. footnotes: their numbers."""

    value: str
    error: str = ""
    relation: str = ""
    chip: str = ""
    footnotes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RowText:
    name: str
    title: str
    cells: tuple[CellText, ...]


@dataclass(frozen=True, kw_only=True)
class TableText:
    """columns: (name, arrow); kinds: what the chips mean, of those that appear."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[RowText, ...]
    footnotes: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A number of the headline, with what frames it."""

    name: str
    cell: CellText
    beside: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """share: of the longest step, 0 to 1."""

    step: str
    text: str
    share: float
    detail: str


def table_text(table: Table) -> TableText:
    """The table with footnotes numbered as they first appear, row by row."""
    footnotes: list[str] = []
    arrows = {e.name: words.ARROWS[e.better] for row in table.rows for e in row.estimates}
    rows = [
        RowText(
            name=row.name,
            title=row.title,
            cells=tuple(_cell(row, column, footnotes) for column in table.columns),
        )
        for row in table.rows
    ]
    for row in table.rows:
        reasons = [f"{row.name}: no {metric}, since {why}." for metric, why in row.absent.items()]
        footnotes.extend(reason for reason in reasons if reason not in footnotes)
    found = {e.kind for row in table.rows for e in row.estimates if e.kind is not None}
    return TableText(
        columns=tuple((name, arrows[name]) for name in table.columns),
        rows=tuple(rows),
        footnotes=tuple(footnotes),
        kinds=tuple((words.CHIPS[kind], words.KINDS[kind]) for kind in words.KINDS if kind in found),
    )


def _cell(row: Row, column: str, footnotes: list[str]) -> CellText:
    estimate = row.cell(column)
    if estimate is None:
        return CellText(value="—")
    for note in estimate.notes:
        if note not in footnotes:
            footnotes.append(note)
    numbers = tuple(footnotes.index(note) + 1 for note in estimate.notes)
    return cell_text(estimate, numbers)


def cell_text(estimate: Estimate, footnotes: tuple[int, ...] = ()) -> CellText:
    value, error = words.value_and_error(estimate)
    return CellText(
        value=value,
        error=error,
        relation=words.relation(estimate),
        chip=words.CHIPS[estimate.kind] if estimate.kind else "",
        footnotes=footnotes,
    )


def tiles(table: Table) -> list[Tile]:
    """The model's main numbers: one per column that has a direction, those of likelihood in bits where it
    can."""
    chosen = [e for e in table.row("model").estimates if e.better is not None]
    if any(e.name == "bits/dim" for e in chosen):
        chosen = [e for e in chosen if e.kind is None or e.name == "bits/dim"]
    chosen = [e for e in chosen if not e.name.endswith("bias-corrected")]
    return [Tile(name=e.name, cell=cell_text(e), beside=_beside(table, e.name)) for e in chosen[:MAX_TILES]]


def _beside(table: Table, column: str) -> str:
    parts = []
    for name, label in (("oracle", "real data"), ("floor", "noise")):
        other = table.row(name).cell(column)
        if other is not None:
            text = words.value_and_error(other)[0]
            parts.append(f"{label} {text}")
    return " · ".join(parts)


def timings(manifests: Mapping[str, Manifest]) -> list[Timing]:
    """Seconds of each step, this report's own excepted."""
    longest = max(manifests[port].seconds for port in PORTS)
    return [
        Timing(
            step=manifest.step,
            text=duration(manifest.seconds),
            share=manifest.seconds / longest if longest > 0 else 0.0,
            detail=_detail(port, manifest.summary),
        )
        for port in PORTS
        for manifest in [manifests[port]]
    ]


def _detail(port: str, summary: Mapping[str, Any]) -> str:
    metrics = summary.get("metrics", {})
    if port == "data":
        return ", ".join(f"{words.count(n)} {name}" for name, n in summary["num_examples"].items())
    if port == "model":
        if not summary["steps"]:
            return "closed form"
        return f"{words.count(summary['steps'])} steps, {words.number(metrics['steps_per_second'])} a second"
    if port == "samples":
        each = metrics["seconds_per_sample"]
        speed = f", {words.number(1 / each)} a second" if each > 0 else ""
        return f"{words.count(summary['num_samples'])} samples{speed}"
    return f"{words.count(summary['num'])} examples in each row"


def facts(contents: Contents) -> list[tuple[str, str]]:
    """What the model and the data are."""
    model = contents.manifests["model"].summary
    spec, drawing = contents.spec, contents.drawing
    shape = " × ".join(str(n) for n in spec.shape)
    if spec.levels is not None:
        units = f"whole numbers 0 … {spec.levels - 1}"
    elif spec.low is not None and spec.high is not None:
        units = f"real numbers in [{spec.low:g}, {spec.high:g}]"
    else:
        units = "real numbers"
    sampler = drawing.sampler.name or "the family's only way"
    if drawing.sampler.num_steps is not None:
        sampler += f", {drawing.sampler.num_steps} steps"
    if drawing.sampler.eta is not None:
        sampler += f", eta {drawing.sampler.eta:g}"
    listed = [
        ("Family", f"{contents.family.name}: {contents.family.summary}"),
        ("Parameters", words.count(model["num_parameters"])),
        ("Data set", f"{contents.dataset}: {spec.event}s of {shape}, {units}"),
        ("Splits", _detail("data", contents.manifests["data"].summary)),
        ("Sampler", f"{sampler} ({contents.family.sampling_cost})"),
        ("Seed", str(contents.manifests["model"].seed)),
    ]
    if model.get("resumed_from"):
        listed.append(("Resumed", f"at step {words.count(model['resumed_from'])}, after an interruption"))
    return listed


def final_numbers(contents: Contents) -> list[tuple[str, str]]:
    """What training ended with."""
    metrics = contents.manifests["model"].summary.get("metrics", {})
    return [(name.replace("_", " "), words.number(value)) for name, value in metrics.items()]


def settings(manifests: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Each step's configuration as YAML, defaults filled in."""
    return [(manifests[port].step, _yaml(manifests[port].config)) for port in PORTS]


def _yaml(config: Any) -> str:
    plain = json.loads(json.dumps(config))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=88)


def environment(manifests: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Where the steps ran: one line where all agree, else one for each that differs."""
    names = list(dict.fromkeys(name for port in PORTS for name in manifests[port].environment))
    lines = []
    for name in names:
        of_step = {manifests[p].step: str(manifests[p].environment.get(name, "none")) for p in PORTS}
        if len(set(of_step.values())) == 1:
            text = next(iter(of_step.values()))
        else:
            text = ", ".join(f"{step} {value}" for step, value in of_step.items())
        lines.append((name, text))
    return lines
