"""The goals of Fashion-MNIST are judged by the table's own rows, and what is missing is no success."""

import pytest

from benchmarks.fashion_goals import GOALS, judged, main, shortfalls
from genpipe.comparison import Cell, Comparison, Row

FD, BITS = "FD(classifier@0123abcd)", "bits/dim"


def table(**models):
    """A comparison of model → (bits/dim, FD, recall), with an oracle of FD 1 and recall 0.8."""
    rows = [
        Row(
            name=name,
            title=name,
            is_model=name != "oracle",
            cells=tuple(
                Cell(name=column, value=value, kind="exact" if column == BITS else None)
                for column, value in zip((BITS, FD, "recall"), values, strict=True)
                if value is not None
            ),
        )
        for name, values in {"oracle": (None, 1.0, 0.8), **models}.items()
    ]
    return Comparison(
        title="t", dataset="fashion_mnist", columns=(BITS, FD, "recall"), rows=tuple(rows), seeds=(0,), num=9,
        reference="train", num_reference=9, fingerprint="classifier@0123abcd",
    )  # fmt: skip


GOOD = {
    "pixelcnn": (2.7, 9.0, 0.7),
    "flow": (2.9, 9.0, 0.7),
    "diffusion": (2.8, 2.0, 0.7),
    "discrete-vae": (3.2, 9.0, 0.7),
    "gan": (None, 9.0, 0.4),
}


def test_models_that_are_good_enough_reach_every_goal(tmp_path):
    table(**GOOD).write(tmp_path / "comparison.json")
    said = []
    assert shortfalls(table(**GOOD)) == []
    assert main(tmp_path / "comparison.json", said.append) == 0
    assert len(said) == len(GOALS)


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("pixelcnn", (2.71, 9.0, 0.7), "pixelcnn: bits/dim ≤ 2.7: 2.710 (exact)"),
        ("diffusion", (2.8, 2.1, 0.7), "diffusion: FD(classifier) ≤ 2 × the oracle's: 2.100, the oracle 1"),
        ("gan", (None, 1.0, 0.3), "gan: recall ≥ 0.5 × the oracle's: 0.3000, the oracle 0.8000"),
        ("flow", (None, 9.0, 0.7), "flow: bits/dim ≤ 2.95: no number"),
        ("flow", (float("nan"), 9.0, 0.7), "flow: bits/dim ≤ 2.95: "),
    ],
)
def test_one_that_is_not_falls_short_of_its_own_goal_alone(name, values, text):
    (found,) = shortfalls(table(**{**GOOD, name: values}))
    assert found.startswith(text)


def test_a_model_that_is_not_there_reaches_nothing():
    without = {name: values for name, values in GOOD.items() if name != "diffusion"}
    missed = [goal.model for goal, found, reached in judged(table(**without)) if not reached and found == "no number"]
    assert missed == ["diffusion", "diffusion"]
