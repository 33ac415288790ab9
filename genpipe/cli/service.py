"""Commands around runs: `track sync`, `ui`, `doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import click

from genpipe.api import tracking_uri
from genpipe.cli.run import store_option
from genpipe.errors import GenpipeError, UsageError
from genpipe.workspace import Workspace

NUM_PROBE_REQUESTS = 3


@click.group()
def track() -> None:
    """Send to the tracker what it could not take."""


@track.command("sync")
@click.option("--tracking", metavar="URI", help="Send there instead of where the runs were meant to go.")
@click.pass_obj
def sync_command(workspace: str | None, tracking: str | None) -> None:
    """Replay the journals of runs that the tracker has not fully got."""
    from genpipe.tracking.tracker import in_a_line, sync

    try:
        sent = sync(Workspace.choose(workspace), tracking)
    except GenpipeError:
        raise
    except Exception as error:  # MLflow and its drivers raise many kinds
        raise GenpipeError(f"the tracker does not take runs: {in_a_line(error)}") from error
    for run_id in sent:
        click.echo(f"sent {run_id}")
    if not sent:
        click.echo("nothing to send")


@click.command()
@click.option("--port", default=5000, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.pass_obj
def ui(workspace: str | None, port: int, host: str) -> None:
    """Start the MLflow UI on the workspace's runs; Ctrl-C ends it."""
    space = Workspace.choose(workspace)
    uri = tracking_uri(None, space)
    if uri is None or not uri.startswith("sqlite"):
        raise UsageError(f"runs are tracked at {uri}, which has a UI of its own" if uri else "tracking is off")
    if not (space.root / "mlflow.db").exists():
        raise UsageError(f"workspace {space.root} has no tracked runs yet")
    click.echo(f"http://{host}:{port}  (Ctrl-C ends it)")
    arguments = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *arguments])


@click.command()
@store_option
@click.pass_obj
def doctor(workspace: str | None) -> None:
    """Check the installation, the compiled core and the machine; exit code 1 where something is wrong."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()} on {platform.platform()}"),
        ("compiled core", _compiled_core),
        ("machine", _machine),
        ("plugins", _plugins),
        ("ray", lambda: _package("ray")),
        ("mlflow", lambda: _package("mlflow")),
        ("workspace", lambda: _workspace(Workspace.choose(workspace))),
        ("store", lambda: _store(Workspace.choose(workspace))),
    ]
    failed = 0
    for name, check in checks:
        try:
            answer, mark = check(), click.style("ok  ", fg="green")
        except Exception as error:  # a doctor tells of whatever is broken
            answer, mark = (
                f"{type(error).__name__}: {error}" if not isinstance(error, GenpipeError) else str(error),
                click.style("FAIL", fg="red"),
            )
            failed += 1
        first, *rest = answer.splitlines() or [""]
        click.echo(f"{mark}  {name:<14} {first}")
        for line in rest:
            click.echo(f"{'':<20} {line}")
    if failed:
        raise GenpipeError(f"{failed} of {len(checks)} checks failed")


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise GenpipeError(f"{name} is not installed (pip install {name})") from None


def _compiled_core() -> str:
    from genpipe._build import build_info

    return str(build_info())


def _machine() -> str:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} CPUs, {', '.join(gpus) if gpus else 'no GPU'}, torch {torch.__version__}"


def _plugins() -> str:
    from genpipe.registry import registry

    plugins = registry()
    if plugins.broken:
        raise GenpipeError("\n".join(str(broken) for broken in plugins.broken))
    return f"{len(plugins.plugins)} found, none broken"


def _workspace(space: Workspace) -> str:
    place = space.root if space.root.exists() else space.root.parent
    if not os.access(place, os.W_OK):
        raise GenpipeError(f"{place} cannot be written")
    free = shutil.disk_usage(place).free / 2**30
    if free < 1:
        raise GenpipeError(f"{space.root}: only {free:.1f} GiB free")
    return f"{space.root}, {free:.0f} GiB free"


def _store(space: Workspace) -> str:
    if space.store is None:
        return "none (GENPIPE_STORE, --store)"
    started = time.perf_counter()
    space.store.probe()
    milliseconds = 1000 * (time.perf_counter() - started) / NUM_PROBE_REQUESTS
    return f"{space.store.address} takes writes, {milliseconds:.0f} ms a request"
