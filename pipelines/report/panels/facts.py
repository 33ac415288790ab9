"""What the model and the data are."""

from __future__ import annotations

from genpipe import words
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel


def panel(contents: Contents) -> Panel:
    family = contents.family
    if family is None:
        samples = contents.manifests["samples"]
        values = {"facts": [("Samples", str(samples.summary["num_samples"])), *_of_data(contents)], "papers": ()}
        return Panel(name="facts", title="Samples and data", values=values)
    values = {"facts": [*_of_model(contents, family), *_of_data(contents)], "papers": family.papers}
    return Panel(name="facts", title="Model and data", values=values)


def _of_data(contents: Contents) -> list[tuple[str, str]]:
    spec, sizes = contents.spec, contents.manifests["data"].summary["num_examples"]
    shape = " × ".join(str(n) for n in spec.shape)
    return [
        ("Data set", f"{contents.dataset}: {spec.event}s of {shape}, {_values(spec)}"),
        ("Splits", ", ".join(f"{words.count(n)} {name}" for name, n in sizes.items())),
    ]


def _of_model(contents: Contents, family: Family) -> list[tuple[str, str]]:
    model, drawing = contents.manifests["model"], contents.drawing
    facts = [
        ("Family", f"{family.name}: {family.summary}"),
        ("Parameters", words.count(model.summary["num_parameters"])),
        ("Seed", str(model.seed)),
    ]
    if drawing is not None:
        facts.append(("Sampler", f"{drawing.sampler} ({family.sampling_cost})"))
    if model.summary.get("resumed_from"):
        facts.append(("Resumed", f"at step {words.count(model.summary['resumed_from'])}, after an interruption"))
    return facts


def _values(spec: DataSpec) -> str:
    if spec.levels is not None:
        return f"whole numbers 0 … {spec.levels - 1}"
    if spec.low is not None and spec.high is not None:
        return f"real numbers in [{spec.low:g}, {spec.high:g}]"
    return "real numbers"
