"""`genpipe sweep`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from genpipe.api import TRACKING_OFF
from genpipe.cli.run import store_option
from genpipe.registry import registry
from genpipe.workspace import Workspace


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=RANGE|KEY=VALUE]...")
@click.option("--trials", type=click.IntRange(1), help="Configurations to try.  [default: the whole grid, or 16]")
@click.option("--seeds", type=click.IntRange(1), help="Runs of each, ranked by their mean.  [default: 1]")
@click.option("--metric", default="loss", show_default=True, help="Final number to rank by: 'bits/dim', train.loss.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which way is better.  [default: the metric says]")
@click.option(
    "--stop-on",
    default="loss",
    show_default=True,
    metavar="NUMBER",
    help="What training reports by which poor trials are stopped early, low being good; 'off' stops none.",
)
@click.option("--to", "to_step", metavar="STEP", help="Run each trial up to this step only.")
@click.option("--draw-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the values drawn.")
@click.option("--address", metavar="ADDRESS", help="Ray cluster to run on.  [default: $RAY_ADDRESS, else embedded]")
@click.option("--tracking", metavar="URI", help=f"MLflow URI, or '{TRACKING_OFF}'.")
@store_option
@click.pass_obj
def sweep(
    workspace: str | None,
    recipe: str,
    overrides: Sequence[str],
    trials: int | None,
    seeds: int | None,
    metric: str,
    mode: str | None,
    stop_on: str,
    to_step: str | None,
    draw_seed: int,
    address: str | None,
    tracking: str | None,
) -> None:
    """Try RECIPE with many values, stop the poor trials early, and rank the rest.

    \b
    genpipe sweep digits-vae 'train.learning_rate=log(1e-4,1e-2)' 'model.latent_dim=[8,16,32]' --trials 12
    genpipe sweep digits-vae 'train.learning_rate=log(1e-4,1e-2)' --seeds 3 --metric 'bits/dim'

    \b
    log(1e-4,1e-2)   numbers, evenly by their logarithm     logint(8,256)   whole numbers, likewise
    uniform(0,0.5)   numbers, evenly                        int(1,6)        whole numbers
    choice(a,b,c)    one of these, drawn                    [8,16,32]       each of these in turn: a grid

    Each trial is a run that keeps and reuses its steps like any other. The same command again goes on where it was
    stopped, also with more trials or seeds.
    """
    from genpipe.cli.sweep_table import print_sweep
    from genpipe.sweeps.driver import run_sweep
    from genpipe.sweeps.spec import read_sweep

    plugins = registry()
    spec = read_sweep(recipe, overrides, registry=plugins, num_trials=trials, num_seeds=seeds, draw_seed=draw_seed)
    space = Workspace.choose(workspace)
    done = run_sweep(
        spec,
        space,
        plugins=plugins,
        metric=metric,
        mode=mode,
        stop_on=None if stop_on == "off" else stop_on,
        to_step=to_step,
        address=address or os.environ.get("RAY_ADDRESS"),
        tracking=tracking,
    )
    print_sweep(done, recipe)
