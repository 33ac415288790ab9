"""Getting to a Ray: one that comes up for this run, or a cluster that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

from genpipe.errors import GenpipeError, Interrupted, UsageError
from genpipe.execution.reach import CLIENT, CLIENT_PORT, reach, send_token_if_there_is_one, unreachable

LATE = "timed out during startup"  # on a busy machine; Ray has no class for it, and waits for 30 seconds
SHUTDOWN_SECONDS = 10.0
WORKER_DIED = "^A worker died or was killed"  # how a paragraph begins that Ray prints on stdout


def prepare(address: str | None) -> None:
    """Settings that Ray reads once, when it is imported; UsageError where it is not installed."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", WORKER_DIED)  # the step's error says it, in a line
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address:
        send_token_if_there_is_one()
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
        reach(address)
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    with _signal_handlers_kept():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            raise told(address, error) from error
        except Exception as error:
            if LATE not in str(error):
                raise
            raise told(address, error) from error
    return True


def gcs_address() -> str:
    """host:port of the head of the cluster that this process is connected to."""
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address


def leave() -> None:
    """Disconnects; time-boxed, since a raylet that hangs must not keep the command from ending."""
    import ray

    closing = threading.Thread(target=ray.shutdown, daemon=True)
    closing.start()
    closing.join(SHUTDOWN_SECONDS)


def told(address: str | None, error: Exception) -> GenpipeError:
    """What Ray raises while it connects, for a person."""
    text = str(error.__cause__ or error)
    lines = text.strip().splitlines() or [type(error).__name__]
    first = lines[-1 if "Traceback (most recent" in text else 0]
    if address is None:
        return GenpipeError(f"Ray did not start: {first}")
    versions = re.findall(r"(Ray|Python): (\S+)", text) if "ersion mismatch" in text else []
    if len(versions) == 4:  # the cluster's, then those here
        there, here = (" and ".join(f"{k} {v}" for k, v in pair) for pair in (versions[:2], versions[2:]))
        return GenpipeError(
            f"the Ray cluster at '{address}' runs {there}, and here is {here}: they must be the same. "
            f"Install the cluster's here, or run inside the cluster with `genpipe submit`"
        )
    if "InvalidAuthToken" in text:  # though `reach` was let in
        first = "it asks for a token, which Ray sends only where RAY_AUTH_MODE=token is set before Ray is imported"
    if "No node info found" in text:
        client = f"{CLIENT}{address.rpartition(':')[0] or 'HEAD'}:{CLIENT_PORT}"
        first = (
            f"this machine is none of its nodes. From outside, use {client}, or `genpipe submit` with its "
            "dashboard's address"
        )
    return unreachable(address, first)


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
