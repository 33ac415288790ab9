"""Commands that list what there is: recipes, data sets, plugins, and the recipes' schema."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

import click

from genpipe.errors import PluginError, UsageError, nearest
from genpipe.recipe import find_recipe, load_recipe, shipped_recipes
from genpipe.registry import KINDS, Provided, registry


def terminal_width() -> int:
    """In characters; a pipe has no edge to wrap at."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As wide as the terminal at most, cells wrapped between words."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.width = terminal_width()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    widths = _column_widths([header, *rows], console.width - 2 * len(header))
    for i, name in enumerate(header):
        table.add_column(name, no_wrap=i == 0, width=None if widths is None else widths[i])
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _column_widths(lines: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Widths of all columns, `room` together, in which no word is cut and the first column never wraps; None where the
    cells fit as they are, or no widths would do."""
    from rich.cells import cell_len

    columns = list(zip(*lines, strict=True))
    whole = [max(map(cell_len, column)) for column in columns]
    least = [whole[0], *(max(cell_len(w) for cell in column for w in [*cell.split(), ""]) for column in columns[1:])]
    if sum(whole) <= room or sum(least) > room:
        return None
    spare, wanted = room - sum(least), sum(whole) - sum(least)
    return [low + spare * (high - low) // wanted for low, high in zip(least, whole, strict=True)]


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List the recipes that ship."""
    if ctx.invoked_subcommand is None:
        rows = []
        for name, path in shipped_recipes(registry()).items():
            checked = load_recipe(path, registry=registry())
            rows.append((name, checked.pipeline.name, checked.description))
        print_table(("recipe", "pipeline", "what it does"), rows)


@recipes.command("show")
@click.argument("name")
def show_recipe(name: str) -> None:
    """Print a recipe, to start your own from: `genpipe recipes show digits-vae > mine.yaml`."""
    click.echo(find_recipe(name, registry()).read_text().rstrip())


@click.command()
@click.argument("pipeline", required=False)
def schema(pipeline: str | None) -> None:
    """Print the JSON Schema of recipes (of one PIPELINE, or of all).

    \b
    genpipe schema > recipe.schema.json
    and, as a recipe's first line:  # yaml-language-server: $schema=recipe.schema.json
    """
    from genpipe.schema import recipe_schema

    click.echo(json.dumps(recipe_schema(registry(), pipeline), indent=2))


def print_options(config_class: type) -> None:
    from pydantic_core import PydanticUndefined

    fields = config_class.model_fields  # type: ignore[attr-defined]
    if fields:
        rows = [
            (
                name,
                "required"
                if field.default is PydanticUndefined and field.default_factory is None
                else as_in_a_recipe(field.get_default(call_default_factory=True)),
                field.description or "",
            )
            for name, field in fields.items()
        ]
        rows.sort(key=lambda row: row[1] != "required")
        print_table(("option", "default", "meaning"), rows)


def as_in_a_recipe(value: object) -> str:
    """A value as YAML, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _listing(kind: str, header: Sequence[str], attributes: Sequence[str]) -> None:
    rows = []
    for provided in registry().all(kind):
        values = [getattr(provided.record, a) for a in attributes]
        shown = [", ".join(v) if isinstance(v, tuple) else str(v) for v in values]
        rows.append((provided.record.name, *shown, provided.record.summary, provided.source.distribution))
    print_table((kind.replace("_", " "), *header, "what it is", "from"), rows)


@click.group(invoke_without_command=True)
@click.pass_context
def datasets(ctx: click.Context) -> None:
    """List the data sets."""
    if ctx.invoked_subcommand is None:
        _listing("dataset", ("data",), ("events",))


@datasets.command("show")
@click.argument("name")
def show_dataset(name: str) -> None:
    """Print a data set's options with their defaults."""
    record = registry().get("dataset", name)
    click.echo(f"{click.style(record.name, bold=True)}  {record.summary}\n")
    click.echo(f"data        {', '.join(record.events)}")
    print_options(record.config_class)


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(ctx: click.Context) -> None:
    """List plugins with what they bring; broken ones with their error."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_plugins)


@plugins.command("list")
def list_plugins() -> None:
    """List every plugin that was found."""
    plugs = registry()
    rows = []
    for source in plugs.plugins:
        brings = [
            f"{kind.replace('_', ' ')} {p.record.name}" for kind in KINDS for p in plugs.all(kind) if p.source == source
        ]
        broken = next((b for b in plugs.broken if b.source == source), None)
        state = f"BROKEN: {broken.error}" if broken else ", ".join(brings) or "hooks only"
        rows.append((source.name, f"{source.distribution} {source.version}", state))
    print_table(("plugin", "distribution", "brings"), rows)


@plugins.command("check")
@click.argument("name", required=False)
def check_plugins(name: str | None) -> None:
    """Import everything that plugins (or the one NAMEd) refer to; report what fails, with its traceback."""
    plugs = registry()
    known = {s.name for s in plugs.plugins}
    if name is not None and name not in known:
        raise UsageError(f"there is no plugin '{name}'{nearest(name, known)}")
    problems = []
    for broken in plugs.broken:
        if name in (None, broken.source.name):
            problems.append(str(broken))
            click.echo(broken.traceback, err=True)
    for kind in KINDS:
        for provided in plugs.all(kind):
            if name in (None, provided.source.name):
                problems += _references_that_fail(kind, provided)
    if problems:
        raise PluginError("\n".join([f"{len(problems)} problems:", *(f"  {p}" for p in problems)]))
    total = sum(len(plugs.all(kind)) for kind in KINDS) if name is None else None
    click.echo("no problems" if total is None else f"no problems in {len(known)} plugins, {total} components")


REFERENCES = (
    "config",
    "build",
    "composed",
    "fingerprint",
    "log_density",
    "score",
    "modes",
    "draw",
    "check",
    "check_sampler",
    "chooses",
)
"""Fields of records that name what to import."""


def _references_that_fail(kind: str, provided: Provided) -> list[str]:
    from genpipe.components import load_reference
    from genpipe.config import Config

    record = provided.record
    found = []
    for attribute in REFERENCES:
        reference = getattr(record, attribute, None)
        if reference is None:
            continue
        try:
            target = load_reference(reference)
        except (Exception, SystemExit) as error:  # a plugin's module may raise anything
            found.append(f"{kind} '{record.name}': {attribute} {reference}: {type(error).__name__}: {error}")
            continue
        if attribute == "config" and not (isinstance(target, type) and issubclass(target, Config)):
            found.append(f"{kind} '{record.name}': {reference} is not a genpipe.Config")
    return found
