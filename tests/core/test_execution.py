"""Whole runs of the toy pipeline: on Ray and inline, succeeding, failing, interrupted, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genpipe import api
from genpipe.artifacts import read_manifest, verify
from genpipe.dead_runs import close_dead_runs
from genpipe.errors import GenpipeError, Interrupted, StepFailed, UsageError
from genpipe.runs import Run, all_runs, find_run
from genpipe.workspace import Workspace

RAY_SECONDS = 900  # Ray on a busy machine, which may have to start it again


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / ".genpipe")


@pytest.fixture
def run(plugins, toy_recipe, space):
    def start(*overrides, executor="inline", **options):
        options = {"tracking": "off", "progress": False, **options}
        return api.run(toy_recipe(), overrides, workspace=space.root, executor=executor, **options)

    return start


def number(run: Run, step: str) -> float:
    return float((run.artifact(step) / "number.txt").read_text())


def newest(space: Workspace) -> Run:
    return next(iter(all_runs(space)))


def test_a_run_gives_artifacts_with_their_history(run):
    finished = run("left.value=2", "right.value=5", "seed=1")
    assert finished.status == "FINISHED"
    assert number(finished, "sum") == 9
    manifest = verify(finished.artifact("sum"))
    assert manifest.inputs == {"left": finished.steps["left"].key, "right": finished.steps["right"].key}
    assert manifest.config == {"weights": [1.0, 1.0]}
    assert manifest.environment["python"]
    assert find_run(Workspace(finished.workspace), finished.id).steps == finished.steps


def test_steps_are_made_once(run):
    first = run("left.value=2")
    second = run("left.value=2", "right.value=5")
    assert second.steps["left"].status == "CACHED"
    assert second.artifact("left") == first.artifact("left")
    assert number(second, "sum") == 7


def test_fresh_makes_all_anew_in_the_same_place(run):
    first = run()
    created = read_manifest(first.artifact("left")).created
    second = run(fresh=True)
    assert {step.status for step in second.steps.values()} == {"FINISHED"}
    assert second.artifact("left") == first.artifact("left")
    assert read_manifest(second.artifact("left")).created > created


def test_a_corrupted_artifact_is_named_and_rebuilt(run, caplog):
    first = run()
    damaged = first.artifact("left") / "number.txt"
    damaged.write_text("1e9")
    second = run()
    assert "number.txt" in caplog.text
    assert second.steps["left"].status == "FINISHED"
    assert number(second, "sum") == 2
    assert read_manifest(second.artifact("sum"))


@pytest.mark.parametrize(
    ("then", "text", "code"),
    [
        ("mistake", "the number's data is not there", 2),
        ("bug", "ZeroDivisionError: one over none", 1),
        ("exit", "SystemExit: 3", 1),
    ],
)
def test_a_failing_step_is_told_and_earlier_artifacts_stay_whole(run, space, then, text, code):
    with pytest.raises(StepFailed, match=text) as caught:
        run(f"right.then={then}")
    assert caught.value.exit_code == code
    failed = newest(space)
    assert failed.status == "FAILED"
    assert {name: step.status for name, step in failed.steps.items()} == {
        "left": "FINISHED",
        "right": "FAILED",
        "sum": "WAITING",
    }
    assert run().steps["left"].status == "CACHED"
    assert not list(space.artifacts.rglob(".staging-*"))


def test_what_two_runs_want_at_once_is_made_once(command, toy_recipe, space):
    toy_recipe()
    waits = "the same is being made elsewhere"

    def num_waiting() -> int:
        logs = [run.log("left") for run in all_runs(space)]
        return sum(waits in log.read_text() for log in logs if log.exists())

    with ThreadPoolExecutor() as pool:
        arguments = ("run", "toy.yaml", f"left.until={space.root / 'go'}", "--executor", "inline", "--tracking", "off")
        answers = [pool.submit(command, *arguments) for _ in range(2)]
        wait_for(lambda: num_waiting() or any(answer.done() for answer in answers))
        (space.root / "go").touch()
    assert [answer.result().returncode for answer in answers] == [0, 0]
    assert num_waiting()  # one; or both, where the one that asked first looked on while the other began
    assert len([p for run in all_runs(space) if (p := run.progress("left")).exists()]) == 1
    assert list((space.root / "scratch").iterdir()) == []


def test_what_no_machine_can_hold_is_refused_at_once(run):
    with pytest.raises(UsageError, match=r"step 'left' asks for 5000 CPUs; .*resources.left.cpus"):
        run("resources.left.cpus=5000", executor="ray")


def test_a_cluster_that_is_not_there_is_told_in_seconds(run):
    with pytest.raises(
        GenpipeError, match=r"the Ray cluster at '127\.0\.0\.1:1' cannot be reached: Connection refused"
    ):
        run(executor="ray", address="127.0.0.1:1")


def test_independent_steps_run_side_by_side_on_ray(run, tmp_path):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    overrides = [f"{step}.meet={meeting}" for step in ("left", "right")]
    finished = run("left.num_reports=4", "right.value=2", *overrides, executor="ray")
    assert number(finished, "sum") == 3
    assert "this is the number stage" in finished.log("left").read_text()
    reports = [json.loads(line) for line in finished.progress("left").read_text().splitlines()]
    assert len(reports) == 4
    assert "loss" in reports[0]["metrics"]


@pytest.mark.slow
def test_a_run_on_a_cluster_of_two_nodes_leaves_the_cluster_up(run, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        first = run("left.seconds=1", "right.seconds=1", executor="ray", address=cluster.address)
        second = run("left.value=3", executor="ray", address=cluster.address)
        assert (number(first, "sum"), number(second, "sum")) == (2, 4)
    finally:
        cluster.shutdown()


def test_workers_that_die_are_replaced_and_one_that_always_does_fails_its_step_alone(command, toy_recipe, space):
    answer = command("run", toy_recipe(), "left.then=die_once", "right.then=die", "--tracking", "off")
    assert answer.returncode == 1
    died = "its worker process died (killed, out of memory, or a crash in compiled code)"
    assert f"step 'right' failed: {died}, 3 times in a row without getting further" in answer.stderr
    assert answer.stderr.count(f"\nleft         {died}; started again") == 1
    assert answer.stderr.count(f"\nright        {died}; started again") == 2
    assert newest(space).log("left").read_text().count(f"{died}; started again") == 1
    assert newest(space).steps["left"].status == "FINISHED"
    wait_for(lambda: not processes_of(space))


def test_an_import_of_torch_that_is_interrupted_is_told_as_such(run, space, monkeypatch):
    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == "torch":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(Interrupted, match="interrupted"):
        run(executor="inline")
    assert newest(space).status == "KILLED"


def test_a_gpu_that_is_not_there_is_told_before_anything_runs(run, space, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=r"step 'left' asks for a GPU, and torch .* on CPUs by resources.left.gpus=0$"):
        run("resources.left.gpus=1")
    assert all(step.status != "FINISHED" for step in newest(space).steps.values())


@pytest.mark.parametrize("error", [ImportError, KeyboardInterrupt])
def test_an_import_of_ray_that_fails_or_is_interrupted_is_told_as_such(run, space, monkeypatch, error):
    class Refusing:
        def find_spec(self, name, path=None, target=None):
            if name == "ray":
                raise error

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    told = UsageError if error is ImportError else Interrupted
    with pytest.raises(told, match="Ray is not installed" if error is ImportError else "interrupted"):
        run(executor="ray")
    assert newest(space).status == ("FAILED" if error is ImportError else "KILLED")


@pytest.mark.parametrize(
    ("executor", "number", "code"),
    [
        ("inline", signal.SIGINT, 130),
        ("inline", signal.SIGTERM, 143),
        ("ray", signal.SIGINT, 130),
        pytest.param("ray", signal.SIGTERM, 143, marks=pytest.mark.slow),  # as the one above, but for the number
    ],
)
def test_an_interrupted_run_ends_as_killed_and_leaves_nothing_running(
    toy_recipe, plugins, space, executor, number, code
):
    arguments = ["run", str(toy_recipe()), "left.seconds=600", "--executor", executor, "--workspace", str(space.root)]
    with subprocess.Popen(
        [sys.executable, "-m", "genpipe", *arguments, "--tracking", "off"], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: any(space.artifacts.rglob("started")))
        process.send_signal(number)
        _, errors = process.communicate(timeout=RAY_SECONDS)
    assert process.returncode == code
    assert "Traceback" not in errors
    killed = newest(space)
    assert (killed.status, killed.steps["left"].status) == ("KILLED", "KILLED")
    if executor == "inline":
        assert not list(space.artifacts.rglob(".staging-*"))
    wait_for(lambda: not processes_of(space))


def test_a_driver_that_is_killed_leaves_no_process_and_a_run_that_the_next_one_closes(toy_recipe, plugins, space):
    arguments = ["run", str(toy_recipe()), "right.seconds=600", "right.child=true", "--executor", "inline"]
    with subprocess.Popen(
        [sys.executable, "-m", "genpipe", *arguments, "--workspace", str(space.root)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GENPIPE_HOME": str(space.root)},
    ) as process:
        try:
            wait_for(lambda: len(list(space.artifacts.rglob("started"))) == 2 and len(processes_of(space)) == 3)
        finally:
            process.kill()  # with its watcher and the step's child beside it
    (dead,) = close_dead_runs(space)
    assert (dead.status, dead.steps["left"].status, dead.steps["right"].status) == ("KILLED", "FINISHED", "KILLED")
    assert close_dead_runs(space) == []
    wait_for(lambda: not processes_of(space))


def test_runs_are_found_by_id_recipe_end_and_last(run, space):
    finished = run()
    for reference in (finished.id, "toy", "last", finished.id[-4:], finished.id[:15], str(finished.folder)):
        assert find_run(space, reference).id == finished.id
    with pytest.raises(UsageError, match=f"did you mean '{finished.id}'"):
        find_run(space, finished.id[:-1] + "x")


def wait_for(condition, seconds: float = RAY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def processes_of(space: Workspace) -> list[int]:
    """Processes whose command line or environment speaks of this test's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(space.root).encode() in text and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
