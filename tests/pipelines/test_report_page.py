"""The report in a browser: laid out at every width, in both themes and on paper, asking for nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from tests.chromium import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to lay the page out")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# What is wider than the window, boxes and words, and does not lie in a frame that scrolls.
SPILLED = """(() => {
    const edge = document.documentElement.clientWidth + 1, found = [];
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_ALL);
    while (walker.nextNode()) {
        const node = walker.currentNode, isText = node.nodeType == 3;
        if ((isText ? node.parentElement : node).closest('.scroll, pre')) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        if ((isText ? range : node).getBoundingClientRect().right > edge) found.push(node.textContent.slice(0, 80));
    }
    return found;
})()"""
SMALLEST = """Math.min(...[...document.querySelectorAll('main *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize)))"""


@pytest.fixture(scope="module")
def window():
    with browser() as opened:
        yield opened


def shot(window) -> np.ndarray:
    """(H, W, 3) in [0, 1]."""
    return imread(io.BytesIO(window.screenshot()))[..., :3]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_window_and_nothing_complains(window, steps, width):
    window.open(steps.report / "report.html", width=width)
    assert window.value(SPILLED) == []
    assert window.value(OVERFLOW) == 0
    assert window.value(SMALLEST) >= 10
    assert window.complaints == []
    assert window.requests == []


def test_every_picture_is_there_and_follows_the_readers_theme(window, runs):
    brightness, sources = {}, {}
    for dark in (False, True):
        window.open(runs["grey"].report / "report.html", width=1200, dark=dark)
        assert window.value("[...document.images].every(image => image.naturalWidth > 0)")
        sources[dark] = window.value("[...document.images].map(image => image.currentSrc)")
        brightness[dark] = float(np.median(shot(window)))
    assert brightness[False] > 0.9
    assert brightness[True] < 0.2
    assert all(light != dark for light, dark in zip(sources[False], sources[True], strict=True))


def test_paper_is_white_also_for_who_reads_in_the_dark_and_holds_all(window, steps):
    window.open(steps.report / "report.html", width=690, dark=True, media="print")  # A4 within its margins
    assert float(np.median(shot(window))) == 1
    assert window.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert window.value(SPILLED.replace(".scroll, pre", "no-such")) == []  # nothing scrolls on paper
    assert window.pdf().startswith(b"%PDF")


def test_a_page_with_such_faults_would_be_found_out(window, tmp_path):
    (tmp_path / "bad.html").write_text(
        '<main><p style="width: 2000px; font-size: 4px">wide</p><img src="http://127.0.0.1:9/x.png" alt="">'
        "<script>console.error('oh')</script></main>"
    )
    window.navigate(tmp_path / "bad.html", width=390)
    assert window.value(OVERFLOW) > 1000
    assert set(window.value(SPILLED)) == {"wide"}
    assert window.value(SMALLEST) == 4
    assert any("oh" in complaint for complaint in window.complaints)
    assert window.requests == ["http://127.0.0.1:9/x.png"]
