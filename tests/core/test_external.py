"""Samples of another program as a run: found, held against what was named, recorded, and not scored twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genpipe
from genpipe.errors import RecipeError, StepFailed, UsageError
from genpipe.external import external_recipe, kept_array
from genpipe.readers import reader_of
from genpipe.recipe import Recipe
from genpipe.registry import registry
from genpipe.runs import Run
from genpipe.workspace import Workspace

Evaluate = Callable[..., Run]
SMALL = {"reference.limit": 300, "evaluate.metrics": ["prdc", "novelty"]}


def digits(num: int = 60) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 17, (num, 8, 8)).astype(np.uint8)


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    monkeypatch.chdir(tmp_path)

    def run(samples: Any, reference: Any = "digits", to_step: str | None = "evaluate", **overrides: Any) -> Run:
        keys = {key.replace("__", "."): value for key, value in overrides.items()}
        given = {**SMALL, **keys} if reference == "digits" else keys
        return genpipe.evaluate(
            samples=samples,
            reference=reference,
            overrides=given,
            executor="inline",
            tracking="off",
            to_step=to_step,
            progress=False,
        )

    return run


def statuses(run: Run) -> dict[str, str]:
    return {name: step.status for name, step in run.steps.items()}


def test_an_array_a_tensor_and_a_file_of_the_same_samples_have_one_evaluation(evaluate: Evaluate) -> None:
    x = digits()
    np.save("theirs.npy", x)
    first = evaluate("theirs.npy")
    assert [row.name for row in first.table.rows] == ["oracle", "samples", "copy", "floor"]
    assert first.table.num == 60
    assert first.table.subject.title == "samples 'theirs'"
    np.savez("again.npz", images=x)
    for other in (evaluate(torch.from_numpy(x)), evaluate("again.npz")):
        assert statuses(other)["data"] == statuses(other)["features"] == "CACHED"
        assert [row.estimates for row in other.table.rows] == [row.estimates for row in first.table.rows]
    assert set(statuses(evaluate("theirs.npy")).values()) == {"CACHED"}
    x[0] += 1
    np.save("theirs.npy", x % 17)
    assert statuses(evaluate("theirs.npy"))["samples"] == "FINISHED"


def test_conversions_and_what_is_not_known_stand_below_the_table(evaluate: Evaluate) -> None:
    run = evaluate(digits() / 16, samples__range=[0, 1], samples__title="theirs", to_step=None)
    assert run.table.subject.title == "theirs"
    assert "Samples were brought from [0, 1] to whole numbers 0 … 16, rounded to the nearest." in run.table.notes
    assert any("trained on is not known" in note for note in run.table.notes)
    page = run.report.read_text()
    assert "<h1>theirs on digits</h1>" in page
    assert 'id="facts"' in page
    assert 'id="training"' not in page


def test_samples_that_do_not_fit_fail_with_all_reasons(evaluate: Evaluate) -> None:
    with pytest.raises(StepFailed) as error:
        evaluate(np.random.default_rng(0).uniform(0, 255, (40, 9, 9)))
    assert "(1, 9, 9), expected (1, 8, 8)" in str(error.value)
    assert r"expected whole numbers 0 … 16" in str(error.value)


def test_a_runs_data_and_splits_are_taken_by_its_name(evaluate: Evaluate, tmp_path: Path) -> None:
    model = genpipe.run(
        "digits-mixture",
        {"data.dataset.limit": 300, "model.num_components": 2, "seed": 3, "sample.num": 40},
        to_step="sample",
        executor="inline",
        tracking="off",
        progress=False,
    )
    drawn = np.load(model.one("samples") / "samples.npy")
    run = evaluate(drawn, "digits-mixture", evaluate__metrics=["novelty"])
    assert run.seed == 3
    assert run.steps["data"].status == "CACHED"
    assert run.steps["data"].key == model.steps["data"].key
    assert run.table.num == 40


def test_real_examples_may_lie_in_a_file(evaluate: Evaluate) -> None:
    rng = np.random.default_rng(1)
    np.savez("real.npz", x=rng.normal(size=(200, 3)))
    run = evaluate(rng.normal(size=(40, 3)), "real.npz", evaluate__metrics=["prdc"], reference__limit=150)
    assert run.table.num_reference == 120


def recipe(samples: Any, reference: Any, *overrides: str) -> Recipe:
    return external_recipe(samples, reference, overrides, registry=registry(), workspace=Workspace.choose("w"))


def test_readers_are_found_by_endings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.npz",
        "a.npy",
        "a.csv.gz",
        "a.PARQUET",
        "a.tar",
        "images/x/1.PNG",
        "images/.hidden.npz",
        "images/t.txt",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = {
        name: reader_of(name, registry()) for name in ("a.npz", "a.npy", "a.csv.gz", "a.PARQUET", "a.tar", "images")
    }
    assert list(found.values()) == ["npz", "npz", "csv", "parquet", "webdataset", "image_folder"]
    assert reader_of("s3://bucket/out-*.npz", registry()) == "npz"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("thiers.npz", r"thiers\.npz does not exist; did you mean 'theirs\.npz'\?"),
        ("no/theirs.npz", "there is no folder"),
        ("weights.pt", "is a pickle: reading one may run any code. Save the array with numpy.savez"),
        ("notes.txt", r"nothing reads files of this ending; there is csv \(\.csv \.tsv"),
        ("empty", "the folder empty has no file that can be read"),
        ("mixed", r"files of several kinds: 2 for image_folder and 1 for npz"),
    ],
)
def test_samples_that_nothing_reads_are_told(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("theirs.npz", "weights.pt", "notes.txt", "empty/x.txt", "mixed/1.png", "mixed/2.png", "mixed/3.npz"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()
    with pytest.raises(UsageError, match=says):
        reader_of(name, registry())


def test_mistakes_in_samples_and_reference_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        recipe("none.npz", "digtis")
    assert "samples: none.npz does not exist" in str(error.value)
    assert "reference: there is no data set, run or file 'digtis'; did you mean 'digits'?" in str(error.value)


def test_mistakes_in_options_are_told_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npz").touch()
    typed = [
        "reference.limt=5",
        "samples.channels=3",
        "samples.range=[1,0]",
        "evaluate.metrics=[likelihood,prcd]",
        "x=1",
    ]
    with pytest.raises(RecipeError) as error:
        recipe("a.npz", "digits", *typed)
    for said in ("'reference.limt=5'", "'samples.channels=3'", "the first below the second", "did you mean 'prdc'?"):
        assert said in str(error.value)
    with pytest.raises(RecipeError, match="'likelihood' asks a model for densities, and there are samples alone"):
        recipe("a.npz", "digits", "evaluate.metrics=[likelihood]")


def test_short_keys_are_those_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.tar").touch()
    found = recipe(
        "out.tar", {"name": "npz", "path": "real.npz"}, "samples.size=8", "samples.clip=true", "samples.range=[0,1]"
    )
    assert found.name == "evaluate-out"
    assert found.resolved["samples"]["source"]["name"] == "webdataset"
    assert found.resolved["samples"]["source"]["size"] == 8
    assert found.resolved["samples"]["clip"] is True
    assert recipe("out.tar", "digits", "samples.name=npz").resolved["samples"]["source"]["name"] == "npz"


@pytest.mark.parametrize(
    ("given", "says"), [(["a", "b"], "type <U1"), (3.0, r"shape \(\)"), ([[1], [1, 2]], "no array")]
)
def test_what_is_no_array_is_told(given: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        kept_array(given, Workspace.choose(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--samples", "a.npz"], "--samples and --reference go together: give --reference"),
        (["--reference", "digits", "last"], "go together: give --samples"),
        ([], "give a RUN whose model is scored, or --samples and --reference"),
        (["evaluate.num=5"], "give a RUN whose model is scored"),
    ],
)
def test_half_of_a_question_is_told(arguments: list[str], says: str) -> None:
    from genpipe.cli import cli

    with pytest.raises(UsageError, match=says):
        cli(["evaluate", *arguments], standalone_mode=False)


def test_the_command_prints_the_table_and_what_to_know_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from genpipe.cli import cli

    np.save(tmp_path / "theirs.npy", digits(30))
    given = [f"{key}={value}".replace("'", "") for key, value in SMALL.items()]
    options = ["--executor", "inline", "--tracking", "off", "--workspace", str(tmp_path / "w")]
    cli(
        ["evaluate", "--samples", str(tmp_path / "theirs.npy"), "--reference", "digits", *given, *options],
        standalone_mode=False,
    )
    shown = capsys.readouterr().out
    for said in (
        "oracle",
        "samples",
        "copies [%]",
        "precision",
        "30 examples in each row",
        "· What the samples' model",
    ):
        assert said in shown
