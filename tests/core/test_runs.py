"""Records of runs: damaged, made in one second, named by whim."""

import os

import pytest

from genpipe.errors import GenpipeError, UsageError
from genpipe.runs import Run, StepRecord, all_runs, find_run
from genpipe.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / "workspace")


def made(space: Workspace, recipe: str = "r") -> Run:
    return Run.create(space, recipe, {"seed": 0}, {"a": StepRecord("stage", "key", "artifacts/x/key")})


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"id":', '{"id": "x", "steps": []}', '{"steps": {"a": {}}}', "\0\0"]
)
def test_a_damaged_record_is_named_and_hides_no_other_run(space, caplog, text):
    whole, damaged = made(space), made(space)
    (damaged.folder / "run.json").write_text(text)
    assert [run.id for run in all_runs(space)] == [whole.id]
    assert f"{damaged.folder / 'run.json'} is damaged" in caplog.text
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        find_run(space, str(damaged.folder))


def test_a_folder_without_a_record_is_a_run_that_never_began(space, caplog):
    (space.runs / "20260101-000000-x-0000").mkdir(parents=True)
    assert list(all_runs(space)) == []
    assert caplog.text == ""


def test_last_is_the_newest_also_of_runs_that_began_in_one_second(space):
    ids = [made(space).id for _ in range(20)]
    assert [run.id for run in all_runs(space)] == ids[::-1]
    assert find_run(space, "last").id == ids[-1]


def test_no_two_runs_of_one_second_have_one_id(space, monkeypatch):
    drawn = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("genpipe.runs.time.strftime", lambda *_: "20260101-000000")
    monkeypatch.setattr("genpipe.runs.secrets.token_hex", lambda _: next(drawn))
    assert [made(space).id for _ in range(2)] == ["20260101-000000-r-aaaa", "20260101-000000-r-bbbb"]


@pytest.mark.parametrize("recipe", ["a/b", "../../out", "x" * 300, "two words", "ü"])
def test_a_run_of_any_recipe_is_found_again(space, recipe):
    run = made(space, recipe)
    assert run.folder.parent == space.runs
    assert find_run(space, recipe).id == run.id


def test_a_place_that_cannot_be_written_is_named(space, monkeypatch):
    def refuse(*arguments, **named):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(GenpipeError, match=f"{space.root} cannot be written: Permission denied"):
        made(space)
