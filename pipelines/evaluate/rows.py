"""The rows of the table: the model, and what frames it: real data above, copies beside it, noise below."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.evaluation import EstimatedDensity, Examples, LogDensity
from genpipe.model import LogProb
from genpipe.noise import Noise
from genpipe.parallel import Range
from genpipe.pipelines.evaluate.truth import Truth
from genpipe.units import Units

Labels = Callable[[Range], Tensor | None]
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one row is scored from.

    examples: those of a range, (len(at), *event), whichever process asks; labels: theirs, where they have any.
    log_prob: its density of held-out data; None where it has none, and no_likelihood says why. estimators: other ways to
    that, by name; score: the gradient of its log-density.
    """

    name: str
    title: str
    examples: Callable[[Range], Tensor]
    labels: Labels = lambda at: None
    log_prob: LogDensity | None = None
    estimators: Mapping[str, EstimatedDensity] = field(default_factory=dict)
    score: Score | None = None
    no_likelihood: str = ""


def part_of(x: Examples, chosen: npt.NDArray[np.int64] | None = None) -> Callable[[Range], Tensor]:
    """`examples` of a row that shows x, or the chosen ones of x."""

    def examples(at: Range) -> Tensor:
        return torch.from_numpy(np.array(x[at.slice] if chosen is None else x[chosen[at.slice]]))

    return examples


def labels_of(y: Examples | None, chosen: npt.NDArray[np.int64] | None = None) -> Labels:
    """`labels` of a row that shows examples labelled y, or the chosen ones."""

    def labels(at: Range) -> Tensor | None:
        if y is None:
            return None
        return torch.from_numpy(np.array(y[at.slice] if chosen is None else y[chosen[at.slice]]))

    return labels


def oracle_row(examples: Callable[[Range], Tensor], labels: Labels, truth: Truth | None) -> Row:
    """What a perfect model would get."""
    if truth is None:
        return Row(
            name="oracle",
            title="held-out real data",
            examples=examples,
            labels=labels,
            no_likelihood="the true density of real data is not known",
        )

    def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return LogProb(truth.log_density(x), "exact")

    title = "held-out real data, true density"
    return Row(name="oracle", title=title, examples=examples, labels=labels, log_prob=log_prob, score=truth.score)


def model_row(
    examples: Callable[[Range], Tensor],
    labels: Labels,
    family: Family,
    *,
    log_prob: LogDensity,
    estimate: EstimatedDensity,
    score: Score,
) -> Row:
    can = "log_prob" in family.capabilities
    return Row(
        name="model",
        title=f"samples of {family.name}",
        examples=examples,
        labels=labels,
        log_prob=log_prob if can else None,
        estimators=dict.fromkeys(family.estimators, estimate),
        score=score if "score" in family.capabilities else None,
        no_likelihood=f"family '{family.name}' has no log_prob",
    )


def samples_row(examples: Callable[[Range], Tensor], labels: Labels, title: str) -> Row:
    """Samples of which nothing else is known."""
    return Row(
        name="samples",
        title=title,
        examples=examples,
        labels=labels,
        no_likelihood="samples alone have no density",
    )


def copy_row(examples: Callable[[Range], Tensor], labels: Labels) -> Row:
    """Training data passed off as samples: good by every distance to the training split, and worth
    nothing."""
    return Row(
        name="copy",
        title="training data passed off as samples",
        examples=examples,
        labels=labels,
        no_likelihood="a list of examples has no density",
    )


def floor_row(spec: DataSpec, seed: int) -> Row:
    """Noise that knows the data's units and nothing else."""
    noise = Noise(seed, "floor")
    units = Units(spec)

    def shape(at: Range) -> tuple[int, ...]:
        return (len(at), *spec.shape)

    if spec.levels is not None:
        levels, dtype = spec.levels, getattr(torch, spec.dtype)
        return Row(
            name="floor",
            title=f"noise, uniform over {spec.levels} levels",
            examples=lambda at: noise.at(at.start).randint("levels", levels, shape(at)).to(dtype),
            log_prob=_uniform_density(-spec.num_dimensions * math.log(spec.levels)),
        )
    if spec.low is not None and spec.high is not None:
        return Row(
            name="floor",
            title=f"noise, uniform in [{spec.low:g}, {spec.high:g}]",
            examples=lambda at: units.from_network(2 * noise.at(at.start).uniform("range", shape(at)) - 1),
            log_prob=_uniform_density(-spec.num_dimensions * math.log(spec.high - spec.low)),
            score=torch.zeros_like,
        )
    return Row(
        name="floor",
        title="noise, normal with the training mean and deviation of each dimension",
        examples=lambda at: units.from_network(noise.at(at.start).normal("normal", shape(at))),
        log_prob=_normal_density(units),
        score=lambda x: units.gradient_from_network(-units.to_network(x, None).to(torch.float64)),
    )


def _uniform_density(nats: float) -> LogDensity:
    def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        return LogProb(torch.full((len(x),), nats, dtype=torch.float64), "exact")

    return log_prob


def _normal_density(units: Units) -> LogDensity:
    def log_prob(x: Tensor, y: Tensor | None = None, *, seed: int = 0, first_index: int = 0) -> LogProb:
        z = units.to_network(x, None).to(torch.float64).flatten(start_dim=1)
        nats = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1) + units.log_det
        return LogProb(nats, "exact")

    return log_prob
