"""What a table says of itself, and what it refuses."""

import shutil

import numpy as np
import pytest

from genpipe.artifacts import publish, read_manifest
from genpipe.data import open_split
from genpipe.errors import DataError, PluginError, RecipeError, UsageError
from genpipe.pipelines.evaluate.check import check_evaluation
from genpipe.pipelines.evaluate.chosen import candidates, features_config
from genpipe.pipelines.evaluate.config import EvaluateConfig
from genpipe.plugins.frechet.metric import Frechet
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from genpipe.table import Table
from genpipe.validation import restore_config

CHEAP = {"metrics": ["frechet", "novelty"], "num_nearest": 0}


def inputs(steps, **others):
    return {"data": steps.data, "features": steps.features, "model": steps.model, "samples": steps.samples, **others}


@pytest.fixture
def alone(stage, runs, tmp_path):
    """`alone(kind, x)` evaluates samples x that came without a model; gives the table."""

    def evaluated(kind, x, config=None, **summary):
        staged, folder = tmp_path / "staged-samples", tmp_path / "samples"
        shutil.rmtree(folder, ignore_errors=True)
        staged.mkdir()
        np.save(staged / "samples.npy", x)
        publish(staged, folder, {"kind": "samples", "summary": summary})
        given = inputs(runs[kind], samples=folder)
        del given["model"]
        return Table.read(stage("evaluate", config or CHEAP, given) / "table.json")

    return evaluated


def fd(row):
    return next(cell for cell in row.estimates if cell.name.startswith("FD("))


def held_out(runs, kind):
    return np.asarray(open_split(runs[kind].data, "test").x)


def test_a_table_says_its_numbers_reference_seed_data_and_features(runs):
    table = Table.read(runs["grey"].evaluation / "table.json")
    assert (table.num, table.num_held_out, table.num_reference) == (80, 80, 320)
    assert (table.reference, table.seed) == ("train", 0)
    assert table.data == "digits: images of 1 × 8 × 8, whole numbers 0 … 16"
    assert table.fingerprint.startswith("standardise@")
    by_name = {cell.name: cell for cell in table.row("model").estimates}
    assert fd(table.row("model")).features == table.fingerprint
    assert by_name["bits/dim"].features is None


def test_samples_without_a_model_have_a_row_of_their_own_and_no_likelihood(alone, runs):
    table = alone("points", held_out(runs, "points")[::-1].copy(), {"num_nearest": 0}, title="theirs", notes=["Read."])
    assert [row.name for row in table.rows] == ["oracle", "samples", "copy", "floor"]
    assert table.subject.title == "theirs"
    assert "Read." in table.notes
    assert table.subject.cell("log-likelihood [nats]") is None
    assert fd(table.subject).value < fd(table.row("oracle")).value + 1e-9


def test_held_out_data_passed_off_as_samples_is_told(alone, runs):
    table = alone("grey", held_out(runs, "grey"))
    assert any("80 of 80 samples (100.0%) are held-out examples, value for value" in note for note in table.notes)


def test_training_data_passed_off_as_samples_is_told(alone, runs):
    x = np.asarray(open_split(runs["grey"].data, "train").x)[:80]
    x = np.concatenate([x[:40], x[:40]])
    notes = " ".join(alone("grey", x).notes)
    assert "80 of 80 samples (100.0%) are training examples, value for value" in notes
    assert "Of 80 samples 40 are distinct." in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :4], r"samples have shape \(80, 1, 4, 8\), expected \(N, 1, 8, 8\), as 'digits' has it"),
        (lambda x: x[:1], "there are 1, expected at least 2"),
        (lambda x: x[:0], "there are 0, expected at least 2"),
        (lambda x: np.where(x == 3, np.nan, x.astype(float)), r"have NaN or infinity, first at \d"),
        (lambda x: np.where(x == 3, np.inf, x.astype(float)), r"have NaN or infinity, first at \d"),
        (lambda x: x.astype(np.int64) * 10, r"values in \[0, 160\], expected 0 … 16; first at 0"),
        (lambda x: x / 16, r"values are not whole, but levels is 17: .*; they seem to be scaled to \[0, 1\]"),
        (lambda x: np.repeat(x[:1], 80, axis=0), "all 80 are one and the same example"),
        (lambda x: x.astype(complex), "samples have type complex128"),
        (lambda x: np.full(x.shape, "a"), "samples have type <U1"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused_with_what_was_given(alone, runs, change, message):
    with pytest.raises(DataError, match=message):
        alone("grey", change(held_out(runs, "grey")))


def test_fewer_samples_than_were_asked_for_cannot_be_made_without_a_model(alone, runs):
    x = held_out(runs, "grey")[:20]
    assert alone("grey", x).num == 20
    message = r"evaluate\.num is 50, but 80 examples are held out, 320 were trained on and 20 samples were given"
    with pytest.raises(UsageError, match=message):
        alone("grey", x, {**CHEAP, "num": 50})


def test_too_few_for_the_dimensions_and_few_at_all_are_told(alone, runs):
    notes = alone("grey", held_out(runs, "grey")[:20]).notes
    assert any(note.startswith("20 examples in a row are fewer than twice the 64 dimensions") for note in notes)
    assert any(note.startswith("20 examples in a row are few") for note in notes)


def test_a_model_that_gives_one_example_only_is_scored_and_told(stage, runs, tmp_path):
    steps = runs["grey"]
    staged, folder = tmp_path / "constant-staged", tmp_path / "constant"
    shutil.copytree(steps.samples, staged, ignore=shutil.ignore_patterns("manifest.json"))
    np.save(staged / "samples.npy", np.full((80, 1, 8, 8), 7, dtype=np.uint8))
    publish(staged, folder, {"kind": "samples", "summary": {}})
    given = inputs(steps, samples=folder)
    table = Table.read(stage("evaluate", {**CHEAP, "metrics": ["frechet", "prdc", "novelty"]}, given) / "table.json")
    assert "All 80 samples are one and the same example." in table.notes
    assert table.subject.cell("recall").value == 0
    assert fd(table.subject).value > 10 * fd(table.row("oracle")).value


def test_rows_are_chosen_by_hash_and_not_by_place(stage, runs):
    config = {**CHEAP, "num": 40}
    table = Table.read(stage("evaluate", config, inputs(runs["grey"])) / "table.json")
    other = Table.read(stage("evaluate", config, inputs(runs["grey"]), seed=1) / "table.json")
    assert table.num == 40
    assert fd(table.row("oracle")).value != fd(other.row("oracle")).value


def test_metrics_of_one_name_are_told_apart(stage, runs):
    metrics = ["frechet", {"name": "frechet", "features": "identity"}, "novelty", {"name": "novelty", "quantile": 0.1}]
    config = restore_config(EvaluateConfig, {**CHEAP, "metrics": metrics}, registry())
    features = stage("features", features_config(config).model_dump(mode="json"), {"data": runs["grey"].data})
    folder = stage("evaluate", config.model_dump(mode="json"), inputs(runs["grey"], features=features))
    table = Table.read(folder / "table.json")
    cells = {cell.name: cell for cell in table.row("model").estimates}
    assert len(cells) == len(table.row("model").estimates)
    assert {f"FD({table.fingerprint})", "FD(identity)", "copies [%]", "copies [%] [novelty #2]"} <= set(cells)
    assert cells["FD(identity)"].features == "identity"
    assert cells["copies [%]"].features == table.fingerprint


def test_the_metrics_of_a_table_without_names_are_those_for_such_data(runs):
    columns = {kind: Table.read(runs[kind].evaluation / "table.json").columns for kind in ("grey", "points")}
    for kind, found in columns.items():
        assert read_manifest(runs[kind].evaluation).config["metrics"] is None
        assert {"log-likelihood [nats]", "copies [%]"} <= set(found)
        assert any(name.startswith("FD(") for name in found)
    plane = {p.record.name for p in registry().all("metric") if p.record.defaults_for == ("2d",)}
    assert not plane or len(columns["points"]) > len(columns["grey"])
    assert plane <= {component.name for component in candidates(EvaluateConfig(), registry())}
    assert not list(candidates(restore_config(EvaluateConfig, CHEAP, registry()), registry()))


def test_an_error_in_a_metric_names_metric_and_row(stage, runs, monkeypatch):
    monkeypatch.setattr(Frechet, "result", lambda *_: [][0])
    with pytest.raises(PluginError, match="metric 'frechet' of row 'oracle' failed: IndexError: list index"):
        stage("evaluate", CHEAP, inputs(runs["grey"]))
    monkeypatch.undo()

    def refuse(*_):
        raise DataError("it is too cold")

    monkeypatch.setattr(Frechet, "shard", refuse)
    with pytest.raises(DataError, match=r"metric 'frechet' of row '(train|oracle)': it is too cold"):
        stage("evaluate", CHEAP, inputs(runs["grey"]))


def test_features_that_were_not_prepared_are_a_clear_error(stage, runs):
    with pytest.raises(UsageError, match="the features 'identity' with these options were not prepared"):
        stage("evaluate", {**CHEAP, "features": "identity"}, inputs(runs["grey"]))
    config = restore_config(EvaluateConfig, {**CHEAP, "features": "identity"}, registry())
    folder = stage("features", features_config(config).model_dump(mode="json"), {"data": runs["grey"].data})
    evaluation = stage("evaluate", {**CHEAP, "features": "identity"}, inputs(runs["grey"], features=folder))
    assert Table.read(evaluation / "table.json").fingerprint == "identity"


def test_what_an_extractor_or_a_metric_lacks_is_a_mistake_of_the_recipe():
    recipe = {"pipeline": "single", "data": {"dataset": "digits"}, "model": "vae"}
    trained = [p.record.name for p in registry().all("feature_extractor") if p.record.trains]
    for name in trained:
        with pytest.raises(RecipeError, match=r"data\.features_fraction"):
            load_recipe({**recipe, "evaluate": {"features": name}}, registry=registry())
        with_third = {**recipe, "data": {"dataset": "digits", "features_fraction": 0.2}, "evaluate": {"features": name}}
        config = load_recipe(with_third, registry=registry()).config
        assert not list(check_evaluation(config.data, config.evaluate, registry()))
    logits = [p.record.name for p in registry().all("metric") if p.record.needs == "logits"]
    for name in logits:
        with pytest.raises(RecipeError, match="needs logits, and the features 'identity' have none"):
            load_recipe({**recipe, "evaluate": {"features": "identity", "metrics": [name]}}, registry=registry())
