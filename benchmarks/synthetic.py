"""A data set of any size for benchmarks: 3×64×64 images, made as fast as a disk writes. A plugin of genpipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from genpipe.components import Dataset
from genpipe.config import Config
from genpipe.data import Array, Part, Source
from genpipe.dataspec import DataSpec
from genpipe.hookspecs import hookimpl

SPEC = DataSpec(name="synthetic", event="image", shape=(3, 64, 64), levels=256)
WIDTH = SPEC.num_dimensions
PART_ROWS, BLOCK_ROWS = 4096, 512


class SyntheticConfig(Config):
    """Options of the data set `synthetic`."""

    num_examples: int = Field(10_000, ge=2, description="images")


@dataclass(frozen=True)
class Synthetic(Source):
    """Images cut from a pool of noise. Each bears its number in its first bytes."""

    num_examples: int

    @property
    def parts(self) -> Sequence[Part]:
        firsts = range(0, self.num_examples, PART_ROWS)
        return [Part(f"images {first} …", [first, min(PART_ROWS, self.num_examples - first)]) for first in firsts]

    def survey(self, part: Part) -> dict[str, Any]:
        return {"num": part.detail[1]}

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        return SPEC

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[Array, Array | None]]:
        pool = np.random.default_rng(0).integers(0, 256, WIDTH * (BLOCK_ROWS + 1), dtype=np.uint8)
        first, num = part.detail
        for start in range(first, first + num, BLOCK_ROWS):
            count = min(BLOCK_ROWS, first + num - start)
            x = pool[start % WIDTH :][: count * WIDTH].reshape(count, *SPEC.shape).copy()
            x.reshape(count, -1)[:, :8] = np.arange(start, start + count, dtype=np.int64)[:, None].view(np.uint8)
            yield x, None


def build(config: SyntheticConfig, seed: int) -> Synthetic:
    """The seed has no part."""
    return Synthetic(config.num_examples)


@hookimpl
def register_datasets() -> list[Dataset]:
    return [
        Dataset(
            name="synthetic",
            summary="images of noise, any number, for benchmarks",
            config="benchmarks.synthetic:SyntheticConfig",
            build="benchmarks.synthetic:build",
            events=("image",),
        )
    ]


def install(folder: Path) -> list[str]:
    """Makes `folder` a distribution that provides the plugin; gives what PYTHONPATH must have."""
    about = folder / "synthetic-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: synthetic\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[genpipe]\nsynthetic = benchmarks.synthetic\n")
    return [str(folder), str(Path(__file__).parents[1])]
