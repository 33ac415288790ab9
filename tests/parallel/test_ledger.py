import pytest

from genpipe.errors import GenpipeError
from genpipe.parallel.ledger import MAX_LOSSES, Ledger


def test_items_go_out_in_order_two_to_a_worker():
    ledger = Ledger(range(5))
    assert [ledger.next_for("a", 0) for _ in range(3)] == [0, 1, None]
    assert [ledger.next_for("b", 0) for _ in range(3)] == [2, 3, None]
    assert ledger.done("a", 0, 1.0, 1.0)
    assert ledger.next_for("a", 1) == 4


def test_an_idle_worker_takes_what_another_has_not_begun():
    ledger = Ledger(range(3))
    assert [ledger.next_for("a", 0), ledger.next_for("a", 0), ledger.next_for("b", 0)] == [0, 1, 2]
    ledger.done("b", 2, 1.0, 1.0)
    assert ledger.next_for("b", 1) == 1
    assert ledger.done("b", 1, 2.0, 1.0)
    assert ledger.held_by("a") == [0, 1]
    assert ledger.done("a", 0, 2.0, 2.0)
    assert not ledger.done("a", 1, 3.0, 1.0)


def test_an_item_that_takes_long_is_done_twice_and_the_first_answer_counts():
    ledger = Ledger(range(4))
    for worker in "ab":
        ledger.next_for(worker, 0)
    for position in (1, 2):
        ledger.done("b", position, 1.0, 1.0)
        ledger.next_for("b", 1)
    ledger.done("b", 3, 2.0, 1.0)
    assert ledger.next_for("b", 2.5) is None
    assert (ledger.is_slow("a", 2.5), ledger.is_slow("a", 4), ledger.is_slow("b", 100)) == (False, True, False)
    assert ledger.next_for("b", 4) == 0
    assert ledger.next_for("c", 100) is None  # two are enough
    assert ledger.done("b", 0, 5.0, 1.0)
    assert ledger.num_unfinished == 0
    assert not ledger.done("a", 0, 6.0, 6.0)


def test_what_a_lost_worker_held_goes_to_others_first():
    ledger = Ledger(range(4))
    assert [ledger.next_for("a", 0), ledger.next_for("a", 0)] == [0, 1]
    ledger.lost("a", "killed")
    assert [ledger.next_for("b", 0), ledger.next_for("b", 0)] == [0, 1]


def test_an_item_with_a_copy_elsewhere_is_not_handed_out_again():
    ledger = Ledger(range(2))
    ledger.next_for("a", 0), ledger.next_for("b", 0)
    ledger.done("b", 1, 1.0, 1.0)
    assert ledger.next_for("b", 10) == 0
    ledger.lost("a", "killed")
    assert ledger.next_for("c", 10) is None
    ledger.lost("b", "killed")
    assert ledger.next_for("c", 10) == 0


def test_only_the_item_in_work_is_blamed_and_named_in_the_end():
    ledger = Ledger(["samples 0 … 7", "samples 8 … 15"])
    for attempt in range(MAX_LOSSES - 1):
        assert [ledger.next_for(attempt, 0), ledger.next_for(attempt, 0)] == [0, 1]
        ledger.lost(attempt, "killed")
    ledger.next_for("last", 0)
    with pytest.raises(GenpipeError, match="samples 0 … 7 ended 4 workers, the last so: killed"):
        ledger.lost("last", "killed")
