"""What the model's density says of single examples: held-out data, its own training data, and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from genpipe.components import LikelihoodKind
from genpipe.errors import GenpipeError
from genpipe.parallel import Range
from genpipe.pipelines.evaluate.items import errors_named
from genpipe.pipelines.evaluate.opened import COPY, FLOOR, ORACLE, Opened

NAMES = {ORACLE: "held_out", COPY: "train", FLOOR: "noise"}
"""The rows that are asked about, and what their examples are: those of `copy` are training examples."""


Found = tuple[LikelihoodKind, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Likelihoods:
    """The subject's log-probabilities of a range of another row's examples."""

    row: str
    at: Range

    def __str__(self) -> str:
        return f"the likelihood of {self.at} of '{self.row}'"

    def do(self, opened: Opened) -> Found:
        log_prob = opened.rows[opened.subject].log_prob
        assert log_prob is not None, "it is asked for where there is one"
        with errors_named(f"the likelihood of row '{self.row}'"):
            x = opened.rows[self.row].examples(self.at)
            answer = log_prob(x, seed=opened.sources.seed, first_index=self.at.start)
            nats = answer.nats.detach().to("cpu", torch.float64).numpy()
            if np.isnan(nats).any():
                raise GenpipeError(f"log_prob gave NaN for {np.isnan(nats).sum()} of {len(nats)} examples")
        return answer.kind, nats


def plan_likelihoods(opened: Opened, num: int) -> list[Likelihoods]:
    """Of the first `num` examples of each row, where the table has likelihoods and so somebody wants them."""
    asked = any(named.record.needs == "likelihood" for named in opened.built.values())
    if not asked or opened.rows[opened.subject].log_prob is None:
        return []
    ranges = Range(0, min(num, opened.sources.num)).cut(opened.sources.batch_size)
    return [Likelihoods(row, at) for row in NAMES for at in ranges]


@dataclass(frozen=True)
class ExampleLikelihoods:
    """nats: (N,) float64 of "held_out", "train" and "noise" examples; kind: of these numbers."""

    kind: LikelihoodKind
    nats: Mapping[str, npt.NDArray[Any]]

    def write(self, path: Path) -> None:
        arrays: dict[str, Any] = {**self.nats, "kind": np.array(self.kind)}
        np.savez_compressed(path, **arrays)

    @classmethod
    def read(cls, path: Path) -> ExampleLikelihoods:
        with np.load(path, allow_pickle=False) as arrays:
            found = dict(arrays)
        return cls(str(found.pop("kind")), found)  # type: ignore[arg-type]


def gathered(found: Mapping[Likelihoods, Found]) -> ExampleLikelihoods | None:
    """All of them, in the order of their examples; None where none were asked for."""
    if not found:
        return None
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in NAMES.values()}
    for item in sorted(found, key=lambda item: item.at.start):
        parts[NAMES[item.row]].append(found[item][1])
    kind = next(iter(found.values()))[0]
    return ExampleLikelihoods(kind, {name: np.concatenate(each) for name, each in parts.items()})
