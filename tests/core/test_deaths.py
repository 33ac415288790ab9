"""Processes of a run killed one by one: the run goes on, or the next one does, and nothing is left behind."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genpipe import heartbeat
from genpipe.errors import Interrupted
from genpipe.execution import connect
from genpipe.execution.attempts import MAX_DEATHS, Attempts
from genpipe.execution.turns import Taken, is_taken, sole_maker
from genpipe.runs import all_runs
from genpipe.workspace import Workspace
from tests.core.test_execution import newest, processes_of, wait_for

HOLD = """
import sys, time
from pathlib import Path
from genpipe.execution.turns import sole_maker
import fcntl
if sys.argv[2] == "without locks":
    def refuse(*arguments): raise OSError(38, "Function not implemented")
    fcntl.flock = refuse
with sole_maker(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def space(tmp_path):
    return Workspace.choose(tmp_path / ".genpipe")


def test_a_step_may_die_as_often_as_it_gets_further(tmp_path):
    attempts = Attempts(tmp_path)
    for number in range(10):
        (tmp_path / f"checkpoint-{number}").mkdir()
        assert attempts.died()
    (tmp_path / ".staging-1-x-host").mkdir()  # a checkpoint that was never finished is no progress
    assert [attempts.died() for _ in range(MAX_DEATHS)] == [True] * (MAX_DEATHS - 2) + [False] * 2


@pytest.fixture(params=["with locks", "without locks"])
def locks(request, monkeypatch):
    if request.param == "without locks":
        monkeypatch.setattr(heartbeat, "WATCH_SECONDS", 0.5)

        def refuse(*arguments):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


def test_a_turn_is_one_process_s_and_ends_with_it_however_that_ends(tmp_path, locks):
    scratch = tmp_path / "scratch" / "key"
    assert not is_taken(scratch)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(scratch), locks], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "mine\n"
        assert is_taken(scratch)
        with pytest.raises(Taken), sole_maker(scratch):
            raise AssertionError("both have it")
        holder.kill()
    assert not is_taken(scratch)
    with sole_maker(scratch):
        pass
    assert [path for path in scratch.parent.iterdir() if path.suffix != ".lock"] == []


def test_a_turn_without_locks_whose_owner_was_killed_before_it_signed_is_given_up(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(heartbeat, "WATCH_SECONDS", 0.5)
    (tmp_path / "key.turn").mkdir()
    with sole_maker(tmp_path / "key"):
        assert not list(tmp_path.glob("key.turn-*"))


def test_a_sigterm_that_ray_takes_while_it_starts_is_told_as_such(monkeypatch):
    import ray

    def init(*arguments, **options):
        raise SystemExit(signal.SIGTERM)  # what Ray's own handler does

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(Interrupted) as caught:
        connect.connect(None)
    assert caught.value.exit_code == 143


@pytest.fixture
def start(toy_recipe, plugins, space):
    """Starts a run of the toy recipe in a process whose environment, and its children's, names the workspace."""
    started = []

    def run(*overrides: str, **options: str) -> subprocess.Popen[str]:
        flags = [text for name, value in options.items() for text in (f"--{name}", value)]
        process = subprocess.Popen(
            [sys.executable, "-m", "genpipe", "run", str(toy_recipe()), *overrides, *flags, "--tracking", "off"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GENPIPE_HOME": str(space.root)},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def victim_of(space: Workspace, name: str) -> int | None:
    for pid in processes_of(space):
        with_name = Path(f"/proc/{pid}/comm").read_text().strip()
        if with_name == name:
            return pid
    return None


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_a_ray_that_dies_is_replaced_and_the_run_goes_on(start, space, victim):
    run = start("left.seconds=3", "right.value=2")
    wait_for(lambda: any(space.artifacts.rglob("started")))
    pid = victim_of(space, victim)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert said.count(f"Ray's {victim} died; started again") >= 1
    assert newest(space).status == "FINISHED"
    wait_for(lambda: not processes_of(space))


@pytest.mark.slow
def test_a_driver_on_ray_that_is_killed_leaves_nothing_in_seconds(start, space):
    run = start("left.seconds=600", "left.child=true")
    wait_for(lambda: any(space.artifacts.rglob("started")))
    assert len(processes_of(space)) > 5
    run.kill()
    wait_for(lambda: not processes_of(space), 5)


@pytest.mark.slow
def test_what_is_made_elsewhere_is_waited_for_without_a_cpu(start, space):
    """Two runs on one Ray want the same two steps; what waits holds nothing, so both go on."""
    first = start("left.seconds=5", "right.seconds=5")
    wait_for(lambda: any(space.artifacts.rglob("started")))
    second = start("left.seconds=5", "right.seconds=5", "sum.weights=[2,2]")
    for run in (first, second):
        assert run.wait(180) == 0
    logs = [run.log("left") for run in all_runs(space)]
    assert sum("the same is being made elsewhere" in log.read_text() for log in logs if log.exists()) == 1


@pytest.fixture
def head(tmp_path, plugins, monkeypatch, space):
    """A Ray head of its own, as `ray start` gives it: its address and its process."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port_file = tmp_path / "port"
    program = (
        "import os, ray, sys, time\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2})\n"
        "open(sys.argv[1] + '.new', 'w').write(cluster.address); os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(port_file)], start_new_session=True)
    wait_for(port_file.exists)
    yield port_file.read_text(), process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_the_tasks_of_a_killed_driver_end_on_the_cluster_that_stays(start, space, head):
    address, _ = head
    run = start("left.seconds=600", address=address)
    wait_for(lambda: any(space.artifacts.rglob("started")))
    run.kill()
    (lock,) = (space.root / "scratch").glob("*.lock")
    wait_for(lambda: not is_taken(lock.with_suffix("")), 20)
    again = start("left.seconds=0.5", address=address)
    assert again.wait(120) == 0


@pytest.mark.slow
def test_a_cluster_that_vanishes_ends_the_run_clearly_and_in_time(start, space, head):
    address, process = head
    run = start("left.seconds=600", address=address)
    wait_for(lambda: any(space.artifacts.rglob("started")))
    os.killpg(process.pid, signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert f"the Ray cluster at '{address}' went away" in said
    assert "what was finished is kept, the same command goes on from there" in said
    assert newest(space).status == "FAILED"
    wait_for(lambda: not [pid for pid in processes_of(space) if pid != process.pid])
