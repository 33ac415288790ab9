"""docs/results.md is what the committed numbers give."""

import pytest

from benchmarks.comparisons import COMPARISONS, IMAGES, MADE, PAGE, PICTURES, RESULTS, made, page, read
from genpipe.comparison import Cell, Comparison, Row


@pytest.mark.skipif(not PAGE.exists(), reason="no results are committed")
def test_the_results_page_is_made_of_the_committed_numbers():
    assert PAGE.read_text(encoding="utf-8") == page(read(), made())


def test_of_every_comparison_that_is_kept_it_is_known_when_and_on_what_it_was_made():
    kept = [name for name in COMPARISONS if (RESULTS / f"{name}.json").exists()]
    assert sorted(made()) == sorted(kept), f"{MADE} tells of others"


@pytest.mark.skipif(not PAGE.exists(), reason="no results are committed")
def test_every_picture_of_the_results_page_is_there_and_said_in_words():
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("![")]
    assert shown
    for line in shown:
        words, _, file = line.removeprefix("![").removesuffix(")").partition("](")
        assert words
        assert (IMAGES / file.removeprefix("images/")).is_file()
    assert all(any(picture in line for line in shown) for picture in PICTURES)


def row(name, distance, bits, kind, seconds, **options):
    cells = [Cell(name="FD(f@0123abcd)", value=distance, better="lower", **options)]
    cells.append(Cell(name="sampling [ms/sample]", value=seconds, better="lower"))
    if bits is not None:
        cells.append(Cell(name="bits/dim", value=bits, kind=kind, better="lower", is_best=name == "flow"))
    return Row(name=name, title=name, cells=tuple(cells), seeds=(0, 1))


def test_the_page_says_who_is_best_only_where_the_table_does_and_keeps_kinds_apart():
    rows = (
        row("mixture", 2.0, 2.5, "exact", 0.1),
        row("flow", 1.0, 2.2, "exact", 1.0),
        row("vae", 1.5, 2.0, "lower_bound", 0.5),
        row("gan", 0.5, None, None, 0.2),
    )
    columns = ("bits/dim", "FD(f@0123abcd)", "sampling [ms/sample]")
    comparison = Comparison(
        title="t", dataset="digits", columns=columns, rows=rows, seeds=(0, 1), num=9, reference="train",
        num_reference=9, fingerprint="f@0123abcd",
    )  # fmt: skip
    text = page(
        dict.fromkeys(COMPARISONS, comparison), {"compare-2d": {"date": "2026-01-02", "device": "a GPU", "torch": "2"}}
    )
    assert "- Quality, FD(f): gan (0.5000) and flow (1) are ahead, and nobody is beyond errors." in text
    assert "- Exact likelihood, bits/dim: flow is better than all others, beyond errors." in text
    assert "exact of mixture and flow; of vae a bound, which the others' are not ranked with; gan without any." in text
    assert "- Time of a sample: from mixture to flow it takes 10 times as long." in text
    assert "features: f@0123abcd." in text
    assert "`genpipe compare compare-2d`, seeds 0, 1. Made on 2026-01-02 on a GPU, by torch 2." in text
