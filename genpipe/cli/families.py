"""`genpipe families`: what each family of models answers, and how; `families show NAME` tells one in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from genpipe.cli.catalogue import as_in_a_recipe, print_options, print_table
from genpipe.components import Family, Member, SamplerOption
from genpipe.registry import Provided, registry

TRAINING = {
    "gradient": "by gradients, in the shared loop",
    "closed_form": "in closed form, by one worker",
    "composed": "not by itself: it is made of trained models",
}


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
        foreign = any(not provided.source.shipped for provided in found)
        header = ("family", "likelihood", "data", "labels", "training", "members", "cost of a sample")
        print_table(
            (*header, "from") if foreign else header, [(*_row(each), *_origin(each, foreign)) for each in found]
        )


def _row(provided: Provided) -> tuple[str, ...]:
    family: Family = provided.record
    return (
        family.name,
        (family.likelihood or "none").replace("_", " "),
        ", ".join(family.events),
        "yes" if family.conditional else "no",
        family.training.replace("_", " "),
        ", ".join(member.name for member in family.members),
        family.sampling_cost,
    )


def _origin(provided: Provided, told: bool) -> tuple[str, ...]:
    return (provided.source.distribution,) if told else ()


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
    yield "can", ", ".join(sorted(family.capabilities))
    yield "data", ", ".join(family.events)
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
