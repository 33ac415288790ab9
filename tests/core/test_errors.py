"""What others' errors say, in a line."""

import pytest

from genpipe.errors import first_line, last_line


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("it is gone", "it is gone", "it is gone"),
        ("\n  it is gone \nand more\n  at the end\n", "it is gone", "at the end"),
        ("", "TimeoutError", "TimeoutError"),  # queues and sockets raise such
        (" \n", "TimeoutError", "TimeoutError"),
    ],
)
def test_an_error_says_something_in_one_line(text, first, last):
    assert (first_line(TimeoutError(text)), last_line(TimeoutError(text))) == (first, last)
