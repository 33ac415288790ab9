"""The table of a comparison in the terminal, cut into blocks of columns where it is wider than that."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from genpipe.cli.catalogue import print_table
from genpipe.comparison import Comparison
from genpipe.comparison_text import CellText, cell_text, heading, legend, seeds_text

BEST = "*"
EDGES = 2  # of a table, in characters
PIPE_WIDTH = 240  # a pipe has no edge to wrap at


def print_comparison(comparison: Comparison) -> None:
    """The table, and what must be known to read it right."""
    rows = [
        [
            f"{row.name} ({seeds_text(row)})" if row.is_model else row.name,
            *(_marked(cell_text(row.cell(column))) for column in comparison.columns),
        ]
        for row in comparison.rows
    ]
    print_blocks(("", *(heading(comparison, column) for column in comparison.columns)), rows)
    width = shutil.get_terminal_size((120, 24)).columns
    for line in legend(comparison, BEST):
        print(textwrap.fill(line, width, initial_indent="· ", subsequent_indent="  "))


def _marked(text: CellText) -> str:
    return f"{text} {BEST}" if text.is_best else str(text)


def print_blocks(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal, and the columns that have no room below, with the rows' names again."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for start, stop in blocks(widths, room - EDGES):
        chosen = [0, *range(start, stop)]
        print_table([header[i] for i in chosen], [[row[i] for i in chosen] for row in rows])


def blocks(widths: Sequence[int], room: int, gap: int = 3) -> list[tuple[int, int]]:
    """Ranges of the columns after the first that stand beside it in `room` characters, each of one at least."""
    found, start, used = [], 1, widths[0]
    for i, width in enumerate(widths[1:], start=1):
        if i > start and used + gap + width > room:
            found.append((start, i))
            start, used = i, widths[0]
        used += gap + width
    return [*found, (start, len(widths))]
