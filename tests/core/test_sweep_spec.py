"""What a sweep tries: trials, seeds, and mistakes that are all told before anything starts."""

import itertools

import pytest

from genpipe.errors import RecipeError, UsageError
from genpipe.sweeps.spec import combinations, read_sweep, typed

RECIPE = {"name": "toy", "pipeline": "toy_training", "number": {"value": 2}, "train": {"steps": 9}}


@pytest.fixture
def spec(plugins):
    def read(*overrides, **options):
        return read_sweep(RECIPE, overrides, registry=plugins, **options)

    return read


def values(spec):
    return [dict(trial.values) for trial in spec.trials]


def test_a_grid_is_gone_through_whole(spec):
    found = spec("train.floor=[1,2,3]", "number.value=[5,6]")
    assert values(found) == [{"train.floor": a, "number.value": b} for a, b in itertools.product([1, 2, 3], [5, 6])]
    assert [trial.recipes[0].config.train.floor for trial in found.trials] == [1, 1, 2, 2, 3, 3]


def test_drawn_values_differ_in_each_trial_and_grids_stay_even(spec):
    found = values(spec("train.floor=log(0.1,10)", "number.value=[5,6,7]", num_trials=12))
    assert len({trial["train.floor"] for trial in found}) == 12
    assert [trial["number.value"] for trial in found] == [5, 6, 7] * 4


def test_a_longer_sweep_begins_as_the_shorter_one(spec):
    overrides = ("train.floor=log(0.1,10)", "train.noise=uniform(0,1)", "number.value=[5,6]")
    assert values(spec(*overrides, num_trials=7)) == values(spec(*overrides, num_trials=20))[:7]


def test_another_draw_seed_draws_other_values(spec):
    first, second = (values(spec("train.floor=log(0.1,10)", num_trials=4, draw_seed=seed)) for seed in (0, 1))
    assert not {t["train.floor"] for t in first} & {t["train.floor"] for t in second}


def test_seeds_repeat_each_trial(spec):
    found = spec("train.floor=[1,2]", "seed=3", num_seeds=2)
    assert found.seeds == (3, 4)
    assert [[recipe.seed for recipe in trial.recipes] for trial in found.trials] == [[3, 4], [3, 4]]
    assert spec("train.floor=[1,2]", "seed=[0,7]").seeds == (0, 7)
    assert len(spec(num_seeds=3).trials) == 1  # the recipe itself, repeated


def test_a_trial_s_recipe_is_that_of_its_typed_values(spec, plugins):
    from genpipe.recipe import load_recipe

    for trial in spec("train.floor=log(0.1,10)", "train.wait_for=[a b,null]", num_trials=6).trials:
        overrides = [f"{key}={'null' if value is None else value}" for key, value in trial.values.items()]
        assert load_recipe(RECIPE, overrides, registry=plugins).resolved == trial.recipes[0].resolved


def test_python_s_values_are_read_as_the_command_line_s(spec, plugins):
    given = {"train.floor": "log(0.1,10)", "number.value": [5, 6], "train.steps": 4}
    found = read_sweep(RECIPE, given, registry=plugins, num_trials=4)
    assert found.trials == spec("train.floor=log(0.1,10)", "number.value=[5,6]", "train.steps=4", num_trials=4).trials
    assert found.overrides == ("train.steps=4",)


def test_all_mistakes_are_told_at_once_where_they_were_typed(spec):
    with pytest.raises(RecipeError) as caught:
        spec(
            "train.flor=log(1,2)",
            "train.steps=log(8,32)",
            "train.floor=uniform(1,2000)",
            "train.then=[succeed,explode]",
            "number.value=lgo(1,2)",
            "number.sconds=3",
        )
    text = str(caught.value)
    assert "has 6 mistakes" in text
    assert "'train.flor=log(1,2)': train.flor: unknown key; did you mean 'floor'?" in text
    assert "'train.steps=log(8,32)': train.steps: given 12.44; expected a whole number" in text
    assert "int(LOW,HIGH) or logint(LOW,HIGH)" in text
    assert "'train.floor=uniform(1,2000)': train.floor: given 2000.0; expected less than or equal to 1000" in text
    assert "'train.then=[succeed,explode]': train.then: given 'explode'; expected one of succeed, diverge, die" in text
    assert "'number.value=lgo(1,2)': number.value: there is no 'lgo(…)'; did you mean 'log'?" in text
    assert "override 'number.sconds=3': number.sconds: unknown key; did you mean 'seconds'?" in text


def test_values_that_do_not_go_together_are_told_with_their_trial(plugins):
    with pytest.raises(RecipeError, match=r"two thirteens are one too many \(with left.value=13\)"):
        read_sweep({"pipeline": "toy"}, ["left.value=[1,13]", "right.value=13"], registry=plugins)


def test_a_list_that_is_a_value_goes_in_one_more_pair_of_brackets(plugins):
    with pytest.raises(RecipeError, match="a value that is a list goes in one more pair of brackets"):
        read_sweep({"pipeline": "toy"}, ["sum.weights=[1,2]"], registry=plugins)
    found = read_sweep({"pipeline": "toy"}, ["sum.weights=[[1,2],[3,4]]"], registry=plugins)
    assert [trial.recipes[0].config.sum.weights for trial in found.trials] == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("overrides", "options", "told"),
    [
        (["train.steps=5"], {}, "there is nothing to sweep"),
        (["train.floor=[1,2,3]"], {"num_trials": 2}, "leave out some of the grid's 3 combinations; --trials 3"),
        (["train.floor=[1,2,3]"], {"num_trials": 9}, "nothing is drawn that 9 trials could differ in.*--seeds 3"),
        (["train.floor=log(1,2)"], {"num_trials": 10**6}, "at most 10000"),
        (["train.floor=[1,2]", "train.floor=[3]"], {}, "is swept twice; the first is 'train.floor=.1,2.'"),
        (["seed=int(0,9)"], {}, "seeds repeat each trial and are listed: seed=.0,1,2., or --seeds 3"),
        (["seed=[1,1]"], {}, "expected different whole numbers"),
        (["seed=[0,1]", "train.floor=[1,2]"], {"num_seeds": 3}, "--seeds 3, but seed=.*lists 2"),
    ],
)
def test_what_cannot_be_swept_is_told(spec, overrides, options, told):
    with pytest.raises(UsageError, match=told):
        spec(*overrides, **options)


def test_values_are_typed_as_overrides():
    assert typed({"a.b": 0.0012, "c": "adam", "d": None, "e": [1, 2]}) == "a.b=0.0012 c=adam d=null e=[1, 2]"


def test_nothing_drawn_and_no_grid_is_one_combination():
    assert list(combinations({}, None, 0)) == [{}]
