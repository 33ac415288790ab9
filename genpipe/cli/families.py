"""`genpipe families`: what each family of models answers, and how; `families show NAME` tells one in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import click

from genpipe.cli.catalogue import as_in_a_recipe, print_options, print_table, terminal_width
from genpipe.components import CAPABILITIES, EventKind, Family, Member, SamplerOption
from genpipe.registry import Provided, registry

TRAINING = {
    "gradient": "by gradients, in the shared loop",
    "closed_form": "in closed form, by one worker",
    "composed": "not by itself: it is made of trained models",
}

WIDTH_WITH_MEMBERS = 110


@click.group(invoke_without_command=True)
@click.pass_context
def families(ctx: click.Context) -> None:
    """List the families of models: what they answer, and with which kind of likelihood.

    \b
    exact          log p(x) itself, in nats or bits/dim
    lower bound    at most log p(x), such as a VAE's ELBO
    estimate       near log p(x), with a standard error
    unnormalized   log p(x) up to a constant that is not known
    none           samples alone
    "labels" says whether a family can model each class by its label; `families show NAME` tells all.
    """
    if ctx.invoked_subcommand is None:
        found = registry().all("family")
        columns = ["family", "likelihood", "can", "data", "labels", "members", "a sample costs"]
        narrow = terminal_width() < WIDTH_WITH_MEMBERS
        if narrow:
            columns.remove("members")
        if any(not provided.source.shipped for provided in found):
            columns.append("from")
        print_table(columns, [[facts[column] for column in columns] for facts in map(_row, found)])
        if narrow:
            click.echo("members, samplers, options and papers: genpipe families show NAME")


def _row(provided: Provided) -> dict[str, str]:
    family: Family = provided.record
    return {
        "family": family.name,
        "likelihood": (family.likelihood or "none").replace("_", " "),
        "can": _listed(family.capabilities, CAPABILITIES),
        "data": _listed(family.events, get_args(EventKind)),
        "labels": "yes" if family.conditional else "no",
        "members": ", ".join(member.name for member in family.members),
        "a sample costs": family.sampling_cost,
        "from": provided.source.distribution,
    }


def _listed(some: Iterable[str], order: Sequence[str]) -> str:
    return ", ".join(sorted(some, key=order.index))


@families.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print what a family answers, its members, samplers, options with their defaults, and papers."""
    family: Family = registry().get("family", name)
    click.echo(f"{click.style(family.name, bold=True)}  {family.summary}\n")
    for label, fact in _facts(family):
        click.echo(f"{label:<12}{fact}")
    if family.members:
        print_table(("member", "set", "what it is"), [_member(member, family) for member in family.members])
    if family.samplers:
        rows = [
            (sampler, _options(options), "the default" if position == 0 else _limit(sampler, family))
            for position, (sampler, options) in enumerate(family.samplers.items())
        ]
        print_table(("sampler", "options and their defaults", ""), rows)
    if family.estimators:
        rows = [(name, _options(options), _limit(name, family)) for name, options in family.estimators.items()]
        print_table(("estimator of log p(x)", "options and their defaults", ""), rows)
    print_options(family.config_class)
    for paper in family.papers:
        click.echo(f"paper  {paper}")


def _limit(name: str, family: Family) -> str:
    most = family.max_dimensions.get(name)
    return "" if most is None else f"up to {most} dimensions"


def _facts(family: Family) -> Iterable[tuple[str, str]]:
    kind = (family.likelihood or "none").replace("_", " ")
    if family.likelihood is not None:
        kind += ", of the whole numbers themselves" if family.discrete else ", of a density"
    yield "likelihood", kind
    yield "can", _listed(family.capabilities, CAPABILITIES)
    yield "data", _listed(family.events, get_args(EventKind))
    yield "labels", _labels(family)
    yield "training", TRAINING[family.training]
    yield "a sample", family.sampling_cost


def _labels(family: Family) -> str:
    if not family.conditional:
        return "takes none"
    if "conditional" in family.config_class.model_fields:
        return "models each class by its label with model.conditional=true"
    return "models each class by its label, always"


def _member(member: Member, family: Family) -> tuple[str, str, str]:
    """Its name, the options as a command line writes them, and what it is."""
    settings = " ".join(f"model.{key}={value}" for key, value in _flat(member.options))
    data = f" ({' and '.join(member.events)} data)" if member.events and member.events != family.events else ""
    return member.name, settings or "(the defaults)", member.summary + data


def _flat(options: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, str]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", as_in_a_recipe(value).replace(" ", "")


def _options(options: Mapping[str, SamplerOption]) -> str:
    """ "num_steps=50 eta=0.0"; what has no default is the config's, or the sampler's own."""
    shown = [
        f"{option}={value}" if value is not None else f"{option} (as configured)" for option, value in options.items()
    ]
    return " ".join(shown) or "none"
