import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genpipe.data import Order, split_by_hash, subset_by_hash

sizes = st.integers(2, 300)
seeds = st.integers(0, 2**63 - 1)


@given(sizes, seeds, st.floats(0, 0.5), st.floats(0, 0.5))
def test_splits_are_a_partition_of_exact_sizes(num, seed, test, validation):
    splits = split_by_hash(num, {"test": test, "validation": validation}, seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(num))
    assert len(splits["test"]) == round(test * num)


def test_a_subset_of_data_in_order_is_a_fair_sample():
    chosen = subset_by_hash(10_000, 400, seed=0)
    assert len(set(chosen)) == 400
    assert abs(chosen.mean() - 5000) < 4 * 2887 / 20  # within four standard errors of a uniform draw's mean
    assert not np.array_equal(chosen, subset_by_hash(10_000, 400, seed=1))


@given(sizes, seeds, st.integers(0, 1000), st.integers(1, 100), st.integers(1, 100))
def test_a_batch_is_the_same_however_the_stream_is_cut(num, seed, position, first, second):
    whole = Order(num, seed).indices(position, first + second)
    parts = [Order(num, seed).indices(position, first), Order(num, seed).indices(position + first, second)]
    assert np.array_equal(whole, np.concatenate(parts))


@given(sizes, seeds, st.integers(0, 5))
def test_an_epoch_sees_every_example_once(num, seed, epoch):
    assert sorted(Order(num, seed).indices(epoch * num, num)) == list(range(num))
