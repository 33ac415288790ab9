"""A source that makes its examples, and the data stage run on any source."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from genpipe.config import Component, Config
from genpipe.data import Part, Source
from genpipe.dataspec import DataSpec
from genpipe.parallel import FanOut, InThisProcess
from genpipe.pipelines.data.config import DataConfig
from genpipe.pipelines.data.stage import run
from genpipe.steps import ProgressFile, StepContext

BLOCK = 20


@dataclass(frozen=True)
class Synthetic(Source):
    """Rows of which the first value is the example's number. nums: examples of each part."""

    nums: tuple[int, ...] = (10, 20, 5)
    width: int = 6
    labelled: bool = True
    block: int = BLOCK

    @property
    def parts(self) -> Sequence[Part]:
        firsts = np.cumsum([0, *self.nums]).tolist()
        return [Part(f"part-{k}.bin", [firsts[k], num]) for k, num in enumerate(self.nums)]

    def survey(self, part: Part) -> dict[str, Any]:
        return {"num": part.detail[1]}

    def spec(self, surveys: Sequence[dict[str, Any]]) -> DataSpec:
        return DataSpec(name="synthetic", event="vector", shape=(self.width,), num_classes=3 if self.labelled else None)

    def examples(self, first: int, num: int) -> np.ndarray:
        rng = np.random.default_rng(first)
        x = rng.normal(size=(num, self.width)).astype(np.float32) * 3 + 100
        x[:, 0] = np.arange(first, first + num)
        return x

    def read(self, part: Part, spec: DataSpec) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        first, num = part.detail
        for start in range(first, first + num, self.block):
            count = min(self.block, first + num - start)
            yield self.examples(start, count), np.arange(start, start + count) % 3 if self.labelled else None


def run_data_stage(folder: Path, built: Any, workers: FanOut | None = None, seed: int = 0, **options: Any) -> Path:
    """The folder that the stage filled for what a data set's builder gave."""
    out, scratch = folder / f"out-{time.monotonic_ns()}", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    record = SimpleNamespace(name="synthetic", builder=lambda config, seed: built)
    config = DataConfig(dataset=Component("dataset", "synthetic", Config()), **options)
    context = StepContext(
        step="data",
        stage="data",
        config=config,
        seed=seed,
        inputs={},
        out=out,
        scratch=scratch,
        registry=SimpleNamespace(get=lambda kind, name: record),
        progress=ProgressFile(None),
        fan_out=workers or InThisProcess(),
    )
    run(context)
    return out
