"""Count, mean and centred second moment of features: streamed, merged exactly, never a raw second moment."""

from __future__ import annotations

import torch
from torch import Tensor

from genpipe.evaluation import State


def moments(features: Tensor, block: Tensor, num_blocks: int) -> State:
    """Moments of each block. features: (N, D) float64; block: (N,) the block of each row.

    Gives num (K,), mean (K, D) and m2 (K, D, D) = Σ (x − mean)(x − mean)ᵀ.
    """
    dims = features.shape[1]
    num = torch.bincount(block, minlength=num_blocks)
    mean = torch.zeros(num_blocks, dims, dtype=torch.float64).index_add_(0, block, features)
    mean /= num.clamp(min=1)[:, None]
    m2 = torch.zeros(num_blocks, dims, dims, dtype=torch.float64)
    for index in block.unique().tolist():
        centred = features[block == index] - mean[index]
        m2[index] = centred.T @ centred
    return {"num": num, "mean": mean, "m2": m2}


def merge(first: State, second: State) -> State:
    """Moments of the union (Chan, Golub & LeVeque, 1983, eq. 2.1). Leading dimensions are batched."""
    num = first["num"] + second["num"]
    share = second["num"].to(torch.float64) / num.clamp(min=1)
    delta = second["mean"] - first["mean"]
    weighted = (first["num"] * share)[..., None] * delta
    # One D×D array for the answer and none on the way: at D = 784 and 20 blocks each would be 100 MB.
    m2 = first["m2"] + second["m2"]
    dims = delta.shape[-1]
    m2.view(-1, dims, dims).baddbmm_(weighted.reshape(-1, dims, 1), delta.reshape(-1, 1, dims))
    return {"num": num, "mean": first["mean"] + delta * share[..., None], "m2": m2}


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
