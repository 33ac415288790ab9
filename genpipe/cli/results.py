"""Commands on what runs made: `runs`, `sample`, `evaluate`, `report`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from genpipe.cli.catalogue import print_table
from genpipe.cli.run import carry_out, executor_options, recipe_of, show_results
from genpipe.dead_runs import close_dead_runs
from genpipe.display import duration
from genpipe.errors import UsageError
from genpipe.external import external_recipe
from genpipe.plan import Choice
from genpipe.recipe_source import parse_value
from genpipe.registry import registry
from genpipe.runs import Run, all_runs, find_run
from genpipe.workspace import Workspace

PICTURES, ARRAYS = (".png",), (".npz",)


@click.group(invoke_without_command=True)
@click.pass_context
def runs(ctx: click.Context) -> None:
    """List runs, newest first; `runs show RUN` tells one."""
    close_dead_runs(Workspace.choose(ctx.obj))
    if ctx.invoked_subcommand is None:
        found = list(all_runs(Workspace.choose(ctx.obj)))
        if not found:
            click.echo(f"no runs yet in {Workspace.choose(ctx.obj).root}")
            return
        print_table(("run", "recipe", "status", "started", "took", "steps"), [_row(run) for run in found])


def _row(run: Run) -> tuple[str, ...]:
    took = duration(run.ended - run.started) if run.ended else ""
    cached = sum(step.status == "CACHED" for step in run.steps.values())
    steps = f"{len(run.steps)}, {cached} reused" if cached else str(len(run.steps))
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    return run.id, run.recipe, run.status, started, took, steps


@runs.command("show")
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def show_run(workspace: str | None, run_id: str) -> None:
    """Print a run's steps, its table and where its files are."""
    space = Workspace.choose(workspace)
    run = find_run(space, run_id)
    rows = [
        (name, step.stage, step.status, "" if step.seconds is None else duration(step.seconds), step.artifact)
        for name, step in run.steps.items()
    ]
    print_table(("step", "stage", "status", "took", "artifact"), rows)
    if run.error:
        click.echo(f"error: {run.error}")
    show_results(run, space, None)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("-n", "--num", default=64, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A .png (grid) or .npz file.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the samples.")
@click.option("--first-index", default=0, show_default=True, type=click.IntRange(0), help="Index of the first sample.")
@click.option("--label", type=int, help="Class to sample, for conditional models.")
@click.option("--sampler", help="One of the family's samplers; `genpipe families show NAME` lists them.")
@click.pass_obj
def sample(
    workspace: str | None,
    run_id: str,
    options: Sequence[str],
    num: int,
    output: Path | None,
    seed: int,
    first_index: int,
    label: int | None,
    sampler: str | None,
) -> None:
    """Draw samples from the model of RUN (an id, a recipe's name, "last", or a model's folder).

    \b
    genpipe sample digits-vae -n 16 -o samples.npz
    genpipe sample digits-diffusion --sampler ddim num_steps=20 eta=0.5
        OPTION=VALUE are the sampler's; `genpipe families show diffusion` lists them with their defaults
    """
    output = output or Path(f"{Path(run_id).name.replace(':', '-')}-samples.png")
    if output.suffix not in PICTURES + ARRAYS:
        raise UsageError(f"cannot write samples as '{output.suffix}' ({output}); expected .png or .npz")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"the folder of {output} does not exist")
    choice = {**({"name": sampler} if sampler else {}), **dict(_option(text) for text in options)}
    from genpipe.api import load

    model = load(run_id, workspace=workspace)
    started = time.perf_counter()
    x = model.sample(num, label, seed=seed, first_index=first_index, sampler=choice)
    seconds = time.perf_counter() - started
    array = x.cpu().numpy()
    if output.suffix in ARRAYS:
        import numpy as np

        np.savez(output, x=array, indices=np.arange(first_index, first_index + num))
    else:
        from genpipe.pictures import LIGHT, examples_figure, save

        save(examples_figure(array, model.spec, LIGHT, limit=num), output)
    click.echo(f"{num} samples in {duration(seconds)}: {output}")


def _option(text: str) -> tuple[str, Any]:
    """(option, value) of OPTION=VALUE."""
    name, equals, raw = text.partition("=")
    if not equals or not name:
        raise UsageError(f"given '{text}', expected an option of the sampler with its value, such as num_steps=20")
    return name, parse_value(raw)


@click.command()
@click.argument("arguments", nargs=-1, metavar="[RUN] [KEY=VALUE]...")
@click.option(
    "--samples", metavar="PATH", help="Samples of another program: images, .npz, .npy, .csv, .parquet, a tar."
)
@click.option("--reference", metavar="DATA", help="What to hold them against: a data set, a run's data, or a path.")
@executor_options
@click.pass_obj
def evaluate(
    workspace: str | None,
    arguments: Sequence[str],
    samples: str | None,
    reference: str | None,
    executor: str,
    address: str | None,
    tracking: str | None,
) -> None:
    """Score RUN's model again, or samples that another program made.

    \b
    genpipe evaluate digits-vae evaluate.num=200
        a new run of its recipe, up to the evaluation
    genpipe evaluate --samples out/ --reference fashion_mnist samples.mode=L
    genpipe evaluate --samples out.npz --reference digits samples.range=[0,1] evaluate.metrics=[prdc,novelty]
        a run of its own; reference.KEY is an option of the data set, samples.KEY of the samples or their reader
    """
    if samples is not None and reference is not None:
        space = Workspace.choose(workspace)
        whole = parse_value(reference) if reference.startswith("{") else reference
        recipe = external_recipe(samples, whole, arguments, registry=registry(), workspace=space)
        carry_out(recipe, workspace, Choice(), executor, address, tracking)
        return
    if samples is not None or reference is not None:
        missing = "--reference, the real data to hold them against" if reference is None else "--samples"
        raise UsageError(f"--samples and --reference go together: give {missing}")
    if not arguments or "=" in arguments[0]:
        raise UsageError("give a RUN whose model is scored, or --samples and --reference")
    _again(workspace, arguments[0], arguments[1:], "evaluation", executor, address, tracking)


@click.command()
@click.argument("run_id", metavar="RUN")
@executor_options
@click.pass_obj
def report(workspace: str | None, run_id: str, executor: str, address: str | None, tracking: str | None) -> None:
    """Make the report of RUN, if it is not there, and say where it is."""
    _again(workspace, run_id, (), "report", executor, address, tracking)


def _again(
    workspace: str | None,
    run_id: str,
    overrides: Sequence[str],
    kind: str,
    executor: str,
    address: str | None,
    tracking: str | None,
) -> None:
    """Runs a run's recipe up to the step that gives a kind of artifact; what is there is reused."""
    space = Workspace.choose(workspace)
    run = find_run(space, run_id)
    steps = [name for name, step in run.steps.items() if Path(step.artifact).parent.name == kind]
    if not steps:
        raise UsageError(f"run {run.id} has no step that gives a {kind}")
    carry_out(recipe_of(run, overrides), workspace, Choice(to_step=steps[-1]), executor, address, tracking)
