"""What a sweep tries for one key: how it is written, and that values are where they may be."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genpipe.errors import UsageError
from genpipe.recipe_source import parse_value
from genpipe.sweeps.domains import Choice, Grid, Range, parse_domain, points

POSITIVE = st.floats(1e-12, 1e12)
WHOLE = st.integers(1, 10**9)
UNIT = st.floats(0, 1, exclude_max=True)


@given(st.sampled_from(["log", "uniform"]), POSITIVE, POSITIVE, UNIT)
def test_numbers_drawn_lie_between_the_ends(form, a, b, u):
    low, high = sorted((a, b))
    if low == high:
        return
    domain = parse_domain(f"{form}({low!r},{high!r})")
    assert low <= domain.at(u) <= high
    assert domain.at(0.0) <= domain.at(u)


@given(st.sampled_from(["int", "logint"]), WHOLE, WHOLE, UNIT)
def test_whole_numbers_drawn_are_whole_and_between_the_ends(form, a, b, u):
    low, high = sorted((a, b))
    if low == high:
        return
    value = parse_domain(f"{form}({low},{high})").at(u)
    assert type(value) is int
    assert low <= value <= high


@given(st.sampled_from(["log", "uniform", "int", "logint"]), WHOLE, WHOLE)
def test_a_domain_is_what_it_is_written_as(form, a, b):
    low, high = sorted((a, b))
    if low == high:
        return
    domain = parse_domain(f"{form}({low},{high})")
    assert parse_domain(str(domain)) == domain


@given(POSITIVE, POSITIVE, UNIT)
def test_a_value_typed_again_is_the_same(a, b, u):
    low, high = sorted((a, b))
    if low == high:
        return
    value = Range(low, high, log=True).at(u)
    assert parse_value(repr(value)) == value


@given(st.lists(st.integers() | st.booleans() | st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6), UNIT)
def test_a_choice_is_one_of_its_values(values, u):
    text = ",".join(map(str, values))
    domain = parse_domain(f"choice({text})")
    assert isinstance(domain, Choice)
    assert domain.at(u) in domain.values
    assert parse_domain(f"[{text}]") == Grid(domain.values)


@given(st.text(max_size=30))
def test_any_text_is_a_domain_or_a_plain_value_or_told(text):
    with contextlib.suppress(UsageError):
        domain = parse_domain(text)
        assert domain is None or domain.probes


@pytest.mark.parametrize("text", ["0.5", "vae", "a(b", "{a: 1}", "null", "", "1e-3", "x (y)", "a.b(c)"])
def test_plain_values_are_no_domains(text):
    assert parse_domain(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lgo(1,2)", "there is no 'lgo\\(…\\)'; did you mean 'log'"),
        ("log(0,1)", "given 0 as the lower end; a logarithm needs numbers above 0"),
        ("log(-1,1)", "a logarithm needs numbers above 0"),
        ("uniform(2,1)", "given 2 to 1; the first must be below the second"),
        ("uniform(1,1)", "the first must be below the second"),
        ("uniform(1)", "given 1; expected two numbers: uniform.LOW,HIGH. draws numbers"),
        ("uniform()", "given nothing; expected two numbers"),
        ("uniform(a,b)", "given 'a', 'b'; expected two numbers"),
        ("uniform(0,.inf)", "both ends must be finite"),
        ("uniform(true,2)", "expected two numbers"),
        ("int(0.5,2)", "given 0.5, 2; expected two whole numbers"),
        ("choice()", "no values"),
        ("[]", "an empty list"),
        ("log(1,2", None),
        ("uniform(1,{)", r"\[1,{\] is no list of values; expected uniform"),
        ("[1,2", "is no list of values; expected a list of values, such as"),
    ],
)
def test_mistakes_say_what_was_expected(text, told):
    if told is None:
        assert parse_domain(text) is None
        return
    with pytest.raises(UsageError, match=told):
        parse_domain(text)


@given(st.integers(1, 5), st.integers(0, 2**31), st.integers(1, 4), st.integers(4, 40))
def test_few_points_cover_each_key_and_are_the_same_in_a_longer_sweep(num_keys, seed, cells, turns):
    keys = [f"key{i}" for i in range(num_keys)]
    for cell in range(cells):
        along = [points(keys, seed, turn, cell) for turn in range(turns)]
        for column in zip(*along, strict=True):
            assert all(0 <= u < 1 for u in column)
            assert len(set(column)) == turns
        if num_keys == 1:
            # of the golden section's multiples the widest gap is below 2.2 even ones (Steinhaus)
            ends = sorted(u for (u,) in along)
            gaps = [b - a for a, b in zip(ends, [*ends[1:], ends[0] + 1], strict=True)]
            assert max(gaps) < 2.2 / turns


def test_a_range_by_logarithm_has_its_middle_in_the_middle():
    assert Range(1e-4, 1e-2, log=True).at(0.5) == pytest.approx(1e-3)
    assert Range(0, 1).at(0.25) == 0.25
    counts = [Range(1, 3, whole=True).at(i / 300) for i in range(300)]
    assert [counts.count(n) for n in (1, 2, 3)] == pytest.approx([100, 100, 100], abs=1)
    assert math.isclose(Range(8, 512, log=True, whole=True).at(0.5), 64, rel_tol=0.05)
