"""What every worker must hold alike, and the check that it does."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from genpipe.errors import PluginError
from genpipe.training.group import Group

AS_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def digest(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Two int64 scalars of a tensor's bits; the second one knows their order."""
    flat = tensor.detach().contiguous().view(-1)
    bits = (torch.view_as_real(flat).view(-1) if flat.is_complex() else flat).view(AS_INTEGERS[flat.element_size()])
    places = torch.arange(1, bits.numel() + 1, device=bits.device)
    return bits.sum(dtype=torch.int64), (bits * places).sum()


def check_alike(tensors: Mapping[str, Tensor], group: Group, family: str) -> None:
    """PluginError naming the first of these tensors that is not the same, bit by bit, on every worker."""
    if group.size == 1 or not tensors:
        return
    ours: list[int] = torch.stack([part for tensor in tensors.values() for part in digest(tensor)]).tolist()
    # Alike where the largest is the smallest. Half of 64 bits, which have a negative each.
    ours = [number % 2**62 for number in ours]
    both = group.largest(ours + [-number for number in ours])
    for index, name in enumerate(tensors):
        if any(both[i] != -both[len(ours) + i] for i in (2 * index, 2 * index + 1)):
            raise PluginError(
                f"family '{family}': '{name}' is not the same on all {group.size} workers. What is learnt from the "
                "batch must come of the whole batch: give this worker's part to optimizers.sum or optimizers.rows in "
                "train_step, and move the tensor in after_step, which gets the batch's"
            )
