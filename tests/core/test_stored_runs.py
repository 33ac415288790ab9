"""Runs of the toy pipeline whose workspace has a store."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genpipe import api
from genpipe.artifacts import verify
from genpipe.errors import StepFailed, StoreError, UsageError
from genpipe.execution import sharing
from genpipe.plan import make_plan
from genpipe.recipe import load_recipe
from genpipe.runs import find_run
from genpipe.stores import Store, StoredFolder
from genpipe.stores.patience import Patience
from genpipe.workspace import Workspace
from tests.faulty_store import FOLDER as FAULTY

TOY = Path(__file__).parents[1] / "toy_plugin"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(Patience, "from_environment", classmethod(lambda cls: cls(300, 2, 0)))
    monkeypatch.setattr("genpipe.stores.store.PROBE_SECONDS", 300)


@pytest.fixture
def run(plugins, toy_recipe, tmp_path, faulty):
    """Runs the toy recipe in a folder, with the store; each folder is a machine."""

    def start(machine: str = "a", *overrides, store: str | None = faulty.address, **options):
        options = {"tracking": "off", "progress": False, "executor": "inline", **options}
        return api.run(toy_recipe(), overrides, workspace=tmp_path / machine, store=store, **options)

    return start


@pytest.fixture
def plan(plugins, toy_recipe, tmp_path, faulty):
    def of(machine: str = "a"):
        recipe = load_recipe(toy_recipe(), (), registry=plugins)
        return make_plan(recipe, plugins, Workspace.choose(tmp_path / machine, faulty.address))

    return of


def statuses(run):
    return {name: step.status for name, step in run.steps.items()}


def stored(run, step: str) -> StoredFolder:
    return StoredFolder(Store.at(run.store), run.steps[step].artifact)


def test_another_machine_reuses_what_the_store_has(run, plan, faulty):
    first = run("a", "left.value=2")
    assert all(stored(first, step).whole() for step in first.steps)
    second = run("b", "left.value=2")
    assert set(statuses(second).values()) == {"CACHED"}
    assert (second.artifact("sum") / "number.txt").read_text() == (first.artifact("sum") / "number.txt").read_text()
    third = run("c", "left.value=3")
    assert statuses(third) == {"left": "FINISHED", "right": "CACHED", "sum": "FINISHED"}
    verify(third.artifact("right"))  # it came for the step that takes it


def test_a_plan_says_what_the_store_has_in_one_request_a_step(run, plan, faulty):
    run("a")
    faulty.forget()
    assert [(p.hit, p.here, p.reason) for p in plan("b").steps.values()] == [(True, False, "in the store")] * 3
    assert faulty.operations == ["cat_file"] * 3
    faulty.forget()
    assert all(p.hit and p.here for p in plan("a").steps.values())
    assert faulty.operations == []


def test_what_was_made_before_there_was_a_store_is_sent_when_it_is_reused(run):
    run("a", store=None)
    second = run("a")
    assert set(statuses(second).values()) == {"CACHED"}
    assert all(stored(second, step).whole() for step in second.steps)


def test_large_artifacts_come_when_somebody_asks(run, monkeypatch):
    run("a")
    monkeypatch.setattr(sharing, "LOOKED_AT_BYTES", 0)
    second = run("b")
    folder = second.workspace / second.steps["sum"].artifact
    assert not folder.exists()
    assert second.of_kind("number")[-1] == ("sum", folder)
    found = find_run(Workspace(second.workspace), second.id)  # which knows its store without being told
    assert found.artifact("sum") == folder
    verify(folder)


def test_a_torn_artifact_in_the_store_is_named_and_made_again(run, faulty, caplog):
    first = run("a")
    manifest = faulty.folder / first.steps["left"].artifact / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    second = run("b")
    assert statuses(second)["left"] == "FINISHED"
    assert "manifest.json is damaged" in caplog.text
    assert "it is made again" in caplog.text
    assert stored(second, "left").whole()


def alter(run, step: str, faulty) -> None:
    (path,) = (faulty.folder / run.steps[step].artifact).rglob("number.txt")
    path.write_text("9" * path.stat().st_size)


def test_altered_content_is_found_before_steps_run_and_made_again(run, faulty, caplog):
    alter(run("a", "left.value=2"), "left", faulty)
    second = run("b", "left.value=2", "sum.weights=[2, 3]")
    assert statuses(second) == {"left": "FINISHED", "right": "CACHED", "sum": "FINISHED"}
    assert "number.txt does not match its checksum; it was removed from there" in caplog.text


def test_altered_content_of_what_is_large_is_found_by_the_step_that_takes_it(run, faulty, monkeypatch):
    alter(run("a", "left.value=2"), "left", faulty)
    monkeypatch.setattr(sharing, "LOOKED_AT_BYTES", 0)
    with pytest.raises(StepFailed, match=r"number\.txt does not match its checksum; it was removed from there"):
        run("b", "left.value=2", "sum.weights=[2, 3]")
    assert statuses(run("b", "left.value=2", "sum.weights=[2, 3]"))["left"] == "FINISHED"


def test_what_is_damaged_here_is_fetched_again(run, caplog):
    first = run("a")
    (first.artifact("left") / "number.txt").write_text("cut")
    second = run("a", "sum.weights=[2, 3]")
    assert statuses(second)["left"] == "CACHED"
    assert "it is fetched from the store" in caplog.text
    verify(second.artifact("left"))


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"refuse": ["pipe_file"]}, "writing .probe-.* failed: PermissionError: .*Access Denied"),
        ({"full": 0}, "No space left"),
        ({"fail": {"pipe_file": 100}}, "Connection reset"),
        ({"refuse": ["rm"]}, "removing .probe-.* failed: PermissionError"),
    ],
)
def test_a_store_that_takes_nothing_is_found_before_anything_is_spent(run, faulty, faults, said):
    faulty.plan(**faults)
    with pytest.raises(StoreError, match=said):
        run("a")
    assert not (Path(faulty.folder).parent / "a" / "artifacts").exists()


def test_a_store_that_fails_after_the_work_costs_no_work(run, faulty, caplog, monkeypatch):
    monkeypatch.setattr(Store, "probe", lambda self: None)
    faulty.plan(fail={"put_file": 1000})
    first = run("a")
    assert set(statuses(first).values()) == {"FINISHED"}
    assert "the next run sends it" in caplog.text
    faulty.plan()
    second = run("a")
    assert set(statuses(second).values()) == {"CACHED"}
    assert all(stored(second, step).whole() for step in second.steps)


def test_a_run_that_has_all_it_needs_needs_no_store(run, faulty, caplog):
    run("a")
    faulty.plan(fail={"cat_file": 1000, "find": 1000})
    assert set(statuses(run("a")).values()) == {"CACHED"}
    assert "what is reused stays here alone" in caplog.text


def test_what_another_machine_made_meanwhile_is_taken(run, plan, faulty, tmp_path, monkeypatch):
    made = run("a")
    monkeypatch.setattr("genpipe.plan.find_artifacts", lambda folders, *rest: {})  # as if planned before
    second = run("b")
    for step in made.steps:
        assert verify(second.artifact(step)) == verify(made.artifact(step))


def test_fresh_replaces_what_the_store_has(run):
    first = run("a")
    before = stored(first, "left").whole().created
    run("b", fresh=True)
    assert stored(first, "left").whole().created > before


def test_a_store_of_this_process_is_for_the_inline_executor(run):
    assert run("a", store="memory://toy").status == "FINISHED"
    with pytest.raises(UsageError, match="only --executor inline can use it"):
        run("a", store="memory://toy", executor="ray")


def test_a_disk_that_fills_while_an_input_is_fetched_is_named(run, faulty, monkeypatch):
    run("a")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(sharing, "LOOKED_AT_BYTES", 0)
    with pytest.raises(StepFailed, match="No space left on device"):
        run("b", "sum.weights=[2, 3]")


def test_the_command_line_takes_a_store(in_process, toy_recipe, faulty):
    recipe = toy_recipe()
    options = ("--executor", "inline", "--tracking", "off")
    assert in_process("run", recipe, "--store", faulty.address, *options, "--workspace", "a").returncode == 0
    planned = in_process("plan", recipe, "--workspace", "b", GENPIPE_STORE=faulty.address)
    assert planned.stdout.count("in the store") == 3
    shown = in_process("runs", "show", "last", "--workspace", "a")
    assert shown.returncode == 0
    wrong = in_process("run", recipe, "--store", "s3x://bucket")
    assert wrong.returncode == 2
    assert "there is no protocol 's3x'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


NODES = """
import os, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for name in ("a", "b"):
    os.environ["GENPIPE_NODE_HOME"] = os.path.join(sys.argv[1], name)
    cluster.add_node(num_cpus=2, resources={name: 8})
print("at", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A cluster of two nodes that see neither the driver's workspace nor each other's: (address, their homes)."""
    homes = tmp_path_factory.mktemp("nodes")
    path = os.pathsep.join([str(TOY), str(FAULTY), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(
        [sys.executable, "-c", NODES, str(homes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        address = next(line.split()[1].decode() for line in process.stdout if line.startswith(b"at "))
        yield address, homes
        process.stdin.close()
        process.wait(300)


PLACES = ("resources.left.custom={a: 1}", "resources.right.custom={b: 1}", "resources.sum.custom={a: 1}")


@pytest.fixture
def on_nodes(run, nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as the cluster's, whatever token this user has

    def start(machine, *overrides, **options):
        address, _ = nodes
        store = (tmp_path / "files").as_uri()  # the cluster is older than this test's faulty store
        return run(machine, *PLACES, *overrides, store=store, executor="ray", address=address, **options)

    return start


@pytest.mark.slow
def test_nodes_without_a_common_folder_run_from_the_store(on_nodes, nodes, tmp_path):
    finished = on_nodes("driver", "left.value=2", "right.seconds=3")
    _, homes = nodes
    key = {name: step.artifact for name, step in finished.steps.items()}
    assert (homes / "a" / key["left"]).is_dir()
    assert (homes / "b" / key["right"]).is_dir()
    assert not (homes / "b" / key["sum"]).exists()
    verify(homes / "a" / key["right"])  # fetched for the sum
    assert (finished.artifact("sum") / "number.txt").read_text() == "3.0"
    assert "this is the number stage" in finished.log("left").read_text()
    progress = [json.loads(line) for line in finished.progress("right").read_text().splitlines()]
    assert progress
    assert set(statuses(on_nodes("other", "left.value=2", "right.seconds=3")).values()) == {"CACHED"}


@pytest.mark.slow
def test_a_step_that_fails_on_such_a_node_shows_its_log(on_nodes):
    with pytest.raises(StepFailed, match="one over none") as error:
        on_nodes("driver", "right.then=bug")
    assert any("ZeroDivisionError" in line for line in error.value.tail)
