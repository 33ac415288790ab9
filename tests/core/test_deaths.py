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
from genpipe.execution import connect, pulse
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
    for _ in range(10):
        with (tmp_path / "samples.ranges.jsonl").open("a") as file:
            file.write("one more\n")
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
    _, said = run.communicate(timeout=400)
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
def test_a_step_that_hangs_shows_where_in_its_log_and_is_stopped_if_asked_for(start, space):
    run = start("right.then=hang", **{"step-timeout": "4"})
    _, said = run.communicate(timeout=400)
    assert run.returncode == 1
    assert "right        no sign of life for 4 s; the stacks of its threads are in" in said
    assert "step 'right' failed: it hung and was stopped, 3 times in a row without getting further" in said
    log = newest(space).log("right").read_text()
    assert 'toy_parts.py", line' in log
    assert "in number" in log


class Clocks:
    """The clocks that pulses are told by, which stand still until they are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = self.processor_seconds = 0.0
        monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(pulse, "time", self)

    def monotonic(self) -> float:
        return self.seconds

    def process_time(self) -> float:
        return self.processor_seconds


@pytest.mark.parametrize("sign", ["reports", "processor time"])
def test_a_pulse_goes_on_where_something_is_done_and_stops_where_nothing_is(tmp_path, monkeypatch, sign):
    clocks, progress, stalls = Clocks(monkeypatch), tmp_path / "a.progress.jsonl", pulse.Stalls(100.0)
    stalls.watch(progress)
    clocks.seconds = 1000.0
    assert stalls.found() == []  # it has not begun: it waits for its turn on the cluster
    count = tmp_path / "a.pulse"
    with (tmp_path / "a.log").open("a") as log, pulse.pulsing(progress, log, 3600.0):
        for _ in range(5):
            wait_for(lambda: count.exists() and count.read_text())
            assert stalls.found() == []
            before = count.read_text()
            with progress.open("a") as reports:
                reports.write("here\n" if sign == "reports" else "")
            clocks.processor_seconds += sign == "processor time"
            wait_for(lambda before=before: count.read_text() not in ("", before))
            clocks.seconds += 99.0
        assert stalls.found() == []
        clocks.seconds += 101.0
        assert stalls.found() == [progress]
        assert stalls.found() == []  # it is told again only after as long again
    assert (tmp_path / "a.log").read_text() == ""


def test_a_step_that_does_nothing_leaves_its_stacks_in_its_log(tmp_path, monkeypatch):
    Clocks(monkeypatch)
    with (tmp_path / "a.log").open("a") as log, pulse.pulsing(tmp_path / "a.progress.jsonl", log, 0.1):
        wait_for(lambda: "test_a_step_that_does_nothing" in (tmp_path / "a.log").read_text())


@pytest.mark.slow
def test_what_is_made_elsewhere_is_waited_for_without_a_cpu(start, space, head):
    address, _ = head
    first = start("left.seconds=40", address=address)
    wait_for(lambda: any(space.artifacts.rglob("started")))
    second = start("left.seconds=40", "right.value=2", "sum.weights=[2,2]", address=address)
    wait_for(lambda: len(list(all_runs(space))) == 2 and newest(space).log("left").exists())
    assert "the same is being made elsewhere" in newest(space).log("left").read_text()
    wait_for(lambda: newest(space).steps["right"].status == "FINISHED")
    assert first.poll() is None
    for run in (first, second):
        assert run.wait(400) == 0
    assert [run.progress("left").exists() for run in all_runs(space)] == [False, True]


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
    wait_for(lambda: not any(is_taken(lock.with_suffix("")) for lock in (space.root / "scratch").glob("*.lock")), 20)
    again = start("left.seconds=0.5", address=address)
    assert again.wait(400) == 0


@pytest.mark.slow
def test_a_cluster_that_vanishes_ends_the_run_clearly_and_in_time(start, space, head):
    address, process = head
    run = start("left.seconds=600", address=address)
    wait_for(lambda: any(space.artifacts.rglob("started")))
    os.killpg(process.pid, signal.SIGKILL)
    _, said = run.communicate(timeout=400)
    assert run.returncode == 1
    assert f"the Ray cluster at '{address}' went away" in said
    assert "what was finished is kept, the same command goes on from there" in said
    assert newest(space).status == "FAILED"
    wait_for(lambda: not [pid for pid in processes_of(space) if pid != process.pid])
