import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genpipe.data import cut, split_by_hash, split_sizes, subset_by_hash
from genpipe.data import splits as module
from genpipe.data.splits import hashes

sizes = st.integers(2, 300)
seeds = st.integers(0, 2**63 - 1)


@settings(deadline=None)
@given(sizes, seeds, st.floats(0, 0.5), st.floats(0, 0.5))
def test_splits_are_a_partition_of_exact_sizes(num, seed, test, validation):
    splits = split_by_hash(num, {"test": test, "validation": validation}, seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(num))
    assert len(splits["test"]) == round(test * num)


@settings(deadline=None)
@given(sizes, seeds, st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_splits_follow_the_order_of_the_hashes(num, seed, asked):
    sizes, left = {}, num
    for k, size in enumerate(asked):
        sizes[f"split {k}"] = min(size, left)
        left -= sizes[f"split {k}"]
    split = cut(num, sizes, seed).of(0, num)
    order = np.lexsort((np.arange(num), hashes(seed, 0, num)))
    expected = np.repeat(np.arange(len(sizes) + 1), [*sizes.values(), left])
    assert np.array_equal(split[order], expected)


@settings(deadline=None)
@given(sizes, seeds, st.integers(0, 299), st.integers(1, 50))
def test_any_range_of_examples_can_be_split_alone(num, seed, first, count):
    cuts = cut(num, split_sizes(num, {"test": 0.3}), seed)
    first = min(first, num - 1)
    count = min(count, num - first)
    assert np.array_equal(cuts.of(first, count), cuts.of(0, num)[first : first + count])


def test_the_blocks_in_which_examples_are_hashed_do_not_matter(monkeypatch):
    whole = cut(5000, {"a": 1000, "b": 1, "c": 2000}, seed=3)
    monkeypatch.setattr(module, "BLOCK", 37)
    assert cut(5000, {"a": 1000, "b": 1, "c": 2000}, seed=3) == whole


def test_equal_hashes_are_told_apart_by_number(monkeypatch):
    monkeypatch.setattr(module, "hashes", lambda seed, first, count: np.arange(first, first + count) // 4)
    split = cut(12, {"a": 3, "b": 0, "c": 3, "d": 1}, seed=0).of(0, 12)
    assert split.tolist() == [0, 0, 0, 2, 2, 2, 3, 4, 4, 4, 4, 4]


def test_appended_examples_move_only_those_near_a_cut():
    before = cut(1000, split_sizes(1000, {"test": 0.2}), seed=0).of(0, 1000)
    after = cut(1010, split_sizes(1010, {"test": 0.2}), seed=0).of(0, 1000)
    assert 0 < (before != after).sum() + 1 <= 11


def test_a_smaller_limit_keeps_part_of_what_a_larger_keeps():
    few, many = subset_by_hash(1000, 50, seed=0), subset_by_hash(1000, 200, seed=0)
    assert set(few) < set(many)


def test_fractions_that_round_up_together_take_no_more_than_there_is():
    assert split_sizes(3, {"test": 0.5, "validation": 0.5}) == {"test": 2, "validation": 1, "train": 0}


def test_sizes_beyond_the_examples_are_a_mistake_of_ours():
    with pytest.raises(ValueError, match="more than 3 examples"):
        cut(3, {"a": 4}, seed=0)


def test_a_subset_of_data_in_order_is_a_fair_sample():
    chosen = subset_by_hash(10_000, 400, seed=0)
    assert len(set(chosen)) == 400
    assert abs(chosen.mean() - 5000) < 4 * 2887 / 20  # within four standard errors of a uniform draw's mean
    assert not np.array_equal(chosen, subset_by_hash(10_000, 400, seed=1))
