"""How near estimators of a likelihood come where the truth is known, and what a solver of few steps gets away with.

    python -m benchmarks.likelihoods [--json FILE]

Annealed importance sampling on p(h) = N(0, I), p(x | h) = N(W h, I), 10 codes and 50 dimensions, beside importance
weighting by as many draws of the prior as there are gradients in its forward run; probability flow on eight Gaussians
whose score is known at every noise level. Errors are in nats, over examples drawn by the model.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from genpipe.likelihoods.annealing import Annealing
from genpipe.likelihoods.importance import log_mean_weight
from genpipe.likelihoods.probability_flow import ProbabilityFlow, warped_times
from genpipe.noise import Noise

NUM_CODES, NUM_DIMENSIONS, NUM_CHAINS, NUM_EXAMPLES = 10, 50, 16, 16
STD, FIRST, LAST = 0.3, 1e-3, math.pi / 2 - 1e-4


def normals(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class LinearGaussian:
    """Examples x (N, 50), the codes h (N, 10) that they were drawn with, and log p(x)."""

    def __init__(self) -> None:
        self.weights, self.h = (
            normals(NUM_DIMENSIONS, NUM_CODES, seed=0),
            normals(NUM_EXAMPLES, NUM_CODES, seed=1),
        )
        self.x = self.h @ self.weights.T + normals(NUM_EXAMPLES, NUM_DIMENSIONS, seed=2)
        covariance = self.weights @ self.weights.T + torch.eye(NUM_DIMENSIONS, dtype=torch.float64)
        zero = torch.zeros(NUM_DIMENSIONS, dtype=torch.float64)
        self.log_prob = torch.distributions.MultivariateNormal(zero, covariance).log_prob(self.x)

    def log_likelihood(self, h: Tensor) -> Tensor:
        """log p(x | h), (N, S), of codes (N, S, 10)."""
        squares = (self.x[:, None] - h @ self.weights.T).square().sum(-1)
        return -0.5 * (squares + NUM_DIMENSIONS * math.log(2 * math.pi))

    def annealing(self, num_steps: int) -> Annealing:
        return Annealing(
            log_likelihood=self.log_likelihood,
            num_examples=NUM_EXAMPLES,
            num_dimensions=NUM_CODES,
            noise=Noise(0, "benchmark"),
            num_steps=num_steps,
            num_chains=NUM_CHAINS,
        )

    def from_the_prior(self, num: int) -> Tensor:
        """The importance-weighted bound (N,) of `num` draws of the prior."""
        parts = []
        for start in range(0, num, 1000):
            h = normals(1, min(1000, num - start), NUM_CODES, seed=3 + start)
            parts.append(self.log_likelihood(h.expand(NUM_EXAMPLES, -1, -1)))
        return log_mean_weight(torch.cat(parts, dim=1).T).nats


def annealed() -> Iterator[dict[str, Any]]:
    decoder = LinearGaussian()
    for num_steps in (100, 300, 1000):
        run = decoder.annealing(num_steps)
        sizes = run.pilot()
        below, above = run.lower_bound(sizes), run.upper_bound(decoder.h, sizes)
        draws = NUM_CHAINS * num_steps * run.num_leapfrog
        yield {
            "estimator": f"AIS, {num_steps} temperatures, {NUM_CHAINS} chains",
            "lower": _error(below.nats - decoder.log_prob),
            "upper": _error(above.nats - decoder.log_prob),
            "baseline": {f"{draws} draws of the prior": _error(decoder.from_the_prior(draws) - decoder.log_prob)},
        }


def circle() -> Tensor:
    angles = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    return 1.4 * torch.stack([angles.cos(), angles.sin()], dim=1)


def noised(x: Tensor, angle: float) -> tuple[Tensor, float]:
    """Offsets (N, 8, 2) from the centres, and the variance, in cos φ z + sin φ ε."""
    return x[:, None] - math.cos(angle) * circle(), math.cos(angle) ** 2 * STD**2 + math.sin(angle) ** 2


def velocity(x: Tensor, angle: float) -> Tensor:
    offsets, variance = noised(x, angle)
    shares = torch.softmax(-0.5 * offsets.square().sum(-1) / variance, dim=1)
    noise = math.sin(angle) * (shares[..., None] * offsets).sum(1) / variance
    return (noise - math.sin(angle) * x) / math.cos(angle)


def flowed() -> Iterator[dict[str, Any]]:
    which = torch.randint(8, (400,), generator=torch.Generator().manual_seed(0))
    x = circle()[which] + STD * normals(400, 2, seed=1)
    offsets, variance = noised(x, FIRST)
    truth = torch.logsumexp(-0.5 * offsets.square().sum(-1) / variance, 1) - math.log(16 * math.pi * variance)
    methods: tuple[tuple[Literal["heun", "euler"], int], ...] = (
        ("heun", 20), ("heun", 50), ("heun", 100), ("euler", 10), ("euler", 50)
    )  # fmt: skip
    for method, num_steps in methods:
        flow = ProbabilityFlow(
            velocity=velocity, times=warped_times(FIRST, LAST, num_steps), noise=Noise(0, "benchmark"), method=method
        )
        answer = flow.log_prob(x)
        assert answer.check is not None
        yield {
            "estimator": f"probability flow, {method}, {num_steps} steps",
            "error": _error(answer.nats - truth),
            "half the steps, less this": _error(answer.check),
        }


def _error(errors: Tensor) -> dict[str, float]:
    return {"mean": float(errors.mean()), "standard_error": float(errors.std()) / math.sqrt(len(errors))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts: tuple[Callable[[], Iterator[dict[str, Any]]], ...] = (annealed, flowed)
    found = []
    for part in parts:
        for figures in part():
            found.append(figures)
            print(figures["estimator"])
            for name, value in figures.items():
                for label, error in _flat(name, value):
                    print(f"    {label:32} {error['mean']:+.5f} ± {error['standard_error']:.5f} nats", flush=True)
    if arguments.json:
        record = {
            "command": "python -m benchmarks.likelihoods",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": platform.machine(),
            "threads": 1,
            "figures": found,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def _flat(name: str, value: Any) -> Iterator[tuple[str, dict[str, float]]]:
    if isinstance(value, dict):
        if "mean" in value:
            yield name, value
        else:
            yield from value.items()


if __name__ == "__main__":
    sys.exit(main())
