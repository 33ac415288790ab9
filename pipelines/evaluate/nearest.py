"""The samples that are closest to training examples, kept beside these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from genpipe.parallel import Range
from genpipe.pipelines.evaluate.opened import TRAIN, Opened

Arrays = dict[str, npt.NDArray[Any]]


def nearest_pairs(opened: Opened, of_model: Arrays, of_held_out: Arrays, num: int) -> Arrays:
    """Samples beside their nearest training example, smallest distance ratio first, and all ratios.

    of_model, of_held_out: index, distance and ratio (N,) of genpipe.neighbours.DistanceRatios. Gives samples,
    neighbours (K, *event), index, neighbour_index, distance, ratio (K,), and model_ratios, held_out_ratios (N,).
    """
    order = np.argsort(of_model["ratio"], kind="stable")[:num]
    index = of_model["index"][order]
    return {
        "samples": _pick(opened, opened.subject, order),
        "neighbours": _pick(opened, TRAIN, index),
        "index": order,
        "neighbour_index": index,
        "distance": of_model["distance"][order],
        "ratio": of_model["ratio"][order],
        "model_ratios": of_model["ratio"],
        "held_out_ratios": of_held_out["ratio"],
    }


def _pick(opened: Opened, row: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    parts = [opened.examples(row, Range(i, i + 1)).numpy() for i in indices.tolist()]
    return np.concatenate(parts) if parts else opened.examples(row, Range(0, 0)).numpy()


def joined(parts: Mapping[int, Arrays]) -> Arrays:
    """Arrays of shards 0, 1, … one after the other."""
    ordered = [parts[shard] for shard in sorted(parts)]
    return {name: np.concatenate([part[name] for part in ordered]) for name in ordered[0]}
