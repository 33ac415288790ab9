from hypothesis import given
from hypothesis import strategies as st

from genpipe.cli.comparison_table import blocks

WIDTHS = st.lists(st.integers(1, 40), min_size=2, max_size=20)


@given(WIDTHS, st.integers(1, 200))
def test_every_column_stands_in_one_block_and_blocks_fit_where_they_can(widths, room):
    found = blocks(widths, room)
    assert [i for start, stop in found for i in range(start, stop)] == list(range(1, len(widths)))
    for start, stop in found:
        assert stop - start == 1 or widths[0] + sum(3 + width for width in widths[start:stop]) <= room
