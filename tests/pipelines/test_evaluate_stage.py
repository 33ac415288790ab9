import math
import re

import numpy as np
import pytest
import torch

from genpipe.artifacts import read_manifest
from genpipe.dataspec import DataSpec
from genpipe.errors import PluginError, UsageError
from genpipe.parallel import InThisProcess, Range
from genpipe.pipelines.evaluate.items import Cells, Features
from genpipe.pipelines.evaluate.merge_tree import MergeTree
from genpipe.pipelines.evaluate.rows import floor_row
from genpipe.pipelines.evaluate.score import shards
from genpipe.pipelines.features.compute import features_of
from genpipe.table import Table


def inputs(steps):
    return {"data": steps.data, "features": steps.features, "model": steps.model, "samples": steps.samples}


def test_rows_are_oracle_model_copy_and_floor_all_of_one_size(steps):
    table = Table.read(steps.evaluation / "table.json")
    assert [row.name for row in table.rows] == ["oracle", "model", "copy", "floor"]
    assert {e.num for row in table.rows for e in row.estimates} == {table.num}


def test_every_number_has_its_name_error_and_direction(steps):
    for row in Table.read(steps.evaluation / "table.json").rows:
        for cell in row.estimates:
            assert math.isfinite(cell.value), cell
            assert cell.standard_error is None or cell.standard_error >= 0
            assert cell.better in ("higher", "lower", None)


def test_copies_are_found_and_held_out_data_is_none(steps):
    table = Table.read(steps.evaluation / "table.json")
    assert table.row("copy").cell("copies [%]").value == pytest.approx(100)
    assert table.row("oracle").cell("copies [%]").value == pytest.approx(0, abs=1e-9)


def test_noise_on_17_levels_has_log2_17_bits_per_dimension(runs):
    floor = Table.read(runs["grey"].evaluation / "table.json").row("floor")
    assert floor.cell("bits/dim").value == pytest.approx(math.log2(17), rel=1e-9)
    assert floor.cell("bits/dim").kind == "exact"


def test_a_bound_is_called_one_and_rows_without_density_say_why(runs):
    table = Table.read(runs["grey"].evaluation / "table.json")
    assert table.row("model").cell("bits/dim").kind == "lower_bound"
    assert "not known" in table.row("oracle").absent["likelihood"]
    assert "no density" in table.row("copy").absent["likelihood"]


def test_where_the_truth_is_known_the_oracle_has_its_likelihood(runs):
    table = Table.read(runs["points"].evaluation / "table.json")
    truth, model, floor = (table.row(name).cell("log-likelihood [nats]") for name in ("oracle", "model", "floor"))
    assert truth.kind == "exact"
    assert truth.value > model.value > floor.value
    assert model.value == pytest.approx(truth.value, abs=0.15)


def test_where_the_truth_is_known_the_model_has_its_divergences(runs):
    table = Table.read(runs["points"].evaluation / "table.json")
    oracle, model, floor, copy = (table.row(name) for name in ("oracle", "model", "floor", "copy"))
    for name in ("KL(data ‖ model) [nats]", "KL(model ‖ data) [nats]", "Jensen-Shannon [nats]", "Fisher divergence"):
        assert oracle.cell(name).value == 0
        assert 0 < model.cell(name).value < floor.cell(name).value
        assert model.cell(name).kind == "exact"
        assert copy.cell(name) is None
    for row in (oracle, model, copy):
        assert row.cell("Wasserstein-2").value < floor.cell("Wasserstein-2").value


def test_an_estimator_of_the_family_is_a_column_of_its_own(stage, runs):
    estimator = {"name": "iwae", "num_samples": 16, "max_examples": 20}
    config = {"metrics": [{"name": "likelihood", "estimators": [estimator]}], "num_likelihoods": 2}
    table = Table.read(stage("evaluate", config, inputs(runs["grey"])) / "table.json")
    tighter, bound = (table.row("model").cell(name) for name in ("IWAE, 16 samples [nats]", "log-likelihood [nats]"))
    assert (tighter.kind, tighter.num) == ("lower_bound", min(20, table.num))
    assert tighter.value > bound.value - 3 * bound.standard_error
    assert table.row("floor").cell("IWAE, 16 samples [nats]") is None


@pytest.mark.parametrize("kind", ["grey", "points"])
def test_shards_change_nothing(stage, runs, kind):
    whole = Table.read(runs[kind].evaluation / "table.json")
    for num_shards in (1, 2, 64):
        size = math.ceil(whole.num / num_shards)
        folder = stage("evaluate", {"batch_size": size, "num_nearest": 0}, inputs(runs[kind]))
        table = Table.read(folder / "table.json")
        for name in ("oracle", "copy", "floor"):
            for cell, other in zip(whole.row(name).estimates, table.row(name).estimates, strict=True):
                # The correction is a derivative at a covariance that, of 80 examples in 64 dimensions, is all but singular:
                # moments that agree to 1e-15 give it to 1e-9.
                rel = 1e-8 if cell.name.endswith("bias-corrected") else 1e-12
                assert other.value == pytest.approx(cell.value, rel=rel, abs=1e-12), (name, cell.name)


def test_samples_that_are_too_few_are_continued_from_their_own_stream(stage, runs):
    steps = runs["points"]
    few = stage("sample", {"num": 10}, {"model": steps.model})
    config = {"num": 64, "num_nearest": 64}
    folders = [stage("evaluate", config, {**inputs(steps), "samples": s}) for s in (few, steps.samples)]
    one, other = (np.load(folder / "nearest.npz") for folder in folders)
    assert np.allclose(one["samples"][one["index"].argsort()], other["samples"][other["index"].argsort()], rtol=1e-5)
    assert np.allclose(one["model_ratios"], other["model_ratios"], rtol=1e-4)


def test_a_step_that_was_killed_keeps_the_features_that_it_had(stage, runs, tmp_path):
    class Dying(InThisProcess):
        """Raises in the midst of the last kind of work."""

        def map(self, task, shared, items):
            if items and isinstance(items[0], Cells):
                raise KeyboardInterrupt
            done.extend(map(type, items))
            return super().map(task, shared, items)

    config, kept, done = {"num_nearest": 2}, tmp_path / "kept", []
    with pytest.raises(KeyboardInterrupt):
        stage("evaluate", config, inputs(runs["points"]), scratch=kept, fan_out=Dying())
    assert Features in done
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        stage("evaluate", config, inputs(runs["points"]), scratch=kept, fan_out=Dying())
    assert done
    assert Features not in done
    again = stage("evaluate", config, inputs(runs["points"]), scratch=kept)
    undisturbed = stage("evaluate", config, inputs(runs["points"]))
    for name in ("table.json", "nearest.npz"):
        assert (again / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.parametrize("num", [1, 2, 3, 6, 13])
def test_a_tree_merges_neighbours_the_same_way_in_whatever_order_they_come(num):
    def text(order):
        tree = MergeTree(num, lambda a, b: {"text": f"({a['text']}{b['text']})"})
        held = []
        for shard in order:
            tree.add(shard, {"text": "abcdefghijklm"[shard]})
            held.append(tree.num_held)
        return tree.whole()["text"], max(held)

    in_order, few = text(range(num))
    assert in_order.replace("(", "").replace(")", "") == "abcdefghijklm"[:num]
    assert few <= num.bit_length()
    for seed in range(5):
        assert text(np.random.default_rng(seed).permutation(num).tolist())[0] == in_order
    # one that is long in coming holds up few
    assert text([*range(1, num), 0])[1] <= num.bit_length() + 1


def test_shards_are_whole_batches_and_few():
    assert shards(Range(0, 100), 256) == [Range(0, 100)]
    assert len(shards(Range(0, 10_000), 256)) == 8
    assert {at.start % 256 for at in shards(Range(0, 10_000), 256)} == {0}
    assert max(map(len, shards(Range(0, 10**6), 256))) == 64 * 256


def test_more_examples_than_are_held_out_is_an_error(stage, runs):
    with pytest.raises(UsageError, match=r"evaluate\.num is 500, but 120 examples are held out and 480"):
        stage("evaluate", {"num": 500}, inputs(runs["points"]))


def test_the_closest_samples_are_kept_closest_first(steps):
    found = np.load(steps.evaluation / "nearest.npz")
    assert len(found["ratio"]) == 12
    assert (np.diff(found["ratio"]) >= 0).all()
    assert found["ratio"][0] == found["model_ratios"].min()
    assert found["samples"].shape == found["neighbours"].shape


def test_the_summary_has_the_models_numbers_plain_and_kinds_apart(runs):
    metrics = read_manifest(runs["grey"].evaluation).summary["metrics"]
    assert any(re.fullmatch(r"FD\(standardise@[0-9a-f]{8}\)", name) for name in metrics)
    assert "bits/dim lower_bound" in metrics
    assert "bits/dim" not in metrics
    assert any(name.startswith("oracle FD(standardise@") for name in metrics)


def test_floors_densities_integrate_to_one_over_their_range():
    spec = DataSpec(name="unit", event="image", shape=(1, 1, 2), low=-1.0, high=3.0)
    row = floor_row(spec, seed=0)
    x = row.examples(Range(0, 1000))
    assert float(x.min()) >= -1
    assert float(x.max()) <= 3
    assert torch.equal(row.examples(Range(300, 310)), x[300:310])
    assert row.log_prob(x[:2]).nats.exp().tolist() == pytest.approx([1 / 16] * 2)
    points = DataSpec(name="points", event="vector", shape=(1,), mean=(2.0,), std=(3.0,))
    grid = torch.linspace(-25, 29, 4001)[:, None]
    density = floor_row(points, seed=0).log_prob(grid).nats.exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda x: x.flatten(1), "expected float64"),
        (lambda x: x.double(), "of shape"),
        (lambda x: x.flatten(1).double() / 0, "not finite"),
    ],
)
def test_an_extractor_that_breaks_the_contract_is_named(broken, message):
    with pytest.raises(PluginError, match=message):
        features_of(broken, "broken", torch.ones(4, 1, 2, 2))
