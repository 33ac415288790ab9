"""A job as it is asked for: its command, its id, its environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from genpipe.digest import digest
from genpipe.errors import UsageError
from genpipe.execution.nodes import NEEDED
from genpipe.plan import Choice
from genpipe.recipe import Recipe
from genpipe.redact import holds_secret
from genpipe.stores.address import without_secrets
from genpipe.submission.bundle import Files, bundle, bundle_digest, recipe_file

ID_LENGTH = 10
HOME = (
    '"${GENPIPE_HOME:?is not set on the cluster: say with --workspace which folder all of its nodes see, or with '
    '--store where else artifacts are kept}"'
)
STORE_HOME = '"${GENPIPE_HOME:-$HOME/.genpipe}"'


@dataclass(frozen=True, kw_only=True)
class Request:
    """A recipe to run on a cluster. id: the same for the same recipe, files, options and environment."""

    recipe: str
    entrypoint: str
    files: Files
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        whole = digest([self.entrypoint, dict(self.environment), bundle_digest(self.files)])
        return f"{Path(self.recipe).stem}-{whole[:ID_LENGTH]}"


def make_request(
    recipe: Recipe,
    *,
    workspace: str | None = None,
    choice: Choice | None = None,
    tracking: str | None = None,
    store: str | None = None,
    include: Sequence[str] = (),
    settings: Sequence[str] = (),
    secrets: Sequence[str] = (),
) -> Request:
    """Checks and puts together what `genpipe submit` was given; nothing is sent.

    workspace: folder as the cluster's nodes see it; None takes their GENPIPE_HOME. store: as for `genpipe run`. settings: "NAME=VALUE", sent and
    shown by Ray. secrets: names of variables that the nodes have, which are never sent.
    """
    file = recipe_file(recipe)
    arguments = ["python", "-m", "genpipe", "run", file, *_choice_arguments(choice or Choice())]
    for option, address in (("--tracking", tracking), ("--store", store)):
        if address is not None:
            _refuse_secret(option, address)
            arguments += [option, address]
    if workspace is not None and not PurePosixPath(workspace).is_absolute():
        raise UsageError(f"--workspace {workspace}: expected an absolute path, as the cluster's nodes see it")
    where = shlex.quote(workspace) if workspace else STORE_HOME if store else HOME
    environment = dict(_setting(text) for text in settings)
    for name in secrets:
        _check_name("--secret", name)
    if secrets:
        environment[NEEDED] = ",".join(sorted(set(secrets)))
    return Request(
        recipe=file,
        entrypoint=f"{shlex.join(arguments)} --workspace {where}",
        files=bundle(recipe, include),
        environment=dict(sorted(environment.items())),
    )


def _choice_arguments(choice: Choice) -> list[str]:
    arguments = ["--fresh"] if choice.fresh else []
    for option, step in (("--from", choice.from_step), ("--to", choice.to_step)):
        arguments += [option, step] if step else []
    return arguments


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    _check_name("--env", name)
    if not equals:
        raise UsageError(f"--env {text}: expected NAME=VALUE; `--secret {text}` takes what the cluster's nodes have")
    _refuse_secret(f"--env {name}", value, name)
    return name, value


def _refuse_secret(option: str, value: str, name: str = "") -> None:
    if holds_secret(value, name) or without_secrets(value) != value:
        raise UsageError(
            f"{option}: looks like a secret, and Ray keeps a job's variables and command where everyone who reaches "
            "its dashboard reads them. Set it on the cluster's nodes (a Kubernetes secret, see docs/cluster.md) and say "
            f"`--secret {name or 'NAME'}`, so that the job checks that it is there"
        )


def _check_name(option: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        shown = f"{name.partition('=')[0]}=…" if "=" in name else name  # a value may be a secret
        raise UsageError(f"{option} {shown}: expected the name of an environment variable")
