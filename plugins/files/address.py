"""Addresses as options give them: a local path, or one that fsspec understands. Plain text; nothing is opened here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from genpipe.config import NotInKey

LOCAL = ("file://", "local://")
# user:password@ before the host; `host:8080/a@b` is none.
PASSWORD = re.compile(r"^[a-z][a-z0-9+.-]*://[^/:@]*:(?!\d+(/|$))[^@]*@", re.IGNORECASE)
SIGNATURE = re.compile(
    r"[?&](x-amz-(signature|security-token)|x-goog-signature|signature|sig|token|access_token|api_key|password)=",
    re.IGNORECASE,
)


def absolute(address: str) -> str:
    """The address with a local path made absolute, ~ expanded: workers run in folders of their own."""
    *first, last = address.split("::")  # `zip://*.png::data.zip`: what is inside what
    for prefix in LOCAL:
        last = last.removeprefix(prefix)
    if "://" not in last:
        last = os.path.abspath(os.path.expanduser(last))
    return "::".join([*first, last])


def is_local(address: str) -> bool:
    """Whether the address is a path of this machine (or of a file system that all machines see)."""
    return "://" not in address


def _checked(address: str) -> str:
    if not address.strip():
        raise ValueError("expected a path or an address")
    for link in address.split("::"):
        if PASSWORD.search(link) or SIGNATURE.search(link):
            raise PydanticCustomError(
                "secret",
                "holds a password or a signature, which the run's record would keep; give the address without it, and "
                "let fsspec find the credentials in the environment (AWS_ACCESS_KEY_ID, "
                "GOOGLE_APPLICATION_CREDENTIALS, … or FSSPEC_S3_KEY and the like)",
            )
    return absolute(address)


def _text(given: Any) -> Any:
    return os.fspath(given) if isinstance(given, Path) else given


Address = Annotated[str, BeforeValidator(_text), AfterValidator(_checked)]
"""An option's type: a local path, made absolute, or an address such as s3://bucket/folder."""

DataAddress = Annotated[Address, NotInKey()]
"""An Address whose content, by a data set's fingerprint, is part of the key, and whose place is not."""


def alternatives(pattern: str) -> Iterator[str]:
    """What a pattern with braces stands for: {a,b} each of the words, {00..12} each of the numbers, as a shell has it."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span:
        first, last = int(span[1]), int(span[2])
        step = 1 if first <= last else -1
        words: Iterable[str] = (str(number).zfill(len(span[1])) for number in range(first, last + step, step))
    else:
        words = match[1].split(",")
    for word in words:
        yield from alternatives(pattern[: match.start()] + word + pattern[match.end() :])
