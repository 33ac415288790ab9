import pytest

from genpipe import api
from genpipe.digest import CodeDigests, changes
from genpipe.errors import DataError, UsageError
from genpipe.graph import Graph, Step
from genpipe.plan import Choice, make_plan
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from genpipe.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / "workspace")


@pytest.fixture
def planned(plugins, toy_recipe, space):
    """A function that plans the toy recipe with overrides; gives step → "HIT" or the reason to run."""

    def plan(*overrides, **choice):
        recipe = load_recipe(toy_recipe(), overrides, registry=plugins)
        steps = make_plan(recipe, plugins, space, Choice(**choice)).steps
        return {name: "HIT" if step.hit else step.reason for name, step in steps.items()}

    return plan


@pytest.fixture
def done(toy_recipe, space, plugins):
    return api.run(toy_recipe(), workspace=space.root, executor="inline", tracking="off", progress=False)


def test_from_and_to_that_leave_nothing_to_redo_are_a_mistake(planned):
    assert set(planned(from_step="left", to_step="sum")) == {"left", "right", "sum"}
    with pytest.raises(UsageError, match="--from sum redoes nothing: it is not among what --to left needs"):
        planned(from_step="sum", to_step="left")


def test_a_plan_needs_no_workspace_that_can_be_written(planned, space):
    space.root.mkdir()
    space.cache.write_text("")  # a file in the way stands for a folder that is read-only
    assert planned()["left"] == "nothing made yet"


def test_finished_steps_are_hits_and_changes_are_told(planned, done):
    assert planned() == {"left": "HIT", "right": "HIT", "sum": "HIT"}
    assert planned("right.value=4") == {"left": "HIT", "right": "value: 1.0 → 4.0", "sum": "follows right"}
    assert planned("seed=1")["left"] == "seed: 0 → 1"
    assert planned("resources.left.cpus=2")["left"] == "HIT"  # the machine does not change the result


def test_nothing_made_yet_is_told(planned):
    assert set(planned().values()) == {"nothing made yet"}


def test_fresh_from_and_to_choose_steps(planned, done):
    assert set(planned(fresh=True).values()) == {"asked for by --fresh"}
    assert planned(from_step="right") == {
        "left": "HIT",
        "right": "asked for by --from right",
        "sum": "asked for by --from right",
    }
    assert planned(to_step="left") == {"left": "HIT"}
    with pytest.raises(UsageError, match="did you mean 'left'"):
        planned(to_step="lefty")


def test_files_outside_count_by_content(planned, tmp_path):
    source = "left.source={name: toy_file, path: " + str(tmp_path / "data") + "}"
    with pytest.raises(DataError, match="there is no file"):
        planned(source)
    (tmp_path / "data").write_text("12345")
    assert planned(source)["left"] == "nothing made yet"


def test_a_change_of_code_that_a_step_uses_changes_its_key_alone(tmp_path, monkeypatch):
    package = tmp_path / "some_package"
    package.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    (package / "__init__.py").write_text("")
    (package / "stage.py").write_text("from some_package import used\nfrom . import sibling\nimport json\n")
    (package / "used.py").write_text("x = 1\n")
    (package / "sibling.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import some_package.unused\n"
    )
    (package / "unused.py").write_text("x = 1\n")
    cache = tmp_path / "cache" / "code.json"

    def closure():
        digests = CodeDigests(cache)
        found = digests.closure(["some_package.stage"])
        digests.save()
        return found

    before = closure()
    assert set(before) == {"some_package", "some_package.stage", "some_package.used", "some_package.sibling"}
    (package / "unused.py").write_text("x = 2  # longer\n")
    assert closure() == before
    (package / "used.py").write_text("x = 2  # longer\n")
    assert list(changes({"code": before}, {"code": closure()})) == ["code of some_package.used changed"]
    cache.write_text("not json")
    assert set(closure()) == set(before)


def test_a_training_step_depends_on_its_family_and_the_core_but_on_no_other_family(plugins):
    found = CodeDigests().closure(["genpipe.plugins.vae.model", "genpipe.pipelines.train.stage"])
    assert {"genpipe.plugins.vae.model", "genpipe.training.loop", "genpipe.model", "core_ext"} <= set(found)
    assert not any(name.startswith("genpipe.plugins.diffusion") for name in found)
    assert "genpipe.registry" not in found


def test_graphs_refuse_cycles_and_steps_that_are_not_there(plugins):
    config = plugins.get("stage", "toy_number").config_class()
    with pytest.raises(UsageError, match="cycle: a → b → a"):
        Graph([Step(id=i, stage="s", config=config, inputs={"x": o}) for i, o in (("a", "b"), ("b", "a"))])
    with pytest.raises(UsageError, match="takes from 'z', which is not in the graph"):
        Graph([Step(id="a", stage="s", config=config, inputs={"x": "z"})])


def test_workers_are_no_part_of_a_key(tmp_path):
    def keys(*overrides):
        recipe = load_recipe("digits-vae", overrides, registry=registry())
        steps = make_plan(recipe, registry(), Workspace.choose(tmp_path)).steps
        return {name: step.key for name, step in steps.items()}, {
            name: step.step.workers for name, step in steps.items()
        }

    alone, _ = keys()
    shared, workers = keys("train.workers=4", "sample.workers=2", "train.checkpoint_every=10")
    assert shared == alone
    assert workers == {"data": 1, "train": 4, "sample": 2, "features": 1, "evaluate": 1, "report": 1}
    assert keys("train.steps=7")[0]["train"] != alone["train"]
