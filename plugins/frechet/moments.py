"""Count, mean and centred second moment of features: streamed, merged exactly, never a raw second moment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genpipe import ops
from genpipe.evaluation import State

# From so many dimensions on, products of centred features are of float32, twice as fast: their rounding, 2⁻²⁴ of the
# product of two deviations, is random and far below sampling error. Sums of it would show where shards end, so examples
# are multiplied in chunks of fixed positions; those of a chunk that is not yet whole wait in the state.
FLOAT32_DIMS = 512
CHUNK = 2048
PANEL = 256  # columns: of a symmetric product only panels on and above the diagonal are computed


def moments(features: Tensor, first_index: int) -> State:
    """Moments of features (N, D) float64 at positions first_index, first_index + 1, … of a row.

    Gives num (), mean (D,) and m2 (D, D) = Σ (x − mean)(x − mean)ᵀ of whole chunks, and features (P, D) and index (P,)
    of the others.
    """
    dims = features.shape[1]
    index = torch.arange(first_index, first_index + len(features))
    if dims < FLOAT32_DIMS:
        whole = ops.moments(features)._asdict()
        return {**whole, "waiting": features[:0], "index": index[:0]}
    empty = ops.moments(features[:0])._asdict()
    return _fold({**empty, "waiting": features, "index": index})


def merge(first: State, second: State) -> State:
    """Moments of the union."""
    names = ("num", "mean", "m2")
    together = ops.merge_moments(*(ops.Moments(*(state[name] for name in names)) for state in (first, second)))
    waiting = {name: torch.cat([first[name], second[name]]) for name in ("waiting", "index")}
    return _fold({**together._asdict(), **waiting})


def total(state: State) -> ops.Moments:
    """The moments of all, chunks that never became whole among them."""
    names = ("num", "mean", "m2")
    found = _fold({**state, **{name: state[name].clone() for name in names}}, everything=True)
    return ops.Moments(*(found[name] for name in names))


def _fold(state: State, everything: bool = False) -> State:
    """With chunks that are whole, or all, counted in: in place, as an m2 is 34 MB at D = 2048."""
    index, order = state["index"].sort()
    chunks, sizes = (index // CHUNK).unique_consecutive(return_counts=True)
    ready = torch.full_like(chunks, True, dtype=torch.bool) if everything else sizes == CHUNK
    if not bool(ready.any()):
        return state
    waiting, m2 = state["waiting"], state["m2"]
    for rows, is_ready in zip(order.split(sizes.tolist()), ready.tolist(), strict=True):
        if is_ready:
            together = bool((rows.diff() == 1).all())  # then they need no copy
            _add(state, waiting[int(rows[0]) : int(rows[-1]) + 1] if together else waiting[rows])
    for start in range(0, len(m2), PANEL):
        panel = slice(start, start + PANEL)
        m2[panel.stop :, panel] = m2[panel, panel.stop :].T
        m2[panel, panel] = m2[panel, panel].triu() + m2[panel, panel].triu(1).T
    left = order[~ready.repeat_interleave(sizes)]
    return {**state, "waiting": waiting[left], "index": state["index"][left]}


def _add(state: State, chunk: Tensor) -> None:
    """Counts a chunk in (Chan, Golub & LeVeque, 1983, eq. 2.1); of m2 only panels on and above the diagonal."""
    num, mean, m2 = state["num"], state["mean"], state["m2"]
    own_mean = torch.ops.genpipe.column_mean(chunk)
    low, high = torch.aminmax(chunk)
    # A power of two, so that no square leaves float32's range.
    scale = 2.0 ** -math.frexp(float(high) - float(low))[1]
    centred, _ = torch.ops.genpipe.centre_rows(chunk, own_mean, scale, torch.float32)
    both, delta = float(num) + len(chunk), own_mean - mean
    weighted = delta * (float(num) * len(chunk) / both)
    for start in range(0, len(mean), PANEL):
        columns = slice(start, start + PANEL)
        panel = m2[columns, start:].add_(centred[:, columns].T @ centred[:, start:], alpha=scale**-2)
        if num:
            panel.addr_(weighted[columns], delta[start:])
    mean.add_(delta, alpha=len(chunk) / both)
    num += len(chunk)
