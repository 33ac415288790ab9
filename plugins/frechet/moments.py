"""Count, mean and centred second moment of features: streamed, merged exactly, never a raw second moment."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe import ops
from genpipe.evaluation import State


def moments(features: Tensor, block: Tensor, num_blocks: int) -> State:
    """Moments of each block. features: (N, D) float64; block: (N,) the block of each row.

    Gives num (K,), mean (K, D) and m2 (K, D, D) = Σ (x − mean)(x − mean)ᵀ.
    """
    dims = features.shape[1]
    num = torch.bincount(block, minlength=num_blocks)
    mean = torch.zeros(num_blocks, dims, dtype=torch.float64)
    m2 = torch.zeros(num_blocks, dims, dims, dtype=torch.float64)
    for index in block.unique().tolist():
        _, mean[index], m2[index] = ops.moments(features[block == index])
    return {"num": num, "mean": mean, "m2": m2}


def merge(first: State, second: State) -> State:
    """Moments of the union. Leading dimensions are batched."""
    return ops.merge_moments(ops.Moments(**first), ops.Moments(**second))._asdict()


def select(state: State, index: int) -> State:
    return {name: tensor[index] for name, tensor in state.items()}


def total(state: State) -> State:
    """Moments of all blocks together."""
    return leave_one_out(state)[1]


def leave_one_out(state: State) -> tuple[list[State], State]:
    """Moments of all blocks but each one, and of all.

    By merging what comes before with what comes after: subtracting a block from the total would cancel
    digits.
    """
    blocks = [select(state, i) for i in range(len(state["num"]))]
    after = [blocks[-1]]
    for block in reversed(blocks[:-1]):
        after.append(merge(block, after[-1]))
    after.reverse()  # after[i]: blocks i, i+1, …
    without, before = [after[1]], blocks[0]
    for i in range(1, len(blocks)):
        without.append(merge(before, after[i + 1]) if i + 1 < len(blocks) else before)
        before = merge(before, blocks[i])
    return without, after[0]
