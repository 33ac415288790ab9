import json

import numpy as np
import pytest

from genpipe.artifacts import read_manifest
from genpipe.errors import GenpipeError, UsageError
from genpipe.model import Sampler
from genpipe.parallel import InThisProcess, Range
from genpipe.parallel.array_file import ArrayFile
from genpipe.persistence import describe_model, load_model
from genpipe.pictures import LIGHT
from genpipe.pipelines.sample.draw import Drawing, draw, plan_drawing
from genpipe.pipelines.train.curves import curves_figure, term_names
from genpipe.registry import registry


def test_the_model_comes_back_from_its_artifact(steps):
    model = load_model(steps.model, registry())
    assert model.sample(3, seed=1).shape == (3, *model.spec.shape)


def test_history_and_curves_are_written_where_there_are_steps(runs):
    lines = (runs["grey"].model / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10, 15, 20]
    assert (runs["grey"].model / "curves.png").exists()
    summary = read_manifest(runs["grey"].model).summary
    assert summary["steps"] == 20
    assert {"loss", "steps_per_second"} <= set(summary["metrics"])


def test_a_closed_form_has_no_curves(runs):
    assert not (runs["points"].model / "curves.png").exists()
    assert read_manifest(runs["points"].model).summary["num_parameters"] > 0


def test_loss_comes_first_and_the_learning_rate_last():
    history = [{"step": 1, "learning_rate": 0.1, "kl": 1.0, "loss": 2.0}]
    assert term_names(history) == ["loss", "kl", "learning_rate"]
    assert len(curves_figure(history, LIGHT).axes) == 3
    assert curves_figure([], LIGHT) is None


def test_samples_have_the_data_sets_type_and_count(steps):
    model = load_model(steps.model, registry())
    samples = np.load(steps.samples / "samples.npy")
    assert samples.shape == (64, *model.spec.shape)
    assert samples.dtype == model.spec.dtype
    assert (steps.samples / "grid.png").exists()
    assert read_manifest(steps.samples).summary["metrics"]["seconds_per_sample"] > 0


def test_batches_change_nothing(stage, runs):
    inputs = {"model": runs["grey"].model}
    one = np.load(stage("sample", {"num": 20, "batch_size": 20}, inputs) / "samples.npy")
    many = np.load(stage("sample", {"num": 20, "batch_size": 7}, inputs) / "samples.npy")
    # Whole grey levels: a sample on the edge between two may round either way.
    assert np.abs(one.astype(int) - many.astype(int)).max() <= 1
    assert (one == many).mean() > 0.99


def test_a_drawing_goes_on_where_it_ended(runs, tmp_path):
    model = load_model(runs["points"].model, registry())
    plan_drawing(describe_model(runs["points"].model, registry()), 3, None, labels=False).write(
        tmp_path / "drawing.json"
    )
    drawing = Drawing.read(tmp_path / "drawing.json")
    whole = draw(model, drawing, Range(0, 30))
    parts = [draw(model, drawing, at) for at in (Range(0, 11), Range(11, 30))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)


def test_a_step_that_was_killed_draws_what_it_had_not_and_ends_with_the_same_file(stage, runs, tmp_path):
    inputs, config = {"model": runs["grey"].model}, {"num": 40, "batch_size": 8}
    undisturbed = stage("sample", config, inputs)
    spec = describe_model(runs["grey"].model, registry()).spec
    half = ArrayFile(tmp_path / "kept" / "samples.npy", (40, *spec.shape), spec.dtype)
    known = np.load(undisturbed / "samples.npy")
    for at in Range(0, 24).cut(8):
        half.write(at, known[at.slice])
    drawn = []

    class Recording(InThisProcess):
        def map(self, task, shared, items):
            drawn.extend(items)
            return super().map(task, shared, items)

    again = stage("sample", config, inputs, scratch=tmp_path / "kept", fan_out=Recording())
    assert drawn == [Range(24, 32), Range(32, 40)]
    assert (again / "samples.npy").read_bytes() == (undisturbed / "samples.npy").read_bytes()


def test_the_first_sample_that_is_not_finite_is_named(runs):
    model = load_model(runs["points"].model, registry())
    model.means[:] = float("nan")
    drawing = plan_drawing(describe_model(runs["points"].model, registry()), 0, None, labels=False)
    with pytest.raises(GenpipeError, match="sample 5 of family 'gaussian_mixture' has NaN or infinity, as have 4 of"):
        draw(model, drawing, Range(5, 9))


def test_labels_go_through_the_classes_in_turn():
    drawing = Drawing(seed=0, sampler=Sampler(), num_classes=3)
    assert drawing.labels(2, 4).tolist() == [2, 0, 1, 2]
    assert Drawing(seed=0, sampler=Sampler()).labels(0, 4) is None


def test_what_the_family_cannot_do_is_said(runs):
    model = describe_model(runs["grey"].model, registry())
    with pytest.raises(UsageError, match="takes no labels"):
        plan_drawing(model, 0, None, labels=True)
    with pytest.raises(UsageError, match="has no sampler 'men'; did you mean 'mean'"):
        plan_drawing(model, 0, "men", labels=False)
