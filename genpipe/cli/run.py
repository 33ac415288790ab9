"""`genpipe run`, `plan` and `resume`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from genpipe.api import TRACKING_OFF, run_recipe, tracking_uri
from genpipe.dead_runs import close_dead_runs
from genpipe.errors import StepFailed, UsageError
from genpipe.plan import Choice, Plan, make_plan
from genpipe.recipe import Recipe, load_recipe
from genpipe.registry import registry
from genpipe.runs import Run, find_run
from genpipe.workspace import STORE_VARIABLE, Workspace

Decorated = Callable[..., Any]


def choice_options(command: Decorated) -> Decorated:
    """--fresh, --from, --to."""
    command = click.option("--to", "to_step", metavar="STEP", help="Stop after this step.")(command)
    command = click.option("--from", "from_step", metavar="STEP", help="Redo this step and what follows it.")(command)
    return click.option("--fresh", is_flag=True, help="Redo every step.")(command)


def _set_store(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ[STORE_VARIABLE] = value  # as if it had been there: what this command starts sees it too


store_option = click.option(
    "--store",
    metavar="ADDRESS",
    help="Keep artifacts and checkpoints there too: s3://bucket/genpipe, file:///mnt/x, …  [default: $GENPIPE_STORE]",
    expose_value=False,
    callback=_set_store,
)


def executor_options(command: Decorated) -> Decorated:
    """--executor, --address, --tracking, --store."""
    command = store_option(command)
    command = click.option(
        "--tracking",
        metavar="URI",
        help=f"MLflow URI, or '{TRACKING_OFF}'.  [default: $MLFLOW_TRACKING_URI, else sqlite]",
    )(command)
    command = click.option(
        "--address", metavar="ADDRESS", help="Ray cluster to run on.  [default: $RAY_ADDRESS, else an embedded Ray]"
    )(command)
    return click.option(
        "--executor",
        type=click.Choice(["ray", "inline"]),
        default="ray",
        show_default=True,
        help="What runs the steps.",
    )(command)


def timeout_option(command: Decorated) -> Decorated:
    """--step-timeout."""
    return click.option(
        "--step-timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="Stop a step that shows no sign of life for so long, and start it again.  [default: say so after 600]",
    )(command)


def run_options(command: Decorated) -> Decorated:
    """RECIPE, overrides, and all that says how it is run."""
    command = timeout_option(executor_options(command))
    command = click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that share each step's work: data.workers, train.workers, …, where not set one by one.",
    )(command)
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(choice_options(command))
    return click.argument("recipe")(command)


@click.command()
@run_options
@click.pass_obj
def run(
    workspace: str | None,
    recipe: str,
    overrides: Sequence[str],
    fresh: bool,
    from_step: str | None,
    to_step: str | None,
    workers: int | None,
    executor: str,
    address: str | None,
    tracking: str | None,
    step_timeout: float | None,
) -> None:
    """Run RECIPE (a shipped recipe's name or a YAML file); steps whose artifacts exist are reused."""
    plugins = registry()
    checked = load_recipe(recipe, overrides, registry=plugins, workers=workers)
    choice = Choice(fresh=fresh, from_step=from_step, to_step=to_step)
    carry_out(checked, workspace, choice, executor, address, tracking, step_timeout)


def carry_out(
    recipe: Recipe,
    workspace: str | None,
    choice: Choice,
    executor: str,
    address: str | None,
    tracking: str | None,
    step_timeout: float | None = None,
) -> Run:
    """Runs a recipe and says where the results are."""
    space = Workspace.choose(workspace)
    try:
        finished = run_recipe(
            recipe,
            space,
            choice,
            plugins=registry(),
            executor=executor,
            address=address,
            tracking=tracking,
            step_timeout=step_timeout,
        )
    except StepFailed as error:
        if error.run is not None and error.run.of_kind("comparison"):  # of the models that did not fail
            show_results(error.run, space, tracking_uri(tracking, space))
        raise
    show_results(finished, space, tracking_uri(tracking, space))
    return finished


def show_results(run: Run, workspace: Workspace, uri: str | None) -> None:
    """The table, and where everything is."""
    from genpipe.cli.table import print_tables

    print_tables(run)
    rows = [(name, step_file) for name, step_file in _results(run)]
    if uri is not None:
        if uri == workspace.tracking_uri:
            where = "" if workspace == Workspace.choose() else f" --workspace {shlex.quote(relative(workspace.root))}"
            rows.append(("MLflow UI", f"{command_name()} ui{where}"))
        else:
            rows.append(("MLflow", uri))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def _results(run: Run) -> list[tuple[str, str]]:
    found = [("run", run.id)]
    if run.of_kind("comparison"):
        folder = run.one("comparison")
        models = [step for step, _ in run.of_kind("model")]
        found += [("comparison", relative(folder / "comparison.html")), ("pictures", relative(folder / "*.png"))]
        return [*found, *(("a model", f"{command_name()} sample {run.id}:{step}") for step in models[:1])]
    for kind, file, label in (
        ("report", "report.html", "report"),
        ("samples", "grid.png", "samples"),
        ("model", "", "model"),
    ):
        shown = run.whole_of_kind(kind)
        for step, folder in shown:
            name = label if len(shown) == 1 else f"{label} ({step})"
            place = relative(folder / file) if folder.exists() else f"{run.store}/{run.steps[step].artifact}"
            found.append((name, place))
    return found


def command_name() -> str:
    """What to type for genpipe here: its name, or the way to it where that is not on the PATH."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "genpipe" or shutil.which("genpipe") == str(called):
        return "genpipe"
    return relative(called)


def relative(path: Path) -> str:
    """A path as short as it can be typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # it is elsewhere, or the current folder is gone
        return str(path)


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@choice_options
@store_option
@click.pass_obj
def plan(
    workspace: str | None,
    recipe: str,
    overrides: Sequence[str],
    fresh: bool,
    from_step: str | None,
    to_step: str | None,
) -> None:
    """Show each step of RECIPE as HIT (reused) or RUN, with what changed. Nothing is run."""
    plugins = registry()
    checked = load_recipe(recipe, overrides, registry=plugins)
    choice = Choice(fresh=fresh, from_step=from_step, to_step=to_step)
    space = Workspace.choose(workspace)
    close_dead_runs(space)
    print_plan(make_plan(checked, plugins, space, choice))


def print_plan(planned: Plan) -> None:
    names = max(len(name) for name in planned.steps)
    stages = max(len(step.stage.name) for step in planned.steps.values())
    for name, step in planned.steps.items():
        word = click.style("HIT", fg="green") if step.hit else click.style("RUN", fg="yellow")
        click.echo(f"{word}  {name:<{names}}  {step.stage.name:<{stages}}  {step.key}  {step.reason}".rstrip())
    count = len(planned.to_run)
    click.echo(f"{count} of {len(planned.steps)} steps would run" if count else "nothing to do: every step is there")


@click.command()
@click.argument("run_id", metavar="RUN")
@executor_options
@timeout_option
@click.pass_obj
def resume(
    workspace: str | None,
    run_id: str,
    executor: str,
    address: str | None,
    tracking: str | None,
    step_timeout: float | None,
) -> None:
    """Go on with RUN (an id, a recipe's name, or "last") where it stopped, from its last checkpoint."""
    space = Workspace.choose(workspace)
    carry_out(recipe_of(find_run(space, run_id)), workspace, Choice(), executor, address, tracking, step_timeout)


def recipe_of(run: Run, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a run was started with, checked again against the plugins of today."""
    path = run.folder / "recipe.yaml"
    if not path.is_file():
        raise UsageError(f"run {run.id} has no recipe.yaml")
    try:
        recipe = {"name": run.recipe, **yaml.safe_load(path.read_text())}
    except (yaml.YAMLError, TypeError, UnicodeDecodeError):
        raise UsageError(f"{path} is damaged: it is no mapping in YAML") from None
    return load_recipe(recipe, overrides, registry=registry())
