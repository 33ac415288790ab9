"""Divergences from log-densities of held-out data and of samples."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from genpipe import ops
from genpipe.components import LikelihoodKind
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.divergences.config import DivergencesConfig
from genpipe.plugins.divergences.transport import wasserstein_blocks

FORWARD, REVERSE, JS = "KL(data ‖ model) [nats]", "KL(model ‖ data) [nats]", "Jensen-Shannon [nats]"
FISHER, WASSERSTEIN = "Fisher divergence", "Wasserstein-2"

KINDS: tuple[LikelihoodKind, ...] = get_args(LikelihoodKind)
POSITIONS = 2**62
UNNORMALISED = "the model's log-probabilities are unnormalised, so it has no other divergence"
NO_DENSITY = {
    "lower_bound": "log-probabilities are lower bounds, so this is an upper bound; the reverse KL and "
    "Jensen-Shannon would be none, and are left out",
    "estimate": "log-probabilities are estimates, and their bias is this number's too",
}


class Divergences(Metric):
    """How far the row's density q is from the data set's true density p, in nats.

    KL(p ‖ q) = E_p[log p − log q] punishes what q misses, KL(q ‖ p) = E_q[log q − log p] what it invents; Jensen-Shannon
    is ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2, from 0 to ln 2 (Lin, 1991, eq. 5.1). E_p is the mean over
    held-out data, E_q that over the row's samples, which are taken to be drawn from q. Fisher's divergence
    E_p ‖∇ log p − ∇ log q‖² (Hyvärinen, 2005, eq. 3, without its ½) is in inverse squared data units. Of bounds only
    the forward KL is shown, which they turn into an upper bound; of unnormalised densities, none.

    The Wasserstein distance, in data units, is between samples and fresh draws of p, and asks for no density of the
    row.
    """

    def __init__(self, config: DivergencesConfig) -> None:
        self._block, self._num_blocks = config.block, config.num_blocks

    def prepare(self, reference: Reference) -> None:
        assert reference.log_density is not None
        self._truth, self._score = reference.log_density, reference.score
        self._draws = None
        if reference.draw is not None:
            self._draws = reference.draw(self._block * self._num_blocks, 0).flatten(1)

    def shard(self, shard: Shard) -> State:
        assert shard.held_out is not None
        state = self._chosen(shard.x, shard.first_index)
        state["num"] = torch.tensor(len(shard.x))
        if shard.log_prob is None:
            return state
        answers = [shard.log_prob(x, seed=shard.seed, first_index=shard.first_index) for x in (shard.held_out, shard.x)]
        kinds = {answer.kind for answer in answers}
        if len(kinds) != 1:
            raise GenpipeError(f"log_prob gave numbers of several kinds: {', '.join(sorted(kinds))}")
        kind = kinds.pop()
        state["kind"] = torch.tensor(KINDS.index(kind))
        if kind == "unnormalized":
            return state
        on_data, on_samples = (answer.nats.detach().to("cpu", torch.float64) for answer in answers)
        state["forward"] = _difference(self._truth(shard.held_out), on_data)
        if kind in ("exact", "estimate"):
            truth_on_samples = self._truth(shard.x)
            state["reverse"] = _difference(on_samples, truth_on_samples)
            state["js_data"] = _to_mixture(self._truth(shard.held_out), on_data)
            state["js_model"] = _to_mixture(on_samples, truth_on_samples)
        if self._score is not None and shard.score is not None:
            difference = self._score(shard.held_out) - shard.score(shard.held_out).detach().to("cpu", torch.float64)
            state["fisher"] = difference.flatten(1).square().sum(1)
        return state

    def _chosen(self, x: Tensor, first_index: int) -> State:
        """The samples to transport, by position alone, so that shards change nothing."""
        order = ops.permutation(ops.key(0, "divergences"), POSITIONS, start=first_index, count=len(x))
        return self._first({"order": order, "x": x.flatten(1).to(torch.float64)})

    def _first(self, state: State) -> State:
        kept = state["order"].argsort()[: self._block * self._num_blocks]
        return {name: state[name][kept] for name in ("order", "x")}

    def merge(self, first: State, second: State) -> State:
        if first.get("kind") != second.get("kind"):
            raise GenpipeError("log_prob gave numbers of several kinds")
        merged = {name: torch.cat([first[name], second[name]]) for name in first if name not in ("num", "kind")}
        merged |= self._first(merged) | {"num": first["num"] + second["num"]}
        return merged if "kind" not in first else {**merged, "kind": first["kind"]}

    def result(self, state: State) -> list[Estimate]:
        num = int(state["num"])
        cells = []
        if "forward" in state:
            kind = KINDS[int(state["kind"])]
            notes = (NO_DENSITY[kind],) if kind in NO_DENSITY else ()
            cells.append(_mean(FORWARD, state["forward"], kind, notes))
            if "reverse" in state:
                cells.append(_mean(REVERSE, state["reverse"], kind, notes))
                halves = [_mean(JS, state[name], kind, notes) for name in ("js_data", "js_model")]
                error = None
                if all(half.standard_error is not None for half in halves):
                    error = math.hypot(*(half.standard_error or 0.0 for half in halves)) / 2
                value = sum(half.value for half in halves) / 2
                cells.append(
                    Estimate(
                        name=JS, value=value, standard_error=error, kind=kind, better="lower", num=num, notes=notes
                    )
                )
            if "fisher" in state:
                # A score that is no gradient of an exact density is an estimate of one, whatever log_prob gives.
                score_kind: LikelihoodKind = "exact" if kind == "exact" else "estimate"
                cells.append(_mean(FISHER, state["fisher"], score_kind, ()))
        if self._draws is not None and num > 1:
            why = (UNNORMALISED,) if "kind" in state and "forward" not in state else ()
            cells.append(self._wasserstein(state["x"][state["order"].argsort()], num, why))
        return cells

    def _wasserstein(self, x: Tensor, num: int, notes: tuple[str, ...]) -> Estimate:
        assert self._draws is not None
        if len(x) < self._block:
            notes = (*notes, f"{len(x)} samples, fewer than a block of {self._block}")
        found = torch.tensor(wasserstein_blocks(x, self._draws, self._block, self._num_blocks), dtype=torch.float64)
        return Estimate(
            name=WASSERSTEIN,
            value=float(found.mean()),
            standard_error=float(found.std()) / math.sqrt(len(found)) if len(found) > 1 else None,
            better="lower",
            num=num,
            notes=notes,
        )


def _difference(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log p − log q at draws of p, (B,); infinite where q is nowhere near."""
    difference = log_p.double() - log_q.double()
    if difference.isnan().any():
        raise GenpipeError(f"log-densities are NaN, or both infinite, for {int(difference.isnan().sum())} examples")
    return difference


def _to_mixture(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log p − log ½(p + q) at draws of p, (B,): at most ln 2."""
    towards = -_difference(log_p, log_q)
    return math.log(2) - torch.logaddexp(torch.zeros_like(towards), towards)


def _mean(name: str, values: Tensor, kind: LikelihoodKind, notes: tuple[str, ...]) -> Estimate:
    num, infinite = len(values), int(values.isinf().sum())
    if infinite:
        notes = (*notes, f"{infinite} of {num} examples have no density there")
    error = float(values.std()) / math.sqrt(num) if num > 1 and not infinite else None
    return Estimate(
        name=name,
        value=float(values.mean()),
        standard_error=error,
        kind=kind,
        better="lower",
        num=num,
        notes=notes,
    )


def build(config: DivergencesConfig) -> Divergences:
    return Divergences(config)
