"""Talking with a cluster's dashboard: with one that answers as Ray's does, and with what is none."""

import http.server
import json
import threading

import pytest

from genpipe.cli import jobs as commands
from genpipe.errors import GenpipeError, UsageError
from genpipe.submission import dashboard as dashboards
from genpipe.submission.dashboard import ADDRESS_VARIABLE, Dashboard
from genpipe.submission.request import Request

pytest.importorskip("ray.job_submission")


def told(job_id, status, started=0, code=None, recipe="vae", base="vae-1"):
    return {
        "type": "SUBMISSION",
        "submission_id": job_id,
        "status": status,
        "entrypoint": "python -m genpipe run vae.yaml",
        "message": "the head node died\nand more",
        "metadata": {"genpipe_recipe": recipe, "genpipe_id": base} if recipe else {},
        "start_time": started,
        "driver_exit_code": code,
    }


JOBS = [
    told("vae-1", "FAILED", 1000, code=2),
    told("vae-1-2", "SUCCEEDED", 2000, code=0),
    told("mixture-7", "STOPPED", 3000, recipe="mixture", base="mixture-7"),
    told("lost-3", "FAILED", 500, recipe="lost", base="lost-3"),
    told("of-somebody-else", "SUCCEEDED", 4000, recipe=""),
]


class Answers(http.server.BaseHTTPRequestHandler):
    token = ""

    def do_GET(self):
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            return self.answer(401, "Unauthorized: Missing authentication token")
        parts = self.path.strip("/").split("/")
        if parts == ["api", "version"]:
            return self.answer(200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""})
        if parts == ["api", "jobs"]:
            return self.answer(200, JOBS)
        job = next(job for job in JOBS if job["submission_id"] == parts[2])
        return self.answer(200, {"logs": "what it printed\n"} if parts[-1] == "logs" else job)

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.setattr(dashboards, "CONNECT_SECONDS", 300)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    for name in (ADDRESS_VARIABLE, "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")  # so that what a test sets is put back
        monkeypatch.delenv(name)


@pytest.fixture
def serve():
    servers = []

    def start(handler=Answers):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (
            "ray://head:10001",
            "is the address of a Ray client, for `genpipe run`; expected its dashboard's, such as http",
        ),
        ("head:8265", "'head:8265' is no address of a cluster to submit to; expected its dashboard's"),
        ("http://127.0.0.1:1", "no dashboard answers at http://127.0.0.1:1: Connection refused"),
    ],
)
def test_an_address_that_is_none_of_a_dashboard_is_told(address, text):
    with pytest.raises(GenpipeError, match=text):
        Dashboard(address)


def test_something_else_that_answers_is_told(serve):
    with pytest.raises(GenpipeError, match="is no dashboard of Ray \\(HTTP 501\\)"):
        Dashboard(serve(http.server.BaseHTTPRequestHandler))


def test_a_token_that_is_asked_for_is_told(serve):
    address = serve(type("Guarded", (Answers,), {"token": "right"}))
    with pytest.raises(GenpipeError, match=f"the cluster at {address} asks for a token, and there is none here"):
        Dashboard(address)


def test_the_address_that_is_given_is_the_one_that_is_asked(serve, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert len(Dashboard(serve() + "/").jobs()) == 4


def test_jobs_of_genpipe_s_are_listed_newest_first(serve):
    assert [job.id for job in Dashboard(serve()).jobs()] == ["mixture-7", "vae-1-2", "vae-1", "lost-3"]


def test_a_job_is_found_by_id_beginning_and_recipe(serve):
    dashboard = Dashboard(serve())
    assert dashboard.find("vae-1").id == "vae-1"
    assert dashboard.find("mix").id == "mixture-7"
    assert dashboard.find("vae").id == "vae-1-2"
    with pytest.raises(UsageError, match="it begins 2 jobs"):
        dashboard.find("va")
    with pytest.raises(UsageError, match=r"there is no job 'vae-1-3' .*did you mean 'vae-1"):
        dashboard.find("vae-1-3")


@pytest.mark.parametrize(
    ("job", "code", "text"),
    [
        ("vae-1-2", 0, ""),
        ("vae-1", 2, "job vae-1 failed; the same submit goes on from there"),
        ("mixture-7", 143, "job mixture-7 was stopped; the same submit goes on from there"),
        ("lost-3", 1, "job lost-3: FAILED: the head node died"),
    ],
)
def test_attaching_ends_as_the_job_did(serve, capsys, job, code, text):
    try:
        commands.attach([job, "--address", serve()], standalone_mode=False)
        ended = (0, "")
    except GenpipeError as error:
        ended = (error.exit_code, str(error))
    assert ended == (code, text)
    assert capsys.readouterr().out == "what it printed\n"


class Starting:
    """A cluster whose head has no agent yet for the first few who ask."""

    def __init__(self, times, text="No available agent to submit job, please try again later."):
        self.times, self.text, self.asked = times, text, 0

    def submit_job(self, **_):
        self.asked += 1
        if self.asked <= self.times:
            raise RuntimeError(f"Request failed with status code 500: {self.text}")


def submitted(serve, client):
    dashboard = Dashboard(serve())
    dashboard._client = client
    return dashboard.submit(Request(recipe="vae.yaml", entrypoint="python -m genpipe run vae.yaml", files={}), 1)


def test_a_cluster_that_is_only_starting_is_waited_for(serve, monkeypatch):
    monkeypatch.setattr(dashboards, "POLL_SECONDS", 0)
    assert submitted(serve, client := Starting(3)).startswith("vae-")
    assert client.asked == 4
    monkeypatch.setattr(dashboards, "READY_SECONDS", -1)
    with pytest.raises(GenpipeError, match="No available agent"):
        submitted(serve, Starting(3))


def test_what_a_cluster_refuses_is_asked_for_once(serve):
    with pytest.raises(GenpipeError, match="no such entrypoint"):
        submitted(serve, client := Starting(1, "no such entrypoint"))
    assert client.asked == 1


def test_a_cluster_is_asked_for_where_none_is_given():
    with pytest.raises(UsageError, match="which cluster\\? Give its dashboard's address"):
        commands.jobs([], standalone_mode=False)
