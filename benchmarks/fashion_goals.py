"""What models of Fashion-MNIST with a GPU are held to: `python -m benchmarks.fashion_goals comparison.json`.

Of the table of compare-fashion. A distance and a share are held against those of held-out real data in the same table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genpipe.comparison import Comparison
from genpipe.comparison_text import cell_text, short

BITS, DISTANCE, RECALL, ORACLE = "bits/dim", "FD(classifier)", "recall", "oracle"


@dataclass(frozen=True)
class Goal:
    """of_oracle: whether `limit` is a multiple of the oracle's number. at_least: else at most."""

    model: str
    column: str
    limit: float
    of_oracle: bool = False
    at_least: bool = False

    def __str__(self) -> str:
        times = " × the oracle's" if self.of_oracle else ""
        return f"{self.model}: {self.column} {'≥' if self.at_least else '≤'} {self.limit:g}{times}"


GOALS = (
    Goal("pixelcnn", BITS, 2.70),
    Goal("flow", BITS, 2.95),
    Goal("diffusion", BITS, 2.90),
    Goal("diffusion", DISTANCE, 2, of_oracle=True),
    Goal("discrete-vae", BITS, 3.3),
    Goal("gan", RECALL, 0.5, of_oracle=True, at_least=True),
)


def judged(comparison: Comparison) -> list[tuple[Goal, str, bool]]:
    """Each goal, what was found, in words, and whether it is reached; what has no number is not."""
    columns = {short(comparison, column): column for column in comparison.columns}
    rows = {row.name: row for row in comparison.rows}

    def found(goal: Goal) -> tuple[Goal, str, bool]:
        cells = [
            rows[name].cell(columns[goal.column]) if name in rows and goal.column in columns else None
            for name in (goal.model, ORACLE)
        ]
        own, oracle = cells
        if own is None or (goal.of_oracle and oracle is None):
            return goal, "no number", False
        limit = goal.limit * oracle.value if goal.of_oracle and oracle is not None else goal.limit
        reached = own.value >= limit if goal.at_least else own.value <= limit
        against = f", the oracle {cell_text(oracle)}" if goal.of_oracle else ""
        return goal, f"{cell_text(own)}{against}", reached

    return [found(goal) for goal in GOALS]


def shortfalls(comparison: Comparison) -> list[str]:
    return [f"{goal}: {found}" for goal, found, reached in judged(comparison) if not reached]


def main(path: Path, show: Callable[[str], None] = print) -> int:
    results = judged(Comparison.read(path))
    for goal, found, reached in results:
        show(f"{'reached' if reached else 'SHORT  '}  {goal}: {found}")
    return int(not all(reached for _, _, reached in results))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
