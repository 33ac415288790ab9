"""Which noise an example is paired with in flow matching: by minibatch optimal transport."""

from __future__ import annotations

import itertools

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.noise import Noise


def transported_noise(z: Tensor, noise: Noise, size: int, *, whole: bool = True) -> Tensor:
    """Standard normals (B, *event), each set of `size` in the order that is nearest to z's in squared distance.

    The exact assignment (Pooladian et al., 2023, sec. 3.2; Tong et al., 2024, sec. 4.3), so that paths from noise to
    data cross less and are straighter. Over all examples the noise stays N(0, I).

    Sets begin at global example indices that are multiples of `size`: as long as each call sees whole sets, pairs are
    the same for any number of workers and micro-batches. Where it does not, what is here of a set is a smaller one, or,
    where they have to be `whole`, a UsageError.
    """
    num, first = len(z), noise.first_index
    if whole and (first % size or num % size):
        raise UsageError(
            f"coupling_size is {size}, and a worker was given examples {first} … {first + num - 1}: a set was cut. "
            f"train.batch_size / (train.workers × train.accumulation) has to be a multiple of coupling_size"
        )
    e = noise.normal("noise", tuple(z.shape), device=z.device)
    sources, targets = (t.detach().flatten(1).double().cpu() for t in (e, z))
    bounds = sorted({0, *range(-first % size, num, size), num})
    order = [start + _nearest(targets[start:stop], sources[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return e[torch.cat(order).to(e.device)]


def _nearest(targets: Tensor, sources: Tensor) -> Tensor:
    """Which of the sources (N, D) each of the targets (N, D) is given, (N,), so that the squared distances add up to
    the least: of each that is −2⟨z_i, ε_j⟩, up to what no assignment changes."""
    return torch.from_numpy(linear_sum_assignment((-targets @ sources.T).numpy())[1])
