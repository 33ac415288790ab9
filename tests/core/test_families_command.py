"""`genpipe families`: the table of what families answer, and one of them in full."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from genpipe.cli import catalogue
from genpipe.cli import families as families_command
from genpipe.cli.families import families
from genpipe.components import Family
from genpipe.registry import registry

FAMILIES: list[Family] = [provided.record for provided in registry().all("family")]


def told(*arguments: str) -> str:
    answer = CliRunner().invoke(families, arguments)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_the_table_has_a_line_for_each_family_with_its_kind_of_likelihood_and_its_members() -> None:
    lines = {line.split()[0]: line for line in told().splitlines() if line.strip()}
    for family in FAMILIES:
        line = lines[family.name]
        assert (family.likelihood or "none").replace("_", " ") in line
        for event in family.events:
            assert event in line
        assert all(capability in line for capability in family.capabilities)
        assert family.sampling_cost in line
    assert "tied, diagonal, spherical" in lines["gaussian_mixture"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_cuts_no_word(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "terminal_width", lambda: width)
    monkeypatch.setattr(families_command, "terminal_width", lambda: width)
    text = told()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = set(re.findall(r"[\w-]+", text))
    for family in FAMILIES:
        assert {family.name, *family.capabilities, *family.events} <= words
        assert width < 110 or {member.name for member in family.members} <= words


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_one_family_is_told_with_members_samplers_options_and_papers(family: Family) -> None:
    text = told("show", family.name)
    assert text.startswith(f"{family.name}  {family.summary}")
    for option in family.config_class.model_fields:
        assert re.search(rf"^ {option} ", text, re.MULTILINE), f"option {option} is not told"
    for name in (*(member.name for member in family.members), *family.samplers, *family.estimators):
        assert re.search(rf"^ {re.escape(name)} ", text, re.MULTILINE), f"{name} is not told"
    for defaults in family.samplers.values():
        assert all(option in text for option in defaults)
    assert text.count("\npaper ") == len(family.papers)


def test_a_member_is_told_as_the_overrides_that_make_it_and_a_sampler_with_its_defaults() -> None:
    shown = told("show", "energy")
    assert re.search(r"^ metropolis +num_steps=\d+ step_size \(as configured\)", shown, re.MULTILINE)
    assert re.search(r"^ rejection .* up to 2 dimensions", shown, re.MULTILINE)
    for family in FAMILIES:
        for member in family.members:
            settings = [f"model.{key}=" for key, value in member.options.items() if not isinstance(value, dict)]
            assert all(setting in told("show", family.name) for setting in settings)
