"""The command line. Commands live in modules of their own and are imported when one is called.

`genpipe --help` must start as fast as Python does, so the group knows names and one-liners, and nothing more.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any

import click

from genpipe.errors import GenpipeError, Interrupted, StepFailed

# name: (module, one line for --help), in the order of a first day with genpipe
COMMANDS = {
    "run": ("run", "Run a recipe: data, training, samples, evaluation, report."),
    "plan": ("run", "Show what a run would do, and why."),
    "resume": ("run", "Go on with a run where it stopped."),
    "compare": ("compare", "Train several models on one data set and print one table."),
    "sweep": ("sweep", "Try a recipe with many values and rank them."),
    "recipes": ("catalogue", "List the recipes that ship; `recipes show NAME` prints one."),
    "schema": ("catalogue", "Print the JSON Schema of recipes, for editors."),
    "families": ("families", "List the model families; `families show NAME` tells one in full."),
    "datasets": ("catalogue", "List the data sets."),
    "metrics": ("metrics", "List the metrics and feature extractors; `metrics show NAME` tells one."),
    "plugins": ("catalogue", "List and check plugins."),
    "runs": ("results", "List runs, or show one."),
    "sample": ("results", "Draw samples from a run's model."),
    "evaluate": ("results", "Score a run's model again, or anybody's samples."),
    "report": ("results", "Make a run's report and say where it is."),
    "submit": ("jobs", "Send a recipe to a Ray cluster, and follow it there."),
    "jobs": ("jobs", "List the jobs that were submitted to a cluster."),
    "attach": ("jobs", "Follow a submitted job again."),
    "cancel": ("jobs", "Stop a submitted job."),
    "track": ("service", "Send to the tracker what it could not take."),
    "ui": ("service", "Start the MLflow UI on the workspace's runs."),
    "doctor": ("service", "Check the installation, the compiled core and the machine."),
}


def _take_workspace(command: click.Command) -> None:
    """Lets `--workspace` stand after the command too, where people type it."""

    def set_workspace(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        ctx.obj = value or ctx.obj

    if not any(param.name == "workspace" for param in command.params):
        option = click.Option(
            ["--workspace"],
            type=click.Path(file_okay=False),
            help="Folder for artifacts, runs and the tracking store.  [default: $GENPIPE_HOME, else .genpipe]",
            expose_value=False,
            callback=set_workspace,
        )
        command.params.append(option)
    for inner in command.commands.values() if isinstance(command, click.Group) else ():  # none yet in a LazyGroup
        _take_workspace(inner)


class LazyGroup(click.Group):
    """A group whose commands are imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"genpipe.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        if COMMANDS[cmd_name][0] != "jobs":  # which are about a workspace elsewhere, if about any
            _take_workspace(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from genpipe.errors import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command '{args[0]}'{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="genpipe", message="genpipe %(version)s")
def cli() -> None:
    """One recipe takes data to a trained, sampled, evaluated and tracked generative model of any family.

    \b
    genpipe run digits-vae                     a first run, about a minute
    genpipe run digits-vae train.steps=500     the same, changed on the command line
    genpipe recipes show digits-vae            a recipe to start from
    """


_take_workspace(cli)


def main() -> None:
    """The `genpipe` command: errors for users are a message and an exit code, never a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s".lower())
    try:
        status = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except StepFailed as error:
        _complain(str(error))
        if error.tail:
            click.echo(f"the last lines of {error.log}:", err=True)
            click.echo("\n".join(f"  | {line}" for line in error.tail), err=True)
        sys.exit(error.exit_code)
    except GenpipeError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        # click puts an Abort of its own in place of any KeyboardInterrupt
        cause = error if isinstance(error, Interrupted) else error.__cause__
        if isinstance(cause, Interrupted):
            click.echo(f"{cause}; what was finished is kept, the same command goes on from there", err=True)
            _leave(cause.exit_code)
        click.echo("interrupted", err=True)
        _leave(130)
    except BrokenPipeError:
        # the reader (`| head`) has enough; Python would complain again while flushing at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(text: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True)


def _leave(code: int) -> None:
    """Ends now: after an interruption no background thread may keep the process alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
