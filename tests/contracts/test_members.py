"""What every named setting of every family keeps; test_families.py holds them to all of the contract with --slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genpipe.components import Family, Member
from genpipe.errors import CapabilityError
from genpipe.persistence import load_model, save_model
from genpipe.registry import registry
from tests.contracts.cases import FAMILIES, Case, labels, marked, members, trained

torch.set_num_threads(1)


def by_member() -> Iterator[Any]:
    """Each on the first kind of data that it models; on the others with --slow."""
    seen = set()
    for case in members():
        first = (case.family.name, case.member) not in seen
        seen.add((case.family.name, case.member))
        yield from marked([case], *(() if first else (pytest.mark.slow,)))


@pytest.mark.parametrize("case", [*by_member()])
def test_a_member_trains_samples_scores_and_is_saved(case: Case, tmp_path: Path) -> None:
    model, result = trained(case, tmp_path)
    assert all(np.isfinite(value) for value in result.numbers.values())
    y = labels(model, 4)

    sampler = case.samplers()[0]
    x = model.sample(4, y, seed=1, sampler=sampler)
    assert x.dtype == getattr(torch, model.spec.dtype)
    model.units.check(x)
    last = model.sample(1, None if y is None else y[3:], seed=1, first_index=3, sampler=sampler)
    if model.spec.levels is None:
        torch.testing.assert_close(last, x[3:], rtol=1e-3, atol=1e-3)
    else:  # a value that lies on a bin's edge may fall to either side of it
        assert (last != x[3:]).double().mean() < 0.02

    save_model(model, tmp_path)
    loaded = load_model(tmp_path, registry())
    assert torch.equal(loaded.sample(4, y, seed=1, sampler=sampler), x)

    if "log_prob" in case.family.capabilities:
        given = torch.from_numpy(np.asarray(case.split.x[:4]))
        scored = model.log_prob(given, y, seed=2)
        assert scored.kind == case.family.likelihood
        assert scored.nats.isfinite().all()
        assert torch.equal(loaded.log_prob(given, y, seed=2).nats, scored.nats)
        tail = model.log_prob(given[3:], None if y is None else y[3:], seed=2, first_index=3)
        torch.testing.assert_close(tail.nats.double(), scored.nats[3:].double(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.members], ids=lambda family: family.name)
def test_members_are_settings_that_the_config_takes_and_no_two_the_same(family: Family) -> None:
    configs = []
    for member in family.members:
        assert member.summary
        assert "\n" not in member.summary
        try:
            configs.append(family.config_class(**member.options))
        except ValidationError as error:
            pytest.fail(f"member '{member.name}' of '{family.name}': {error}")
    for index, config in enumerate(configs):
        assert config not in configs[:index], f"member '{family.members[index].name}' is another one's twin"


def made(*members: Member) -> Family:
    return Family(
        name="any",
        summary="",
        config="",
        build="",
        likelihood=None,
        events=("vector",),
        training="gradient",
        members=members,
    )


def test_two_members_of_one_name_and_data_that_the_family_does_not_model_are_refused() -> None:
    tied = Member("tied", "one covariance", {"covariance": "tied"})
    assert made(tied).members == (tied,)
    with pytest.raises(ValueError, match="two members are called 'tied'"):
        made(tied, tied)
    with pytest.raises(ValueError, match="'convolutional' models data that the family does not"):
        made(Member("convolutional", "for images", {}, events=("image",)))


@pytest.mark.parametrize("case", [case for case in by_member() if case.values[0].member == "conditional"] or [None])
def test_a_conditional_model_is_asked_with_labels_and_without(case: Case | None, tmp_path: Path) -> None:
    if case is None:
        pytest.skip("no family has the option 'conditional'")
    model, _ = trained(case, tmp_path)
    sampler = case.samplers()[0]
    drawn = model.sample(3, seed=1, sampler=sampler)
    assert drawn.shape == (3, *model.spec.shape)
    of_each = [model.sample(3, label, seed=1, sampler=sampler) for label in (0, 1)]
    assert not torch.equal(*of_each), "labels make no difference"
    if "log_prob" in case.family.capabilities:
        x = torch.from_numpy(np.asarray(case.split.x[:3]))
        parts = torch.stack([model.log_prob(x, k).nats.double() + np.log(0.5) for k in (0, 1)])
        torch.testing.assert_close(model.log_prob(x).nats, parts.logsumexp(0), rtol=1e-6, atol=1e-4)
    with pytest.raises(CapabilityError, match="takes no labels"):
        case.build(conditional=False).sample(1, 0)
