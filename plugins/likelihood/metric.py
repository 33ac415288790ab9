"""Mean log-likelihood over examples, merged exactly, its kind carried along."""

from __future__ import annotations

import math
from typing import get_args

import torch

from genpipe.components import LikelihoodKind
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.likelihood.config import LikelihoodConfig
from genpipe.units import Units

KINDS: tuple[LikelihoodKind, ...] = get_args(LikelihoodKind)

NATS = "log-likelihood [nats]"
BITS = "bits/dim"
ENERGY = "unnormalised log-density [nats]"


class Likelihood(Metric):
    """log p(x) of held-out examples.

    Integer data x is scored as log p(x + u) with u uniform in [0, 1)^D, averaged over draws of u: a lower
    bound on log P(x) by Jensen's inequality (Theis et al., 2016, eq. 4), so bits/dim are never better
    than the truth.
    """

    def __init__(self, config: LikelihoodConfig) -> None:
        self._num_draws = config.num_dequantisations

    def prepare(self, reference: Reference) -> None:
        self._units = Units(reference.spec)
        self._is_discrete = reference.spec.levels is not None
        if not self._is_discrete:
            self._num_draws = 1  # nothing is dequantised

    def shard(self, shard: Shard) -> State:
        assert shard.log_prob is not None
        nats = torch.zeros(len(shard.x), dtype=torch.float64)
        kinds = set()
        for draw in range(self._num_draws):
            answer = shard.log_prob(shard.x, shard.y, seed=shard.seed + draw, first_index=shard.first_index)
            nats += answer.nats.detach().to("cpu", torch.float64) / self._num_draws
            kinds.add(answer.kind)
        if nats.isnan().any():
            raise GenpipeError(f"log_prob gave NaN for {int(nats.isnan().sum())} of {len(nats)} examples")
        if len(kinds) != 1:
            raise GenpipeError(f"log_prob gave numbers of several kinds: {', '.join(sorted(kinds))}")
        finite = nats[nats.isfinite()]
        mean = finite.mean() if len(finite) else torch.zeros((), dtype=torch.float64)
        return {
            "kind": torch.tensor(KINDS.index(kinds.pop())),
            "num": torch.tensor(len(finite)),
            "num_infinite": torch.tensor(len(nats) - len(finite)),
            "mean": mean,
            "m2": (finite - mean).square().sum(),
        }

    def merge(self, first: State, second: State) -> State:
        if first["kind"] != second["kind"]:
            names = " and ".join(KINDS[int(state["kind"])] for state in (first, second))
            raise GenpipeError(f"likelihoods of kinds {names} cannot be averaged together")
        # Chan, Golub & LeVeque (1983), eq. 1.5
        num = first["num"] + second["num"]
        share = second["num"].to(torch.float64) / num.clamp(min=1)
        delta = second["mean"] - first["mean"]
        return {
            "kind": first["kind"],
            "num": num,
            "num_infinite": first["num_infinite"] + second["num_infinite"],
            "mean": first["mean"] + delta * share,
            "m2": first["m2"] + second["m2"] + delta.square() * first["num"] * share,
        }

    def result(self, state: State) -> list[Estimate]:
        kind = KINDS[int(state["kind"])]
        finite, infinite = int(state["num"]), int(state["num_infinite"])
        num = finite + infinite
        notes: tuple[str, ...] = ()
        mean = state["mean"]
        error = math.sqrt(float(state["m2"]) / (finite - 1) / finite) if finite > 1 else None
        if infinite:
            notes = (f"{infinite} of {num} examples have no finite log-probability",)
            mean, error = torch.tensor(-math.inf, dtype=torch.float64), None
        if kind == "unnormalized":
            return [Estimate(name=ENERGY, value=float(mean), standard_error=error, kind=kind, num=num, notes=notes)]
        cells = [
            Estimate(
                name=NATS,
                value=float(mean),
                standard_error=error,
                kind=kind,
                better="higher",
                num=num,
                notes=notes,
            )
        ]
        if self._is_discrete:
            scale = abs(float(self._units.bits_per_dim(torch.ones((), dtype=torch.float64))))
            cells.append(
                Estimate(
                    name=BITS,
                    value=float(self._units.bits_per_dim(mean)),
                    standard_error=None if error is None else error * scale,
                    kind=kind,
                    better="lower",
                    num=num,
                    notes=notes,
                )
            )
        return cells


def build(config: LikelihoodConfig) -> Likelihood:
    return Likelihood(config)
