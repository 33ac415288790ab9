"""Secrets stay out of what is written down."""

import json

import pytest

from genpipe import api
from genpipe.errors import RecipeError, StepFailed, UsageError
from genpipe.recipe import load_recipe
from genpipe.redact import has_password, redacted, secret_name
from genpipe.tracking import tracker
from genpipe.tracking.facts import collect

SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "PGPASSWORD",
        "api_key",
        "AZURE_STORAGE_ACCOUNT_KEY",
    ],
)
def test_names_of_secrets_are_known(name):
    assert secret_name(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "KEYBOARD", "PATH"])
def test_names_of_settings_are_no_secrets(name):
    assert not secret_name(name)


def test_passwords_in_addresses_and_secret_variables_are_left_out(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    text = f"postgresql://me:{SECRET}x@db:5432/runs and https://host/a:b@c, with {SECRET}"
    assert redacted(text) == "postgresql://me:***@db:5432/runs and https://host/a:b@c, with ***"
    assert not has_password("ssh://host:22/x@y s3://bucket/key@2 user@host:path")


def test_a_recipe_with_a_password_is_refused_without_repeating_it(plugins, toy_recipe):
    recipe = toy_recipe(f"left: {{source: {{name: toy_file, path: 'ftp://me:{SECRET}@host/x'}}}}\n")
    with pytest.raises(RecipeError, match=r"toy.yaml:2: left.source.path: holds a password") as caught:
        load_recipe(recipe, registry=plugins)
    assert SECRET not in str(caught.value)


def test_a_tracking_address_with_a_password_is_refused_without_repeating_it(plugins, toy_recipe, tmp_path):
    with pytest.raises(UsageError, match=r"postgresql://me:\*\*\*@db .*MLFLOW_TRACKING_PASSWORD") as caught:
        api.run(toy_recipe(), workspace=tmp_path, executor="inline", tracking=f"postgresql://me:{SECRET}@db")
    assert SECRET not in str(caught.value)


def test_the_command_line_is_recorded_without_passwords(monkeypatch):
    monkeypatch.setattr("sys.argv", ["genpipe", "run", "x", f"a.b=http://me:{SECRET}@host"])
    assert collect()["command"] == "genpipe run x a.b=http://me:***@host"


def test_a_secret_in_an_error_reaches_neither_the_journal_nor_the_record(plugins, toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("TOY_ERROR", f"403 for {SECRET}")
    monkeypatch.setattr(tracker, "CLOSE_SECONDS", 600)  # it has ended when the files are looked at
    with pytest.raises(StepFailed):
        api.run(
            toy_recipe(),
            ["left.then=mistake"],
            workspace=tmp_path,
            executor="inline",
            tracking="sqlite://",
            progress=False,
        )
    (folder,) = (tmp_path / "runs").iterdir()
    assert "403 for ***" in json.loads((folder / "run.json").read_text())["error"]
    assert "403 for ***" in (folder / "events.jsonl").read_text()
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
