"""Steps that take any number of artifacts go on without those whose step failed."""

import pytest

from genpipe import api
from genpipe.artifacts import read_manifest
from genpipe.errors import StepFailed
from genpipe.plan import make_plan
from genpipe.recipe import load_recipe
from genpipe.workspace import Workspace

NUMBERS = {"one": {"value": 1}, "two": {"value": 2}, "four": {"value": 4}}


@pytest.fixture
def run(plugins, tmp_path):
    """A function that runs the sum of some numbers of which the named ones fail; the run, and what it raised."""

    def start(*failing, executor="inline", **options):
        numbers = {name: {**each, "then": "mistake"} if name in failing else each for name, each in NUMBERS.items()}
        recipe = {"name": "many", "pipeline": "toy_many", "numbers": numbers, **options}
        try:
            finished = api.run(recipe, workspace=tmp_path / "w", executor=executor, tracking="off", progress=False)
        except StepFailed as error:
            return error.run, error
        return finished, None

    return start


def total(run):
    return float((run.artifact("total") / "number.txt").read_text())


def test_the_rest_is_made_and_the_run_says_that_it_failed(run):
    finished, error = run("two")
    assert error.step == "make.two"
    assert finished.status == "FAILED"
    assert {name: step.status for name, step in finished.steps.items()} == {
        "make.one": "FINISHED",
        "make.two": "FAILED",
        "make.four": "FINISHED",
        "total": "FINISHED",
    }
    assert total(finished) == 5
    assert "goes on without make.two" in finished.log("total").read_text()


def test_what_is_made_of_the_rest_is_an_artifact_of_its_own(run):
    partial, _ = run("two")
    whole, error = run()
    assert error is None
    assert total(whole) == 7
    assert whole.steps["total"].key != partial.steps["total"].key
    assert set(read_manifest(partial.artifact("total")).inputs) == {"number.one", "number.four"}
    created = read_manifest(partial.artifact("total")).created
    again, _ = run("two")
    assert read_manifest(again.artifact("total")).created == created


def test_a_plan_knows_nothing_of_it_and_makes_the_whole(run, plugins, tmp_path):
    run("two")
    recipe = load_recipe({"name": "many", "pipeline": "toy_many", "numbers": NUMBERS}, registry=plugins)
    steps = make_plan(recipe, plugins, Workspace.choose(tmp_path / "w")).steps
    assert {name for name, step in steps.items() if not step.hit} == {"make.two", "total"}


def test_of_nothing_nothing_is_made(run):
    finished, _ = run("one", "two", "four")
    assert finished.steps["total"].status == "WAITING"


def test_what_follows_rests_on_what_was_made(run):
    finished, _ = run("two", curve=True)
    assert finished.steps["curve"].status == "FINISHED"
    assert read_manifest(finished.artifact("curve")).inputs == {"number": finished.steps["total"].key}


@pytest.mark.slow
def test_it_is_the_same_on_ray(run):
    finished, error = run("two", executor="ray", curve=True)
    assert error.step == "make.two"
    assert total(finished) == 5
    assert finished.steps["curve"].status == "FINISHED"
