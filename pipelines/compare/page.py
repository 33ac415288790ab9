"""The comparison as one HTML page, in which nothing is fetched from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from genpipe.comparison import Comparison
from genpipe.comparison_text import CellText, cell_text, heading, legend, seeds_text
from genpipe.pipelines.compare.members import Member
from genpipe.pipelines.report.page import environment
from genpipe.pipelines.report.picture import Picture


@dataclass(frozen=True, kw_only=True)
class RowText:
    name: str
    title: str
    seeds: str
    is_model: bool
    cells: tuple[CellText, ...]


def render(comparison: Comparison, pictures: Mapping[str, Picture], members: Sequence[Member]) -> str:
    """The page as one HTML text."""
    rows = [
        RowText(
            name=row.name,
            title=row.title,
            seeds=seeds_text(row),
            is_model=row.is_model,
            cells=tuple(cell_text(row.cell(column)) for column in comparison.columns),
        )
        for row in comparison.rows
    ]
    return (
        environment(__package__)
        .get_template("compare.html.j2")
        .render(
            title=comparison.title,
            comparison=comparison,
            headings=[heading(comparison, column) for column in comparison.columns],
            rows=rows,
            legend=legend(comparison, "Bold"),
            pictures=dict(pictures),
            settings=settings(members),
        )
    )


def settings(members: Sequence[Member]) -> list[tuple[str, str]]:
    """label → what its training and its samples were told, defaults filled in, as YAML."""
    first = {member.label: member for member in reversed(members)}
    told = {
        label: {**member.manifests["model"].config, "sample": member.manifests["samples"].config}
        for label, member in first.items()
    }
    return [
        (label, yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True, width=88))
        for label, config in reversed(told.items())
    ]
