"""Whether a Ray cluster answers at an address and takes our token: asked in milliseconds.

`ray.init` waits 20 to 120 seconds at a wrong port or with a wrong token, and then says neither.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from genpipe.errors import GenpipeError, UsageError

CONNECT_SECONDS = 5.0
CLIENT = "ray://"
GCS_PORT, CLIENT_PORT = 6379, 10001  # where `ray start --head` has them unless told otherwise

# A call that each of Ray's services answers without arguments. The paths are Ray's wire format, older than 2.0.
GCS_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"
CLIENT_CALL = "/ray.rpc.RayletDriver/ClusterInfo"

PLACES = f"host:port of the cluster ({GCS_PORT} unless set otherwise), ray://host:port ({CLIENT_PORT}) or auto"


def reach(address: str) -> None:
    """Returns where a Ray cluster answers at `address`. What Ray looks up by itself ("auto") is left to it.

    UsageError for what is no address, GenpipeError where no cluster answers or it does not take the token.
    """
    if re.match(r"https?://", address):
        raise UsageError(f"'{address}' is a dashboard's address, for `genpipe submit`; expected {PLACES}")
    if address in ("auto", "local") or ("://" in address and not address.startswith(CLIENT)):
        return
    host, colon, port = address.removeprefix(CLIENT).rpartition(":")
    port = port.rstrip("/")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{address}' is no address of a Ray cluster; expected {PLACES}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise unreachable(address, error.strerror or str(error)) from error
    _knock(address, f"{host}:{port}")


def unreachable(address: str, why: str) -> GenpipeError:
    return GenpipeError(f"the Ray cluster at '{address}' cannot be reached: {why}")


def _knock(address: str, target: str) -> None:
    try:
        import grpc
    except ImportError:
        return  # a Ray without its optional parts: it will find out by itself, slowly
    calls = [CLIENT_CALL, GCS_CALL] if address.startswith(CLIENT) else [GCS_CALL, CLIENT_CALL]
    asked, other = (_answer(target, call) for call in calls)
    if asked == grpc.StatusCode.UNAUTHENTICATED:
        raise GenpipeError(f"the Ray cluster at '{address}' {token_mistake()}")
    if asked == grpc.StatusCode.UNAVAILABLE:
        raise unreachable(address, f"what answers there is no Ray cluster; expected {PLACES}")
    if asked == grpc.StatusCode.DEADLINE_EXCEEDED:
        raise unreachable(address, f"it did not answer within {CONNECT_SECONDS:g} seconds")
    if asked == grpc.StatusCode.UNIMPLEMENTED and other != asked:
        right = target if address.startswith(CLIENT) else f"{CLIENT}{target}"
        raise unreachable(address, f"what answers there is to be addressed as {right}")


def _answer(target: str, call: str) -> object:
    """The gRPC status that a call ends with."""
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if (token := token_to_send()) else []
    # clusters are addressed directly, as Ray does it
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(call)(b"", timeout=CONNECT_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()


def token_to_send() -> str | None:
    """The token that Ray sends along, if it sends one."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    try:
        return token_file().read_text().strip() or None
    except OSError:
        return None


def send_token_if_there_is_one() -> None:
    """Since 2.60 `ray start` asks for a token where one exists, but `ray.init(address)` sends it only if told to."""
    if "RAY_AUTH_TOKEN" in os.environ or token_file().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def token_mistake() -> str:
    where = "the token of the cluster's head node (its ~/.ray/auth_token) belongs into the same file here"
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode and mode.lower() != "token":
        return f"asks for a token, and RAY_AUTH_MODE={mode} keeps it from being sent"
    if token_to_send() is None:
        return f"asks for a token, and there is none here: {where}, or into RAY_AUTH_TOKEN"
    source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_file())
    return f"does not take the token of {source}: {where}, or into RAY_AUTH_TOKEN"
