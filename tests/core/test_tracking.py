"""Tracking against a real sqlite store and a real MLflow server; down, dying, and catching up."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from genpipe import api
from genpipe.errors import GenpipeError, StepFailed
from genpipe.runs import all_runs
from genpipe.tracking import tracker
from genpipe.tracking.facts import collect
from genpipe.tracking.journal import Journal, flat, read_events
from genpipe.tracking.mlflow_sender import Cursor, Sender, make_client, unsent
from genpipe.tracking.tracker import sync
from genpipe.workspace import Workspace

# A command whose tracker is given all the time that a busy machine takes.
PATIENT = """
import sys
from genpipe.cli import main
from genpipe.tracking import tracker
tracker.CLOSE_SECONDS = 600
main()
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Trackers have all the time that they need, and none is left behind for other tests."""
    monkeypatch.setattr(tracker, "CLOSE_SECONDS", 600)
    yield
    for thread in threading.enumerate():
        if thread.name == "tracker":
            thread.join(600)


@pytest.fixture
def nobody():
    """An address that is refused: the port is taken, and nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store without runs, which takes MLflow a second to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    make_client(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def new_space(tmp_path):
    return Workspace.choose(tmp_path / ".genpipe")


@pytest.fixture
def space(new_space, empty_store):
    """A workspace that has been tracked in before."""
    new_space.root.mkdir()
    shutil.copyfile(empty_store, new_space.tracking_uri.removeprefix("sqlite:///"))
    return new_space


@pytest.fixture
def run(plugins, toy_recipe, space):
    recipe = toy_recipe()

    def start(*overrides, **options):
        return api.run(recipe, overrides, workspace=space.root, executor="inline", progress=False, **options)

    return start


def tracked(uri, run):
    """Parent run and step → child run, as the tracker has them."""
    client, experiment = make_client(uri, None)
    runs = client.search_runs([experiment], f"tags.`genpipe.run` = '{run.id}'")
    children = {r.data.tags["genpipe.step"]: r for r in runs if "mlflow.parentRunId" in r.data.tags}
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert all(c.data.tags["mlflow.parentRunId"] == parent.info.run_id for c in children.values())
    return client, parent, children


def send_the_rest(space):
    """Nothing is left to send, unless the server was slow; then the run's own thread may still be at it."""
    deadline = time.monotonic() + 600
    while unsent_now := list(unsent(space)):
        assert time.monotonic() < deadline, f"not sent: {unsent_now}"
        sync(space)
        time.sleep(0.1)


def test_a_run_is_tracked_whole(run, space):
    finished = run("left.num_reports=4", "left.value=2")
    client, parent, children = tracked(space.tracking_uri, finished)
    assert parent.info.status == "FINISHED"
    assert {name: c.info.status for name, c in children.items()} == dict.fromkeys(("left", "right", "sum"), "FINISHED")
    assert parent.data.params["left.value"] == "2.0"
    assert parent.data.params["nested.default_family.name"] == "toy_family"
    assert parent.data.metrics["left.value"] == 2
    assert parent.data.tags["genpipe.version.torch"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"recipe.yaml", "environment.json"}
    history = client.get_metric_history(children["left"].info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    assert list(unsent(space)) == []


def test_first_runs_side_by_side_and_one_killed_in_between_leave_a_store_that_works(plugins, toy_recipe, new_space):
    space = new_space
    command = [sys.executable, "-c", PATIENT, "run", str(toy_recipe()), "left.seconds=1", "--executor", "inline"]
    (space.root / ".mlflow.db.making").parent.mkdir()
    (space.root / ".mlflow.db.making").write_bytes(b"of one that was killed")
    with ThreadPoolExecutor() as pool:
        answers = list(
            pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, cwd=space.root.parent), range(2))
        )
    for answer in answers:
        said = [line for line in answer.stderr.splitlines() if "is not taking runs" in line]
        assert all("database is locked" in line for line in said), said  # by the other one, for long
    sync(space)
    for run in all_runs(space):
        assert tracked(space.tracking_uri, run)[1].info.status == "FINISHED"


def test_failures_are_tracked_with_their_log(run, space):
    with pytest.raises(StepFailed):
        run("right.then=bug")
    failed = api.find_run(space, "last")
    client, parent, children = tracked(space.tracking_uri, failed)
    assert (parent.info.status, children["right"].info.status, children["left"].info.status) == (
        "FAILED",
        "FAILED",
        "FINISHED",
    )
    assert "one over none" in parent.data.tags["genpipe.error"]
    assert "right.log" in {f.path for f in client.list_artifacts(children["right"].info.run_id)}


def test_reused_steps_start_no_tracker_and_are_sent_by_the_next_sync(run, space):
    run()
    cached = run()
    assert [f.name for f in unsent(space)] == [cached.id]
    assert sync(space) == [cached.id]
    _, parent, children = tracked(space.tracking_uri, cached)
    assert parent.info.status == "FINISHED"
    assert children["left"].data.tags["genpipe.cached"] == "true"
    assert sync(space) == []


def test_a_tracker_that_is_down_delays_nothing_is_told_once_and_catches_up(run, space, caplog, nobody):
    finished = run("left.num_reports=4", tracking=nobody)
    assert finished.status == "FINISHED"
    assert len([r for r in caplog.records if "is not taking runs" in r.message]) == 1
    assert Cursor.read(finished.folder).uri == nobody
    assert sync(space, space.tracking_uri) == [finished.id]
    assert tracked(space.tracking_uri, finished)[1].info.status == "FINISHED"


def test_sending_twice_gives_the_same_runs(run, space):
    finished = run("left.num_reports=4")
    before = tracked(space.tracking_uri, finished)
    (finished.folder / "tracking.json").unlink()  # as if killed before any of it was noted
    Cursor.begin(finished.folder, space.tracking_uri)
    assert sync(space) == [finished.id]
    after = tracked(space.tracking_uri, finished)
    assert before[1].info.run_id == after[1].info.run_id
    assert {n: c.info.run_id for n, c in before[2].items()} == {n: c.info.run_id for n, c in after[2].items()}
    child = after[2]["left"].info.run_id
    assert len(after[0].get_metric_history(child, "loss")) == len(before[0].get_metric_history(child, "loss"))


def test_a_journal_cut_short_is_sent_up_to_its_last_whole_line(run, space):
    finished = run(tracking="off")
    Journal({}).run_started(finished)
    journal = finished.folder / "events.jsonl"
    whole = journal.stat().st_size
    with journal.open("a") as file:
        file.write('{"event": "step_sta')
    events, offset = read_events(finished.folder, 0)
    assert ([e["event"] for e in events], offset) == (["run_started"], whole)


@pytest.mark.parametrize("damage", [b"", b'{"offs', b"[1]", b"\0\0"])
def test_a_damaged_cursor_sends_the_journal_again(run, space, damage):
    finished = run()
    before = tracked(space.tracking_uri, finished)[1]
    (finished.folder / "tracking.json").write_bytes(damage)
    assert sync(space) == [finished.id]
    assert tracked(space.tracking_uri, finished)[1].info.run_id == before.info.run_id


@pytest.mark.parametrize("lost", ["step_started", "metrics", "step_finished"])
def test_a_damaged_line_costs_no_more_than_itself(run, space, caplog, nobody, lost):
    finished = run("left.num_reports=4", tracking=nobody)
    journal = finished.folder / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    worst = next(i for i, line in enumerate(lines) if f'"{lost}"'.encode() in line)
    lines[worst] = lines[worst][:20] + b"\n"
    journal.write_bytes(b"".join(lines))
    assert sync(space, space.tracking_uri) == [finished.id]
    assert "has a damaged line" in caplog.text
    _, parent, children = tracked(space.tracking_uri, finished)
    assert parent.info.status == "FINISHED"
    assert set(children) == {"left", "right", "sum"}


def test_a_journal_without_its_beginning_holds_up_no_other(run, space, caplog):
    lost, whole = run(), run()
    events = (lost.folder / "events.jsonl").read_bytes()
    (lost.folder / "events.jsonl").write_bytes(events.partition(b"\n")[2])
    (lost.folder / "tracking.json").unlink()
    sync(space)
    assert "lost its beginning" in caplog.text
    assert list(unsent(space)) == []
    assert tracked(space.tracking_uri, whole)[1].info.status == "FINISHED"


@pytest.mark.parametrize("tracking", ["off", None])
def test_a_run_that_was_killed_is_closed_by_the_next_and_tracked_if_it_was(run, space, tracking):
    killed = run(tracking=tracking)
    journal = killed.folder / "events.jsonl"
    if tracking is None:
        journal.write_bytes(journal.read_bytes()[:-20])  # in the middle of its last line
        (killed.folder / "tracking.json").unlink()
    killed.status, killed.pid = "RUNNING", 2**22 + 1  # above any process's number
    killed.save()
    run(tracking=tracking)
    assert api.find_run(space, killed.id).status == "KILLED"
    assert sync(space, space.tracking_uri) == ([] if tracking == "off" else [killed.id, api.find_run(space, "last").id])
    if tracking is None:
        assert tracked(space.tracking_uri, killed)[1].info.status == "KILLED"


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert collect()["user"] == str(os.getuid())


def test_a_server_that_hangs_does_not_hold_the_end_up(run, caplog, monkeypatch):
    import mlflow  # noqa: F401  # its import is not the server's doing

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")  # so that only our own limit can end the wait
    with socket.socket() as mute:  # takes connections and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        finished = run(tracking=f"http://127.0.0.1:{mute.getsockname()[1]}")
        assert time.time() - finished.ended < 300
    assert "is not taking runs (it does not answer)" in caplog.text


def test_a_tracker_that_fails_midway_goes_on_where_it_stopped(run, space, nobody):
    finished = run(tracking=nobody)
    client, experiment = make_client(space.tracking_uri, space.tracking_artifacts)

    class Dying:
        """The real client, until its fifth call."""

        calls = 0

        def __getattr__(self, name):
            def call(*arguments, **named):
                Dying.calls += 1
                if Dying.calls > 5:
                    raise ConnectionError("the tracker died")
                return getattr(client, name)(*arguments, **named)

            return call

    with pytest.raises(ConnectionError):
        Sender(Dying(), experiment, space.tracking_uri, finished.folder).send()
    assert sync(space, space.tracking_uri) == [finished.id]
    _, parent, children = tracked(space.tracking_uri, finished)
    assert parent.info.status == "FINISHED"
    assert set(children) == {"left", "right", "sum"}


def test_a_journal_that_the_tracker_refuses_is_named_and_the_others_are_sent(run, space, monkeypatch, nobody):
    first, second = run(tracking=nobody), run("left.value=3", tracking=nobody)
    send = Sender.send

    def refuse_first(sender):
        if sender._folder == first.folder:
            raise ValueError("a value that it does not take")
        return send(sender)

    monkeypatch.setattr(Sender, "send", refuse_first)
    with pytest.raises(GenpipeError, match=f"{first.id} was not taken by sqlite.*\n1 others were sent"):
        sync(space, space.tracking_uri)
    assert tracked(space.tracking_uri, second)[1].info.status == "FINISHED"


def test_metrics_of_any_name_are_taken(run, space):
    finished = run(tracking="off")
    journal = Journal({})
    journal.run_started(finished)
    journal.step_started(finished, "left", "toy_number", "key", False)
    journal.step_progress(finished, "left", 1, {"loss (mean), in [nats]; 50 %": 2.0}, 0.0)
    assert sync(space, space.tracking_uri) == [finished.id]
    _, _, children = tracked(space.tracking_uri, finished)
    assert children["left"].data.metrics == {"loss mean in nats_ 50 percent": 2.0}


class Server:
    """A real MLflow server on a free port, over sqlite, that can be stopped and started again."""

    def __init__(self, folder):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        store = f"sqlite:///{folder / 'server.db'}"
        self._arguments = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "served")]
        self._process = None

    def start(self):
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            *self._arguments,
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, **silent, start_new_session=True)
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def stop(self):
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_a_server_that_is_killed_midway_loses_nothing(run, space, server):
    first = run(tracking=server.uri)
    send_the_rest(space)
    assert tracked(server.uri, first)[1].info.status == "FINISHED"
    stopping = threading.Timer(1.5, server.stop)
    stopping.start()
    second = run("left.seconds=3", tracking=server.uri)
    assert second.status == "FINISHED"
    stopping.join()
    server.start()
    send_the_rest(space)
    client, parent, children = tracked(server.uri, second)
    assert parent.info.status == "FINISHED"
    assert set(children) == {"left", "right", "sum"}
    assert "recipe.yaml" in {f.path for f in client.list_artifacts(parent.info.run_id)}


@pytest.mark.slow
def test_a_server_that_is_stopped_and_started_during_a_run_has_every_metric_in_the_end(
    run, space, server, caplog, tmp_path
):
    def stop_and_start():
        server.stop()
        while "is not taking runs" not in caplog.text:
            time.sleep(0.1)
        server.start()
        (tmp_path / "end").touch()

    threading.Timer(8, stop_and_start).start()
    finished = run("left.num_reports=30", f"left.until={tmp_path / 'end'}", tracking=server.uri)
    assert finished.status == "FINISHED"
    send_the_rest(space)
    client, parent, children = tracked(server.uri, finished)
    assert parent.info.status == "FINISHED"
    told = {}
    for event in read_events(finished.folder, 0)[0]:
        if event["event"] == "metrics":
            for name, value in event["metrics"].items():
                told.setdefault((event["step"], name), []).append((event["at"], value))
    assert sum(map(len, told.values())) > 20
    for (step, name), points in told.items():
        history = client.get_metric_history(children[step].info.run_id, name)
        assert sorted((m.step, m.value) for m in history) == sorted(points)


def test_runs_in_threads_of_one_process_are_told_apart(run):
    with ThreadPoolExecutor() as pool:
        finished = list(pool.map(lambda seed: run("left.num_reports=4", f"seed={seed}"), range(2)))
    for each in finished:
        events = [(e["event"], e.get("step")) for e in read_events(each.folder, 0)[0] if e["event"] != "metrics"]
        assert len(events) == len(set(events)) == 8


def test_nested_parameters_become_dotted_keys():
    nested = {"a": {"b": [1, 2]}, "c": [{"name": "x", "k": 3}, {"name": "y"}], "d": None}
    assert flat(nested) == {"a.b": [1, 2], "c.0.name": "x", "c.0.k": 3, "c.1.name": "y", "d": None}
    json.dumps(flat(nested))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
