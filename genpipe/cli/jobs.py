"""`genpipe submit`, `jobs`, `attach` and `cancel`: recipes that run on a cluster as Ray jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from genpipe.cli.catalogue import print_table
from genpipe.cli.run import choice_options
from genpipe.display import duration
from genpipe.errors import GenpipeError, UsageError
from genpipe.plan import Choice
from genpipe.recipe import load_recipe
from genpipe.registry import registry

if TYPE_CHECKING:
    from genpipe.submission.dashboard import Dashboard, RemoteJob

VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--address",
        metavar="URL",
        help="The cluster's dashboard, such as http://host:8265.  [default: $RAY_API_SERVER_ADDRESS]",
    )(command)


def _dashboard(address: str | None) -> Dashboard:
    given = address or next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    if not given:
        raise UsageError("which cluster? Give its dashboard's address: --address http://host:8265")
    from genpipe.submission.dashboard import Dashboard

    return Dashboard(given)


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@address_option
@click.option(
    "--workspace",
    metavar="PATH",
    help="Folder for artifacts and runs, as all nodes of the cluster see it.  [default: the nodes' $GENPIPE_HOME]",
)
@choice_options
@click.option("--tracking", metavar="URI", help="MLflow URI, as the cluster reaches it, or 'off'.")
@click.option("--store", metavar="ADDRESS", help="Keep artifacts there too, such as s3://bucket/genpipe.")
@click.option("--include", multiple=True, metavar="PATH", help="Send this file, folder or plugin's wheel along.")
@click.option("--env", "settings", multiple=True, metavar="NAME=VALUE", help="Set a variable, which is no secret.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME", help="Needs this variable, which the nodes have.")
@click.option("--again", is_flag=True, help="Run it again, though the same was submitted before.")
@click.option("--detach", is_flag=True, help="Do not wait for it.")
def submit(
    recipe: str,
    overrides: Sequence[str],
    address: str | None,
    workspace: str | None,
    fresh: bool,
    from_step: str | None,
    to_step: str | None,
    tracking: str | None,
    store: str | None,
    include: Sequence[str],
    settings: Sequence[str],
    secrets: Sequence[str],
    again: bool,
    detach: bool,
) -> None:
    """Run RECIPE on a Ray cluster as a job, and show what it prints.

    The same command again attaches to the job that runs; where that failed or was stopped, it goes on from there.
    Ctrl-C leaves the job running.
    """
    from genpipe.submission.request import make_request

    request = make_request(
        load_recipe(recipe, overrides, registry=registry()),
        workspace=workspace,
        choice=Choice(fresh=fresh, from_step=from_step, to_step=to_step),
        tracking=tracking,
        store=store,
        include=include,
        settings=settings,
        secrets=secrets,
    )
    dashboard = _dashboard(address)
    attempts = dashboard.attempts(request)
    last = attempts[0] if attempts else None
    if last is not None and not again and (last.is_done or not last.is_over):
        job_id, what = last.id, "was submitted before; --again runs it again" if last.is_over else "runs already"
        _note(f"job {job_id} {what}")
    else:
        job_id = dashboard.submit(request, len(attempts) + 1)
        goes_on = ", which goes on where the last one ended" if last is not None and not last.is_done else ""
        _note(f"submitted job {job_id}{goes_on}")
    if detach:
        _note(_how_to(job_id, dashboard))
    else:
        _follow(dashboard, job_id)


@click.command()
@address_option
def jobs(address: str | None) -> None:
    """List the jobs that genpipe submitted to a cluster, newest first."""
    dashboard = _dashboard(address)
    found = dashboard.jobs()
    if not found:
        click.echo(f"no jobs of genpipe's at {dashboard.address}")
        return
    print_table(("job", "recipe", "status", "started", "took"), [_row(job) for job in found])


def _row(job: RemoteJob) -> tuple[str, ...]:
    if job.started is None:
        return job.id, job.recipe, job.status, "", ""
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
    return job.id, job.recipe, job.status, started, duration((job.ended or time.time()) - job.started)


@click.command()
@click.argument("job_id", metavar="JOB")
@address_option
def attach(job_id: str, address: str | None) -> None:
    """Show what JOB (an id, the beginning of one, or a recipe's name) printed, and follow it to its end."""
    dashboard = _dashboard(address)
    _follow(dashboard, dashboard.find(job_id).id)


@click.command()
@click.argument("job_id", metavar="JOB")
@address_option
def cancel(job_id: str, address: str | None) -> None:
    """Stop JOB. What its run had finished is kept; the same submit goes on from there."""
    dashboard = _dashboard(address)
    job = dashboard.find(job_id)
    if job.is_over or not dashboard.cancel(job):
        click.echo(f"job {job.id} is over: {job.status}")
    else:
        click.echo(f"stopping job {job.id}")


def _follow(dashboard: Dashboard, job_id: str) -> None:
    """Shows a job to its end and ends as it did; Ctrl-C leaves it."""
    from genpipe.submission.dashboard import FAILED, STOPPED, STOPPED_CODE, SUCCEEDED

    try:
        job = dashboard.follow(job_id, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        _note(f"\nleft job {job_id}, which goes on; {_how_to(job_id, dashboard)}")
        return
    if job.status == SUCCEEDED:
        return
    if job.status == STOPPED:
        error = GenpipeError(f"job {job_id} was stopped; the same submit goes on from there")
        error.exit_code = STOPPED_CODE
    elif job.status == FAILED and job.exit_code:
        error = GenpipeError(f"job {job_id} failed; the same submit goes on from there")
        error.exit_code = job.exit_code
    else:
        error = GenpipeError(
            f"job {job_id}: {job.status}: {(job.message.strip().splitlines() or ['the cluster does not say why'])[0]}"
        )
    raise error


def _how_to(job_id: str, dashboard: Dashboard) -> str:
    commands = [f"genpipe {verb} {job_id} --address {dashboard.address}" for verb in ("attach", "cancel")]
    return f"`{commands[0]}` follows it, `{commands[1]}` stops it"


def _note(text: str) -> None:
    click.echo(text, err=True)
