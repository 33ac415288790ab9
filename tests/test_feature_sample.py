import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genpipe.feature_sample import FeatureSample


def normals(num, dims=3, seed=0):
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 59), max_size=6, unique=True), st.integers(1, 80), st.randoms())
def test_shards_in_any_order_give_the_same_sample(cuts, size, order):
    features, sample = normals(60), FeatureSample(size)
    ends = [0, *sorted(cuts), 60]
    states = [sample.of(features[a:b], a) for a, b in itertools.pairwise(ends)]
    order.shuffle(states)
    found = states[0]
    for state in states[1:]:
        found = sample.merge(found, state)
    whole = sample.of(features, 0)
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    assert len(found["features"]) == min(size, 60)


def test_a_smaller_sample_is_the_beginning_of_a_larger_one():
    features = normals(500)
    few, many = (FeatureSample(size).of(features, 0)["features"] for size in (50, 300))
    assert torch.equal(few, many[:50])
    assert not torch.equal(few, features[:50])
