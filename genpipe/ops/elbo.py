"""From likelihood and divergence to a loss: β, free bits."""

from __future__ import annotations

import torch
from torch import Tensor


def elbo_loss(nll: Tensor, kl: Tensor, *, beta: float = 1.0) -> Tensor:
    """The mean over the batch of nll + β·kl, a scalar: −ELBO for β = 1 (Higgins et al., 2017, eq. 4).

    nll and kl: (B,), in nats. A mean over the batch is what the likelihoods expect: they multiply their slopes by its
    gradient beforehand, and the backward pass hands them out as they are.
    """
    return torch.add(nll, kl, alpha=beta).mean()


def free_bits_kl(
    mean: Tensor, log_var: Tensor, free_nats: float, *, group_size: int = 1, batch_kl: Tensor | None = None
) -> Tensor:
    """Σ_j max(free_nats, KL_j), a scalar, for the groups j of a code: free bits (Kingma et al., 2016, eq. 15).

    mean and log_var: (B, D) of N(μ, e^lv); KL_j is the divergence from N(0, I) summed over `group_size` neighbouring
    dimensions and averaged over the batch, before the maximum is taken: a group below the bound gets no gradient
    from any example, as in the paper. free_nats: the bound of a group, in nats. batch_kl: (D / group_size,), by which the
    maximum is decided where these examples are only a part of the batch, whose mean they cannot know; their own KL_j
    where None. ValueError where D is no multiple of group_size.
    """
    if mean.shape[1] % group_size:
        raise ValueError(
            f"genpipe.free_bits_kl: group_size must divide the code's {mean.shape[1]} numbers, got {group_size}"
        )
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    groups = kl.mean(0).unflatten(0, (-1, group_size)).sum(1)
    decided = groups if batch_kl is None else batch_kl
    return torch.where(decided >= free_nats, groups, free_nats).sum()
