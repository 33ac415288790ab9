import csv
import io
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpipe import api
from genpipe.artifacts import read_manifest
from genpipe.comparison import COMPARISON, Cell, Comparison, Row
from genpipe.comparison_text import cell_text, legend, markdown, seeds_text
from genpipe.errors import RecipeError, StepFailed
from genpipe.pipelines.compare.means import best_of, mean_cell
from genpipe.pipelines.compare.tradeoffs import likelihood_column, quality_column, tradeoffs
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from genpipe.table import Estimate
from genpipe.tracking.mlflow_sender import make_client
from genpipe.tracking.tracker import sync
from genpipe.workspace import Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MIXTURE = {"model": {"name": "gaussian_mixture", "num_components": 8, "reg_covar": 1e-6}}
FEW = {"model": {"name": "gaussian_mixture", "num_components": 2}}
RECIPE = {
    "name": "ring",
    "pipeline": "compare",
    "data": {"dataset": {"name": "gaussians_2d", "num_examples": 500}},
    "models": {"mixture": MIXTURE, "few": FEW},
    "seeds": [0, 1],
    "sample": {"num": 100},
    "evaluate": {"metrics": ["likelihood", "frechet", "prdc"]},
}


def load(recipe, *overrides):
    return load_recipe(recipe, overrides, registry=registry())


def mistakes(recipe, *overrides):
    with pytest.raises(RecipeError) as caught:
        load(recipe, *overrides)
    return {(problem.key, problem.message) for problem in caught.value.problems}


# -- recipe and graph -----------------------------------------------------------------------------------------


def test_one_data_step_a_branch_for_each_model_and_seed_and_one_table():
    graph = load(RECIPE).graph()
    members = [f"{label}.{seed}" for seed in (0, 1) for label in ("mixture", "few")]
    branches = [f"{step}.{member}" for member in members for step in ("train", "sample", "evaluate")]
    assert list(graph.steps) == ["data", "features", *branches, "compare"]
    assert graph["evaluate.few.1"].inputs == {
        "data": "data", "features": "features", "model": "train.few.1", "samples": "sample.few.1",
    }  # fmt: skip
    assert graph["compare"].inputs["evaluation.few.1"] == "evaluate.few.1"
    assert len(graph["compare"].inputs) == 1 + 3 * len(members)


def test_models_differ_by_their_seeds_and_share_the_splits_and_the_evaluations():
    graph = load({**RECIPE, "seed": 7}).graph()
    assert {graph[f"{step}.few.1"].seed for step in ("train", "sample")} == {1}
    assert {graph[step].seed for step in ("data", "evaluate.few.1", "compare")} == {7}


def test_a_branch_is_the_same_work_as_a_run_of_that_model_alone():
    single = {"pipeline": "single", "data": RECIPE["data"], **FEW, "sample": RECIPE["sample"], "seed": 1}
    alone, branch = load(single).graph(), load(RECIPE).graph()
    assert alone["train"].config == branch["train.few.1"].config
    assert alone["train"].seed == branch["train.few.1"].seed
    assert alone["sample"].config == branch["sample.few.1"].config


def test_shared_sections_are_the_defaults_of_each_models_own_also_where_a_run_goes_on():
    models = {"vae": {"model": "vae", "train": {"steps": 7}}, "other": {"model": "vae"}}
    recipe = {**RECIPE, "models": models, "train": {"steps": 5, "batch_size": 32}}
    for checked in (load(recipe), load(load(recipe).resolved)):
        train = {label: sections.train for label, sections in checked.config.models.items()}
        assert (train["vae"].steps, train["vae"].batch_size) == (7, 32)
        assert (train["other"].steps, train["other"].batch_size) == (5, 32)
    changed = load(recipe, "train.batch_size=16", "models.vae.train.steps=9").config.models["vae"].train
    assert (changed.steps, changed.batch_size) == (9, 16)


def test_all_mistakes_of_all_models_are_told_with_their_keys():
    models = {"few": {**FEW, "sample": {"sampler": "ddim"}, "train": {"steps": 0}}, "cnn": {"model": "autoregressive"}}
    found = mistakes({**RECIPE, "models": models})
    assert {key for key, _ in found} == {"models.few.train.steps", "models.few.sample.sampler", "models.cnn.model"}
    del models["few"]["train"]
    found = dict(mistakes({**RECIPE, "models": models, "evaluate": {"metrics": ["frechet", "frechet"]}}))
    assert found["models.few.sample.sampler"].endswith("no sampler 'ddim': it samples in one way only")
    assert found["models.cnn.model"].startswith("family 'autoregressive' models images")
    assert found["evaluate.metrics"].startswith("metric 'frechet' is given 2 times")


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"seeds": [0, 0]}, "seeds", "a seed is given twice"),
        ({"seeds": []}, "seeds", "at least 1 item"),
        ({"models": {}}, "models", "at least 1 item"),
        ({"models": {"oracle": FEW}}, "models", "'oracle' is the name of a row that every comparison has"),
        ({"models": {"a.b": FEW}}, "models.a.b", "match pattern"),
        ({"models": {"a": {}}}, "models.a.model", "is missing; expected a family"),
        (
            {"train": {"batch_size": 8}, "models": {"a": {**FEW, "train": {"accumulation": 3}}}},
            "models.a.train",
            "",
        ),
    ],
)
def test_mistakes_of_a_comparison_are_named(change, key, message):
    found = mistakes({**RECIPE, **change})
    assert any(where.startswith(key) and message in text for where, text in found), found


# -- means, errors, best --------------------------------------------------------------------------------------


def estimates(values, error=None, **options):
    return [Estimate(name="x", value=v, standard_error=error, **options) for v in values]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_the_error_over_seeds_is_that_of_their_mean(values):
    cell = mean_cell(estimates(values, 1.0))
    assert cell.value == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)
    assert cell.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), rel=1e-6, abs=1e-6)
    assert cell.error_of == "seeds"
    assert cell.error_within == 1.0
    assert cell.values == tuple(values)


def test_with_one_seed_the_error_is_the_evaluations_own():
    cell = mean_cell(estimates([3.0], 0.5))
    assert (cell.value, cell.standard_error, cell.error_of) == (3.0, 0.5, "run")
    assert mean_cell(estimates([3.0])).error_of is None


def test_a_seed_without_a_finite_number_is_not_averaged_away():
    cell = mean_cell(estimates([1.0, math.inf]))
    assert cell.value == math.inf
    assert cell.standard_error is None


def compared(**rows):
    """Best of name → (values, error within, options)."""
    return best_of({name: mean_cell(estimates(v, e, **options)) for name, (v, e, options) in rows.items()})


LOWER, HIGHER = {"better": "lower"}, {"better": "higher"}


def test_the_best_is_marked_only_beyond_errors():
    assert compared(a=([1.0, 1.1, 0.9], 0.01, LOWER), b=([2.0, 2.1, 1.9], 0.01, LOWER)) == {"a"}
    assert compared(a=([1.0, 1.1, 0.9], 0.01, HIGHER), b=([2.0, 2.1, 1.9], 0.01, HIGHER)) == {"b"}
    assert compared(a=([1.0, 2.0, 0.0], 0.01, LOWER), b=([2.0, 3.0, 1.0], 0.01, LOWER)) == set()
    assert compared(a=([1.0] * 3, 0.01, {}), b=([2.0] * 3, 0.01, {})) == set()


def test_seeds_that_agree_do_not_hide_the_error_of_the_held_out_data():
    assert compared(a=([1.0, 1.0, 1.0], 2.0, LOWER), b=([2.0, 2.0, 2.0], 2.0, LOWER)) == set()


def test_nothing_is_best_where_an_error_is_unknown_or_nobody_else_is_of_its_kind():
    assert compared(a=([1.0], None, LOWER), b=([2.0], None, LOWER)) == set()
    assert compared(a=([1.0, 1.1], 0.1, LOWER)) == set()


def test_exact_ranks_with_exact_and_a_bound_with_nothing():
    exact, bound = {"better": "lower", "kind": "exact"}, {"better": "lower", "kind": "lower_bound"}
    low, middle, high = [1.0, 1.01, 0.99], [2.0, 2.01, 1.99], [3.0, 3.01, 2.99]
    assert compared(a=(high, 0.01, exact), b=(middle, 0.01, exact), c=(low, 0.01, bound)) == {"b"}
    assert compared(a=(high, 0.01, bound), b=(low, 0.01, bound)) == set()
    assert compared(a=(high, 0.01, exact), b=(low, 0.01, bound)) == set()


@pytest.mark.slow
def test_of_two_models_that_are_the_same_one_is_called_best_no_more_often_than_allowed():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 2, 3))
    marked = [compared(a=(list(a), None, LOWER), b=(list(b), None, LOWER)) for a, b in draws]
    assert sum(map(bool, marked)) / len(marked) < 0.11  # 5 % for either of the two


# -- the table at rest and in words ---------------------------------------------------------------------------


def tiny(**change):
    cell = Cell(name="bits/dim", value=2.5, standard_error=0.1, kind="lower_bound", better="lower", values=(2.4, 2.6))
    wild = Cell(name="FD", value=math.inf, better="lower", values=(1.0, math.inf), notes=("too far",))
    rows = (
        Row(name="oracle", title="real", cells=(Cell(name="FD", value=0.1, better="lower"),), is_model=False),
        Row(name="vae", title="samples of vae", cells=(wild, cell), seeds=(0, 2), failed={1: "train.vae.1"}),
        Row(name="gone", title="gave nothing", cells=(), failed={0: "sample.gone.0"}),
    )
    fields = {
        "title": "Two | models", "dataset": "ring", "columns": ("FD", "bits/dim"), "rows": rows, "seeds": (0, 1, 2),
        "num": 10, "reference": "train", "num_reference": 40, "fingerprint": "f@1",
    }  # fmt: skip
    return Comparison(**{**fields, **change})


def test_a_comparison_comes_back_from_json_as_it_was(tmp_path):
    path = tmp_path / COMPARISON
    tiny().write(path)
    assert Comparison.read(path) == tiny()
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_csv_has_a_line_for_each_cell():
    lines = list(csv.DictReader(io.StringIO(tiny().csv())))
    assert [(line["row"], line["column"]) for line in lines] == [("oracle", "FD"), ("vae", "FD"), ("vae", "bits/dim")]
    assert lines[2]["values"] == "2.4 2.6"


def test_a_bound_is_told_so_and_a_failed_model_is_named():
    text = markdown(tiny())
    assert "≤ 2.50 ± 0.10 <br>lower bound" in text
    assert "| **gone**<br>failed | – | – |" in text
    said = legend(tiny(), "Bold")
    assert any(line.startswith("vae: seed 1 (step train.vae.1) failed and is in no number") for line in said)
    assert seeds_text(tiny().row("vae")) == "2 seeds, 1 failed"
    assert str(cell_text(None)) == "–"


def test_every_row_of_the_markdown_has_all_columns():
    table = [line for line in markdown(tiny()).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {4}


# -- whole runs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    space = tmp_path_factory.mktemp("ring")
    return api.run(RECIPE, workspace=space, executor="inline", tracking="off", progress=False)


def test_a_comparison_finds_the_better_model_and_writes_everything(ring):
    folder = ring.one("comparison")
    comparison = Comparison.read(folder / COMPARISON)
    assert [row.name for row in comparison.rows] == ["oracle", "mixture", "few", "copy", "floor"]
    likelihood = {row.name: row.cell("log-likelihood [nats]") for row in comparison.rows}
    assert likelihood["mixture"].is_best
    assert likelihood["mixture"].value == pytest.approx(likelihood["oracle"].value, abs=0.3)
    assert likelihood["few"].value < likelihood["mixture"].value - 1
    assert not likelihood["oracle"].is_best
    assert comparison.row("few").seeds == (0, 1)
    names = {path.name for path in folder.iterdir()}
    pictures = {"samples.png", "quality-time.png", "likelihood-quality.png", "precision-recall.png"}
    assert {"comparison.json", "comparison.csv", "comparison.md", "comparison.html"} | pictures <= names
    assert "http" not in (folder / "comparison.html").read_text().replace("http-equiv", "")


def test_a_comparison_tells_what_each_model_cost(ring):
    comparison = Comparison.read(ring.one("comparison") / COMPARISON)
    for row in comparison.models:
        assert row.cell("training [s]").value > 0
        assert row.cell("sampling [ms/sample]").value > 0
    assert comparison.row("few").cell("parameters").value == 2 * (1 + 2 + 4)
    assert comparison.row("oracle").cell("training [s]") is None
    assert "few training [s]" in read_manifest(ring.one("comparison")).summary["metrics"]


def test_numbers_are_those_of_the_evaluations(ring):
    cell = Comparison.read(ring.one("comparison") / COMPARISON).row("few").cell("recall")
    tables = [json.loads((ring.artifact(f"evaluate.few.{seed}") / "table.json").read_text()) for seed in (0, 1)]
    values = [
        estimate["value"]
        for table in tables
        for row in table["rows"]
        for estimate in row["estimates"]
        if row["name"] == "model" and estimate["name"] == "recall"
    ]
    assert cell.values == tuple(values)
    assert cell.value == pytest.approx(np.mean(values))


def test_trade_offs_are_of_a_distance_a_likelihood_and_shares(ring):
    comparison = Comparison.read(ring.one("comparison") / COMPARISON)
    assert quality_column(comparison).startswith("FD(standardise")
    assert likelihood_column(comparison) == "log-likelihood [nats]"
    assert [t.name for t in tradeoffs(comparison, None, None, "sampling [ms/sample]")] == ["precision-recall"]


def test_a_model_more_trains_that_model_alone(ring):
    more = {**RECIPE, "models": {**RECIPE["models"], "three": {"model": {"name": "gaussian_mixture"}}}, "seeds": [0]}
    run = api.run(more, workspace=ring.workspace, executor="inline", tracking="off", progress=False)
    made = {name for name, step in run.steps.items() if step.status == "FINISHED"}
    assert made == {f"{step}.three.0" for step in ("train", "sample", "evaluate")} | {"compare"}


def test_a_column_that_is_not_there_is_named_with_the_nearest(ring):
    with pytest.raises(Exception, match=r"compare\.quality: there is no column 'FD'"):
        api.run(
            RECIPE,
            {"compare.quality": "FD"},
            workspace=ring.workspace,
            executor="inline",
            tracking="off",
            progress=False,
        )


def test_a_model_that_fails_is_named_and_loses_no_other(ring):
    broken = {"model": "vae", "train": {"steps": 3, "learning_rate": 1e30, "clip_norm": None, "warmup_steps": 0}}
    recipe = {**RECIPE, "models": {"mixture": MIXTURE, "broken": broken}, "seeds": [0]}
    with pytest.raises(StepFailed, match=r"train\.broken\.0") as caught:
        api.run(recipe, workspace=ring.workspace, executor="inline", tracking="off", progress=False)
    run = caught.value.run
    assert run.status == "FAILED"
    assert run.steps["compare"].status == "FINISHED"
    comparison = Comparison.read(run.one("comparison") / COMPARISON)
    assert comparison.row("mixture").cells
    assert comparison.row("broken").failed == {0: "train.broken.0"}
    assert '<span class="detail failed">failed</span>' in (run.one("comparison") / "comparison.html").read_text()


@pytest.mark.slow
def test_each_model_and_seed_is_a_run_of_the_tracker_with_its_own_options_and_numbers(ring, tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = api.run(RECIPE, workspace=ring.workspace, executor="inline", tracking=uri, progress=False)
    sync(Workspace.choose(ring.workspace))  # a run of reused steps alone leaves that to the next
    client, experiment = make_client(uri, None)
    runs = client.search_runs([experiment], f"tags.`genpipe.run` = '{run.id}'")
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = {r.info.run_name: r for r in runs if r is not parent}
    members = {f"{label}.{seed}" for label in ("mixture", "few") for seed in (0, 1)}
    assert set(children) == members | {"data", "features", "compare"}
    few = children["few.1"]
    assert few.info.status == "FINISHED"
    assert few.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert few.data.params["model.num_components"] == "2"
    assert few.data.params["seed"] == "1"
    assert {"train.seconds", "sample.seconds_per_sample", "evaluate.recall"} <= set(few.data.metrics)
    assert "compare.few recall" in parent.data.metrics
    assert not any("few.1" in name for name in parent.data.metrics)
    assert {file.path for file in client.list_artifacts(few.info.run_id)} == {"train", "sample", "evaluate"}
    assert "comparison.html" in {file.path for file in client.list_artifacts(parent.info.run_id)}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to lay the page out")
@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_is_no_wider_than_the_window(ring, tmp_path, width):
    probe = (
        "<script>addEventListener('load', () => document.body.dataset.over ="
        " document.documentElement.scrollWidth - document.documentElement.clientWidth)</script>"
    )
    page = (ring.one("comparison") / "comparison.html").read_text().replace("</body>", f"{probe}</body>")
    (tmp_path / "page.html").write_text(page)
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--window-size={width},900",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
        (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    assert re.search(r'data-over="(-?\d+)"', dom)[1] == "0"
