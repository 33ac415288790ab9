"""What every step was told, and where it ran."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from genpipe.artifacts import Manifest
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel


def panel(contents: Contents) -> Panel:
    manifests = contents.manifests
    settings = [(manifest.step, _yaml(manifest.config)) for manifest in manifests.values()]
    values = {"settings": settings, "environment": _environment(manifests)}
    return Panel(name="settings", title="Settings", values=values)


def _yaml(config: Any) -> str:
    plain = json.loads(json.dumps(config))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=88)


def _environment(manifests: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Where the steps ran: one line where all agree, else one for each that differs."""
    names = dict.fromkeys(name for manifest in manifests.values() for name in manifest.environment)
    lines = []
    for name in names:
        of_step = {manifest.step: str(manifest.environment.get(name, "none")) for manifest in manifests.values()}
        if len(set(of_step.values())) == 1:
            text = next(iter(of_step.values()))
        else:
            text = ", ".join(f"{step} {value}" for step, value in of_step.items())
        lines.append((name, text))
    return lines
