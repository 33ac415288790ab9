"""What the report's panels work out themselves, against answers that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from genpipe.artifacts import read_manifest
from genpipe.components import Dataset
from genpipe.dataspec import DataSpec
from genpipe.pictures import DARK, LIGHT, class_styles, png
from genpipe.pipelines.evaluate.likelihoods import ExampleLikelihoods
from genpipe.pipelines.report.contents import read_contents
from genpipe.pipelines.report.panels import classifier, costs, latent, likelihoods, modes, path, tradeoff
from genpipe.pipelines.report.panels.classifier import expected_calibration_error, reliability
from genpipe.pipelines.report.panels.latent import principal
from genpipe.pipelines.report.panels.likelihoods import roc, typicality
from genpipe.pipelines.report.panels.modes import mode_shares
from genpipe.pipelines.train.curves import curves_figure, lowest
from genpipe.registry import registry
from genpipe.table import Estimate, Row, Table
from tests.pipelines.conftest import KINDS, MIXTURE, run_stage

RNG = np.random.default_rng(0)


def contents_of(steps):
    inputs = {port: getattr(steps, port) for port in ("data", "features", "model", "samples", "evaluation")}
    return read_contents(inputs, registry(), "cpu")


def test_principal_directions_are_those_that_the_codes_were_stretched_along():
    axes = torch.linalg.qr(torch.from_numpy(RNG.normal(size=(4, 4))))[0].T
    codes = torch.from_numpy(RNG.normal(size=(20_000, 4))) * torch.tensor([3.0, 2.0, 1.0, 0.0]) @ axes + 7
    found = principal(codes, num=6)
    assert found.axes.shape == (3, 4)  # the fourth has no variance
    assert found.deviations.tolist() == pytest.approx([3, 2, 1], rel=0.03)
    assert float(found.shares.sum()) == pytest.approx(1)
    assert ((found.axes @ axes.T).abs().diagonal() > 0.999).all()
    again = principal(codes.flip(0), num=6)  # in another order, with no sign flipped
    assert torch.allclose(found.axes, again.axes, atol=1e-6)


def test_codes_that_are_all_the_same_have_no_directions():
    assert len(principal(torch.ones(5, 3), num=2).axes) == 0


def test_points_are_counted_in_the_mode_that_they_are_within_three_deviations_of():
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    x = np.array([[0, 0], [2.9, 0], [3.1, 0], [10, 0], [10, 2.9], [100, 100]])
    assert mode_shares(x, centres, 1.0).tolist() == pytest.approx([2 / 6, 2 / 6, 2 / 6])


def test_dropped_modes_are_seen(runs, monkeypatch):
    """Samples of a ring whose first three modes are taken away."""
    contents = contents_of(runs["points"])
    angles = 2 * np.pi * np.arange(8) / 8
    centres = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    record = Dataset(
        name="ring",
        summary="",
        config="",
        build="",
        events=("vector",),
        modes="tests.pipelines.test_report_panels:RING",
    )
    monkeypatch.setitem(globals(), "RING", lambda config: (centres, 0.05))
    monkeypatch.setattr(type(contents), "dataset_record", (record, None))
    which = ((contents.samples[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    object.__setattr__(contents, "samples", contents.samples[which >= 3])
    found = modes.panel(contents)
    assert "found 5 of 8 modes" in found.values["hint"]


def test_what_a_family_cannot_do_has_no_panel(runs):
    grey, points = contents_of(runs["grey"]), contents_of(runs["points"])
    assert path.panel(grey) is None  # a VAE is made at once
    assert latent.panel(grey) is not None
    assert latent.panel(points) is None  # a mixture has no codes


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_rows_without_both_numbers_are_left_out_of_the_trade_off(theme):
    def row(name, **cells):
        return Row(name=name, title=name, estimates=tuple(Estimate(name=k, value=v) for k, v in cells.items()))

    rows = (row("oracle", precision=0.9, recall=0.9), row("model", precision=0.5), row("floor", precision=0, recall=0))
    table = Table(rows=rows, num=9, reference="train", num_reference=9, extractor="e", fingerprint="e", num_features=1)
    figure = tradeoff.pairs_figure(table, "recall", "precision", theme)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["oracle", "floor"]
    assert png(figure).startswith(b"\x89PNG")


def test_the_lowest_loss_is_circled_and_that_of_validation_goes_before_that_of_training():
    history = [{"step": k, "loss": loss, "kl": -k} for k, loss in ((10, 3.0), (20, 1.0), (30, 2.0))]
    assert lowest(history) == ("loss", 20, 1.0)
    watched = [{**entry, "validation_loss": value} for entry, value in zip(history, (5.0, 6.0, 4.0), strict=True)]
    assert lowest(watched) == ("validation_loss", 30, 4.0)
    assert lowest([]) is None
    circles = [line for line in curves_figure(history, LIGHT, ["loss"]).axes[0].lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in circles[-1:]] == [(20, 1.0)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(12.3456, "12.3 s a sample"), (0.01234, "12.3 ms a sample"), (2.5e-6, "2.5 µs a sample"), (0.0, "0 µs a sample")],
)
def test_a_samples_price_is_in_a_unit_that_fits(seconds, expected):
    assert costs._per_sample(seconds) == expected


def test_costs_have_a_row_for_each_step_and_the_longest_fills_its_bar(runs):
    contents = contents_of(runs["grey"])
    listed = costs.panel(contents).values["costs"]
    assert [cost.step for cost in listed] == ["data", "train", "sample", "features", "evaluate"]
    assert max(cost.share for cost in listed) == 1
    assert read_manifest(runs["grey"].model).summary["steps"] == 20
    assert listed[1].work == "20 steps"


def test_classes_are_told_apart_by_mark_where_there_are_more_than_hues():
    def spec(num, names=()):
        return DataSpec(name="d", event="vector", shape=(2,), num_classes=num, class_names=names)

    assert class_styles(spec(None), LIGHT) == []
    assert class_styles(spec(100), LIGHT) == []
    assert {marker for _, _, marker in class_styles(spec(3), LIGHT)} == {"o"}
    many = class_styles(spec(10, tuple("abcdefghij")), LIGHT)
    assert [marker for _, _, marker in many] == [f"${letter}$" for letter in "abcdefghij"]
    num = len(LIGHT.series) + 1
    assert class_styles(spec(num, ("shirt",) * num), LIGHT)[3][2] == "$3$"


def test_two_normals_are_told_apart_as_often_as_the_formula_says():
    """AUROC of N(μ, 1) against N(0, 1) is Φ(μ/√2); its error is that of repeated draws."""
    found = [roc(RNG.normal(size=150) + 0.8, RNG.normal(size=100)) for _ in range(400)]
    areas = np.array([each.auroc for each in found])
    assert areas.mean() == pytest.approx(norm.cdf(0.8 / math.sqrt(2)), abs=0.006)
    assert np.mean([each.error for each in found]) == pytest.approx(areas.std(), rel=0.1)
    curve = found[0]
    area = np.trapezoid(curve.hits, curve.false_alarms)
    assert area == pytest.approx(curve.auroc, abs=1e-12)


def test_scores_that_tie_or_are_infinite_are_counted():
    assert roc(np.ones(5), np.ones(4)).auroc == 0.5
    assert roc(np.array([0.0, 1.0]), np.array([-np.inf, -np.inf])).auroc == 1
    assert roc(np.array([-np.inf, 1.0]), np.array([-np.inf, 0.0])).auroc == (0.5 + 0 + 1 + 1) / 4
    one = roc(np.array([2.0]), np.array([1.0]))
    assert (one.hits.tolist(), one.false_alarms.tolist()) == ([0, 1, 1], [0, 0, 1])


def test_what_is_far_likelier_than_data_is_no_more_typical_than_what_is_far_less_likely():
    train = RNG.normal(size=1000)
    near, likelier, never = typicality(np.array([0.0, 9.0, -np.inf]), train)
    assert near > likelier > never


def test_likelihoods_of_single_examples_are_those_that_the_table_sums_up(runs):
    for kind in KINDS:
        contents = contents_of(runs[kind])
        kept = ExampleLikelihoods.read(runs[kind].evaluation / "likelihoods.npz")
        cell = contents.table.subject.cell("log-likelihood [nats]")
        assert set(kept.nats) == {"held_out", "train", "noise"}
        assert kept.kind == cell.kind
        num = min(128, contents.table.num)
        assert all(len(each) == num for each in kept.nats.values())
        if num == contents.table.num and kind == "points":
            assert kept.nats["held_out"].mean() == pytest.approx(cell.value, rel=1e-9)
        spread = kept.nats["held_out"].std() / math.sqrt(num)
        assert abs(kept.nats["held_out"].mean() - cell.value) < 5 * spread + 1e-6
        panel = likelihoods.panel(contents)
        assert set(panel.pictures) == {"likelihoods", "roc"}
        assert panel.metrics["AUROC noise by log p"] == pytest.approx(
            (kept.nats["held_out"][:, None] > kept.nats["noise"]).mean(), abs=1e-12
        )


def test_energies_rank_examples_and_are_not_shown_in_bits(runs):
    contents = next(found for kind in KINDS if (found := contents_of(runs[kind])).spec.levels is not None)
    assert contents.likelihoods is not None
    energies = replace(contents.likelihoods, kind="unnormalized")
    panel = likelihoods.panel(replace(contents, likelihoods=energies))
    before = likelihoods.panel(contents)
    assert panel.metrics == before.metrics
    assert not panel.values["less_is_likelier"]
    assert before.values["less_is_likelier"]
    assert "no likelihood" in panel.values["kind"]


def test_an_evaluation_without_likelihood_has_no_such_panel(stage, runs):
    steps = runs["points"]
    inputs = {port: getattr(steps, port) for port in ("data", "features", "model", "samples")}
    evaluation = stage("evaluate", {"metrics": ["novelty"]}, inputs)
    assert not (evaluation / "likelihoods.npz").exists()
    assert likelihoods.panel(read_contents({**inputs, "evaluation": evaluation}, registry(), "cpu")) is None


def test_a_classifier_that_is_as_right_as_sure_is_calibrated_and_one_twice_as_sure_is_not():
    """Labels are drawn from softmax(logits), so that these are calibrated by construction."""
    logits = 1.5 * RNG.normal(size=(40_000, 5))
    p = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    labels = (p.cumsum(axis=1) < RNG.uniform(size=(len(p), 1))).sum(axis=1)
    calibrated, sure = reliability(logits, labels), reliability(3 * logits, labels)
    assert expected_calibration_error(calibrated) < 0.012
    assert expected_calibration_error(sure) > 0.1
    assert sum(each.num for each in calibrated) == len(labels)
    assert reliability(np.array([[50.0, 0.0]]), np.array([1])) == [(1.0, 0.0, 1)]


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A run whose evaluation rests on a classifier."""
    parent = tmp_path_factory.mktemp("classified")
    data = run_stage(parent, "data", {"dataset": {"name": "moons", "num_examples": 600}, "features_fraction": 0.3})
    model = run_stage(parent, "train", {"model": MIXTURE}, {"data": data})
    inputs = {"data": data, "model": model, "samples": run_stage(parent, "sample", {}, {"model": model, "data": data})}
    small = {"name": "classifier", "hidden": 32, "num_features": 8, "max_steps": 300}
    inputs["features"] = run_stage(parent, "features", {"default": small}, {"data": data})
    inputs["evaluation"] = run_stage(parent, "evaluate", {"metrics": ["novelty"]}, inputs)
    return read_contents(inputs, registry(), "cpu")


def test_a_classifier_shows_whether_it_can_be_believed_and_what_it_finds(classified):
    found = classifier.panel(classified)
    assert set(found.pictures) == {"reliability", "classes"}
    assert found.metrics["classifier accuracy"] > 0.9
    assert 0 <= found.metrics["classifier calibration error"] < 0.2
    assert found.values["num"] == len(classified.test)


def test_a_class_that_collapsed_is_seen(classified, monkeypatch):
    """Samples that are real data of the first class alone."""
    of_first = np.asarray(classified.test.x[:])[np.asarray(classified.test.y[:]) == 0]
    monkeypatch.setitem(classified.__dict__, "samples", of_first)
    shares = classifier.class_shares(classified, next(iter(classified.features.index.extractors)))
    assert shares.samples[0] > 0.9
    assert shares.held_out[0] == pytest.approx(0.5, abs=0.15)
    assert shares.samples.sum() == pytest.approx(1)
