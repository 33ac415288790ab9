"""Keeps secrets out of what is written down: recipes, records, journals, trackers, messages."""

from __future__ import annotations

import os
import re
from functools import cache

HIDDEN = "***"
MIN_LENGTH = 8  # shorter values are words that occur by chance

_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'\"]*:)(?P<password>[^@/\s'\"]+)(?=@)")
_SECRET_NAME = re.compile(
    r"password|passwd|(^|_)(secret|token|credentials?|connection_string|(api|access|account|private)_?key)(_|$)", re.I
)
# names that say secret and hold a path or a switch
_NO_SECRET = re.compile(r"_(PATH|FILE|DIR|URI|URL|MODE|ID)$", re.I)


@cache
def secret_name(name: str) -> bool:
    """Whether an environment variable's name says that its value is a secret."""
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET.search(name)


def has_password(text: str) -> bool:
    """Whether an address in the text carries a password: `scheme://user:password@host`."""
    return _PASSWORD.search(text) is not None


def holds_secret(value: str, name: str = "") -> bool:
    """Whether a variable's value is none to be shown."""
    return has_password(value) or (bool(value) and secret_name(name))


def redacted(text: str) -> str:
    """The text without passwords in addresses and without the values of variables that are named as secrets."""
    text = _PASSWORD.sub(rf"\g<before>{HIDDEN}", text)
    for name, value in os.environ.items():
        if len(value) >= MIN_LENGTH and secret_name(name) and value in text:
            text = text.replace(value, HIDDEN)
    return text
