"""What is told of an address where no Ray cluster takes us, by services that answer as Ray's do."""

import http.server
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from genpipe.errors import GenpipeError, UsageError
from genpipe.execution.connect import told
from genpipe.execution.reach import CLIENT_CALL, GCS_CALL, reach, send_token_if_there_is_one

grpc = pytest.importorskip("grpc")

TOKEN = "right"


@pytest.fixture(autouse=True)
def no_token(monkeypatch, tmp_path):
    monkeypatch.setattr("genpipe.execution.reach.CONNECT_SECONDS", 300)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that it is put back after a test that sets it
        monkeypatch.delenv(name)


class Service(grpc.GenericRpcHandler):
    """Answers one call, to those who have the token."""

    def __init__(self, call, token):
        self.call, self.token = call, token

    def service(self, details):
        if details.method != self.call:
            return None  # gRPC says UNIMPLEMENTED
        known = ("authorization", f"Bearer {self.token}") in details.invocation_metadata

        def answer(request, context):
            if self.token and not known:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Authentication token is missing or incorrect")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def serve():
    """Starts a service of Ray's; gives its host:port."""
    servers = []

    def start(call, token=None):
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((Service(call, token),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://head:8265", "'http://head:8265' is a dashboard's address, for `genpipe submit`; expected host:port"),
        ("head", "'head' is no address of a Ray cluster; expected host:port of the cluster"),
        ("head:six", "'head:six' is no address"),
        (":6379", "':6379' is no address"),
        ("10.0.0.1:66000", "'10.0.0.1:66000' is no address"),
        ("ray://head", "'ray://head' is no address"),
    ],
)
def test_what_is_no_address_is_told_before_anything_is_tried(address, text):
    with pytest.raises(UsageError, match=text):
        reach(address)


def test_an_address_where_nobody_listens_is_told_in_seconds():
    with pytest.raises(GenpipeError, match=r"the Ray cluster at 'ray://127\.0\.0\.1:1' cannot be reached: Connection"):
        reach("ray://127.0.0.1:1")


def test_a_cluster_that_answers_is_reached(serve):
    reach(serve(GCS_CALL))
    reach(f"ray://{serve(CLIENT_CALL)}")
    reach("auto")


def test_the_other_of_a_cluster_s_two_ports_is_named(serve):
    gcs, client = serve(GCS_CALL), serve(CLIENT_CALL)
    with pytest.raises(GenpipeError, match=f"what answers there is to be addressed as ray://{client}$"):
        reach(client)
    with pytest.raises(GenpipeError, match=f"what answers there is to be addressed as {gcs}$"):
        reach(f"ray://{gcs}")


def test_a_port_of_something_else_is_told():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(GenpipeError, match="what answers there is no Ray cluster; expected host:port"):
            reach(f"127.0.0.1:{server.server_port}")
        server.shutdown()


@pytest.mark.parametrize(("call", "scheme"), [(GCS_CALL, ""), (CLIENT_CALL, "ray://")])
def test_a_token_that_is_missing_held_back_or_wrong_is_told(serve, monkeypatch, tmp_path, call, scheme):
    address = f"{scheme}{serve(call, TOKEN)}"
    send_token_if_there_is_one()
    with pytest.raises(GenpipeError, match="asks for a token, and there is none here: the token of the cluster's head"):
        reach(address)
    (tmp_path / "token").write_text("wrong\n")
    send_token_if_there_is_one()
    with pytest.raises(GenpipeError, match=rf"does not take the token of {tmp_path / 'token'}"):
        reach(address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(GenpipeError, match="does not take the token of RAY_AUTH_TOKEN"):
        reach(address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    reach(address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(GenpipeError, match="asks for a token, and RAY_AUTH_MODE=disabled keeps it from being sent"):
        reach(address)


def test_another_version_of_ray_or_python_is_told_with_what_is_here_and_there():
    raised = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.55.0\n    Python: 3.11.7\n"
        "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
    )
    assert str(told("head:6379", RuntimeError(raised))) == (
        "the Ray cluster at 'head:6379' runs Ray 2.55.0 and Python 3.11.7, and here is Ray 2.60.0 and Python 3.12.1: "
        "they must be the same. Install the cluster's here, or run inside the cluster with `genpipe submit`"
    )


def test_a_ray_that_was_imported_before_it_was_told_of_tokens_is_told():
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError(
        "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n"
        "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: missing"
    )
    assert "only where RAY_AUTH_MODE=token is set before Ray is imported" in str(told("10.0.0.1:6379", error))


def test_a_driver_outside_of_the_cluster_is_told_how_to_get_in():
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError("No node info found matching attributes: '' when trying to resolve node")
    assert str(told("10.0.0.1:6379", error)) == (
        "the Ray cluster at '10.0.0.1:6379' cannot be reached: this machine is none of its nodes. "
        "From outside, use ray://10.0.0.1:10001, or `genpipe submit` with its dashboard's address"
    )
