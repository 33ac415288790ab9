"""Mean log-likelihood over examples, merged exactly, its kind carried along; and what estimators make of it."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from genpipe.components import LikelihoodKind
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.model import Estimator, LogProb
from genpipe.plugins.likelihood.config import EstimatorConfig, LikelihoodConfig
from genpipe.plugins.likelihood.moments import at, mean_and_error, merged, moments, under
from genpipe.units import Units

KINDS: tuple[LikelihoodKind, ...] = get_args(LikelihoodKind)

NATS = "log-likelihood [nats]"
BITS = "bits/dim"
ENERGY = "unnormalised log-density [nats]"

# Of estimators that families of this package have; others go by their names.
TITLES = {"iwae": "IWAE", "ais": "AIS"}
CHECKS = {
    "ais": ("AIS gap on own samples [nats]", "between two bounds on the model's own samples lie {check:.2g} nats"),
    "probability_flow": ("step-halving error [nats]", "half the steps would move it by {check:+.2g} nats"),
}
OTHER_CHECK = ("{title}'s check [nats]", "its own check found it {check:.2g} nats off")


class Likelihood(Metric):
    """log p(x) of held-out examples.

    Integer data x is scored as log p(x + u) with u uniform in [0, 1)^D, averaged over draws of u: a lower
    bound on log P(x) by Jensen's inequality (Theis et al., 2016, eq. 4), so bits/dim are never better
    than the truth.

    Estimators are asked about the same x + u as the family itself, the first draw's. Each has columns of its own, which
    its samples and steps are part of the name of, and one for its check of itself where it makes one.
    """

    def __init__(self, config: LikelihoodConfig) -> None:
        self._num_draws, self._estimators = config.num_dequantisations, config.estimators

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
            nats += _checked(answer.nats, "log_prob") / self._num_draws
            kinds.add(answer.kind)
        if len(kinds) != 1:
            raise GenpipeError(f"log_prob gave numbers of several kinds: {', '.join(sorted(kinds))}")
        state = {"kind": torch.tensor(KINDS.index(kinds.pop())), **moments(nats)}
        for position, config in enumerate(self._estimators):
            if config.name in shard.estimators:
                state |= under(str(position), self._estimated(config, shard))
        return state

    @staticmethod
    def _estimated(config: EstimatorConfig, shard: Shard) -> State:
        """An estimator's part of the state; all of it is there also where none of the shard's examples are asked about,
        and "kind" is then −1."""
        estimator = Estimator(name=config.name, num_samples=config.num_samples, num_steps=config.num_steps)
        num = len(shard.x)
        if config.max_examples is not None:
            num = min(max(config.max_examples - shard.first_index, 0), num)
        x, y = shard.x[:num], None if shard.y is None else shard.y[:num]
        none = LogProb(torch.zeros(0), "estimate")
        answer = (
            shard.estimators[config.name](x, y, estimator=estimator, seed=shard.seed, first_index=shard.first_index)
            if num
            else none
        )
        chosen = answer.estimator or estimator
        check = torch.zeros(0) if answer.check is None else _checked(answer.check, config.name)
        return {
            "kind": torch.tensor(KINDS.index(answer.kind) if num else -1),
            "num_samples": torch.tensor(chosen.num_samples or 0),
            "num_steps": torch.tensor(chosen.num_steps or 0),
            "shared_error": torch.tensor(answer.shared_error or 0.0, dtype=torch.float64),
            **under("nats", moments(_checked(answer.nats, config.name))),
            **under("check", moments(check)),
        }

    def merge(self, first: State, second: State) -> State:
        if first["kind"] != second["kind"]:
            names = " and ".join(KINDS[int(state["kind"])] for state in (first, second))
            raise GenpipeError(f"likelihoods of kinds {names} cannot be averaged together")
        state = {"kind": first["kind"], **merged(first, second)}
        for position, config in enumerate(self._estimators):
            here, there = at(str(position), first), at(str(position), second)
            if here and there:
                state |= under(str(position), _merged_estimates(config, here, there))
        return state

    def result(self, state: State) -> list[Estimate]:
        kind = KINDS[int(state["kind"])]
        if kind == "unnormalized":
            mean, error = mean_and_error(state)
            num, notes = _counted(state)
            cells = [Estimate(name=ENERGY, value=mean, standard_error=error, kind=kind, num=num, notes=notes)]
        else:
            cells = self._cells(NATS, BITS, state, kind)
        for position, config in enumerate(self._estimators):
            if part := at(str(position), state):
                cells += self._cells_of(config, part)
        return cells

    def _cells(
        self,
        nats: str,
        bits: str,
        state: State,
        kind: LikelihoodKind,
        more: tuple[str, ...] = (),
        shared_error: float = 0.0,
    ) -> list[Estimate]:
        """In nats, and for integer data in bits per dimension. shared_error: what averaging over examples leaves."""
        mean, error = mean_and_error(state)
        error = None if error is None else math.hypot(error, shared_error)
        num, notes = _counted(state)
        notes = (*notes, *more)
        cells = [
            Estimate(name=nats, value=mean, standard_error=error, kind=kind, better="higher", num=num, notes=notes)
        ]
        if self._is_discrete:
            per_nat = self._units.bits_per_dim(torch.ones((), dtype=torch.float64))
            cells.append(
                Estimate(
                    name=bits,
                    value=mean * float(per_nat),
                    standard_error=None if error is None else error * abs(float(per_nat)),
                    kind=kind,
                    better="lower",
                    num=num,
                    notes=notes,
                )
            )
        return cells

    def _cells_of(self, config: EstimatorConfig, state: State) -> list[Estimate]:
        """An estimator's: its likelihood, and its check of itself."""
        if int(state["kind"]) < 0:
            return []
        title = TITLES.get(config.name, config.name.replace("_", " "))
        sizes = [f"{int(state[f'num_{of}'])} {of}" for of in ("samples", "steps") if int(state[f"num_{of}"])]
        full = ", ".join([title, *sizes])
        cells: list[Estimate] = []
        notes: tuple[str, ...] = ()
        checked = at("check", state)
        if int(checked["num"]):
            name, words = CHECKS.get(config.name, OTHER_CHECK)
            check, error = mean_and_error(checked)
            if abs(check) > config.tolerance + 2 * (error or 0):
                notes = (f"{words.format(check=check)}: take more steps",)
            cells = [
                Estimate(
                    name=name.format(title=title),
                    value=check,
                    standard_error=error,
                    num=int(checked["num"]),
                    notes=notes,
                )
            ]
        kind = KINDS[int(state["kind"])]
        nats = self._cells(
            f"{full} [nats]", f"{full} [bits/dim]", at("nats", state), kind, notes, float(state["shared_error"])
        )
        return [*nats, *cells]


def _merged_estimates(config: EstimatorConfig, first: State, second: State) -> State:
    kinds = {int(state["kind"]) for state in (first, second)} - {-1}
    if len(kinds) > 1:
        raise GenpipeError(f"'{config.name}' gave numbers of several kinds")
    asked = first if int(first["kind"]) >= 0 else second
    state = {name: asked[name] for name in ("kind", "num_samples", "num_steps", "shared_error")}
    for name in ("nats", "check"):
        state |= under(name, merged(at(name, first), at(name, second)))
    return state


def _checked(nats: Tensor, name: str) -> Tensor:
    """(B,) float64 on the CPU, none of it NaN."""
    nats = nats.detach().to("cpu", torch.float64)
    if nats.isnan().any():
        raise GenpipeError(f"{name} gave NaN for {int(nats.isnan().sum())} of {len(nats)} examples")
    return nats


def _counted(state: State) -> tuple[int, tuple[str, ...]]:
    """Examples of a state, and what to say where some have no finite log-probability."""
    infinite = int(state["num_infinite"])
    num = int(state["num"]) + infinite
    return num, (f"{infinite} of {num} examples have no finite log-probability",) if infinite else ()


def build(config: LikelihoodConfig) -> Likelihood:
    return Likelihood(config)
