"""Which noise an example is paired with in flow matching: by minibatch optimal transport."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from genpipe.errors import UsageError
from genpipe.noise import Noise


def transported_noise(z: Tensor, noise: Noise, size: int) -> Tensor:
    """Standard normals (B, *event), each set of `size` in the order that is nearest to z's in squared distance.

    The exact assignment (Pooladian et al., 2023, sec. 3.2; Tong et al., 2024, sec. 4.3), so that paths from noise to
    data cross less and are straighter. Over all examples the noise stays N(0, I).

    Sets begin at global example indices that are multiples of `size`: as long as each call sees whole sets, pairs are
    the same for any number of workers and micro-batches. UsageError where it does not.
    """
    num, first = len(z), noise.first_index
    if first % size or num % size:
        raise UsageError(
            f"coupling_size is {size}, and a worker was given examples {first} … {first + num - 1}: a set was cut. "
            f"train.batch_size / (train.workers × train.accumulation) has to be a multiple of coupling_size"
        )
    e = noise.normal("noise", tuple(z.shape), device=z.device)
    sources, targets = (t.detach().reshape(-1, size, t[0].numel()).double().cpu() for t in (e, z))
    order = [
        start * size + linear_sum_assignment(cost)[1] for start, cost in enumerate(_costs(targets, sources).numpy())
    ]
    return e[torch.cat([torch.from_numpy(indices) for indices in order]).to(e.device)]


def _costs(targets: Tensor, sources: Tensor) -> Tensor:
    """(sets, size, size): −⟨z_i, ε_j⟩, which is half the squared distance up to what no assignment changes."""
    return -targets @ sources.transpose(1, 2)
