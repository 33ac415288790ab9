"""What the model and the data are."""

from __future__ import annotations

from genpipe import words
from genpipe.dataspec import DataSpec
from genpipe.model import Sampler
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel


def panel(contents: Contents) -> Panel:
    values = {"facts": _facts(contents), "papers": contents.family.papers}
    return Panel(name="facts", title="Model and data", values=values)


def _facts(contents: Contents) -> list[tuple[str, str]]:
    family, spec, model = contents.family, contents.spec, contents.manifests["model"]
    shape = " × ".join(str(n) for n in spec.shape)
    sizes = contents.manifests["data"].summary["num_examples"]
    facts = [
        ("Family", f"{family.name}: {family.summary}"),
        ("Parameters", words.count(model.summary["num_parameters"])),
        ("Data set", f"{contents.dataset}: {spec.event}s of {shape}, {_values(spec)}"),
        ("Splits", ", ".join(f"{words.count(n)} {name}" for name, n in sizes.items())),
        ("Sampler", f"{_sampler(contents.drawing.sampler)} ({family.sampling_cost})"),
        ("Seed", str(model.seed)),
    ]
    if model.summary.get("resumed_from"):
        facts.append(("Resumed", f"at step {words.count(model.summary['resumed_from'])}, after an interruption"))
    return facts


def _values(spec: DataSpec) -> str:
    if spec.levels is not None:
        return f"whole numbers 0 … {spec.levels - 1}"
    if spec.low is not None and spec.high is not None:
        return f"real numbers in [{spec.low:g}, {spec.high:g}]"
    return "real numbers"


def _sampler(sampler: Sampler) -> str:
    words_of_it = [sampler.name or "the family's only way"]
    if sampler.num_steps is not None:
        words_of_it.append(f"{sampler.num_steps} steps")
    if sampler.eta is not None:
        words_of_it.append(f"eta {sampler.eta:g}")
    return ", ".join(words_of_it)
