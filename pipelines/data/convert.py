"""From a source's parts to checked, split examples in shards. Both tasks can be done by any process, and done again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genpipe.data import Array, Cuts, Part, Source, check_examples
from genpipe.data.shard import Shard
from genpipe.data.shard_writer import ShardWriter
from genpipe.data.sharded_array import check_size
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, DataError
from genpipe.pipelines.data.pieces import Piece
from genpipe.pipelines.data.statistics import Statistics

FACTS = "piece.json"
BLOCK_BYTES = 8 << 20


def surveyor(source: Source) -> Callable[[Part], dict[str, Any]]:
    """The task that looks at one part; gives what `Source.survey` does."""

    def survey(part: Part) -> dict[str, Any]:
        found = source.survey(part)
        if not isinstance(found.get("num"), int) or found["num"] < 0:
            raise DataError(f"{part.address}: its survey has num {found.get('num')!r}, expected a count of examples")
        return found

    return survey


@dataclass(frozen=True)
class Conversion:
    """What all pieces of a data set share. folder: where each leaves a folder of its own."""

    source: Source
    spec: DataSpec
    cuts: Cuts
    folder: Path


def converter(conversion: Conversion) -> Callable[[Piece], dict[str, Any]]:
    """The task that converts one piece; gives the facts that it left in its folder.

    The folder appears by one rename, whole: a piece that was done before, by another process or by an attempt that
    was killed, is not done again.
    """

    def convert(piece: Piece) -> dict[str, Any]:
        final = conversion.folder / f"{piece.number:06d}"
        known = _finished(final)
        if known is not None:
            return known
        aside = conversion.folder / f".{piece.number:06d}-{uuid.uuid4().hex[:8]}"
        aside.mkdir(parents=True)
        try:
            facts = _convert(conversion, piece, aside)
            (aside / FACTS).write_text(json.dumps(facts))
            _publish(aside, final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return facts

    return convert


def _finished(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
        for split in facts["splits"].values():
            for shard in split["shards"]:
                check_size(folder, Shard(**shard))
    except (FileNotFoundError, ValueError, ArtifactError):
        shutil.rmtree(folder, ignore_errors=True)  # of a machine that went down before it was synced
        return None
    return facts


def _publish(aside: Path, final: Path) -> None:
    try:
        aside.rename(final)
    except OSError:
        if not (final / FACTS).is_file():  # else a twin of this task was faster, with the same bytes
            raise
    descriptor = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _convert(conversion: Conversion, piece: Piece, folder: Path) -> dict[str, Any]:
    spec, cuts = conversion.spec, conversion.cuts
    dtype, digest = np.dtype(spec.dtype), hashlib.sha256()
    rows = max(1, BLOCK_BYTES // (spec.num_dimensions * dtype.itemsize))
    membership = np.concatenate(
        [cuts.of(piece.first + start, min(rows, piece.num - start)) for start in range(0, piece.num, rows)]
        or [np.empty(0, dtype=np.int64)]
    )
    statistics: dict[str, list[Statistics]] = {name: [] for name in cuts.names}
    writers: list[ShardWriter] = []
    labelled: bool | None = None
    at = 0
    for address, x, y in _checked_blocks(conversion.source, piece, spec):
        if labelled is None:
            labelled = y is not None
            for number, name in enumerate(cuts.names):
                num, into = int((membership == number).sum()), statistics[name]
                keep = _keeper(spec, into)
                writers.append(ShardWriter(folder, name, spec, num, labels=labelled, on_shard=keep))
        if labelled != (y is not None):
            raise DataError(f"{address} {'has' if y is not None else 'has no'} labels, unlike the examples before it")
        for start in range(0, len(x), rows):
            block = x[start : start + rows].astype(dtype, copy=False)
            labels = None if y is None else y[start : start + rows]
            split = membership[at : at + len(block)]
            at += len(block)
            digest.update(np.ascontiguousarray(block[split < len(writers)]).data)
            for number, writer in enumerate(writers):
                mine = split == number
                writer.write(block[mine], None if labels is None else labels[mine])
    for writer in writers:
        writer.flush()
    return {
        "num": piece.num,
        "labelled": labelled,
        "digest": digest.hexdigest(),
        "splits": {
            name: {
                "shards": [asdict(shard) for shard in writer.shards],
                "statistics": [part.to_json() for part in statistics[name]],
            }
            for name, writer in zip(cuts.names, writers, strict=False)
        },
    }


def _keeper(spec: DataSpec, into: list[Statistics]) -> Callable[[Array, Array | None], None]:
    return lambda x, y: into.append(Statistics.of(spec, x, y))


def _checked_blocks(source: Source, piece: Piece, spec: DataSpec) -> Iterator[tuple[str, Array, Array | None]]:
    """(address, x, y) of the piece's parts, each as long as its survey said."""
    for part, num in zip(piece.parts, piece.nums, strict=True):
        row = 0
        for x, y in source.read(part, spec):
            check_examples(spec, x, y, part.address, row)
            row += len(x)
            if row > num:
                break
            yield part.address, x, y
        if row != num:
            given = "more" if row > num else str(row)
            raise DataError(f"{part.address} gave {given} examples, its survey said {num}: did it change meanwhile?")
