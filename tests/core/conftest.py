"""The toy plugin, installed as a distribution is: a folder on the path with an entry point."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from genpipe.registry import registry

TOY = Path(__file__).parents[1] / "toy_plugin"


@pytest.fixture
def plugins(monkeypatch):
    """This process's registry, with the toy plugin found; Ray workers and subprocesses find it too."""
    path = os.pathsep.join([str(TOY), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(str(TOY))
    registry.cache_clear()
    yield registry()
    registry.cache_clear()


@pytest.fixture
def toy_recipe(tmp_path):
    """A function that writes a toy recipe and gives its path."""

    def write(text: str = "", name: str = "toy") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"pipeline: toy\n{text}")
        return path

    return write


@pytest.fixture
def command(tmp_path, plugins):
    """Runs `genpipe …` in a folder of its own and gives the finished process."""

    def run(*arguments: object, timeout: float = 1200, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genpipe", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=timeout,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture
def in_process(tmp_path, plugins, monkeypatch, capsys):
    """The same without the seconds that a process takes to start, where it is what is said that matters."""
    from genpipe.cli import main

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        # options such as --store set variables, for the processes of a command that ends with it
        with monkeypatch.context() as patch, mock.patch.dict(os.environ, environment):
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["genpipe", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run
