"""Recipes as Ray jobs, on a real head with its dashboard."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from genpipe.runs import all_runs
from genpipe.workspace import Workspace
from tests.cluster.conftest import SECRET, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def submit(cluster, tmp_path):
    def run(recipe, *arguments, **options):
        where = ("--address", cluster.dashboard, "--workspace", tmp_path / "ws")
        return cluster.genpipe("submit", recipe, *arguments, *where, **options)

    return run


def job_id(answer) -> str:
    return next(word for word in answer.stderr.split() if word.startswith("toy-")).rstrip(",:")


def status(cluster, job: str) -> str:
    for line in cluster.genpipe("jobs", "--address", cluster.dashboard).stdout.splitlines():
        if line.split()[:1] == [job]:
            return line.split()[2]
    return ""


def test_a_recipe_is_run_once_and_followed(cluster, submit, toy, tmp_path):
    first = submit(toy, "left.value=2")
    assert first.returncode == 0, first.stderr
    job = job_id(first)
    assert first.stderr == f"submitted job {job}\n"
    assert "sum          done" in first.stdout
    (run,) = all_runs(Workspace(tmp_path / "ws"))
    assert (run.status, run.recipe) == ("FINISHED", "toy")
    assert status(cluster, job) == "SUCCEEDED"

    again = submit(toy, "left.value=2")
    assert again.stderr == f"job {job} was submitted before; --again runs it again\n"
    assert again.stdout == first.stdout
    another = submit(toy, "left.value=2", "--again")
    assert another.stderr == f"submitted job {job}-2\n"
    assert len(list(all_runs(Workspace(tmp_path / "ws")))) == 2

    attached = cluster.genpipe("attach", job, "--address", cluster.dashboard)
    assert (attached.returncode, attached.stdout) == (0, first.stdout)
    unknown = cluster.genpipe("attach", f"{job}x", "--address", cluster.dashboard)
    assert unknown.returncode == 2
    assert f"there is no job '{job}x' at {cluster.dashboard}; did you mean '{job}'?" in unknown.stderr
    over = cluster.genpipe("cancel", job, "--address", cluster.dashboard)
    assert over.stdout == f"job {job} is over: SUCCEEDED\n"


def test_ctrl_c_leaves_a_job_which_is_cancelled_and_goes_on_with_the_same_submit(cluster, submit, toy, tmp_path):
    overrides = ("right.value=3", f"left.meet={tmp_path}/meeting")  # left waits for somebody to come
    (tmp_path / "meeting").mkdir()
    arguments = ["submit", toy, *overrides, "--address", cluster.dashboard, "--workspace", tmp_path / "ws"]
    command = [sys.executable, "-m", "genpipe", *map(str, arguments)]
    with subprocess.Popen(command, env=cluster.environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: any((tmp_path / "ws").rglob("meeting/left")) or (tmp_path / "meeting" / "left").exists())
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    job = next(word for word in told.split() if word.startswith("toy-"))
    assert f"left job {job}, which goes on; `genpipe attach {job} --address" in told
    assert status(cluster, job) == "RUNNING"
    stopped = cluster.genpipe("cancel", job, "--address", cluster.dashboard)
    assert stopped.stdout == f"stopping job {job}\n"
    wait_for(lambda: status(cluster, job) == "STOPPED")
    assert cluster.genpipe("attach", job, "--address", cluster.dashboard).returncode == 143

    (tmp_path / "meeting" / "somebody").touch()
    resumed = submit(toy, *overrides)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr == f"submitted job {job}-2, which goes on where the last one ended\n"
    assert [run.status for run in all_runs(Workspace(tmp_path / "ws"))] == ["FINISHED", "KILLED"]


def test_a_failing_job_ends_with_its_code_and_shows_its_secret_to_nobody(cluster, submit, toy, tmp_path):
    answer = submit(toy, "left.then=mistake", "--secret", "HF_TOKEN")
    assert answer.returncode == 2
    assert "step 'left' failed: 403 for ***" in answer.stdout
    assert f"job {job_id(answer)} failed; the same submit goes on from there" in answer.stderr
    (run,) = all_runs(Workspace(tmp_path / "ws"))
    kept = {path.name for path in run.folder.rglob("*") if path.is_file()}
    assert kept >= {"recipe.yaml", "run.json", "events.jsonl", "left.log"}
    assert (tmp_path / "ws" / "mlflow.db").exists()
    files = [path for path in (tmp_path / "ws").rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    request = urllib.request.Request(f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {'a' * 64}"})
    told = urllib.request.urlopen(request).read().decode()
    assert "HF_TOKEN" in json.dumps([job["runtime_env"] for job in json.loads(told)])
    assert SECRET not in told + answer.stdout + answer.stderr


def test_a_variable_that_the_nodes_do_not_have_is_named(submit, toy):
    answer = submit(toy, "--secret", "NOBODY_SET_THIS")
    assert answer.returncode == 1
    assert "the environment variable NOBODY_SET_THIS is not set" in answer.stdout


def test_a_workspace_is_asked_for_where_the_nodes_name_none(cluster, toy):
    answer = cluster.genpipe("submit", toy, "--address", cluster.dashboard)
    assert answer.returncode != 0
    assert "GENPIPE_HOME: is not set on the cluster: say with --workspace which folder" in answer.stdout


def test_a_plugin_and_a_file_that_only_the_user_has_go_along(cluster, tmp_path):
    (tmp_path / "p" / "mine-1.dist-info").mkdir(parents=True)
    (tmp_path / "p" / "mine-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (tmp_path / "p" / "mine-1.dist-info" / "entry_points.txt").write_text("[genpipe]\nmine = mine\n")
    code = """
from pathlib import Path
from genpipe import hookimpl
from genpipe.components import Pipeline, Stage
from genpipe.config import Config
from genpipe.graph import Step

class MineConfig(Config):
    path: str

def build(config, seed):
    return [Step(id="read", stage="mine_read", config=config)]

def read(context):
    (context.out / "text").write_text(Path(context.config.path).read_text())

@hookimpl
def register_stages():
    return [Stage(name="mine_read", summary="", takes={}, gives="text", config="mine:MineConfig", build="mine:read")]

@hookimpl
def register_pipelines():
    return [Pipeline(name="mine", summary="", config="mine:MineConfig", build="mine:build")]
"""
    (tmp_path / "p" / "mine.py").write_text(code)
    (cluster.folder / "words.txt").write_text("of my own")
    (tmp_path / "m.yaml").write_text("pipeline: mine\npath: words.txt\n")
    arguments = ("submit", tmp_path / "m.yaml", "--address", cluster.dashboard, "--workspace", tmp_path / "ws")
    here = os.pathsep.join([cluster.environment["PYTHONPATH"], str(tmp_path / "p")])
    answer = cluster.genpipe(*arguments, "--include", tmp_path / "p", "--include", "words.txt", PYTHONPATH=here)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (text,) = (tmp_path / "ws" / "artifacts" / "text").glob("*/text")
    assert text.read_text() == "of my own"


def test_a_wrong_token_and_a_wrong_address_are_told(cluster, toy):
    wrong = cluster.genpipe("jobs", "--address", cluster.dashboard, RAY_AUTH_TOKEN="no")
    assert f"the cluster at {cluster.dashboard} does not take the token of RAY_AUTH_TOKEN" in wrong.stderr
    gcs = cluster.genpipe("jobs", "--address", f"http://{cluster.address}")
    assert gcs.returncode == 1
    assert f"http://{cluster.address}" in gcs.stderr
    assert "Traceback" not in gcs.stderr
