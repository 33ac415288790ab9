import base64
from html.parser import HTMLParser

import pytest

from genpipe import words
from genpipe.artifacts import read_manifest
from genpipe.evaluation import Estimate
from genpipe.pipelines.report.cells import table_text
from genpipe.table import Row, Table


class Page(HTMLParser):
    """Collects tags and checks that they close."""

    VOID = frozenset({"meta", "img", "source", "br", "link"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(steps):
    return Page((steps.report / "report.html").read_text())


def test_the_page_is_well_formed_and_fetches_nothing(page):
    pictures = [link for link in page.links if not link.startswith("#")]
    assert pictures
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    style = "".join(page.text)
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_is_a_png_with_words_beside_it(page):
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all(attributes["alt"] for attributes in images)
    for link in page.links:
        if not link.startswith("#"):
            assert base64.b64decode(link.split(",", 1)[1]).startswith(b"\x89PNG")


def test_every_section_is_there_and_can_be_gone_to(page, steps):
    text = " ".join(page.text)
    for part in ("Samples", "Evaluation", "Novelty", "Training", "Model and data", "Cost", "Settings", "Environment"):
        assert part in text
    places = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert [link.removeprefix("#") for link in page.links if link.startswith("#")] == places
    assert read_manifest(steps.report).summary["panels"] == places
    for row in ("oracle", "model", "copy", "floor"):
        assert row in text
    assert Table.read(steps.evaluation / "table.json").fingerprint in text


def test_pictures_and_the_table_lie_beside_the_page(steps, runs):
    names = {path.name for path in steps.report.iterdir()}
    assert {"report.html", "table.csv", "samples.png", "data.png", "ratios.png"} <= names
    assert ("nearest.png" in names) == (steps is not runs["table"])
    assert ("curves.png" in names) == (steps is runs["grey"])


def test_a_bound_is_said_in_words(runs):
    text = (runs["grey"].report / "report.html").read_text()
    assert "lower bound on the log-likelihood" in text
    assert "≤" in text


def test_markup_in_a_name_is_text(stage, runs):
    steps = runs["table"]
    inputs = {port: getattr(steps, port) for port in ("data", "features", "model", "samples", "evaluation")}
    html = (stage("report", {"title": "<script>1</script> & more"}, inputs) / "report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;1&lt;/script&gt; &amp; more" in html


def cell(value, error=None, **options):
    return Estimate(name="x", value=value, standard_error=error, **options)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (cell(3.14159, 0.0123), ("3.142", "± 0.012")),
        (cell(-142.333, 0.53), ("−142.33", "± 0.53")),
        (cell(6076.4, 72.0), ("6\u202f076", "± 72")),
        (cell(0.00026, 0.0008), ("0.00026", "± 0.00080")),
        (cell(4.0874628, 0.0), ("4.087", "± 0")),
        (cell(-0.0001, 0.2), ("0.00", "± 0.20")),
        (cell(2.0), ("2", "")),
        (cell(3e-17, 2e-18), ("0", "± 0")),
        (cell(float("-inf")), ("−∞", "")),
        (cell(1.5e7), ("1.5e+07", "")),
    ],
)
def test_values_are_rounded_by_their_error(estimate, expected):
    assert words.value_and_error(estimate) == expected


def test_a_bound_on_nats_turns_around_in_bits():
    assert words.relation(cell(1, kind="lower_bound", better="higher")) == "≥"
    assert words.relation(cell(1, kind="lower_bound", better="lower")) == "≤"
    assert words.relation(cell(1, kind="estimate")) == "≈"
    assert words.relation(cell(1, kind="exact")) == ""


def test_equal_notes_share_a_footnote():
    rows = tuple(
        Row(name=name, title=name, estimates=(cell(1.0, notes=("few",)), cell(2.0, notes=("few", "far"))))
        for name in ("oracle", "model")
    )
    table = Table(rows=rows, num=1, reference="train", num_reference=1, extractor="e", fingerprint="e", num_features=1)
    text = table_text(table)
    assert text.footnotes == ("few",)
    assert text.metrics[0].cells[0].footnotes == (1,)
