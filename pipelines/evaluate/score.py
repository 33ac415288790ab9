"""Scoring rows shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe import components
from genpipe.errors import PluginError
from genpipe.evaluation import Estimate, FeatureExtractor, LogDensity, Metric, Shard, State


@dataclass(frozen=True, kw_only=True)
class RowData:
    """What one row is scored from.

    x: (N, *event), the examples that it shows. log_prob: its density of held-out data; None where it has
    none, and no_likelihood says why.
    """

    name: str
    title: str
    x: Tensor
    log_prob: LogDensity | None = None
    no_likelihood: str = ""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The examples that densities are asked for. x: (N, *event); y: (N,) or None."""

    x: Tensor
    y: Tensor | None


@dataclass(frozen=True)
class NamedMetric:
    """A metric at work and the record that it came from."""

    record: components.Metric
    metric: Metric


def features_of(extractor: FeatureExtractor, name: str, x: Tensor, batch_size: int) -> Tensor:
    """Features (N, D) float64 of x (N, *event), checked to be what the contract says."""
    return torch.cat(
        [_checked(extractor(x[i : i + batch_size]), name, x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
    )


def _checked(features: Tensor, name: str, x: Tensor) -> Tensor:
    if features.ndim != 2 or len(features) != len(x) or features.dtype != torch.float64:
        raise PluginError(
            f"feature extractor '{name}' gave {features.dtype} of shape {tuple(features.shape)}, "
            f"expected float64 of shape ({len(x)}, D)"
        )
    if not bool(features.isfinite().all()):
        raise PluginError(f"feature extractor '{name}' gave features that are not finite")
    return features


def score_row(
    row: RowData,
    metrics: Sequence[NamedMetric],
    features: Tensor,
    held_out: HeldOut,
    *,
    batch_size: int,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[list[Estimate], Mapping[str, str]]:
    """The row's cells, and for each metric without any, why. features: (N, D) of row.x.

    Each shard's state is merged into the whole and dropped, so memory does not grow with N beyond what a
    state holds. progress: called with the examples done by each shard.
    """
    states: dict[str, State] = {}
    absent = {}
    for named in metrics:
        if named.record.needs == "likelihood" and row.log_prob is None:
            absent[named.record.name] = row.no_likelihood
    at_work = [named for named in metrics if named.record.name not in absent]
    for start in range(0, len(row.x), batch_size):
        stop = min(start + batch_size, len(row.x))
        for named in at_work:
            name = named.record.name
            if named.record.needs == "likelihood":
                y = None if held_out.y is None else held_out.y[start:stop]
                shard = Shard(x=held_out.x[start:stop], y=y, first_index=start, seed=seed, log_prob=row.log_prob)
            else:
                shard = Shard(x=row.x[start:stop], features=features[start:stop], first_index=start, seed=seed)
            state = named.metric.shard(shard)
            states[name] = named.metric.merge(states[name], state) if name in states else state
        progress(stop - start)
    return [cell for named in at_work for cell in named.metric.result(states[named.record.name])], absent
