"""Which sampler is meant, and with which options."""

from __future__ import annotations

from typing import Any

import pytest

from genpipe.components import Family
from genpipe.errors import UsageError
from genpipe.sampler import Sampler, choose_sampler


def family(**samplers: dict[str, Any]) -> Family:
    return Family(
        name="walker",
        summary="",
        config="",
        build="",
        likelihood=None,
        events=("vector",),
        training="gradient",
        samplers=samplers,
    )


WALKER = family(ddim={"num_steps": None, "eta": 0.0, "guidance": 1.0}, langevin={"num_steps": 100, "order": 1}, mean={})


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, Sampler("ddim", {"num_steps": None, "eta": 0.0, "guidance": 1.0})),
        ("mean", Sampler("mean", {})),
        ("langevin", Sampler("langevin", {"num_steps": 100, "order": 1})),
        ({"name": "ddim", "eta": 1}, Sampler("ddim", {"num_steps": None, "eta": 1, "guidance": 1.0})),
        ({"num_steps": 7}, Sampler("ddim", {"num_steps": 7, "eta": 0.0, "guidance": 1.0})),
        ({"name": "langevin", "num_steps": None}, Sampler("langevin", {"num_steps": 100, "order": 1})),
        (Sampler("ddim", {"guidance": 2.5}), Sampler("ddim", {"num_steps": None, "eta": 0.0, "guidance": 2.5})),
    ],
)
def test_what_is_not_said_is_the_samplers_default(choice: Any, expected: Sampler) -> None:
    chosen = choose_sampler(WALKER, choice)
    assert chosen == expected
    assert choose_sampler(WALKER, chosen) == expected


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("dddim", "family 'walker' has no sampler 'dddim'; did you mean 'ddim'?"),
        ({"name": "ddim", "et": 0.5}, "the sampler 'ddim' has no option 'et'; did you mean 'eta'?"),
        ({"name": "langevin", "eta": 0.5}, "the sampler 'langevin' has no option 'eta'; ddim has one"),
        ({"name": "mean", "num_steps": 5}, "the sampler 'mean' has no option 'num_steps'; ddim and langevin have one"),
        ({"name": "mean", "speed": 5}, "the sampler 'mean' has no option 'speed'; it has none"),
        ({"num_steps": 0}, "the sampler 'ddim': num_steps is 0, expected a whole number from 1 on"),
        ({"num_steps": 2.5}, "num_steps is 2.5, expected a whole number"),
        ({"num_steps": True}, "num_steps is True, expected a whole number"),
        ({"name": "langevin", "order": 1.5}, "order is 1.5, expected a whole number"),
        ({"eta": "half"}, "eta is 'half', expected a number"),
        ({"eta": float("nan")}, "eta is nan, expected a number"),
        ({"name": 5}, "the sampler's name is 5, expected a word"),
    ],
)
def test_what_the_sampler_lacks_is_named_with_the_nearest(choice: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_sampler(WALKER, choice)
    assert message in str(caught.value)


def test_a_family_with_one_way_takes_no_sampler_and_no_option() -> None:
    assert choose_sampler(family(), None) == Sampler()
    with pytest.raises(UsageError, match="'walker' has no sampler 'ddim': it samples in one way only"):
        choose_sampler(family(), "ddim")
    with pytest.raises(UsageError, match="no option 'num_steps' of one: it samples in one way only"):
        choose_sampler(family(), {"num_steps": 5})


def test_a_sampler_says_what_is_set() -> None:
    assert str(choose_sampler(WALKER, {"eta": 0.5})) == "ddim, eta 0.5, guidance 1"
    assert str(Sampler()) == "the family's only way"
