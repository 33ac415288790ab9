from dataclasses import replace
from types import SimpleNamespace

import pytest

from genpipe.config import Component, Config
from genpipe.errors import RecipeError
from genpipe.pipelines.single.check import check_model
from genpipe.recipe import load_recipe, shipped_recipes
from genpipe.registry import registry

VAE = {"pipeline": "single", "data": {"dataset": "digits"}, "model": "vae"}
RECIPES = shipped_recipes(registry())


def mistakes(recipe, overrides=()):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, overrides, registry=registry())
    return {(problem.key, problem.message) for problem in caught.value.problems}


def test_six_steps_follow_each_other():
    graph = load_recipe(VAE, registry=registry()).graph()
    assert [step.id for step in graph] == ["data", "train", "sample", "features", "evaluate", "report"]
    assert graph["report"].inputs == {
        "data": "data", "features": "features", "model": "train", "samples": "sample", "evaluation": "evaluate",
    }  # fmt: skip
    for step in graph:
        takes = registry().get("stage", step.stage).takes
        assert set(step.inputs) <= set(takes)
        for port, source in step.inputs.items():
            assert registry().get("stage", graph[source].stage).gives == takes[port].removesuffix("?")


def test_every_step_has_the_runs_seed_and_its_resources():
    graph = load_recipe({**VAE, "seed": 7}, ["resources.train.gpus=1"], registry=registry()).graph()
    assert {step.seed for step in graph} == {7}
    assert (graph["train"].resources.cpus, graph["train"].resources.gpus) == (2, 1)
    assert graph["data"].resources.cpus == 1


def test_a_sampler_that_the_family_lacks_is_named_with_the_nearest():
    assert mistakes(VAE, ["sample.sampler=men"]) == {
        ("sample.sampler", "family 'vae' has no sampler 'men'; did you mean 'mean'?")
    }


@pytest.mark.parametrize(
    ("model", "sampler", "says"),
    [
        ("diffusion", "{name: ddim, eta: 2}", "eta is 2, expected 0 … 1"),
        ("diffusion", "{rho: 0.5}", "rho is 0.5, expected 1 or more"),
        ("diffusion", "{num_steps: 5000}", "num_steps is 5000, expected 1 … 1000 (num_timesteps)"),
        ("diffusion", "{guidance: 3}", "guidance is 3, but the model takes no labels: train it with conditional: true"),
        ("flow_matching", "{shift: 0}", "shift is 0, expected more than 0"),
    ],
)
def test_numbers_that_a_sampler_cannot_take_are_told_before_training(model, sampler, says):
    assert mistakes({**VAE, "model": model}, [f"sample.sampler={sampler}"]) == {("sample.sampler", says)}


def test_levels_in_sigma_may_be_more_than_timesteps():
    diffusion = {**VAE, "model": {"name": "diffusion", "num_timesteps": 20, "conditional": True}}
    load_recipe(diffusion, ["sample.sampler={name: heun, num_steps: 30, guidance: 3}"], registry=registry())
    assert mistakes(diffusion, ["sample.sampler={num_steps: 21}"])
    assert mistakes(diffusion, ["sample.sampler={guidance: 3}", "model.label_dropout=0"])


def test_options_that_mean_nothing_are_mistakes():
    assert mistakes(VAE, ["sample.sampler.eta=0.5"]) == {
        ("sample.sampler", "the sampler 'draw' has no option 'eta'; it has none")
    }
    mixture = {**VAE, "model": "gaussian_mixture"}
    assert {key for key, _ in mistakes(mixture, ["sample.sampler.num_steps=5", "sample.labels=true"])} == {
        "sample.sampler",
        "sample.labels",
    }


def test_eta_belongs_to_ddim():
    diffusion = {**VAE, "model": "diffusion"}
    load_recipe(diffusion, ["sample.sampler=ddim", "sample.sampler.eta=0.5"], registry=registry())
    assert mistakes(diffusion, ["sample.sampler={name: ddpm, eta: 0.5}"]) == {
        ("sample.sampler", "the sampler 'ddpm' has no option 'eta'; ddim has one")
    }


def test_labels_that_the_data_does_not_have_are_a_mistake_of_the_recipe():
    """Where the record says so; else it shows when the data is there."""

    class Conditional(Config):
        conditional: bool = True

    family = replace(registry().get("family", "vae"), conditional=True)
    dataset = replace(registry().get("dataset", "digits"), labelled=False)
    sections = load_recipe(VAE, registry=registry()).config
    chosen = Component("family", "vae", Conditional())
    known = SimpleNamespace(get=lambda kind, name: {"family": family, "dataset": dataset}[kind])
    assert [*check_model(sections.data, None, chosen, sections.train, sections.sample, known)] == [
        ("model.conditional", "family 'vae' models each class by its label, and data set 'digits' has no labels")
    ]


def test_mistakes_between_sections_are_told_beside_wrong_values():
    assert {key for key, _ in mistakes(VAE, ["train.steps=0", "model.latent_dim=-1", "sample.sampler=ddim"])} == {
        "train.steps",
        "model.latent_dim",
        "sample.sampler",
    }
    asked = ["model.conditional=perhaps", "sample.labels=true"]
    assert [key for key, _ in mistakes(VAE, asked)] == ["model.conditional"], "labels may be right, once that is"
    assert {key for key, _ in mistakes(VAE, ["model.nmae=vae", "evaluate.metrics=[prdc, prdc]"])} == {
        "model.nmae",
        "evaluate.metrics",
    }


def test_a_metric_given_twice_is_a_mistake():
    assert mistakes({**VAE, "evaluate": {"metrics": ["frechet", "frechet"]}}) == {
        ("evaluate.metrics", "metric 'frechet' is given 2 times with the same options")
    }


def test_an_estimator_that_the_family_lacks_is_a_mistake_and_an_option_that_it_takes_not():
    def asked(**estimator):
        return {**VAE, "evaluate": {"metrics": [{"name": "likelihood", "estimators": [estimator]}]}}

    key = "evaluate.metrics.0.estimators.0"
    assert mistakes(asked(name="ivae")) == {
        (f"{key}.name", "family 'vae' has no estimator 'ivae' of its likelihood; did you mean 'iwae'?")
    }
    assert mistakes(asked(name="iwae", num_steps=5)) == {
        (f"{key}.num_steps", "the estimator 'iwae' has no num_steps; it has num_samples")
    }
    load_recipe(asked(name="ais", num_steps=5, num_samples=3), registry=registry())


def test_a_group_that_cannot_train_is_a_mistake():
    assert mistakes({**VAE, "model": "gaussian_mixture"}, ["train.workers=2"]) == {
        (
            "train.workers",
            "family 'gaussian_mixture' is fitted in closed form, by one worker, not 2: set it to 1",
        )
    }
    assert mistakes(VAE, ["train.workers=5", "train.batch_size=4"]) == {
        ("train.workers", "5 workers share batches of 4, and each needs an example")
    }


def test_an_unknown_step_in_resources_is_a_mistake():
    ((key, message),) = mistakes(VAE, ["resources.trian.cpus=1"])
    assert key == "resources.trian"
    assert "did you mean 'train'" in message


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_shipped_recipe_is_valid_short_and_describes_itself(name):
    recipe = load_recipe(name, registry=registry())
    assert recipe.description
    assert recipe.graph()
    lines = RECIPES[name].read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= (120 if name.startswith("compare-") else 60)  # some lines for each of their models


def test_there_has_to_be_a_validation_split_to_look_at():
    assert mistakes(VAE, ["train.validate_every=50"]) == {
        (
            "train.validate_every",
            "there is no validation split to look at: set data.validation_fraction, such as to 0.1",
        )
    }
    load_recipe(VAE, ["train.validate_every=50", "data.validation_fraction=0.1"], registry=registry())
