"""A recipe's section `coder`: its steps, what they write, and its mistakes."""

import json

import numpy as np
import pytest
import torch

import genpipe
from genpipe.artifacts import read_manifest
from genpipe.data import open_split
from genpipe.dataspec import DataSpec
from genpipe.errors import DataError, RecipeError, UsageError
from genpipe.persistence import describe_model, load_model
from genpipe.pipelines.encode import stage as encode
from genpipe.plan import make_plan
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from genpipe.workspace import Workspace

VQVAE = {
    "pipeline": "single",
    "data": {"dataset": {"name": "digits"}, "limit": 60},
    "coder": {
        "model": {"name": "vqvae", "num_codes": 4, "channels": 4, "code_dim": 3, "num_blocks": 0, "num_mixtures": 1},
        "train": {"steps": 6, "batch_size": 16},
    },
    "model": {"name": "autoregressive", "channels": 8, "num_layers": 1},
    "train": {"steps": 3, "batch_size": 16},
    "sample": {"num": 4},
    "evaluate": {"metrics": ["likelihood"]},
}
LATENTS = {
    **VQVAE,
    "coder": {
        "model": {"name": "vae", "latent_dim": 3, "channels": 4},
        "train": {"steps": 3, "batch_size": 16},
        "encode": {"num_draws": 3},
    },
    "model": {"name": "gaussian_mixture", "num_components": 2},
    "train": {},
}


def mistakes(recipe, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides, registry=registry())
    return {(problem.key, problem.message) for problem in caught.value.problems}


def test_a_coder_stands_before_the_model_and_both_before_the_samples():
    graph = load_recipe(VQVAE, registry=registry()).graph()
    order = [step.id for step in graph]
    assert order == ["data", "coder", "encode", "train", "compose", "sample", "features", "evaluate", "report"]
    assert graph["train"].inputs == {"data": "encode"}
    assert graph["compose"].inputs == {"coder": "coder", "prior": "train"}
    assert graph["sample"].inputs["model"] == graph["evaluate"].inputs["model"] == "compose"
    assert graph["evaluate"].inputs["data"] == "data"


def test_another_model_of_the_codes_leaves_the_coder_and_its_codes_as_they_are(tmp_path):
    def keys(*overrides):
        plan = make_plan(load_recipe(VQVAE, overrides, registry=registry()), registry(), Workspace(tmp_path))
        return {name: step.key for name, step in plan.steps.items()}

    before, after = keys(), keys("model.channels=4")
    assert {name for name in before if before[name] == after[name]} == {"data", "features", "coder", "encode"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("two_stage")
    return genpipe.run(LATENTS, workspace=workspace, executor="inline", tracking="off", progress=False)


@pytest.mark.slow
def test_a_run_ends_with_one_model_of_the_data_like_any_other(run):
    model = genpipe.load(run)
    assert model.family.name == "two_stage"
    x = model.sample(3, seed=1)
    assert x.shape == (3, 1, 8, 8)
    assert model.log_prob(x).kind == "lower_bound"
    assert run.table.subject.title == "samples of two_stage"
    assert run.report.exists()
    assert genpipe.load(run, step="train").spec.name == "codes of digits"
    assert genpipe.load(run, step="coder").family.name == "vae"
    about = read_manifest(run.artifact("compose")).summary
    assert about["parts"] == {"coder": "vae", "prior": "gaussian_mixture"}
    assert about["num_parameters"] > sum(p.numel() for p in model.coder.parameters())
    history = [json.loads(line) for line in (run.artifact("compose") / "history.jsonl").read_text().splitlines()]
    assert "coder_loss" in history[-1]


@pytest.mark.slow
def test_codes_are_draws_of_each_example_with_its_label_and_measured_on_the_training_split(run):
    data, codes = (open_split(run.artifact(step), "train") for step in ("data", "encode"))
    assert codes.spec.event == "vector"
    assert codes.spec.levels is codes.spec.low is None
    assert len(codes) == 3 * len(data)
    assert len(open_split(run.artifact("encode"), "test")) == len(open_split(run.artifact("data"), "test"))
    h = np.array(codes.x[:])
    np.testing.assert_allclose(codes.spec.mean, h.astype(np.float64).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(codes.spec.std, h.astype(np.float64).std(0), rtol=1e-5)
    np.testing.assert_array_equal(np.array(codes.y[:]), np.tile(np.array(data.y[:]), 3))
    once, again = h[: len(data)], h[len(data) : 2 * len(data)]
    assert (once != again).all()
    coder = genpipe.load(run, step="coder")
    mean, log_var = coder.posterior(coder.units.to_network(torch.from_numpy(np.array(data.x[:])), None))
    z = (torch.from_numpy(h).unflatten(0, (3, -1)) - mean) / (0.5 * log_var).exp()
    assert float(z.detach().std()) == pytest.approx(1, abs=0.2)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("tokens")
    return genpipe.run(VQVAE, workspace=workspace, executor="inline", tracking="off", progress=False, to_step="compose")


def test_tokens_are_data_of_whole_numbers_that_are_the_coders_codes(tokens):
    coder, split = genpipe.load(tokens, step="coder"), open_split(tokens.artifact("data"), "test")
    codes = open_split(tokens.artifact("encode"), "test")
    assert (codes.spec.event, codes.spec.shape, codes.spec.levels) == ("image", (1, 2, 2), 4)
    expected = coder.encode(torch.from_numpy(np.array(split.x[:])))
    np.testing.assert_array_equal(np.array(codes.x[:]), expected.numpy())
    np.testing.assert_array_equal(np.array(codes.y[:]), np.array(split.y[:]))
    metrics = read_manifest(tokens.artifact("encode")).summary["metrics"]
    assert 1 <= metrics["perplexity"] <= metrics["codes_used"] <= 4
    assert (tokens.artifact("encode") / "reconstructions.png").exists()
    described = describe_model(tokens.artifact("compose"), registry())
    assert described.spec.name == "digits"
    assert load_model(tokens.artifact("compose"), registry()).family == described.family


def test_more_draws_of_tokens_are_refused(stage, tokens):
    inputs = {"model": tokens.artifact("coder"), "data": tokens.artifact("data")}
    with pytest.raises(UsageError, match=r"num_draws is 2, and family 'vqvae' has one code for an example"):
        stage("encode", {"num_draws": 2}, inputs)
    flat = open_split(stage("encode", {"event": "sequence"}, inputs), "train")
    assert (flat.spec.event, flat.spec.shape, flat.spec.levels) == ("sequence", (4,), 4)


def test_a_coder_must_have_codes_and_the_model_must_model_them():
    gan = {**VQVAE, "coder": {"model": "gan"}}
    assert mistakes(gan) == {
        ("coder.model", "family 'gan' has no encode: codes have to go there and back"),
    }
    sequences = {**LATENTS, "model": "vae", "coder": {"model": "vae", "encode": {"event": "sequence"}}}
    assert mistakes(sequences) == {
        (
            "model",
            "family 'vae' models images and vectors, and as data the codes of 'vae' are sequences; families of sequences: "
            "autoregressive, discrete_naive_bayes",
        ),
    }


def test_a_family_that_is_made_of_others_is_no_model_by_itself():
    alone = {"pipeline": "single", "data": {"dataset": "digits"}, "model": "two_stage"}
    assert {key for key, _ in mistakes(alone)} == {"model"}
    wrong = {**VQVAE, "coder": {**VQVAE["coder"], "compose": "vae"}}
    assert ("coder.compose", "family 'vae' is not made of a coder and a prior") in mistakes(wrong)


def test_samplers_and_estimators_are_those_of_the_whole():
    diffusion = {**LATENTS, "model": "diffusion"}
    load_recipe(diffusion, ["sample.sampler=ddim"], registry=registry())
    assert {key for key, _ in mistakes(VQVAE, "sample.sampler=ddim")} == {"sample.sampler"}
    asked = {"metrics": [{"name": "likelihood", "estimators": [{"name": "iwae", "num_samples": 4}]}]}
    load_recipe({**LATENTS, "evaluate": asked}, registry=registry())
    assert mistakes({**diffusion, "evaluate": asked})


def test_a_comparison_has_two_stage_models_among_the_others():
    both = {
        "pipeline": "compare",
        "data": VQVAE["data"],
        "models": {
            "tokens": {name: VQVAE[name] for name in ("coder", "model")},
            "vae": {"model": "vae"},
        },
        "train": {"steps": 5},
        "evaluate": VQVAE["evaluate"],
    }
    recipe = load_recipe(both, registry=registry())
    graph = recipe.graph()
    assert graph["train.tokens.0"].inputs == {"data": "encode.tokens.0"}
    assert graph["compare"].inputs["model.tokens.0"] == "compose.tokens.0"
    assert graph["compare"].inputs["model.vae.0"] == "train.vae.0"
    assert recipe.config.models["tokens"].coder.train.steps == 6  # its own
    assert {step.group.name for step in graph if step.id.startswith(("coder", "encode", "compose"))} == {"tokens.0"}


def test_a_collapsed_code_is_told(stage, tokens, monkeypatch):
    """Real codes of no spread have no units."""
    inputs = {"model": tokens.artifact("coder"), "data": tokens.artifact("data")}
    real = DataSpec(name="codes", event="vector", shape=(4,), num_classes=10)
    monkeypatch.setattr(encode, "code_spec", lambda model, event: real)
    monkeypatch.setattr(encode, "draw_codes", lambda model, x, y, noise: torch.arange(4.0).expand(len(x), 4))
    with pytest.raises(DataError, match="4 of 4 columns are constant"):
        stage("encode", {}, inputs)
