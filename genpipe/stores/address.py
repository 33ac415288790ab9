"""Addresses of stores: which are taken, and what is said of the others before anything is spent."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from genpipe.errors import UsageError, nearest


def checked(address: str) -> str:
    """An address in one form: `protocol://…` without a slash at the end; a bare path becomes `file://` and absolute.

    Raises UsageError for a password in it (credentials come from the environment, where no log shows them), for an
    unknown protocol, and for one whose package is not installed.
    """
    text = address.strip()
    if "://" not in text:
        if not text:
            raise UsageError("the store's address is empty; expected one such as s3://bucket/genpipe or a folder")
        text = f"file://{Path(os.path.expanduser(text)).absolute()}"
    protocol, _, rest = text.partition("://")
    if ("@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]) or urlsplit(text).query:
        raise UsageError(
            f"the store's address {without_secrets(text)} holds credentials; give them in the environment instead, as "
            f"the storage's own tools take them, or as FSSPEC_{protocol.upper()}_… variables"
        )
    if protocol == "file" and not rest.startswith("/"):
        raise UsageError(f"the store's address {text} names no absolute folder; expected file:///folder")
    if not rest.strip("/") and protocol != "memory":
        raise UsageError(f"the store's address {text} names no place in it; expected one such as s3://bucket/genpipe")
    _check_protocol(protocol, text)
    return text.rstrip("/") if rest.strip("/") else text


def _check_protocol(protocol: str, address: str) -> None:
    import fsspec
    from fsspec.registry import known_implementations

    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        known = fsspec.available_protocols()
        raise UsageError(f"store {address}: there is no protocol '{protocol}'{nearest(protocol, known)}") from None
    except ImportError as error:
        package = known_implementations[protocol]["class"].partition(".")[0]
        if package == "fsspec":  # its own class, over another's package
            package = getattr(error.__cause__, "name", None) or protocol
        raise UsageError(f"store {address}: {package} is not installed (pip install {package})") from None


def without_secrets(text: str) -> str:
    """A text whose addresses lost their user, password and query: what errors of drivers may be quoted as."""
    text = re.sub(r"(\w://)[^/\s@]*@", r"\1…@", text)
    return re.sub(r"(\w://[^\s?]*)\?[^\s'\"]+", r"\1?…", text)
