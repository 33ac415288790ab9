"""`genpipe compare`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from genpipe.cli.run import carry_out, run_options
from genpipe.errors import UsageError
from genpipe.plan import Choice
from genpipe.recipe import Recipe, load_recipe, shipped_recipes
from genpipe.registry import Registry, registry


@click.command()
@run_options
@click.pass_obj
def compare(
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
    """Train, sample and score the models of RECIPE on one data set, side by side, and print one table.

    \b
    genpipe compare compare-2d
    genpipe compare compare-digits 'seeds=[0]' train.steps=200 models.vae.train.steps=400

    `train` and `sample` are the defaults of every model's own sections. Finished steps are reused; where a model fails
    the table comes without it, says so, and the same command tries it again.
    """
    plugins = registry()
    checked = load_recipe(recipe, overrides, registry=plugins, workers=workers)
    if not _compares(checked, plugins):
        others = [name for name in shipped_recipes(plugins) if _compares(load_recipe(name, registry=plugins), plugins)]
        raise UsageError(
            f"recipe '{checked.name}' compares nothing, as its pipeline is '{checked.pipeline.name}' (`genpipe run` runs "
            f"it); those that do: {', '.join(others)}"
        )
    choice = Choice(fresh=fresh, from_step=from_step, to_step=to_step)
    carry_out(checked, workspace, choice, executor, address, tracking, step_timeout)


def _compares(recipe: Recipe, plugins: Registry) -> bool:
    return any(plugins.get("stage", step.stage).gives == "comparison" for step in recipe.graph())
