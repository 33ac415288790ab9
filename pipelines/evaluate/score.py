"""Scoring all rows: missing samples, then features, then states of shards, then cells, the items of each shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genpipe.errors import PluginError
from genpipe.evaluation import Estimate, State
from genpipe.parallel import FanOut, Range
from genpipe.parallel.array_file import ArrayFile
from genpipe.pipelines.evaluate.items import (
    EVALUATION,
    NEAREST,
    Arrays,
    Cells,
    Densities,
    Examples,
    Features,
    arrays,
    features_of,
    tensors,
)
from genpipe.pipelines.evaluate.merge_tree import MergeTree
from genpipe.pipelines.evaluate.nearest import joined
from genpipe.pipelines.evaluate.opened import MODEL, ORACLE, TRAIN, Opened, Sources
from genpipe.pipelines.sample.draw import DRAWER, Source
from genpipe.table import Row

# A shard's state may be far larger than its examples, so a row has few shards, of as many batches as may be at most.
# Nothing of how rows are cut, nor of the order of merging, depends on the workers: tables are bitwise the same.
SHARDS_PER_ROW = 8
MOST_BATCHES = 64

REAL = {"held_out": ORACLE, "train": TRAIN}  # names in Metric.calibrates_on → rows


@dataclass(frozen=True, kw_only=True)
class Scores:
    """rows: of the table; of_model, of_held_out: genpipe.neighbours.DistanceRatios, as arrays (N,).

    opened: the evaluation with its features.
    """

    opened: Opened
    rows: tuple[Row, ...]
    of_model: Arrays
    of_held_out: Arrays


def score(sources: Sources, scratch: Path, fan_out: FanOut, progress: Callable[[int, int], None]) -> Scores:
    """Every row's cells. scratch: keeps samples and features; progress: called with the items done, and all."""
    return _Scoring(sources, scratch, fan_out, progress).run()


def shards(row: Range, batch_size: int) -> list[Range]:
    """What metrics of examples have a state for."""
    num_batches = -(-len(row) // (batch_size * SHARDS_PER_ROW))
    return row.cut(batch_size * min(max(num_batches, 1), MOST_BATCHES))


class _Scoring:
    """The phases; each has its items before the first begins, so that progress knows of all."""

    def __init__(self, sources: Sources, scratch: Path, fan_out: FanOut, progress: Callable[[int, int], None]) -> None:
        self._sources, self._opened, self._scratch = sources, sources.open(), scratch
        self._fan_out, self._progress = fan_out, progress
        self._rows = {row: Range(0, sources.num) for row in self._opened.rows}
        self._train = Range(0, len(self._opened.train))
        self._draws = self._plan_draws()
        self._features = self._plan_features()
        self._states = self._plan_states()
        self._cells = [
            (row, name)
            for name, named in self._opened.built.items()
            for row in self._rows
            if named.record.needs != "likelihood" or self._opened.rows[row].log_prob is not None
        ]
        self._num_items = sum(map(len, (self._draws, self._features, self._states, self._cells)))
        self._num_done = 0

    def run(self) -> Scores:
        self._draw()
        self._extract()
        states, nearest = self._merge()
        cells = self._work_out(states)
        rows = []
        for row in self._opened.rows.values():
            found = [cell for choice in self._sources.metrics for cell in cells.get((row.name, choice.name), ())]
            absent = {c.name: row.no_likelihood for c in self._sources.metrics if (row.name, c.name) not in cells}
            rows.append(Row(name=row.name, title=row.title, estimates=tuple(found), absent=absent))
        return Scores(opened=self._opened, rows=tuple(rows), of_model=nearest[MODEL], of_held_out=nearest[ORACLE])

    def _do(self, task: str, shared: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for position, result in self._fan_out.map(task, shared, items):
            yield position, result
            self._num_done += 1
            self._progress(self._num_done, self._num_items)

    def _know(self, **found: Any) -> None:
        """Later work is told of what earlier work found."""
        self._sources = replace(self._sources, **found)
        self._opened = self._sources.open()

    # -- samples that follow those of the artifact -------------------------------------------------------------

    def _plan_draws(self) -> list[Range]:
        spec, self._first = self._opened.train.spec, self._opened.num_samples
        if self._first >= self._sources.num:
            return []
        self._more = ArrayFile(
            self._scratch / "samples.npy", (self._sources.num - self._first, *spec.shape), spec.dtype
        )
        missing = self._more.missing(Range(0, self._sources.num - self._first).cut(self._sources.batch_size))
        return [at.moved(self._first) for at in missing]

    def _draw(self) -> None:
        sources = self._sources
        source = Source(model=sources.model, device=sources.device, drawing=self._opened.drawing, site=sources.site)
        for position, x in self._do(DRAWER, source, self._draws):
            self._more.write(self._draws[position].moved(-self._first), x)
        if self._first < self._sources.num:
            self._know(more=self._more.open())

    # -- features ----------------------------------------------------------------------------------------------

    def _plan_features(self) -> list[Features]:
        sources, first = self._sources, self._opened.examples(TRAIN, Range(0, 1))
        dims = features_of(sources.extractor, sources.extractor_name, first).shape[1]
        self._files, items = {}, []
        for row, whole in {TRAIN: self._train, **self._rows}.items():
            self._files[row] = ArrayFile(self._scratch / "features" / f"{row}.npy", (len(whole), dims), "float64")
            items += [Features(row, at) for at in self._files[row].missing(shards(whole, sources.batch_size))]
        return items

    def _extract(self) -> None:
        for position, features in self._do(EVALUATION, self._sources, self._features):
            item = self._features[position]
            file = self._files[item.row]
            if features.shape[1:] != file.shape[1:]:
                raise PluginError(
                    f"feature extractor '{self._sources.extractor_name}' gave features of {features.shape[1]} "
                    f"dimensions for {item.at} of '{item.row}', and {file.shape[1]} for others"
                )
            file.write(item.at, features)
        self._know(features={row: file.open() for row, file in self._files.items()})

    # -- states --------------------------------------------------------------------------------------------------

    def _plan_states(self) -> list[Densities | Examples]:
        """What takes longest comes first."""
        batch_size, rows = self._sources.batch_size, self._opened.rows
        with_density = [row for row in self._rows if rows[row].log_prob is not None]
        densities = [Densities(row, at) for row in with_density for at in self._rows[row].cut(batch_size)]
        calibrating = any(TRAIN in named.metric.calibrates_on for named in self._opened.built.values())
        examples = {TRAIN: self._train, **self._rows} if calibrating else self._rows
        return [*densities, *(Examples(row, at) for row in examples for at in shards(examples[row], batch_size))]

    def _merge(self) -> tuple[dict[tuple[str, str], State], dict[str, Arrays]]:
        """States of whole rows, by row and metric, and the distance ratios of rows that have them."""
        shard_of: dict[tuple[type, str], list[Range]] = defaultdict(list)
        for item in self._states:
            shard_of[type(item), item.row].append(item.at)
        trees: dict[tuple[str, str], MergeTree] = {}
        nearest: dict[str, dict[int, Arrays]] = defaultdict(dict)
        for position, states in self._do(EVALUATION, self._sources, self._states):
            item = self._states[position]
            ranges = shard_of[type(item), item.row]
            shard = ranges.index(item.at)
            for name, state in states.items():
                if name == NEAREST:
                    nearest[item.row][shard] = state
                    continue
                merge = self._opened.metrics[name].metric.merge
                tree = trees.setdefault((item.row, name), MergeTree(len(ranges), merge))
                tree.add(shard, tensors(state))
        return {key: tree.whole() for key, tree in trees.items()}, {row: joined(nearest[row]) for row in nearest}

    # -- cells ---------------------------------------------------------------------------------------------------

    def _work_out(self, states: dict[tuple[str, str], State]) -> dict[tuple[str, str], list[Estimate]]:
        real = {
            name: {row: arrays(states[REAL[row], name]) for row in named.metric.calibrates_on}
            for name, named in self._opened.metrics.items()
        }
        items = [Cells(row, name, arrays(states[row, name]), real[name]) for row, name in self._cells]
        done = self._do(EVALUATION, self._sources, items)
        return {self._cells[position]: cells for position, cells in done}
