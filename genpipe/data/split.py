"""One split of a data artifact, as every later step reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genpipe.data.raw import Array
from genpipe.data.shard import Shard
from genpipe.data.sharded_array import ShardedArray, check_size
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, nearest

SPEC, SPLITS = "spec.json", "splits.json"
FORMAT = 1


@dataclass(frozen=True)
class Split:
    """One split of a data artifact. x: (N, *event); y: (N,) integers or None.

    Arrays, or what acts as one in shards (`len`, `shape`, `dtype`, `x[slice]`, `x[integers]`, `np.asarray(x)`): take
    the rows that are needed, since all of them may not fit in memory.
    """

    spec: DataSpec
    name: str
    x: Array | ShardedArray
    y: Array | ShardedArray | None

    def __len__(self) -> int:
        return len(self.x)


def write_index(folder: Path, spec: DataSpec, splits: Mapping[str, Sequence[Shard]]) -> None:
    """spec.json and splits.json, which say what a data artifact's shards are."""
    spec.write(folder / SPEC)
    listed = {
        name: {"num": sum(shard.num for shard in shards), "shards": [asdict(shard) for shard in shards]}
        for name, shards in splits.items()
    }
    about = {"format": FORMAT, "dtype": spec.dtype, "shape": list(spec.shape), "splits": listed}
    (folder / SPLITS).write_text(json.dumps(about, indent=1))


def split_names(folder: Path) -> tuple[str, ...]:
    """Names of a data artifact's splits. ArtifactError as `open_split`."""
    return tuple(_read_index(folder)["splits"])


def open_split(folder: Path, name: str) -> Split:
    """The split `name` ("train", "test", "validation", "features") of a data artifact.

    ArtifactError names a shard that is missing or has not the size that it was written with.
    """
    about = _read_index(folder)
    splits = about["splits"]
    if name not in splits:
        raise ArtifactError(f"data artifact {folder} has no split '{name}'{nearest(name, splits)}")
    shards = [Shard(**shard) for shard in splits[name]["shards"]]
    if sum(shard.num for shard in shards) != splits[name]["num"]:
        raise ArtifactError(
            f"data artifact {folder}: the shards of '{name}' hold {sum(shard.num for shard in shards)} examples, "
            f"{SPLITS} says {splits[name]['num']}"
        )
    for shard in shards:
        check_size(folder, shard)
    x = ShardedArray(folder, shards, "x", tuple(about["shape"]), about["dtype"])
    labelled = bool(shards) and shards[0].y_offset is not None
    y = ShardedArray(folder, shards, "y", (), "int64") if labelled else None
    return Split(DataSpec.read(folder / SPEC), name, x, y)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / SPLITS
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{folder} has no {SPLITS}: no data artifact, or one of an older genpipe") from None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}") from None
    if about.get("format") != FORMAT:
        raise ArtifactError(f"{path} has format {about.get('format')}, this genpipe reads format {FORMAT}")
    return about


def in_order(split: Split, batch_size: int) -> Iterator[tuple[int, Array, Array | None]]:
    """(first index, x, y) over a split, once, in its own order; for closed-form fits and evaluation."""
    for start in range(0, len(split), batch_size):
        stop = start + batch_size
        yield start, np.array(split.x[start:stop]), None if split.y is None else np.array(split.y[start:stop])
