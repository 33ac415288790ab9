"""What a run shows in a terminal."""

import io
import re

import pytest

from genpipe.display import LiveDisplay
from genpipe.runs import Run, StepRecord
from genpipe.workspace import Workspace


@pytest.mark.parametrize("name", ["plain", "a[x]", "[/b]", "[bold]"])
def test_names_are_shown_as_they_are_and_the_cursor_comes_back(tmp_path, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    run = Run.create(Workspace(tmp_path), name, {"seed": 0}, {name: StepRecord("s", "k", "a", "FINISHED")})
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    display = LiveDisplay(terminal)
    display.run_started(run)
    display.step_started(name, cached=False)
    display.step_progress(name, at=1, total=2, metrics={name: 3.0}, time=1.0)
    display._progress.refresh()
    display.step_finished(run, name, 1.5)
    display.run_finished()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert f"run {run.id}" in shown
    assert f"{name} 3" in shown
    assert f"✓ {name:<12} 1.5 s" in shown
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")


def test_a_table_shows_what_is_in_brackets(capsys):
    from genpipe.cli.catalogue import print_table

    print_table(("option", "default"), [("range", "in [a, b], not [/c]")])
    assert "in [a, b], not [/c]" in capsys.readouterr().out
