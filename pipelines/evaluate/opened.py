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
from genpipe.data import open_split
from genpipe.evaluation import FeatureExtractor, Metric, Reference, State
from genpipe.model import Estimator, LogProb, Model
from genpipe.parallel import Range
from genpipe.persistence import describe_model, load_model
from genpipe.pipelines.evaluate.chosen import ChosenMetric
from genpipe.pipelines.evaluate.rows import (
    Row,
    copy_row,
    floor_row,
    labels_of,
    model_row,
    oracle_row,
    part_of,
    samples_row,
)
from genpipe.pipelines.evaluate.truth import known_truth
from genpipe.pipelines.features.compute import What
from genpipe.pipelines.features.kept import KeptFeatures
from genpipe.pipelines.sample.draw import Drawing
from genpipe.registry import Registry, registry
from genpipe.stores import Site

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Values = tuple[str, str, What]
"""A row, an extractor's id, and what that gives."""

TRAIN, ORACLE, COPY, FLOOR = "train", "oracle", "copy", "floor"


@dataclass(kw_only=True)
class Sources:
    """An evaluation, told to a process that shares it.

    data, features, model, samples: artifacts; site: by which other machines find them. held_out, copies: indices (num,)
    of what the oracle's and the copies' rows show. extractor: the id of the evaluation's. more: the samples beyond those of the artifact, and values (N, …)
    of rows that are not real data, once they are there.
    """

    data: Path
    features: Path
    model: Path | None
    samples: Path
    site: Site | None
    device: str
    num: int
    batch_size: int
    seed: int
    held_out: Indices
    copies: Indices
    metrics: tuple[ChosenMetric, ...]
    extractor: str
    more: Array | None = None
    values: Mapping[Values, Array] = field(default_factory=dict)
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
    """A metric at work, the record that it came from, and the extractor of its features."""

    record: components.Metric
    metric: Metric
    extractor: str


class Opened:
    """Rows, reference and metrics of one evaluation, in this process. Nothing is read before it is needed.

    subject: the row that the evaluation is about, "model", or "samples" where there is no model. is_conditional: whether
    that model is given labels; what is asked of it is p(x), all the same.
    """

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._registry: Registry = registry()
        data, samples = sources.here(sources.data), sources.here(sources.samples)
        self._model_folder = None if sources.model is None else sources.here(sources.model)
        self.train, self.test = (open_split(data, name) for name in ("train", "test"))
        self.spec = self.train.spec
        self.kept = KeptFeatures(sources.here(sources.features), self._registry)
        self.about_samples = read_manifest(samples).summary
        self.drawn = np.load(samples / "samples.npy", mmap_mode="r", allow_pickle=False)
        self.drawing = Drawing.read(samples / "drawing.json") if (samples / "drawing.json").exists() else None
        self.truth = known_truth(data, self._registry)
        labels = samples / "labels.npy"
        self._labels = np.load(labels, allow_pickle=False) if labels.exists() else None
        held_out = part_of(self.test.x, sources.held_out)
        self.is_conditional = False
        rows = (
            oracle_row(held_out, labels_of(self.test.y, sources.held_out), self.truth),
            self._subject_row(),
            copy_row(part_of(self.train.x, sources.copies), labels_of(self.train.y, sources.copies)),
            floor_row(self.spec, sources.seed),
        )
        self.rows: dict[str, Row] = {row.name: row for row in rows}
        self.subject = rows[1].name
        self._calibrated: set[str] = set()
        self._extractors: dict[str, FeatureExtractor] = {}
        self._references: dict[str, Reference] = {}

    def examples(self, row: str, at: Range) -> Tensor:
        """Of a row, or of the training split."""
        return part_of(self.train.x)(at) if row == TRAIN else self.rows[row].examples(at)

    def labels(self, row: str, at: Range) -> Tensor | None:
        """Of a row's examples (len(at),), or of the training split's, where they have any."""
        return labels_of(self.train.y)(at) if row == TRAIN else self.rows[row].labels(at)

    def held_out(self, at: Range) -> Tensor:
        """Examples that densities are asked for, (len(at), *event)."""
        return self.rows[ORACLE].examples(at)

    def values(self, row: str, extractor: str, what: What, at: Range) -> Tensor:
        """What an extractor gives of a range of a row, or of the training split: (len(at), …) float64."""
        sources = self.sources
        if row in (ORACLE, COPY):
            split, chosen = ("test", sources.held_out) if row == ORACLE else ("train", sources.copies)
            return torch.from_numpy(np.array(self.kept.array(extractor, split, what)[chosen[at.slice]]))
        whole = self.kept.array(extractor, "train", what) if row == TRAIN else sources.values[row, extractor, what]
        return torch.from_numpy(np.array(whole[at.slice]))

    def extractor(self, name: str) -> FeatureExtractor:
        if name not in self._extractors:
            self._extractors[name] = self.kept.restored(name, self.spec, self.sources.device)
        return self._extractors[name]

    @property
    def num_samples(self) -> int:
        """Of the artifact."""
        return len(self.drawn)

    def reference(self, extractor: str) -> Reference:
        """What rows are held against, with this extractor's features."""
        if extractor not in self._references:
            kept, truth = self.kept[extractor], self.truth
            everything = Range(0, self.sources.num)
            self._references[extractor] = Reference(
                spec=self.spec,
                train=self.train.x,
                held_out=_Chosen(self.test.x, self.sources.held_out),
                train_features=_shared(self.kept.array(extractor, "train", "features")),
                held_out_features=self.values(ORACLE, extractor, "features", everything),
                extractor=kept.name,
                fingerprint=kept.fingerprint,
                log_density=None if truth is None else truth.log_density,
                score=None if truth is None else truth.score,
                modes=None if truth is None else truth.modes,
                draw=None if truth is None else truth.draw,
            )
        return self._references[extractor]

    @cached_property
    def built(self) -> dict[str, NamedMetric]:
        """Metrics by label, as they are before the features are there."""
        return {
            chosen.label: NamedMetric(chosen.record, chosen.record.builder(chosen.choice.config), chosen.extractor)
            for chosen in self.sources.metrics
        }

    @cached_property
    def metrics(self) -> dict[str, NamedMetric]:
        """Prepared, by label."""
        for named in self.built.values():
            named.metric.prepare(self.reference(named.extractor))
        return self.built

    def calibrated(self, label: str, real: Mapping[str, State]) -> Metric:
        """A metric that can give results; real: what it calibrates on."""
        metric = self.metrics[label].metric
        if label not in self._calibrated:
            metric.calibrate(real)
            self._calibrated.add(label)
        return metric

    @cached_property
    def _model(self) -> Model:
        assert self._model_folder is not None
        return load_model(self._model_folder, self._registry, self.sources.device)

    def _log_prob(self, x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return self._model.log_prob(x, y, seed=seed, first_index=first_index)

    def _estimate(
        self, x: Tensor, y: Tensor | None = None, *, estimator: Estimator, seed: int = 0, first_index: int = 0
    ) -> LogProb:
        return self._model.log_prob(x, y, seed=seed, first_index=first_index, estimator=estimator)

    def _subject_row(self) -> Row:
        if self._model_folder is None:
            title = self.about_samples.get("title", "the samples that were given")
            return samples_row(self._samples, self._sample_labels, title)
        described = describe_model(self._model_folder, self._registry)
        family, self.is_conditional = described.family, described.conditional
        return model_row(
            self._samples,
            self._sample_labels,
            family,
            log_prob=self._log_prob,
            estimate=self._estimate,
            score=lambda x: self._model.score(x),
        )

    def _samples(self, at: Range) -> Tensor:
        """The samples of the artifact, and where they are too few the ones that follow in the same stream."""
        parts = [self.drawn[at.slice].astype(self.spec.dtype, copy=False)]
        if at.stop > self.num_samples:
            assert self.sources.more is not None, "the missing samples are drawn first"
            parts.append(self.sources.more[max(at.start - self.num_samples, 0) : at.stop - self.num_samples])
        return torch.from_numpy(np.concatenate(parts))

    def _sample_labels(self, at: Range) -> Tensor | None:
        """Those that were asked for, or came with the samples."""
        if self.drawing is not None:
            return self.drawing.labels(at.start, len(at))
        return None if self._labels is None else torch.from_numpy(np.array(self._labels[at.slice]))


class _Chosen:
    """Some examples of a split, for who slices them."""

    def __init__(self, x: Any, chosen: Indices) -> None:
        self._x, self._chosen = x, chosen
        self.shape, self.dtype = (len(chosen), *x.shape[1:]), x.dtype

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, key: slice | Indices) -> npt.NDArray[Any]:
        return np.asarray(self._x[self._chosen[key]])


def _shared(array: Array) -> Tensor:
    """Not to be written to: several processes may share its memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to
        return torch.from_numpy(array)
