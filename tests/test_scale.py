"""The arithmetic of docs/scale.md: from measured costs, and those in the results."""

import json
from pathlib import Path

from benchmarks.scale.bounds import WORKERS, bounds, show

RECORD = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "scale.json").read_text())


def test_the_bounds_are_those_of_the_recorded_costs():
    rows = bounds(RECORD["costs"]["numbers"], RECORD["ray"]["numbers"])
    assert {name: list(values) for name, *values in rows} == RECORD["bounds"]
    assert all(len(values) == len(WORKERS) for _, *values in rows)
    shown = Path(__file__).parents[1] / "docs" / "scale.md"
    assert show(rows) in shown.read_text()


def test_a_ring_takes_longer_with_more_workers():
    rows = {name: values for name, *values in bounds(RECORD["costs"]["numbers"], RECORD["ray"]["numbers"])}
    times = [float(text.removesuffix(" ms").replace(",", "")) for text in rows["gradients averaged, in one ring"]]
    assert times == sorted(times)
