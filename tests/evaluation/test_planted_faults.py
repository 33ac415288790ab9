"""Faults that are planted in real examples: each is caught by the axis that should, and by no other.

Honest samples are real examples that the evaluation has not seen. A number fires where it is worse than the oracle's by
more than three standard errors of their difference. All goes through the stages of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from genpipe.data import open_split
from genpipe.plugins.densities_2d.config import GaussiansConfig
from genpipe.plugins.densities_2d.gaussians import build
from genpipe.table import Estimate, Table
from tests.pipelines.conftest import run_stage

Array = np.ndarray[Any, Any]
COPIES = "copies [%]"
FIRES = 3.0
SCATTER = {"recall": 1.6, "coverage": 1.6}
"""Their standard errors are those of counting with balls as they are; balls that vary scatter them so much more."""


class Bench:
    """A data set with its features, to hold samples against; and real examples that are no part of it."""

    def __init__(
        self, folder: Path, data: dict[str, Any], metrics: Sequence[Any], x: Array, y: Array, features: Any = None
    ) -> None:
        self.folder, self.x, self.y = folder, x, y
        self.config = {"metrics": list(metrics), "features": features, "num_nearest": 0}
        self.data = run_stage(folder, "data", data)
        self.features = run_stage(folder, "features", {"default": features}, {"data": self.data})

    def table(self, x: Array) -> Table:
        np.save(self.folder / "samples.npy", x)
        source = {"name": "npz", "path": self.folder / "samples.npy"}
        samples = run_stage(self.folder, "import_samples", {"source": source}, {"data": self.data})
        inputs = {"data": self.data, "features": self.features, "samples": samples}
        evaluation = run_stage(self.folder, "evaluate", self.config, inputs)
        return Table.read(evaluation / "table.json")

    def real(self, split: str) -> Array:
        return np.asarray(open_split(self.data, split).x)


def deviations(cell: Estimate, oracle: Estimate) -> float:
    """How many standard errors a value is worse than the oracle's."""
    assert cell.better is not None
    worse = (cell.value - oracle.value) * (1 if cell.better == "lower" else -1)
    return worse / math.hypot(cell.standard_error or 0, oracle.standard_error or 0)


def fired(table: Table) -> dict[str, float]:
    """What caught something, and by how many standard errors."""
    oracle = table.row("oracle")
    judged = [cell for cell in table.subject.estimates if cell.better is not None and cell.standard_error is not None]
    worse = {cell.name: deviations(cell, real) for cell in judged if (real := oracle.cell(cell.name)) is not None}
    return {name: number for name, number in worse.items() if number > FIRES}


def fired_falsely(table: Table) -> dict[str, float]:
    """`fired`, of where nothing should."""
    return {name: number for name, number in fired(table).items() if number > FIRES * SCATTER.get(name, 1)}


def assert_caught(table: Table, by: Sequence[str], not_by: Sequence[str]) -> None:
    """Columns are named by how they begin."""
    found, falsely, columns = fired(table), fired_falsely(table), [cell.name for cell in table.subject.estimates]
    for beginning in (*by, *not_by):
        assert any(name.startswith(beginning) for name in columns), f"no column {beginning}"
    for beginning in by:
        assert any(name.startswith(beginning) for name in found), f"{beginning} is silent; there fired {found}"
    for beginning in not_by:
        assert not any(name.startswith(beginning) for name in falsely), f"{beginning} fired falsely: {falsely}"


def with_copies(bench: Bench, num: int, share: float, seed: int) -> Array:
    """Honest samples, `share` of them put in place by training examples."""
    rng = np.random.default_rng(seed)
    x, train = bench.x[rng.permutation(len(bench.x))[:num]].copy(), bench.real("train")
    copies = rng.permutation(num)[: round(share * num)]
    x[copies] = train[rng.permutation(len(train))[: len(copies)]]
    return x


def cell(table: Table, column: str) -> Estimate:
    found = table.subject.cell(column)
    assert found is not None
    return found


def copies(table: Table) -> Estimate:
    return cell(table, COPIES)


# -- images: 8 × 8 digits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """997 digits to train on, 400 held out, 400 others."""
    folder = tmp_path_factory.mktemp("digits")
    found = load_digits()
    x, y = found.images[:, None].astype(np.uint8), found.target
    order = np.random.default_rng(1).permutation(len(x))
    there, others = order[:1397], order[1397:]
    np.savez(folder / "digits.npz", x=x[there], y=y[there])
    dataset = {"name": "npz", "path": folder / "digits.npz", "levels": 17, "y": "y"}
    metrics = ("frechet", "kid", "prdc", "vendi", "novelty")
    return Bench(folder, {"dataset": dataset, "test_fraction": 400 / 1397}, metrics, x[others], y[others])


def whole(x: Array) -> Array:
    return np.clip(np.rint(x), 0, 16).astype(np.uint8)


def test_honest_digits_are_accused_of_nothing(digits: Bench) -> None:
    table = digits.table(digits.x)
    assert table.num == 400
    assert fired_falsely(table) == {}
    assert abs(cell(table, "C_T [z]").value) < FIRES


def test_blur_is_poor_quality(digits: Bench) -> None:
    table = digits.table(whole(gaussian_filter(digits.x.astype(float), (0, 0, 0.5, 0.5))))
    assert_caught(table, by=("FD(", "KID(", "precision"), not_by=(COPIES,))


def test_noise_is_poor_quality_and_no_lack_of_diversity(digits: Bench) -> None:
    noise = np.random.default_rng(0).normal(0, 2, digits.x.shape)
    assert_caught(digits.table(whole(digits.x + noise)), by=("FD(", "KID(", "precision"), not_by=("recall", COPIES))


def test_a_class_that_collapsed_to_one_image_is_a_lack_of_diversity(digits: Bench) -> None:
    x = digits.x.copy()
    x[digits.y == 3] = x[digits.y == 3][0]
    table = digits.table(x)
    assert_caught(table, by=("coverage",), not_by=("precision", COPIES))
    assert any("are distinct" in note for note in table.notes)


def test_a_class_that_is_missing_is_a_lack_of_diversity(digits: Bench) -> None:
    assert_caught(digits.table(digits.x[digits.y != 3]), by=("coverage",), not_by=("precision", COPIES))


def test_copies_of_training_digits_are_counted_and_nothing_else_notices(digits: Bench) -> None:
    table = digits.table(with_copies(digits, 400, 0.05, seed=5))
    assert copies(table).value == pytest.approx(5, abs=3 * (copies(table).standard_error or 0))
    assert set(fired_falsely(table)) <= {COPIES}
    assert any("20 of 400 samples (5.0%) are training examples" in note for note in table.notes)


def test_training_data_is_all_copies_and_looks_at_least_as_good_as_the_oracle_otherwise(digits: Bench) -> None:
    table = digits.table(digits.real("train")[:400])
    assert copies(table).value == pytest.approx(100)
    assert cell(table, "C_T [z]").value < -FIRES
    assert set(fired(table)) == {COPIES}


def test_samples_that_are_the_held_out_data_are_told(digits: Bench) -> None:
    table = digits.table(digits.real("test"))
    assert any("400 of 400 samples (100.0%) are held-out examples" in note for note in table.notes)


def test_an_evaluation_on_training_data_is_told(tmp_path: Path, digits: Bench) -> None:
    """Each example is in the files twice, so that held-out ones were trained on."""
    np.savez(tmp_path / "twice.npz", x=np.concatenate([digits.x, digits.x]))
    dataset = {"name": "npz", "path": tmp_path / "twice.npz", "levels": 17}
    table = Bench(tmp_path, {"dataset": dataset}, ("novelty",), digits.x, digits.y).table(digits.x)
    assert any("held-out examples" in note and "are also in the training split" in note for note in table.notes)


# -- classes, by a classifier that was trained on a split of its own -------------------------------------------------


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Digits as above, with features of a classifier that was trained on 300 others."""
    folder = tmp_path_factory.mktemp("classes")
    found = load_digits()
    x, y = found.images[:, None].astype(np.uint8), found.target
    order = np.random.default_rng(1).permutation(len(x))
    there, others = order[:1397], order[1397:]
    np.savez(folder / "digits.npz", x=x[there], y=y[there])
    dataset = {"name": "npz", "path": folder / "digits.npz", "levels": 17, "y": "y"}
    data = {"dataset": dataset, "test_fraction": 400 / 1397, "features_fraction": 300 / 1397}
    metrics = ("mode_kl", "classifier_score", "mmd", "sliced_wasserstein", "two_sample", "novelty")
    return Bench(folder, data, metrics, x[others], y[others], {"name": "classifier"})


@pytest.mark.slow
def test_honest_digits_are_accused_of_nothing_by_a_classifier(classes: Bench) -> None:
    assert fired_falsely(classes.table(classes.x)) == {}


@pytest.mark.slow
def test_a_class_that_is_missing_shows_in_the_classes(classes: Bench) -> None:
    table = classes.table(classes.x[classes.y != 3])
    assert_caught(table, by=("mode KL", "modes("), not_by=(COPIES,))
    covered = next(cell for cell in table.subject.estimates if cell.name.startswith("modes("))
    assert covered.value == 9
    assert any("collapsed: class 3" in note for note in covered.notes)


@pytest.mark.slow
def test_noise_and_blur_are_seen_by_every_distance(classes: Bench) -> None:
    noise = np.random.default_rng(0).normal(0, 4, classes.x.shape)
    for x in (classes.x + noise, gaussian_filter(classes.x.astype(float), (0, 0, 1, 1))):
        assert_caught(classes.table(whole(x)), by=("MMD", "sliced W1", "two-sample accuracy"), not_by=(COPIES,))


# -- points: a grid of 25 modes ----------------------------------------------------------------------------------

NUM = 1600


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """2,400 points to train on, 1,600 held out, 10,000 others with their modes."""
    dataset = {"name": "gaussians_2d", "layout": "grid", "num_examples": 4000}
    others = build(GaussiansConfig(layout="grid"), seed=12345)
    assert others.y is not None
    metrics = ("modes", "frechet", "prdc", "novelty")
    data = {"dataset": dataset, "test_fraction": NUM / 4000}
    return Bench(tmp_path_factory.mktemp("grid"), data, metrics, others.x, others.y)


def test_honest_points_are_accused_of_nothing(grid: Bench) -> None:
    table = grid.table(grid.x[:NUM])
    assert table.num == NUM
    assert fired_falsely(table) == {}
    assert cell(table, "modes covered").value == 25


def test_five_dropped_modes_are_counted_and_are_a_lack_of_diversity(grid: Bench) -> None:
    table = grid.table(grid.x[~np.isin(grid.y, (0, 7, 12, 18, 24))][:NUM])
    assert cell(table, "modes covered").value == 20
    kl = cell(table, "mode KL [nats]")
    assert kl.value == pytest.approx(math.log(25 / 20), abs=3 * (kl.standard_error or 0) + 19 / (2 * NUM))
    not_by = ("precision", "samples in a mode", COPIES)
    assert_caught(table, by=("mode KL", "recall", "coverage"), not_by=not_by)


def test_points_between_modes_are_poor_quality(grid: Bench) -> None:
    table = grid.table(grid.x[:NUM] + np.random.default_rng(0).normal(0, 0.1, (NUM, 2)))
    assert_caught(table, by=("samples in a mode", "precision"), not_by=("mode KL", "recall", COPIES))


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_the_rate_of_copies_is_recovered_within_a_point(grid: Bench, share: float) -> None:
    table = grid.table(with_copies(grid, NUM, share, seed=7))
    assert copies(table).value == pytest.approx(100 * share, abs=1)
    assert set(fired_falsely(table)) <= {COPIES}


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2])
def test_the_rate_of_copies_is_right_on_average(grid: Bench, share: float) -> None:
    rates = [copies(grid.table(with_copies(grid, NUM, share, seed))).value for seed in range(10)]
    # The held-out share is the same in all, and its error, 0.25 points, with it.
    assert np.mean(rates) == pytest.approx(100 * share, abs=0.75)
    assert np.std(rates) < 0.6
