import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genpipe.data import Order
from genpipe.data import order as module

sizes = st.integers(2, 300)
seeds = st.integers(0, 2**63 - 1)


@settings(deadline=None)
@given(sizes, seeds, st.integers(0, 1000), st.integers(1, 100), st.integers(1, 100))
def test_a_batch_is_the_same_however_the_stream_is_cut(num, seed, position, first, second):
    whole = Order(num, seed).indices(position, first + second)
    parts = [Order(num, seed).indices(position, first), Order(num, seed).indices(position + first, second)]
    assert np.array_equal(whole, np.concatenate(parts))


@settings(deadline=None)
@given(sizes, seeds, st.integers(0, 5))
def test_an_epoch_sees_every_example_once(num, seed, epoch):
    assert sorted(Order(num, seed).indices(epoch * num, num)) == list(range(num))


def test_chunks_do_not_show(monkeypatch):
    whole = Order(1000, 7).indices(900, 1500)
    monkeypatch.setattr(module, "CHUNK", 13)
    assert np.array_equal(Order(1000, 7).indices(900, 1500), whole)


def test_epochs_and_seeds_differ():
    first, second = Order(500, 0).indices(0, 500), Order(500, 0).indices(500, 500)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Order(500, 1).indices(0, 500))


def test_the_first_batch_is_of_the_whole_set_and_not_of_its_front():
    drawn = Order(10**9, 0).indices(0, 1000)
    assert abs(drawn.mean() / 1e9 - 0.5) < 4 * 0.2887 / np.sqrt(1000)
    assert len(set(drawn.tolist())) == 1000


def test_a_billion_examples_take_no_more_memory_than_a_thousand():
    Order(1000, 0).indices(0, 10)
    tracemalloc.start()
    order = Order(10**9, 0)
    for position in range(0, 10**9, 10**8):
        order.indices(position, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("num", [1, 2, 3])
def test_tiny_sets_have_an_order_too(num):
    assert sorted(Order(num, 0).indices(num * 3, num)) == list(range(num))
