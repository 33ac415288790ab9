"""WebDataset tars: samples are the consecutive members whose names agree up to the first dot (Aizman et al., 2019)."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from genpipe.data import Part, Source
from genpipe.errors import DataError, nearest
from genpipe.plugins.files.config import WebDatasetConfig
from genpipe.plugins.files.encoded import Encoded, EncodedImages
from genpipe.plugins.files.paths import digest, find, opened, stem
from genpipe.plugins.files.suffixes import TARS

MAX_FIELD_BYTES = 256 * 2**20
"""A larger image or label is no image or label; it is named, not held in memory."""


class _Member(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, tar: Any) -> Any:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            tar.ended = True
            raise


class _Tar(tarfile.TarFile):
    """A tar that knows whether its end mark was read: tarfile takes a torn header for the end."""

    tarinfo = _Member
    members: list[tarfile.TarInfo]
    ended = False


@contextmanager
def opened_tar(address: str) -> Iterator[_Tar]:
    """The tar at an address, plain or packed; DataError where it is none or is damaged, also while it is read."""
    with opened(address) as file:
        try:
            with _Tar.open(fileobj=file, mode="r:*" if file.seekable() else "r|*") as tar:
                yield tar
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{address} is no tar, or is damaged: {error}") from error


def samples(address: str, wanted: frozenset[str]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """(key, what each ending holds) of the samples in a tar, in its order. Only endings in `wanted` are read."""
    key, last = "", "its start"
    fields: dict[str, bytes | None] = {}
    with opened_tar(address) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # tarfile keeps all that it saw
            last = f"'{member.name}'"
            folder, _, name = member.name.removeprefix("./").rpartition("/")
            if not member.isreg() or name.startswith("."):
                continue
            base, _, ending = name.partition(".")
            if (given := f"{folder}/{base}" if folder else base) != key and fields:
                yield key, fields
                fields = {}
            key, ending = given, ending.lower()
            if ending in fields:
                raise DataError(f"{address}, key '{key}': there are two files .{ending}")
            fields[ending] = _content(tar, member, address) if ending in wanted else None
        if not tar.ended:
            raise DataError(f"{address} is damaged or cut off after {last}: it has no end mark")
        if fields:
            yield key, fields


def _content(tar: _Tar, member: tarfile.TarInfo, address: str) -> bytes:
    if member.size > MAX_FIELD_BYTES:
        raise DataError(f"{address}, '{member.name}' has {member.size:,} bytes, expected up to {MAX_FIELD_BYTES:,}")
    stream = tar.extractfile(member)
    assert stream is not None  # a regular file
    return stream.read()


@dataclass(frozen=True)
class WebDataset(EncodedImages):
    """One part per tar, in the order of their names; examples in the order of the tar."""

    config: WebDatasetConfig

    def list_parts(self) -> Iterable[Part]:
        return (Part(file.address) for file in find(self.config.path, TARS))

    def images(self, part: Part, *, content: bool) -> Iterator[Encoded]:
        ending, _, field = (self.config.label or "").partition(":")
        endings = [name.lower().removeprefix(".") for name in self.config.image]
        label_ending = ending.lower().removeprefix(".")
        wanted = frozenset([*(endings if content else ()), *([label_ending] if label_ending else [])])
        for key, fields in samples(part.address, wanted):
            where = f"{part.address}, key '{key}'"
            image = next((name for name in endings if name in fields), None)
            if image is None:
                raise DataError(f"{where}: no image: {_missing(endings, fields)}")
            label = None
            if label_ending:
                if label_ending not in fields:
                    raise DataError(f"{where}: no label: {_missing([label_ending], fields)}")
                label = _label(fields[label_ending] or b"", field, f"{where}, .{label_ending}")
            yield Encoded(f"{where}, .{image}", partial(io.BytesIO, fields[image] or b""), label)


def _missing(endings: list[str], fields: Mapping[str, Any]) -> str:
    given = ", ".join(f".{name}" for name in fields)
    return f"expected {' or '.join(f'.{name}' for name in endings)}, given {given}"


def _label(content: bytes, field: str, where: str) -> str:
    """A label's text: all of the content, or one field of it as JSON."""
    try:
        if not field:
            return content.decode().strip()
        values = json.loads(content)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{where} is no {'JSON' if field else 'text in UTF-8'}: {error}") from error
    if not isinstance(values, dict) or field not in values:
        known = values if isinstance(values, dict) else ()
        raise DataError(f"{where} has no field '{field}'{nearest(field, known)}")
    if not isinstance(values[field], str | int):
        raise DataError(f"{where}: '{field}' is {json.dumps(values[field])[:80]}, expected text or a whole number")
    return str(values[field]).strip()


def build(config: WebDatasetConfig, seed: int) -> Source:
    """The samples of tars. The seed has no part."""
    return WebDataset(config, stem(config.path))


def fingerprint(config: WebDatasetConfig) -> str:
    return digest(stem(config.path), find(config.path, TARS))
