"""Getting to a Ray: one that comes up for this run, or a cluster that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genpipe.errors import GenpipeError, Interrupted, UsageError

CONNECT_SECONDS = 5.0
SHUTDOWN_SECONDS = 10.0
WORKER_DIED = "^A worker died or was killed"  # how a paragraph begins that Ray prints on stdout


def prepare(address: str | None) -> None:
    """Settings that Ray reads once, when it is imported; UsageError where it is not installed."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", WORKER_DIED)  # the step's error says it, in a line
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address:
        _send_token_if_there_is_one()
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UsageError("Ray is not installed; `--executor inline` runs the steps in this process") from None


def connect(address: str | None) -> bool:
    """Connects this process, after `prepare`; False where it was connected already, and is not ours to leave.

    GenpipeError where the cluster cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    if address:
        _reach(address)
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    with _signal_handlers_kept():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"the Ray cluster at '{address}' cannot be reached" if address else "Ray did not start"
            raise GenpipeError(f"{where}: {str(error).splitlines()[0]}") from error
    return True


def leave() -> None:
    """Disconnects; time-boxed, since a raylet that hangs must not keep the command from ending."""
    import ray

    closing = threading.Thread(target=ray.shutdown, daemon=True)
    closing.start()
    closing.join(SHUTDOWN_SECONDS)


def _reach(address: str) -> None:
    """GenpipeError where nothing listens at host:port; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise GenpipeError(f"the Ray cluster at '{address}' cannot be reached: {error.strerror or error}") from error


def _send_token_if_there_is_one() -> None:
    """Since 2.60 `ray start` asks for a token where one exists, but `ray.init(address)` sends it only if told to."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if "RAY_AUTH_TOKEN" in os.environ or token.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """`ray.init` puts its own SIGTERM handler in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as error:  # what Ray's handler does
        raise Interrupted(signal.SIGTERM) from error
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
