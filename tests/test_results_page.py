"""docs/results.md is what the committed numbers give."""

import pytest

from benchmarks.comparisons import IMAGES, PAGE, PICTURES, page, read


@pytest.mark.skipif(not PAGE.exists(), reason="no results are committed")
def test_the_results_page_is_made_of_the_committed_numbers():
    assert PAGE.read_text(encoding="utf-8") == page(read())


@pytest.mark.skipif(not PAGE.exists(), reason="no results are committed")
def test_every_picture_of_the_results_page_is_there_and_said_in_words():
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("![")]
    assert shown
    for line in shown:
        words, _, file = line.removeprefix("![").removesuffix(")").partition("](")
        assert words
        assert (IMAGES / file.removeprefix("images/")).is_file()
    assert all(any(picture in line for line in shown) for picture in PICTURES)
