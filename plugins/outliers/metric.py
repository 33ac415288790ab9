"""AUROC of scores made of log p(x)."""

from __future__ import annotations

import math
import zlib
from typing import get_args

import torch
from torch import Tensor

from genpipe.components import LikelihoodKind
from genpipe.errors import GenpipeError
from genpipe.evaluation import Estimate, Metric, Reference, Shard, State
from genpipe.plugins.outliers.auroc import auroc
from genpipe.plugins.outliers.config import OutliersConfig
from genpipe.plugins.outliers.examples import outside

KINDS: tuple[LikelihoodKind, ...] = get_args(LikelihoodKind)


class Outliers(Metric):
    """How well scores tell held-out data from what is no data: AUROC, ½ for chance and 1 for always.

    NLL: −log p(x). It ranks simpler images as likelier than the data itself (Nalisnick et al., 2019), and then comes out
    below ½: `smooth` shows it. Typicality: the distance of log p(x) from its mean over held-out data (one's own left
    out). Of whole numbers, what they take when compressed by zlib, in nats, alone: the baseline that knows no model; and
    NLL less that (Serrà et al., 2020, eq. 2).
    """

    def __init__(self, config: OutliersConfig) -> None:
        self._config = config
        self._name = config.out if config.dataset is None else config.dataset.name

    def prepare(self, reference: Reference) -> None:
        self._outside = outside(self._config.out, self._config.dataset, reference.spec)
        self._is_discrete = reference.spec.levels is not None

    def shard(self, shard: Shard) -> State:
        assert shard.log_prob is not None
        out = self._outside(shard.x, shard.first_index)
        state, kinds = {}, set()
        for name, x in (("in", shard.x), ("out", out)):
            nats = torch.zeros(0, dtype=torch.float64)
            if len(x):
                y = None if shard.y is None else shard.y[: len(x)]
                answer = shard.log_prob(x, y, seed=shard.seed, first_index=shard.first_index)
                nats = answer.nats.detach().to("cpu", torch.float64)
                kinds.add(answer.kind)
            if nats.isnan().any():
                raise GenpipeError(f"log_prob gave NaN for {int(nats.isnan().sum())} of {len(nats)} examples")
            state[f"{name}/nats"] = nats
            if self._is_discrete:
                state[f"{name}/complexity"] = complexity(x)
        if len(kinds) != 1:
            raise GenpipeError(f"log_prob gave numbers of several kinds: {', '.join(sorted(kinds))}")
        return {"kind": torch.tensor(KINDS.index(kinds.pop())), **state}

    def merge(self, first: State, second: State) -> State:
        if first["kind"] != second["kind"]:
            raise GenpipeError("log_prob gave numbers of several kinds")
        return {name: first[name] if name == "kind" else torch.cat([first[name], second[name]]) for name in first}

    def result(self, state: State) -> list[Estimate]:
        kind, num = KINDS[int(state["kind"])], len(state["in/nats"])
        if num < 2 or not len(state["out/nats"]):
            return []
        nats = {name: state[f"{name}/nats"] for name in ("in", "out")}
        total = nats["in"].sum()
        typicality = {
            "in": (nats["in"] - (total - nats["in"]) / (num - 1)).abs(),
            "out": (nats["out"] - total / num).abs(),
        }
        cells = [
            self._cell("NLL", {name: -of for name, of in nats.items()}, kind),
            self._cell("typicality", {name: of.nan_to_num(nan=math.inf) for name, of in typicality.items()}, kind),
        ]
        if self._is_discrete:
            sizes = {name: state[f"{name}/complexity"] for name in nats}
            cells.append(self._cell("NLL less complexity", {name: -nats[name] - sizes[name] for name in nats}, kind))
            cells.append(self._cell("complexity alone", sizes, None))
        return cells

    def _cell(self, of: str, scores: dict[str, Tensor], kind: LikelihoodKind | None) -> Estimate:
        value, error = auroc(scores["in"], scores["out"])
        notes: tuple[str, ...] = ()
        if value < 0.5 - 3 * (error or 0) and of != "complexity alone":
            notes = (f"below chance: what is out ({self._name}) looks more like data than held-out data does",)
        return Estimate(
            name=f"AUROC by {of} ({self._name})",
            value=value,
            standard_error=error,
            kind=kind,
            better=None if of == "complexity alone" else "higher",
            num=len(scores["in"]),
            notes=notes,
        )


def complexity(x: Tensor) -> Tensor:
    """What each of x (B, *event), whole numbers, takes when compressed, (B,) float64 nats."""
    sizes = [len(zlib.compress(one.contiguous().numpy().tobytes(), 9)) for one in x]
    return torch.tensor(sizes, dtype=torch.float64) * 8 * math.log(2)


def build(config: OutliersConfig) -> Outliers:
    return Outliers(config)
