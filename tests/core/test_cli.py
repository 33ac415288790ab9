"""The command line as its user sees it."""

import re
import subprocess
import sys

import pytest

from genpipe.registry import registry

HEAVY = ("torch", "ray", "mlflow", "numpy", "pydantic")


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('loaded:', *sorted(m for m in {HEAVY} if m in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(answer.stdout.rpartition("loaded:")[2].split())


def test_importing_genpipe_and_asking_for_help_load_nothing_heavy():
    assert loaded_after("import genpipe") == set()
    help_text = "from genpipe.cli import cli\ntry:\n    cli(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(help_text) == set()


def test_listing_plugins_loads_nothing_heavy():
    code = "from genpipe.registry import registry, KINDS\nassert registry().names('family')"
    assert loaded_after(code) == set()


def test_listing_metrics_loads_nothing_heavy():
    code = "from genpipe.cli import cli\ncli(['metrics'], standalone_mode=False)"
    assert loaded_after(code) <= {"pydantic"}
    code = "from genpipe.cli import cli\ncli(['metrics', 'show', 'prdc'], standalone_mode=False)"
    assert loaded_after(code) <= {"pydantic"}


def test_every_metric_and_extractor_tells_what_a_listing_shows():
    for provided in registry().all("metric"):
        record = provided.record
        assert record.estimator, record.name
        assert record.cost, record.name
    for provided in registry().all("feature_extractor"):
        assert provided.record.dims, provided.record.name


def test_metrics_are_listed_in_a_terminal_of_any_width_and_in_a_pipe(in_process):
    narrow, wide = (
        re.sub(r"\x1b\[[0-9;]*m", "", in_process("metrics", COLUMNS=str(columns), FORCE_COLOR="1").stdout)
        for columns in (80, 200)
    )
    assert max(map(len, narrow.splitlines())) <= 80
    assert max(map(len, wide.splitlines())) <= 200
    assert len(wide.splitlines()) < len(narrow.splitlines())
    for said in ("needs features of samples", "default for images", "dimensions as many as an example has numbers"):
        assert said in re.sub(r"\s+", " ", narrow)
    assert "3 × N² distances in blocks" in in_process("metrics").stdout
    shown = in_process("metrics", "show", "prdc").stdout
    assert "Naeem et al. (2020)" in shown
    assert "max_examples" in shown
    assert "twice the sum of channels" in in_process("metrics", "show", "random_conv").stdout


def test_a_plan_loads_neither_torch_nor_ray_nor_mlflow():
    code = "from genpipe.cli import cli\ncli(['plan', 'digits-vae'], standalone_mode=False)"
    assert loaded_after(code) <= {"pydantic", "numpy"}


def test_a_run_of_reused_steps_loads_neither_torch_nor_ray_nor_mlflow(command, toy_recipe):
    recipe = toy_recipe()
    assert command("run", recipe, "--executor", "inline", "--tracking", "off").returncode == 0
    code = f"from genpipe.cli import cli\ncli(['run', {str(recipe)!r}], standalone_mode=False)"
    script = f"import sys\n{code}\nprint('loaded:', *sorted(m for m in {HEAVY} if m in sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=recipe.parent, check=True
    )
    assert set(answer.stdout.rpartition("loaded:")[2].split()) <= {"pydantic"}


def test_mistakes_end_with_code_2_and_no_traceback(command, toy_recipe):
    wrong = command("run", toy_recipe("left: {vale: 1}\nright: {value: -x}\n"))
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    assert "has 2 mistakes" in wrong.stderr
    assert "did you mean 'value'" in wrong.stderr
    assert not (toy_recipe().parent / ".genpipe" / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["run", "digits-vea"], "did you mean 'digits-vae'?"),
        (["sample", "nothing"], "has no runs yet"),
        (["families", "show", "veo"], "did you mean 'vae'?"),
        (["plugins", "check", "toi"], "did you mean 'toy'?"),
        (["sample", "x", "-o", "grid.gif"], "expected .png or .npz"),
        (["sample", "x", "num_steps"], "expected an option of the sampler with its value"),
        (["ui"], "has no tracked runs yet"),
        (["schema", "singel"], "did you mean 'single'?"),
        (["metrics", "show", "pdrc"], "did you mean 'prdc'?"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest(in_process, arguments, expected):
    answer = in_process(*arguments)
    assert answer.returncode == 2
    assert expected in answer.stderr
    assert "Traceback" not in answer.stderr


def test_plan_tells_hit_run_and_what_changed(in_process, toy_recipe):
    recipe = toy_recipe()
    assert in_process("plan", recipe).stdout.count("RUN") == 3
    in_process("run", recipe, "--executor", "inline", "--tracking", "off")
    answer = in_process("plan", recipe, "right.value=3").stdout.splitlines()
    assert answer[0].startswith("HIT  left")
    assert answer[1].startswith("RUN  right")
    assert answer[1].endswith("value: 1.0 → 3.0")
    assert answer[-1] == "2 of 3 steps would run"


def test_a_failed_step_shows_the_end_of_its_log(command, toy_recipe):
    answer = command("run", toy_recipe(), "left.then=bug", "--executor", "inline", "--tracking", "off")
    assert answer.returncode == 1
    assert "step 'left' failed: ZeroDivisionError: one over none" in answer.stderr
    assert "left.log:" in answer.stderr
    assert "  | ZeroDivisionError: one over none" in answer.stderr


def test_resume_goes_on_with_a_run(in_process, toy_recipe):
    in_process("run", toy_recipe(), "left.value=4", "--to", "left", "--executor", "inline", "--tracking", "off")
    answer = in_process("resume", "last", "--executor", "inline", "--tracking", "off")
    assert answer.returncode == 0
    assert "left         reused" in answer.stderr
    assert "sum          done" in answer.stderr


@pytest.mark.parametrize("text", ["", "[]", "{", "a: ]"])
def test_a_run_whose_recipe_is_damaged_is_named(in_process, toy_recipe, tmp_path, text):
    in_process("run", toy_recipe(), "--executor", "inline", "--tracking", "off")
    (recipe,) = tmp_path.glob(".genpipe/runs/*/recipe.yaml")
    recipe.write_text(text)
    answer = in_process("resume", "last", "--executor", "inline", "--tracking", "off")
    assert answer.returncode == 2
    assert "recipe.yaml is damaged" in answer.stderr


def test_the_workspace_can_be_named_before_or_after_the_command(in_process, toy_recipe, tmp_path):
    recipe = toy_recipe()
    for i, arguments in enumerate((["--workspace", "w0", "plan", recipe], ["plan", recipe, "--workspace", "w1"])):
        assert in_process(*arguments).returncode == 0
        assert (tmp_path / f"w{i}" / "cache").is_dir()


def test_every_command_has_help(in_process):
    from genpipe.cli import COMMANDS

    for name in COMMANDS:
        answer = in_process(name, "--help")
        assert answer.returncode == 0, answer.stderr
        assert "Usage:" in answer.stdout


def test_listings_name_what_there_is_and_where_it_is_from(in_process):
    assert "gaussian_mixture" in in_process("families").stdout
    assert "digits-vae" in in_process("recipes").stdout
    listed = in_process("plugins", "list").stdout
    assert "toy 0.1" in listed
    assert "family toy_family" in listed
    assert in_process("plugins", "check").returncode == 0
