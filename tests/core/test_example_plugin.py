"""A stranger's package, installed with pip, through a whole run on Ray."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genpipe.table import Table

EXAMPLE = Path(__file__).parents[1] / "example_plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the example installed as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "example")
    arguments = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "install", *arguments], check=True)
    return folder


@pytest.fixture
def command(site, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "genpipe", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
        )

    return run


def test_it_is_listed_with_its_distribution_and_checks(command):
    (line,) = [line for line in command("plugins", "list").stdout.splitlines() if "genpipe-example" in line]
    assert "genpipe-example 1.0" in line
    assert "family independent_normal, metric mean_error" in line
    answer = command("plugins", "check", "example")
    assert answer.returncode == 0, answer.stderr
    assert "minimum" not in command("families", "show", "independent_normal").stderr


def test_a_recipe_with_its_family_and_metric_runs_from_data_to_report(command, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "pipeline: single\ndata: {dataset: digits}\nmodel: {name: independent_normal, min_std: 0.01}\n"
        "evaluate: {metrics: [likelihood, mean_error]}\nsample: {num: 16}\n"
    )
    answer = command("run", recipe)
    assert answer.returncode == 0, answer.stderr
    (evaluation,) = (tmp_path / ".genpipe" / "artifacts" / "evaluation").iterdir()
    model = Table.read(evaluation / "table.json").row("model")
    bits = model.cell("bits/dim")
    assert bits is not None
    assert bits.kind == "exact"
    assert 2 < bits.value < 4.09  # better than uniform, and worse than what sees that pixels depend on each other
    error = model.cell("mean error")
    assert error is not None
    assert 0 < error.value < 2
    (report,) = (tmp_path / ".genpipe" / "artifacts" / "report").glob("*/report.html")
    assert "independent_normal" in report.read_text()


def test_its_options_are_checked_like_ours(command, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("pipeline: single\ndata: {dataset: digits}\nmodel: {name: independent_normal, min_sdt: 1}\n")
    answer = command("plan", recipe)
    assert answer.returncode == 2
    assert "mine.yaml:3: model.min_sdt: unknown key; did you mean 'min_std'?" in answer.stderr
