"""The table: the model's row and those that frame it."""

from __future__ import annotations

from genpipe.pipelines.report.cells import table_text
from genpipe.pipelines.report.contents import Contents
from genpipe.pipelines.report.page import Panel

MEANINGS = {
    "oracle": "what a perfect model would get at this size",
    "copy": "what memorising would get",
    "floor": "what knowing nothing gets",
}


def panel(contents: Contents) -> Panel:
    values = {"table": contents.table, "text": table_text(contents.table), "meanings": MEANINGS}
    return Panel(name="evaluation", title="Evaluation", values=values)
