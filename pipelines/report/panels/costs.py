"""What every step cost: seconds, speed, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genpipe import words
from genpipe.artifacts import Manifest
from genpipe.display import duration
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A step's row. share: of the longest step, 0 to 1."""

    step: str
    time: str
    share: float
    work: str
    speed: str
    memory: str


def panel(contents: Contents) -> Panel:
    manifests = contents.manifests
    longest = max(map(_seconds, manifests.values()))
    costs = [
        Cost(
            step=manifest.step,
            time=duration(_seconds(manifest)),
            share=_seconds(manifest) / longest if longest > 0 else 0.0,
            work=_work(port, manifest.summary),
            speed=_speed(port, manifest.summary),
            memory=_memory(manifest),
        )
        for port, manifest in manifests.items()
    ]
    return Panel(
        name="costs",
        title="Cost",
        values={
            "costs": costs,
            "parameters": words.count(manifests["model"].summary["num_parameters"]) if "model" in manifests else "",
            "has_memory": any("peak_memory_bytes" in manifest.facts for manifest in manifests.values()),
            "on_gpu": any("peak_gpu_memory_bytes" in manifest.facts for manifest in manifests.values()),
        },
    )


def _seconds(manifest: Manifest) -> float:
    """What the step took; a model that is made of others took the training of these."""
    parts = "parts" in manifest.summary
    return float(manifest.summary["training_seconds"]) if parts else manifest.seconds


def _work(port: str, summary: Mapping[str, Any]) -> str:
    match port:
        case "data":
            return f"{words.count(sum(summary['num_examples'].values()))} examples"
        case "model":
            return f"{words.count(summary['steps'])} steps" if summary["steps"] else "closed form"
        case "samples":
            return f"{words.count(summary['num_samples'])} samples"
        case "features":
            return ", ".join(summary["features"])
        case "evaluation":
            return f"{words.count(summary['num'])} examples in each row"
    return ""


def _speed(port: str, summary: Mapping[str, Any]) -> str:
    metrics = summary.get("metrics", {})
    if port == "model" and "steps_per_second" in metrics:
        return f"{words.number(metrics['steps_per_second'])} steps/s"
    if port == "samples" and "seconds_per_sample" in metrics:
        return _per_sample(metrics["seconds_per_sample"])
    return ""


def _per_sample(seconds: float) -> str:
    """Seconds in the unit that a reader sees at once."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit} a sample"
    raise AssertionError


def _memory(manifest: Manifest) -> str:
    listed = []
    for name, device in (("peak_memory_bytes", ""), ("peak_gpu_memory_bytes", " GPU")):
        if name in manifest.facts:
            listed.append(f"{manifest.facts[name] / 1e9:.2f} GB{device}")
    return ", ".join(listed)
