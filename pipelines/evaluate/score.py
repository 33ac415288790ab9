"""Scoring all rows: missing samples, then features, then states of shards, then cells, the items of each shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genpipe.evaluation import Estimate, State
from genpipe.parallel import FanOut, Range
from genpipe.parallel.array_file import ArrayFile
from genpipe.pipelines.evaluate.items import (
    DENSITIES,
    EVALUATION,
    NEAREST,
    Arrays,
    Cells,
    Densities,
    Examples,
    Features,
    arrays,
    errors_named,
    has_densities,
    tensors,
)
from genpipe.pipelines.evaluate.likelihoods import ExampleLikelihoods, gathered, plan_likelihoods
from genpipe.pipelines.evaluate.merge_tree import MergeTree
from genpipe.pipelines.evaluate.nearest import joined
from genpipe.pipelines.evaluate.opened import COPY, ORACLE, TRAIN, Opened, Sources, Values
from genpipe.pipelines.evaluate.rows import Row as SourceRow
from genpipe.pipelines.features.compute import What
from genpipe.pipelines.sample.draw import DRAWER, Source
from genpipe.table import Row

# A shard's state may be far larger than its examples, so a row has few shards, of as many batches as may be at most.
# Nothing of how rows are cut, nor of the order of merging, depends on the workers: tables are bitwise the same.
SHARDS_PER_ROW = 8
MOST_BATCHES = 64

REAL = {"held_out": ORACLE, "train": TRAIN}  # names in Metric.calibrates_on → rows


@dataclass(frozen=True, kw_only=True)
class Scores:
    """rows: of the table; of_subject, of_held_out: genpipe.neighbours.DistanceRatios, as arrays (N,).

    opened: the evaluation with its features. likelihoods: of single examples, where the subject has a density.
    """

    opened: Opened
    rows: tuple[Row, ...]
    of_subject: Arrays
    of_held_out: Arrays
    likelihoods: ExampleLikelihoods | None


def score(
    sources: Sources, num_likelihoods: int, scratch: Path, fan_out: FanOut, progress: Callable[[int, int], None]
) -> Scores:
    """Every row's cells. num_likelihoods: of single examples, of each kind. scratch: keeps samples and features;
    progress: called with the items done, and all."""
    return _Scoring(sources, num_likelihoods, scratch, fan_out, progress).run()


def shards(row: Range, batch_size: int) -> list[Range]:
    """What metrics of examples have a state for."""
    num_batches = -(-len(row) // (batch_size * SHARDS_PER_ROW))
    return row.cut(batch_size * min(max(num_batches, 1), MOST_BATCHES))


class _Scoring:
    """The phases; each has its items before the first begins, so that progress knows of all."""

    def __init__(
        self,
        sources: Sources,
        num_likelihoods: int,
        scratch: Path,
        fan_out: FanOut,
        progress: Callable[[int, int], None],
    ) -> None:
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
            if named.record.needs not in DENSITIES or has_densities(self._opened, name, row)
        ]
        self._likelihoods = plan_likelihoods(self._opened, num_likelihoods)
        phases: tuple[Sequence[Any], ...] = (
            self._draws,
            self._features,
            self._states,
            self._cells,
            self._likelihoods,
        )
        self._num_items = sum(map(len, phases))
        self._num_done = 0

    def run(self) -> Scores:
        self._draw()
        self._extract()
        states, nearest = self._merge()
        cells = self._work_out(states)
        likelihoods = self._do(EVALUATION, self._sources, self._likelihoods)
        opened, rows = self._opened, []
        for row in opened.rows.values():
            of_metrics = {label: cells.get((row.name, label), []) for label in opened.built}
            absent = {label: self._why_absent(row, label) for label, found in of_metrics.items() if not found}
            estimates = told_apart(of_metrics, opened)
            rows.append(Row(name=row.name, title=row.title, estimates=tuple(estimates), absent=absent))
        return Scores(
            opened=opened,
            rows=tuple(rows),
            of_subject=nearest[opened.subject],
            of_held_out=nearest[ORACLE],
            likelihoods=gathered({self._likelihoods[position]: found for position, found in likelihoods}),
        )

    def _why_absent(self, row: SourceRow, label: str) -> str:
        if self._opened.built[label].record.needs == "densities" and self._opened.truth is None:
            return "the true density of the data is not known"
        return self._opened.metrics[label].metric.why_absent() or row.no_likelihood

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
        sources, drawing = self._sources, self._opened.drawing
        if self._first >= sources.num:
            return
        assert sources.model is not None, "the stage has checked that more can be drawn"
        assert drawing is not None
        source = Source(model=sources.model, device=sources.device, drawing=drawing, site=sources.site)
        for position, x in self._do(DRAWER, source, self._draws):
            self._more.write(self._draws[position].moved(-self._first), x)
        self._know(more=self._more.open())

    # -- features of what is not real data -----------------------------------------------------------------------

    def _plan_features(self) -> list[Features]:
        kept, built = self._opened.kept, self._opened.built.values()
        wanted: dict[tuple[str, What], int] = {(self._sources.extractor, "features"): 0}
        wanted |= {(named.extractor, "features"): 0 for named in built if named.record.needs not in DENSITIES}
        wanted |= {(named.extractor, "logits"): 0 for named in built if named.record.needs == "logits"}
        self._files: dict[Values, ArrayFile] = {}
        items: list[Features] = []
        for row, whole in self._rows.items():
            if row in (ORACLE, COPY):
                continue
            for extractor, what in wanted:
                width = kept[extractor].num_features if what == "features" else kept[extractor].num_logits
                assert width is not None, "the stage has checked that there are logits"
                path = self._scratch / "features" / f"{row}-{extractor}-{what}.npy"
                file = self._files[row, extractor, what] = ArrayFile(path, (len(whole), width), "float64")
                ranges = shards(whole, self._sources.batch_size)
                items += [Features(row, extractor, what, at) for at in file.missing(ranges)]
        return items

    def _extract(self) -> None:
        for position, values in self._do(EVALUATION, self._sources, self._features):
            item = self._features[position]
            self._files[item.row, item.extractor, item.what].write(item.at, values)
        self._know(values={key: file.open() for key, file in self._files.items()})

    # -- states --------------------------------------------------------------------------------------------------

    def _plan_states(self) -> list[Densities | Examples]:
        """What takes longest comes first."""
        batch_size, rows = self._sources.batch_size, self._opened.rows
        asked = [label for label, named in self._opened.built.items() if named.record.needs in DENSITIES]
        with_density = [row for row in rows if any(has_densities(self._opened, label, row) for label in asked)]
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
                with errors_named(f"metric '{name}' of row '{item.row}'"):
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


def told_apart(of_metrics: Mapping[str, Sequence[Estimate]], opened: Opened) -> list[Estimate]:
    """A row's cells, each with its own name and the fingerprint of the features it rests on.

    A cell says of which features it is where these are not the evaluation's; of which metric, where another has the
    same name.
    """
    cells: list[Estimate] = []
    for label, found in of_metrics.items():
        named = opened.built[label]
        kept = opened.kept[named.extractor]
        rests_on_features = named.record.needs in ("features", "logits")
        for cell in found:
            name = cell.name
            if rests_on_features and named.extractor != opened.sources.extractor and kept.name not in name:
                name = f"{name} ({kept.name})"
            if any(other.name == name for other in cells):
                name = f"{name} [{label}]"
            cells.append(replace(cell, name=name, features=kept.fingerprint if rests_on_features else None))
    return cells
