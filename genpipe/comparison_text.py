"""A comparison in words: cells, headings, what a reader must know, and the whole as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genpipe.comparison import Cell, Comparison, Row
from genpipe.words import ARROWS, CHIPS, KINDS, relation, value_and_error


@dataclass(frozen=True, kw_only=True)
class CellText:
    """`≤ 2.231 ± 0.016`, in its parts. chip: the kind of a likelihood, without which it is never shown."""

    value: str
    error: str = ""
    chip: str = ""
    is_best: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.value, self.error, f"({self.chip})" if self.chip else "")))


NOTHING = CellText(value="–")
HASH = re.compile(r"(?<=\w)@[0-9a-f]{6,}")
NUMBER = re.compile(r"\d+(\.\d+)?")


def cell_text(cell: Cell | None) -> CellText:
    if cell is None:
        return NOTHING
    value, error = value_and_error(cell)
    return CellText(
        value=" ".join(filter(None, (relation(cell), value))),
        error="" if error == "± 0" and cell.better is None else error,  # a count of parameters has none
        chip=CHIPS[cell.kind] if cell.kind is not None else "",
        is_best=cell.is_best,
    )


def heading(comparison: Comparison, column: str) -> str:
    """A column without its features' hash, which the legend has, with an arrow to where it is better."""
    return f"{short(comparison, column)} {ARROWS[comparison.better(column)]}".strip()


def short(comparison: Comparison, column: str) -> str:
    """A column without its features' hash, where no other is called the same without it."""
    without = HASH.sub("", column)
    same = [other for other in comparison.columns if HASH.sub("", other) == without]
    return without if len(same) == 1 else column


def seeds_text(row: Row) -> str:
    """ "3 seeds", of a model's row; with what is missing."""
    if not row.is_model:
        return ""
    num, failed = len(row.seeds), len(row.failed)
    if not num:
        return "failed"
    text = f"{num} seed{'s' if num > 1 else ''}"
    return f"{text}, {failed} failed" if failed else text


def legend(comparison: Comparison, mark: str) -> list[str]:
    """What a reader must know to read the numbers right, a sentence or two each. mark: how best cells are marked."""
    models = comparison.models
    one_seed = [row.name for row in models if len(row.seeds) == 1]
    num_seeds = max((len(row.seeds) for row in models), default=0)
    lines = [
        f"{comparison.num} examples a row, held against the {comparison.num_reference} of the {comparison.reference} "
        f"split; features: {', '.join(_fingerprints(comparison))}."
    ]
    if num_seeds > 1:
        and_one = f" and of {', '.join(one_seed)}, with one seed" if one_seed else ""
        lines.append(
            f"Models are means over {num_seeds} seeds ± the standard error of that mean. The errors of the rows that frame "
            f"them{and_one} are the evaluation's own."
        )
    else:
        lines.append("± is the evaluation's own standard error: with one seed nothing is known of another training.")
    lines.append(
        f"{mark}: better than every other model beyond errors (95 %). Likelihoods rank within their kind, a bound with "
        "nothing: what is behind it may be better."
    )
    lines += [f"{row.name}: {_failures(row)}" for row in models if row.failed]
    found = {cell.kind for row in comparison.rows for cell in row.cells if cell.kind is not None}
    lines += [
        f"{CHIPS[kind].capitalize()}: {KINDS[kind]}." for kind in KINDS if kind in found and CHIPS[kind] != KINDS[kind]
    ]
    lines.append(
        "Oracle: what a perfect model would get at this size. Copy: what memorising would get. Floor: what knowing "
        "nothing gets."
    )
    lines += [f"{row.name}: no {metric}, since {why}." for row in comparison.rows for metric, why in row.absent.items()]
    lines += [*comparison.notes, *_cell_notes(comparison)]
    if comparison.machine:
        lines.append(f"Costs: on {comparison.machine}, as the steps ran, beside one another where there was room.")
    return lines


def _fingerprints(comparison: Comparison) -> list[str]:
    """Of all features that a number rests on, those of most columns first."""
    own = [cell.features for row in comparison.rows for cell in row.cells if cell.features]
    return list(dict.fromkeys([comparison.fingerprint, *own]))


def _cell_notes(comparison: Comparison) -> list[str]:
    """What is said of cells, once for a column where rows are told the same but for numbers."""
    lines = []
    for column in comparison.columns:
        said: dict[str, tuple[str, list[str]]] = {}
        having = [(row.name, cell) for row in comparison.rows if (cell := row.cell(column)) is not None]
        for name, cell in having:
            for note in cell.notes:
                said.setdefault(NUMBER.sub("#", note), (note, []))[1].append(name)
        for note, names in said.values():
            rows = list(dict.fromkeys(names))
            of = "" if len(rows) == len(having) else f" ({', '.join(rows)})"
            lines.append(f"{short(comparison, column)}{of}: {note}.")
    return lines


def _failures(row: Row) -> str:
    steps = ", ".join(f"seed {seed} (step {step})" for seed, step in row.failed.items())
    verb, which = ("is", "that step") if len(row.failed) == 1 else ("are", "those steps")
    return f"{steps} failed and {verb} in no number; the run's logs of {which} say why."


def markdown_table(comparison: Comparison) -> str:
    """The table alone, best cells in bold."""
    lines = [
        ["", *[heading(comparison, column) for column in comparison.columns]],
        ["---", *["---:"] * len(comparison.columns)],
    ]
    for row in comparison.rows:
        name = f"**{row.name}**" if row.is_model else f"*{row.name}*"
        seeds = seeds_text(row)
        cells = [_markdown_cell(cell_text(row.cell(column))) for column in comparison.columns]
        lines.append([f"{name}<br>{seeds}" if "failed" in seeds else name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(text: CellText) -> str:
    value = f"**{text.value}**" if text.is_best else text.value
    return " ".join(filter(None, (value, text.error, f"<br>{text.chip}" if text.chip else "")))


def markdown(comparison: Comparison, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """A page. pictures: (file, what it shows) of each."""
    parts = [f"# {comparison.title}", markdown_table(comparison)]
    parts.append("\n".join(f"- {line}" for line in legend(comparison, "Bold")))
    parts += [f"![{alt}]({file})" for file, alt in pictures]
    return "\n\n".join(parts) + "\n"
