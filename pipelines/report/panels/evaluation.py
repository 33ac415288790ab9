"""The table: the model's row and those that frame it."""

from __future__ import annotations

from genpipe.pipelines.report.cells import table_text
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel


def panel(contents: Contents) -> Panel:
    values = {"table": contents.table, "text": table_text(contents.table)}
    return Panel(name="evaluation", title="Evaluation", values=values)
