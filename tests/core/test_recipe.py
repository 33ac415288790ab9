import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from genpipe.errors import RecipeError, UsageError
from genpipe.recipe import load_recipe, shipped_recipes
from genpipe.registry import registry
from genpipe.schema import recipe_schema
from genpipe.validation import components_in, restore_config


def mistakes(plugins, reference, overrides=()):
    with pytest.raises(RecipeError) as caught:
        load_recipe(reference, overrides, registry=plugins)
    return str(caught.value)


def test_every_mistake_is_reported_at_once_with_its_line(plugins, toy_recipe):
    path = toy_recipe("left:\n  value: 2000\n  vale: 3\nrihgt: {}\nseed: -1\nnested:\n  families: [toy_famly]\n")
    text = mistakes(plugins, path, ["sum.weights=[1, x]"])
    assert "5 mistakes" not in text
    assert "6 mistakes" in text
    assert "toy.yaml:3: left.value: given 2000; expected less than or equal to 1000" in text
    assert "toy.yaml:4: left.vale: unknown key; did you mean 'value'?" in text
    assert "toy.yaml:5: rihgt: unknown key; did you mean 'right'?" in text
    assert "toy.yaml:6: seed: given -1" in text
    assert "toy.yaml:8: nested.families.0: there is no family 'toy_famly'; did you mean 'toy_family'?" in text
    assert "override 'sum.weights=[1, x]': sum.weights.1: given 'x'" in text


def test_a_wrong_value_is_told_as_recipes_write_it(plugins, toy_recipe):
    text = mistakes(plugins, toy_recipe("left: {value: null}\nright: {value: yes}\nseed: true\n"))
    assert "left.value: given null; expected" in text
    assert "right.value: given true; expected a number" in text
    assert "seed: given true; expected" in text


def test_no_option_tells_its_user_of_pythons_none():
    for kind in ("family", "dataset", "metric", "feature_extractor", "stage", "pipeline"):
        for provided in registry().all(kind):
            for name, field in provided.record.config_class.model_fields.items():
                text = field.description or ""
                assert "None" not in text, f"{kind} {provided.record.name}: {name}: recipes write null"


def test_a_mistake_between_sections_names_the_key(plugins, toy_recipe):
    path = toy_recipe("left: {value: 13}\nright:\n  value: 13\n")
    assert "toy.yaml:4: right.value: given 13; two thirteens" in mistakes(plugins, path)


def test_a_key_given_twice_is_a_mistake(plugins, toy_recipe):
    assert "toy.yaml:3: left: is given twice; the first is at" in mistakes(plugins, toy_recipe("left: {}\nleft: {}\n"))


@pytest.mark.parametrize("text", ["left: [", "left: {value: 1", "\t- a: b", "left: *anchor"])
def test_what_is_not_yaml_names_the_line(plugins, toy_recipe, text):
    assert "is not YAML" in mistakes(plugins, toy_recipe(text))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(plugins, tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    mistakes(plugins, path)


def test_an_alias_inside_itself_is_a_mistake(plugins, toy_recipe):
    text = mistakes(plugins, toy_recipe("left: &a {source: *a}\n"))
    assert "toy.yaml:2: left.source: is an alias of what it stands in" in text


def test_a_home_of_nobody_is_a_folder_that_is_not_there(plugins):
    with pytest.raises(UsageError, match=r"there is no recipe file ~nobody-at-all/x\.yaml"):
        load_recipe("~nobody-at-all/x.yaml", registry=plugins)


def test_unknown_recipes_and_files_give_the_nearest_name(plugins, toy_recipe):
    toy_recipe()
    with pytest.raises(UsageError, match="did you mean 'digits-vae'"):
        load_recipe("digit-vae", registry=plugins)
    with pytest.raises(UsageError, match=r"did you mean 'toy\.yaml'"):
        load_recipe(str(toy_recipe().with_name("toi.yaml")), registry=plugins)


def test_overrides_reach_into_components_written_as_a_bare_name(plugins, toy_recipe):
    path = toy_recipe("nested:\n  families: [toy_family]\n")
    recipe = load_recipe(path, ["nested.families.0.width=3", "nested.default_family.depth=5"], registry=plugins)
    assert recipe.config.nested.families[0].config.width == 3
    assert recipe.config.nested.default_family.config.depth == 5


def test_numbers_in_scientific_notation_are_numbers(plugins, toy_recipe):
    recipe = load_recipe(toy_recipe("left: {value: 1e-3}\n"), ["right.value=5e2"], registry=plugins)
    assert (recipe.config.left.value, recipe.config.right.value) == (0.001, 500.0)


@pytest.mark.parametrize(
    "override",
    ["left.value=2024-13-45", "left", "=3", "left.value=[", "left.value.deep=3", "nested.families.7.width=1"],
)
def test_overrides_that_make_no_sense_are_named(plugins, toy_recipe, override):
    assert f"override '{override}'" in mistakes(plugins, toy_recipe("left: {value: 1}\n"), [override])


def test_a_config_survives_the_way_to_a_worker(plugins, toy_recipe):
    recipe = load_recipe(toy_recipe("nested: {families: [{name: toy_family, width: 3}]}\n"), registry=plugins)
    sent = json.loads(json.dumps(recipe.config.model_dump(mode="json")))
    assert restore_config(type(recipe.config), sent, plugins) == recipe.config
    assert [c.name for c in components_in(recipe.config)] == ["toy_family", "toy_family"]


def test_the_resolved_recipe_reads_back_as_itself(plugins, toy_recipe):
    recipe = load_recipe(toy_recipe("seed: 4\nleft: {value: 2}\n"), registry=plugins)
    again = load_recipe({"name": "toy", **recipe.resolved}, registry=plugins)
    assert again.resolved == recipe.resolved


def test_every_shipped_recipe_is_valid_and_described(plugins):
    shipped = shipped_recipes(plugins)
    assert "digits-vae" in shipped
    for path in shipped.values():
        assert load_recipe(path, registry=plugins).description


def test_shipped_recipes_fit_the_schema_that_editors_get(plugins):
    import jsonschema

    schema = recipe_schema(plugins)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in shipped_recipes(plugins).values():
        validator.validate(yaml.safe_load(path.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"pipeline": "single", "nonsense": 1})


SECTIONS = ["data", "model", "train", "sample", "evaluate", "report", "resources", "seed", "nonsense"]
KEYS = ["name", "steps", "dataset", "metrics", "num", "", "0", "x.y"]
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["vae", "digits", "", "é"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=4,
)
overrides = st.text("amoetrdl.0=[]{}:- '", max_size=12)


@given(st.dictionaries(st.sampled_from(SECTIONS), values, max_size=4), st.lists(overrides, max_size=2))
def test_any_nonsense_is_a_recipe_or_a_recipe_error(values, overrides):
    from genpipe.registry import registry

    with contextlib.suppress(RecipeError):  # anything else is a crash
        load_recipe({"pipeline": "single", **values}, overrides, registry=registry())


@given(st.text(max_size=60))
def test_any_text_is_no_recipe_but_a_recipe_error(tmp_path_factory, text):
    from genpipe.registry import registry

    path = tmp_path_factory.mktemp("recipes") / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(RecipeError):
        load_recipe(path, registry=registry())


def test_workers_for_every_step_give_way_to_those_of_one():
    plugins = registry()
    config = load_recipe("digits-vae", ["train.workers=1"], registry=plugins, workers=3).config
    assert (config.data.workers, config.train.workers, config.sample.workers, config.evaluate.workers) == (3, 1, 3, 3)
    with pytest.raises(
        RecipeError, match=r"--workers 3: train.workers: family 'gaussian_mixture' is fitted in closed form"
    ):
        load_recipe("digits-mixture", registry=plugins, workers=3)
