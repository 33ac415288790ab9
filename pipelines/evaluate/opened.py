"""What an evaluation reads, and what each process that shares it makes of that."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genpipe import components
from genpipe.artifacts import read_manifest
from genpipe.config import Component
from genpipe.data import open_split
from genpipe.evaluation import FeatureExtractor, Metric, Reference, State
from genpipe.model import LogProb, Model
from genpipe.parallel import Range
from genpipe.persistence import describe_model, load_model
from genpipe.pipelines.evaluate.rows import Row, copy_row, floor_row, model_row, oracle_row, part_of
from genpipe.pipelines.sample.draw import Drawing
from genpipe.registry import Registry, registry
from genpipe.stores import Site
from genpipe.validation import restore_config

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

TRAIN, ORACLE, MODEL = "train", "oracle", "model"


@dataclass(kw_only=True)
class Sources:
    """An evaluation, told to a process that shares it.

    data, model, samples: artifacts; site: by which other machines find them. held_out, copies: indices (num,) of what
    the oracle's and the copies' rows show. extractor: prepared. more: the samples beyond those of the artifact, and
    features (N, D) of each row and of the training split, once they are there.
    """

    data: Path
    model: Path
    samples: Path
    site: Site | None
    device: str
    num: int
    batch_size: int
    seed: int
    held_out: Indices
    copies: Indices
    metrics: tuple[Component, ...]
    extractor_name: str
    extractor: FeatureExtractor
    more: Array | None = None
    features: Mapping[str, Array] = field(default_factory=dict)
    _opened: Opened | None = field(default=None, init=False, repr=False)

    def open(self) -> Opened:
        """The same object in one process."""
        if self._opened is None:
            self._opened = Opened(self)
        return self._opened

    def here(self, artifact: Path) -> Path:
        return artifact if self.site is None else self.site.artifact(artifact)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


@dataclass(frozen=True)
class NamedMetric:
    """A metric at work and the record that it came from."""

    record: components.Metric
    metric: Metric


class Opened:
    """Rows, reference and metrics of one evaluation, in this process. Nothing is read before it is needed."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._registry: Registry = registry()
        data, samples, self._model_folder = map(sources.here, (sources.data, sources.samples, sources.model))
        self.train, self.test = (open_split(data, name) for name in ("train", "test"))
        self._drawn = np.load(samples / "samples.npy", mmap_mode="r", allow_pickle=False)
        self.drawing = Drawing.read(samples / "drawing.json")
        family, _ = describe_model(self._model_folder, self._registry)
        held_out = part_of(self.test.x, sources.held_out)
        rows = (
            oracle_row(held_out, *_true_density(data, self._registry)),
            model_row(self._samples, family, self._log_prob),
            copy_row(part_of(self.train.x, sources.copies)),
            floor_row(self.train.spec, sources.seed),
        )
        self.rows: dict[str, Row] = {row.name: row for row in rows}
        self._calibrated: set[str] = set()
        self.is_labelled = self.drawing.num_classes is not None and self.test.y is not None

    def examples(self, row: str, at: Range) -> Tensor:
        """Of a row, or of the training split."""
        return part_of(self.train.x)(at) if row == TRAIN else self.rows[row].examples(at)

    def held_out(self, at: Range) -> tuple[Tensor, Tensor | None]:
        """Examples that densities are asked for, (len(at), *event), and their labels where the model takes them."""
        x, y = self.rows[ORACLE].examples(at), self.test.y
        if y is None or not self.is_labelled:
            return x, None
        return x, torch.from_numpy(np.array(y[self.sources.held_out[at.slice]]))

    def features(self, row: str) -> Tensor:
        """(N, D) float64, not to be written to: several processes may share its memory."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to
            return torch.from_numpy(self.sources.features[row])

    @property
    def num_samples(self) -> int:
        """Of the artifact."""
        return len(self._drawn)

    @cached_property
    def reference(self) -> Reference:
        return Reference(
            spec=self.train.spec,
            train=self.train.x,
            held_out=_Chosen(self.test.x, self.sources.held_out),
            train_features=self.features(TRAIN),
            held_out_features=self.features(ORACLE),
            extractor=self.sources.extractor_name,
        )

    @cached_property
    def built(self) -> dict[str, NamedMetric]:
        """Metrics by name, as they are before the features are there."""
        records = {choice.name: self._registry.get("metric", choice.name) for choice in self.sources.metrics}
        return {c.name: NamedMetric(records[c.name], records[c.name].builder(c.config)) for c in self.sources.metrics}

    @cached_property
    def metrics(self) -> dict[str, NamedMetric]:
        """Prepared, by name."""
        for named in self.built.values():
            named.metric.prepare(self.reference)
        return self.built

    def calibrated(self, name: str, real: Mapping[str, State]) -> Metric:
        """A metric that can give results; real: what it calibrates on."""
        metric = self.metrics[name].metric
        if name not in self._calibrated:
            metric.calibrate(real)
            self._calibrated.add(name)
        return metric

    @cached_property
    def _model(self) -> Model:
        return load_model(self._model_folder, self._registry, self.sources.device)

    def _log_prob(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return self._model.log_prob(x, y, seed=seed, first_index=first_index)

    def _samples(self, at: Range) -> Tensor:
        """The samples of the artifact, and where they are too few the ones that follow in the same stream."""
        parts = [self._drawn[at.slice]]
        if at.stop > self.num_samples:
            assert self.sources.more is not None, "the missing samples are drawn first"
            parts.append(self.sources.more[max(at.start - self.num_samples, 0) : at.stop - self.num_samples])
        return torch.from_numpy(np.concatenate(parts))


class _Chosen:
    """Some examples of a split, for who slices them."""

    def __init__(self, x: Any, chosen: Indices) -> None:
        self._x, self._chosen = x, chosen
        self.shape, self.dtype = (len(chosen), *x.shape[1:]), x.dtype

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, key: slice | Indices) -> npt.NDArray[Any]:
        return np.asarray(self._x[self._chosen[key]])


def _true_density(folder: Path, registry: Registry) -> tuple[str | None, Any]:
    """The data set's reference to its log-density, if it has one, and the config to call it with."""
    chosen = dict(read_manifest(folder).config["dataset"])
    record = registry.get("dataset", chosen.pop("name"))
    if record.log_density is None:
        return None, None
    return record.log_density, restore_config(record.config_class, chosen, registry)
