"""Means over seeds with their errors, and which of them is better than the rest beyond doubt."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.stats import t as students_t

from genpipe.comparison import Cell, ErrorOf
from genpipe.table import Estimate

CONFIDENCE = 0.95
RANKED_KINDS = (None, "exact", "estimate")  # a better bound need not be of a better model


def mean_cell(estimates: Sequence[Estimate]) -> Cell:
    """The mean of one column's numbers over seeds.

    Its error is how the mean varies with the seed, from the seeds themselves: s/√n. With a single seed it is what the
    evaluation says of its own error, which knows nothing of another training.
    """
    first, values = estimates[0], tuple(e.value for e in estimates)
    own = [e.standard_error for e in estimates if e.standard_error is not None]
    within = math.sqrt(statistics.fmean(error**2 for error in own)) if len(own) == len(estimates) else None
    are_finite = all(map(math.isfinite, values))
    error: float | None = None
    error_of: ErrorOf | None = None
    if len(values) == 1 and first.standard_error is not None:
        error, error_of = first.standard_error, "run"
    elif len(values) > 1 and are_finite:
        error, error_of = statistics.stdev(values) / math.sqrt(len(values)), "seeds"
    return Cell(
        name=first.name,
        value=math.fsum(values) / len(values) if are_finite else sum(values),
        standard_error=error,
        kind=first.kind,
        better=first.better,
        num=first.num,
        features=first.features,
        notes=tuple(dict.fromkeys(note for e in estimates for note in e.notes)),
        error_of=error_of,
        error_within=within,
        values=values,
    )


def best_of(cells: Mapping[str, Cell]) -> set[str]:
    """Of one column's cells by model those that are better than every other of their kind, beyond errors.

    Beyond errors: Welch's t-test finds the difference to each of them at 95 %, with the larger of the two errors that a
    cell has, that over seeds and that within a run: three seeds may agree by chance, and all of them share the held-out
    data. Where an error is not known nothing is best.
    """
    best = set()
    for kind in RANKED_KINDS:
        same = {name: cell for name, cell in cells.items() if cell.kind == kind and cell.better is not None}
        if len(same) < 2:
            continue
        sign = 1 if next(iter(same.values())).better == "higher" else -1
        winner = max(same, key=lambda name: sign * same[name].value if not math.isnan(same[name].value) else -math.inf)
        if all(_is_beyond(same[winner], other, sign) for name, other in same.items() if name != winner):
            best.add(winner)
    return best


def _is_beyond(cell: Cell, other: Cell, sign: int) -> bool:
    (error, freedom), (other_error, other_freedom) = _error(cell), _error(other)
    difference = sign * (cell.value - other.value)
    if math.isinf(other.value) and difference > 0:
        return True
    if error is None or other_error is None or not math.isfinite(difference):
        return False
    total = math.hypot(error, other_error)
    if total == 0:
        return difference > 0
    # Welch–Satterthwaite
    parts = error**4 / freedom + other_error**4 / other_freedom
    quantile = students_t.ppf(CONFIDENCE, total**4 / parts if parts > 0 else math.inf)
    return bool(difference > quantile * total)


def _error(cell: Cell) -> tuple[float | None, float]:
    """The larger error and its degrees of freedom: those of the seeds, or as good as endless."""
    over_seeds = cell.standard_error if cell.error_of == "seeds" else None
    within = cell.error_within
    if over_seeds is not None and (within is None or over_seeds >= within):
        return over_seeds, len(cell.values) - 1
    return within, math.inf


def with_best(rows: Mapping[str, Sequence[Cell]]) -> dict[str, tuple[Cell, ...]]:
    """The rows of models, the best cells marked."""
    columns = dict.fromkeys(cell.name for cells in rows.values() for cell in cells)
    best = {
        column: best_of({name: cell for name, cells in rows.items() for cell in cells if cell.name == column})
        for column in columns
    }
    return {
        name: tuple(replace(cell, is_best=name in best[cell.name]) for cell in cells) for name, cells in rows.items()
    }
