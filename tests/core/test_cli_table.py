"""A table in the terminal."""

from __future__ import annotations

import pytest

from genpipe.cli.table import show
from genpipe.table import Estimate, Row, Table


def row(name: str, *notes: str) -> Row:
    return Row(name=name, title=name, estimates=(Estimate(name="FD", value=1.0, num=9, notes=notes),))


def test_a_note_stands_once_with_the_rows_that_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        row("oracle", "few"),
        row("model", "few", "far"),
        row("copy", "few", "far"),
        row("floor", "few", "near", "far"),
    )
    show(Table(rows=rows, num=9, reference="train", num_reference=9, extractor="e", fingerprint="e@1", num_features=2))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("·")]
    assert notes == ["· FD: few", "· FD, model, copy and floor: far", "· FD, floor: near"]
