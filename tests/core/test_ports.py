import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpipe import api
from genpipe.artifacts import verify
from genpipe.errors import UsageError
from genpipe.graph import Graph, Step
from genpipe.plan import make_plan
from genpipe.ports import check_ports, inputs_at, port_of
from genpipe.recipe import load_recipe
from genpipe.workspace import Workspace

WORDS = st.text("ab.", min_size=1, max_size=4)


def test_a_port_for_many_takes_what_begins_like_it_and_a_plain_port_its_name_alone():
    ports = ["evaluation.*", "model", "model.*"]
    assert port_of("evaluation.vae.0", ports) == "evaluation.*"
    assert port_of("model", ports) == "model"
    assert port_of("model.vae", ports) == "model.*"
    assert port_of("evaluation.", ports) is None
    assert port_of("evaluation", ports) is None
    assert port_of("models", ports) is None


@given(st.lists(WORDS, unique=True, max_size=5))
def test_inputs_at_a_port_for_many_keep_their_names_and_order(names):
    inputs = {f"model.{name}": i for i, name in enumerate(names)} | {"data": -1, "models": -2}
    assert list(inputs_at("model.*", inputs).items()) == list(zip(names, range(len(names)), strict=True))


@pytest.fixture
def check(plugins):
    """A function that checks a graph of two numbers and a step of the given stage and inputs."""

    def run(stage, inputs):
        steps = [("a", "toy_number", {}), ("b", "toy_number", {}), ("model", "toy_curve", {"number": "a"})]
        steps.append(("last", stage, inputs))
        configs = {stage: plugins.get("stage", stage).config_class() for _, stage, _ in steps}
        graph = Graph([Step(id=i, stage=s, config=configs[s], inputs=given) for i, s, given in steps])
        check_ports(graph, lambda name: plugins.get("stage", name))

    return run


def test_a_step_may_take_many_artifacts_of_one_kind_or_none_where_they_are_optional(check):
    check("toy_total", {"number.a": "a", "number.b": "b", "extra": "a"})
    check("toy_total", {})
    with pytest.raises(UsageError, match=r"'number\.b' takes a number, but step 'model' gives a model"):
        check("toy_total", {"number.a": "a", "number.b": "model"})
    with pytest.raises(UsageError, match=r"no port 'numbers'; did you mean 'number\.\*'\?"):
        check("toy_total", {"numbers": "a"})
    with pytest.raises(UsageError, match="'toy_sum' takes a number at 'right', and nothing is given"):
        check("toy_sum", {"left": "a"})
    with pytest.raises(UsageError, match="'left' takes a number, but step 'model' gives a model"):
        check("toy_sum", {"left": "model", "right": "a"})


def test_what_comes_in_at_a_port_for_many_is_part_of_the_key(plugins, tmp_path, toy_recipe):
    recipe = {"name": "many", "pipeline": "toy_many", "numbers": {"one": {"value": 1}, "two": {"value": 2}}}
    space = Workspace.choose(tmp_path / "w")
    run = api.run(recipe, workspace=space.root, executor="inline", tracking="off", progress=False)
    assert (run.artifact("total") / "number.txt").read_text() == "3.0"
    assert verify(run.artifact("total")).summary["names"] == ["one", "two"]

    def reasons(*overrides):
        steps = make_plan(load_recipe(recipe, overrides, registry=plugins), plugins, space).steps
        return {name: "HIT" if step.hit else step.reason for name, step in steps.items()}

    assert reasons() == {"make.one": "HIT", "make.two": "HIT", "total": "HIT"}
    assert reasons("numbers.two.value=3")["total"] == "follows make.two"
    added = reasons("numbers.three.value=3")
    assert added["make.one"] == "HIT"
    assert added["total"].startswith("follows make.three")
