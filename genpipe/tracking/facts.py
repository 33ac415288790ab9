"""Where a run came from: source revision, host, versions."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from genpipe.redact import redacted

PACKAGES = ("genpipe", "torch", "numpy", "ray", "mlflow", "pydantic", "pluggy")


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=5, check=True, cwd=Path.cwd()
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or the command runs outside a repository: there is no revision to record
    return answer.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's user may have no name


def collect() -> dict[str, Any]:
    """Facts recorded as tags: the git commit of the current folder, if any, and the environment."""
    facts: dict[str, Any] = {
        "user": _user(),
        "host": socket.gethostname(),
        "command": redacted(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        facts["git_commit"] = commit
        facts["git_dirty"] = bool(_git("status", "--porcelain", "--untracked-files=no"))
        facts["git_branch"] = _git("rev-parse", "--abbrev-ref", "HEAD")
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    facts["packages"] = packages
    return facts
