"""Expectation-maximisation, soft and hard, in passes over blocks of rows: all that is kept is sums over components."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from genpipe.plugins.mixture.gaussians import Mixture
from genpipe.plugins.mixture.starts import nearest_centre
from genpipe.plugins.mixture.statistics import Estimation, Statistics

Blocks = Callable[[], Iterable[Tensor]]
"""Gives blocks (B, D) float64 of the data, the same ones each time."""

Report = Callable[[int, float], None]
"""`report(iteration, log_likelihood or inertia)`, called after each iteration."""


@dataclass(frozen=True)
class Fit:
    """Where a start ended: mixture, mean log-likelihood in nats per example, iterations, and whether it converged.

    inertia: for k-means, the mean squared distance to the nearest centre.
    """

    mixture: Mixture
    log_likelihood: float
    num_iterations: int
    converged: bool
    inertia: float | None = None


def expectation_maximisation(
    blocks: Blocks, centres: Tensor, how: Estimation, *, tolerance: float, max_iterations: int, report: Report
) -> Fit:
    """EM from the clusters of the nearest of `centres` (K, D), until the mean log-likelihood gains less than tolerance."""
    mixture = _assigned(blocks, centres, how)[0].maximise(how)
    before = -math.inf
    for iteration in range(1, max_iterations + 1):
        statistics, log_likelihood = _expected(blocks, mixture, how)
        report(iteration, log_likelihood)
        if abs(log_likelihood - before) < tolerance:
            return Fit(mixture, log_likelihood, iteration, True)
        before, mixture = log_likelihood, statistics.maximise(how)
    return Fit(mixture, _log_likelihood(blocks, mixture), max_iterations, False)


def kmeans(
    blocks: Blocks, centres: Tensor, how: Estimation, *, tolerance: float, max_iterations: int, report: Report
) -> Fit:
    """Lloyd's k-means from `centres` (K, D), then the Gaussians of its clusters, weighted by their sizes.

    Hard EM for spherical Gaussians of one variance and equal weights: the expectation gives each example to the
    likeliest component, the nearest (Celeux & Govaert, 1992, sec. 4.2). Stops when the mean squared distance falls by less
    than `tolerance` of itself. A centre that is left without examples goes to the example furthest from its own.
    """
    before, converged = math.inf, False
    for iteration in range(1, max_iterations + 1):
        statistics, inertia, furthest = _assigned(blocks, centres, Estimation("spherical"))
        report(iteration, inertia)
        converged = before - inertia <= tolerance * inertia
        if converged:
            break
        before, empty = inertia, statistics.counts == 0
        centres = statistics.maximise(Estimation("spherical")).means
        if empty.any():  # one a time: two would go to the same example
            centres[int(empty.nonzero()[0])] = furthest
            before = math.inf
    statistics, inertia, _ = _assigned(blocks, centres, how)
    mixture = statistics.maximise(how)
    return Fit(mixture, _log_likelihood(blocks, mixture), iteration, converged, inertia)


def _expected(blocks: Blocks, mixture: Mixture, how: Estimation) -> tuple[Statistics, float]:
    """The E step: statistics under the responsibilities, and the mean log-likelihood."""
    statistics, total, num = Statistics(mixture.means, how.covariance), 0.0, 0
    for rows in blocks():
        responsibilities, log_prob = mixture.responsibilities(rows)
        statistics.add(rows, responsibilities)
        total, num = total + float(log_prob.sum()), num + len(rows)
    return statistics, total / num


def _assigned(blocks: Blocks, centres: Tensor, how: Estimation) -> tuple[Statistics, float, Tensor]:
    """The hard E step: statistics of the clusters, the mean squared distance, and the example furthest from its centre."""
    statistics, total, num = Statistics(centres, how.covariance), 0.0, 0
    furthest, largest = centres[0], -1.0
    for rows in blocks():
        membership, distance = nearest_centre(rows, centres)
        statistics.add(rows, membership)
        total, num = total + float(distance.sum()), num + len(rows)
        at = int(distance.argmax())
        if float(distance[at]) > largest:
            furthest, largest = rows[at], float(distance[at])
    return statistics, total / num, furthest


def _log_likelihood(blocks: Blocks, mixture: Mixture) -> float:
    """Mean, nats per example."""
    total, num = 0.0, 0
    for rows in blocks():
        total, num = total + float(torch.sum(mixture.log_prob(rows))), num + len(rows)
    return total / num
